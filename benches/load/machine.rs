//! The machine under the bench: what it is, and whether somebody else is using it just now.

use std::cell::Cell;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::{Process, processor_time};

/// Foreign use of the machine, in cores, above which a sample is thrown away.
const TOLERATED: f64 = 0.15;
/// How long to stand back before a sample is taken again.
const PAUSE: Duration = Duration::from_millis(500);
/// Linux' unit in /proc/stat.
const TICK: Duration = Duration::from_millis(10);

/// Takes samples in quiet moments, and keeps count of those that were not.
pub struct Quiet {
    retakes: usize,
    pub taken: Cell<usize>,
    /// Thrown away and taken again.
    pub thrown: Cell<usize>,
    /// Kept although disturbed, because no quieter one was to be had.
    pub disturbed: Cell<usize>,
}

// === impl Quiet ===

impl Quiet {
    pub fn new(retakes: usize) -> Quiet {
        Quiet { retakes, taken: Cell::new(0), thrown: Cell::new(0), disturbed: Cell::new(0) }
    }

    /// The result of `work` in a moment in which nobody but this bench and `participants` used the
    /// machine; when there is none, that of the least disturbed one.
    pub fn sample<T>(
        &self,
        participants: &[&Process],
        mut work: impl FnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut quietest: Option<(f64, T)> = None;
        for attempt in 0..=self.retakes {
            if attempt > 0 {
                std::thread::sleep(PAUSE);
            }
            let before = Reading::take(participants);
            let value = work()?;
            let foreign = before.foreign_until(&Reading::take(participants));
            if foreign <= TOLERATED {
                self.taken.set(self.taken.get() + 1);
                self.thrown.set(self.thrown.get() + attempt);
                return Ok(value);
            }
            eprintln!("  disturbed: others used {foreign:.2} cores");
            if quietest.as_ref().is_none_or(|(least, _)| foreign < *least) {
                quietest = Some((foreign, value));
            }
        }
        self.taken.set(self.taken.get() + 1);
        self.thrown.set(self.thrown.get() + self.retakes);
        self.disturbed.set(self.disturbed.get() + 1);
        match quietest {
            Some((_, value)) => Ok(value),
            None => work(),
        }
    }
}

/// How much has been worked so far.
struct Reading {
    at: Instant,
    /// By all cores together, time stolen by the host included.
    busy: Duration,
    /// By this bench, its load generators and the participants.
    own: Duration,
}

impl Reading {
    fn take(participants: &[&Process]) -> Reading {
        let own = processor_time(std::process::id(), true)
            + participants.iter().map(|process| process.processor_time()).sum::<Duration>();
        Reading { at: Instant::now(), busy: busy(), own }
    }

    /// Cores that others used between this reading and a later one.
    fn foreign_until(&self, later: &Reading) -> f64 {
        let busy = later.busy.saturating_sub(self.busy);
        let own = later.own.saturating_sub(self.own);
        busy.saturating_sub(own).as_secs_f64() / later.at.duration_since(self.at).as_secs_f64()
    }
}

fn busy() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<u32> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_ascii_whitespace()
        .skip(1)
        .map(|ticks| ticks.parse().unwrap_or(0))
        .collect();
    // user nice system idle iowait irq softirq steal, then guest times that user holds already.
    let working: u32 = ticks.iter().take(8).sum::<u32>().saturating_sub(ticks.iter().skip(3).take(2).sum());
    TICK * working
}

// === the machine's description ===

/// One line a fact, for the report.
pub fn describe() -> Vec<(&'static str, String)> {
    vec![
        ("processor", cpu_model()),
        ("cores", cores()),
        ("memory", memory()),
        ("kernel", said_by("uname", &["-sr"])),
        ("nginx", said_by("nginx", &["-v"])),
        ("wrk", said_by("wrk", &["-v"])),
        ("rustc", said_by("rustc", &["--version"])),
        ("commit", said_by("git", &["describe", "--always", "--dirty"])),
    ]
}

fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned())
}

/// All of them, also those that this process has been kept off.
fn cores() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().filter(|line| line.starts_with("processor")).count().to_string()
}

fn memory() -> String {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: Option<f64> = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_ascii_whitespace().next()?.parse().ok());
    kib.map_or_else(|| "unknown".to_owned(), |kib| format!("{:.0} GiB", kib / 1024.0 / 1024.0))
}

/// The first line that a program says about itself, wherever it says it.
fn said_by(program: &str, args: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(args).output() else { return "unknown".to_owned() };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().next().unwrap_or("unknown").trim_start_matches("nginx version: ");
    line.split(" Copyright").next().unwrap_or(line).to_owned()
}
