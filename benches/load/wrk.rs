//! wrk, the load generator: a script for it, one run of it, and what it says at its end.

use std::process::Command;

use anyhow::{Context, ensure};

use crate::contender::{API_KEY, Contender};
use crate::ground::Ground;
use crate::workload::{DIGITS, Workload};

pub const CONNECTIONS: usize = 32;

/// Which numbers the requests of a run carry.
#[derive(Debug, Clone, Copy)]
pub enum Picking {
    /// 0 to n − 1, over and over.
    Rotate(u64),
    /// Any of 0 to n − 1, each equally likely.
    Any(u64),
    /// Each number once.
    Fresh,
}

/// What came of one run.
#[derive(Debug, Clone, Copy)]
pub struct Tally {
    pub requests: f64,
    pub seconds: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// Drives `contender` for the time of one sample. Any answer but a 200, and any broken connection, is an
/// error: a server that refuses quickly must not look fast.
pub fn run(
    ground: &Ground,
    contender: &Contender,
    workload: &Workload,
    picking: Picking,
) -> anyhow::Result<Tally> {
    run_on(ground.options.load_core, ground, contender, workload, picking)
}

/// The same from the given core.
pub fn run_on(
    core: usize,
    ground: &Ground,
    contender: &Contender,
    workload: &Workload,
    picking: Picking,
) -> anyhow::Result<Tally> {
    let script = ground.dir().join("wrk.lua");
    // No run asks more often than this; the seed of `Any` comes from here too, so that no two runs walk
    // the same way.
    let start = ground.fresh(1_000_000 * ground.options.seconds());
    std::fs::write(&script, lua(contender, workload, picking, start))?;
    let output = Command::new("taskset")
        .args([
            "-c",
            &core.to_string(),
            "wrk",
            "-t1",
            &format!("-c{CONNECTIONS}"),
            &format!("-d{}s", ground.options.seconds()),
        ])
        .args(["--timeout", "10s", "-s"])
        .arg(&script)
        .arg(format!("http://127.0.0.1:{}", contender.port))
        .output()
        .context("cannot run wrk (package wrk)")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let tally = said.lines().find_map(|line| line.strip_prefix("tally "));
    let tally = tally.with_context(|| format!("wrk: {said}{}", String::from_utf8_lossy(&output.stderr)))?;
    let numbers: Vec<f64> = tally.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [requests, microseconds, p50_us, p99_us, broken, refused] = numbers[..] else {
        anyhow::bail!("wrk said {tally:?}")
    };
    ensure!(requests > 0.0, "no answer at all");
    ensure!(
        broken == 0.0 && refused == 0.0,
        "{broken} broken connections, {refused} answers that are no 2xx"
    );
    Ok(Tally { requests, seconds: microseconds / 1e6, p50_us, p99_us })
}

/// The requests are written out once, before the clock runs; only the digits change from one to the next.
fn lua(contender: &Contender, workload: &Workload, picking: Picking, start: u64) -> String {
    let Workload { path, before, after, .. } = workload;
    let extra = contender
        .kind
        .extra_field()
        .map(|(name, value)| format!("wrk.headers[\"{name}\"] = \"{value}\"\n"))
        .unwrap_or_default();
    let choose = match picking {
        Picking::Rotate(many) => format!(
            "local ready, at = {{}}, 0
local function prepare() for i = 0, {many} - 1 do ready[i] = whole(i) end end
function request() at = (at + 1) % {many}; return ready[at] end"
        ),
        Picking::Any(many) => format!(
            "local function prepare() math.randomseed({start}) end
function request() return whole(math.random(0, {many} - 1)) end"
        ),
        Picking::Fresh => format!(
            "local function prepare() end
local at = {start}
function request() at = at + 1; return whole(at) end"
        ),
    };
    format!(
        "wrk.headers[\"Authorization\"] = \"Bearer {API_KEY}\"
wrk.headers[\"Content-Type\"] = \"application/json\"
{extra}local gap = string.rep(\"#\", {DIGITS})
local front, back
local function whole(number) return front .. string.format(\"%0{DIGITS}d\", number) .. back end
{choose}
function init(args)
  local model = wrk.format(\"POST\", \"{path}\", nil, [==[{before}]==] .. gap .. [==[{after}]==])
  local from, to = model:find(gap, 1, true)
  front, back = model:sub(1, from - 1), model:sub(to + 1)
  prepare()
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(\"tally %d %d %d %d %d %d\\n\", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.timeout, e.status))
end
"
    )
}
