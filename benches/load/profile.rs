//! Where the processor's time goes, in parts of the road: by `perf`, which looks a thousand times a second at what the
//! server is doing, and at who called for that.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};

use crate::contender::{Contender, Kind};
use crate::ground::Ground;
use crate::results::{Profile, Results};
use crate::rounds;
use crate::throughput::ASKED;
use crate::workload::Workload;
use crate::wrk::{self, Picking};

/// Looks a second.
const FREQUENCY: &str = "997";
/// Of each stack so much is kept, in bytes: a road of futures is deep.
const STACK: &str = "dwarf,16384";
/// Fewer looks say nothing.
const ENOUGH: usize = 300;

/// What time may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Http,
    Words,
    Memory,
    Road,
    Books,
    Database,
    Runtime,
    Writing,
    Reading,
    Waiting,
    Kernel,
    Rest,
}

/// By what a function's name says where it belongs. The innermost that matches decides: whoever copies or allocates does
/// it for his caller.
const NAMES: &[(&str, Place)] = &[
    ("pannier::proxy", Place::Http),
    ("pannier::upstream", Place::Http),
    ("hyper::", Place::Http),
    ("httparse::", Place::Http),
    ("pingora", Place::Http),
    ("pannier::dialect", Place::Words),
    ("serde_json::", Place::Words),
    ("blake3", Place::Words),
    ("pannier::cache", Place::Memory),
    ("pannier::flight", Place::Memory),
    ("pannier::batch", Place::Memory),
    ("moka::", Place::Memory),
    ("pannier::gateway", Place::Road),
    ("pannier::auth", Place::Road),
    ("pannier::telemetry", Place::Books),
    ("pannier::metering", Place::Books),
    ("pannier::store", Place::Books),
    ("pannier::app::ledger", Place::Books),
    ("prometheus::", Place::Books),
    ("tracing", Place::Books),
    ("sqlx", Place::Database),
    ("sqlite3", Place::Database),
    ("tokio", Place::Runtime),
];

/// The same for what the kernel was asked for.
const CALLS: &[(&str, Place)] = &[
    ("__sys_sendto", Place::Writing),
    ("__sys_sendmsg", Place::Writing),
    ("do_writev", Place::Writing),
    ("ksys_write", Place::Writing),
    ("__sys_recvfrom", Place::Reading),
    ("do_readv", Place::Reading),
    ("ksys_read", Place::Reading),
    ("do_epoll_wait", Place::Waiting),
    ("do_futex", Place::Waiting),
    ("nanosleep", Place::Waiting),
];

/// A hit beside what merely hashes and looks up, and a miss beside what merely passes it on.
pub fn measure(ground: &Ground, results: &mut Results) -> anyhow::Result<()> {
    let hits = [Kind::Bare, Kind::Pannier];
    let misses = [Kind::PassThrough, Kind::PannierMemory, Kind::Pannier];
    for (title, kinds, picking) in [
        ("a hit, small answer", &hits[..], Picking::Rotate(ASKED)),
        ("an answered miss", &misses[..], Picking::Fresh),
    ] {
        for kind in kinds {
            results.profiles.push(look(ground, title, *kind, picking)?);
        }
    }
    Ok(())
}

fn look(ground: &Ground, title: &'static str, kind: Kind, picking: Picking) -> anyhow::Result<Profile> {
    let workload = Workload::small();
    let contender = Contender::start(ground, kind, &[])?;
    rounds::warm_up(&contender, &workload, picking)?;
    let cpu_us = rounds::sample(ground, &contender, &workload, picking)?.cpu_us;
    contender.process.trim_log()?;
    let file = ground.dir().join("perf.data");
    let recording = record(&file, contender.process.id(), ground.options.seconds())?;
    wrk::run(ground, &contender, &workload, picking)?;
    let recorded = recording.wait_with_output()?;
    ensure!(recorded.status.success(), "perf record: {}", String::from_utf8_lossy(&recorded.stderr));
    let places = places(&file)?;
    let all: usize = places.values().sum();
    ensure!(all >= ENOUGH, "perf looked {all} times only");
    eprintln!("  {title}, {}: {all} looks, {cpu_us:.2} µs", kind.label());
    let spent = places.into_iter().map(|(place, seen)| (place, cpu_us * seen as f64 / all as f64));
    Ok(Profile { title, kind, cpu_us, spent: spent.collect() })
}

fn record(file: &Path, process: u32, seconds: u64) -> anyhow::Result<Child> {
    Command::new("perf")
        .args(["record", "-q", "-e", "cpu-clock", "-F", FREQUENCY, "--call-graph", STACK, "-p"])
        .arg(process.to_string())
        .arg("-o")
        .arg(file)
        .args(["--", "sleep", &seconds.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("not installed: perf (Debian: apt-get install linux-perf)")
}

/// How often the server was seen at each place.
fn places(file: &Path) -> anyhow::Result<BTreeMap<Place, usize>> {
    let told =
        Command::new("perf").args(["script", "--no-inline", "-F", "ip,sym", "-i"]).arg(file).output()?;
    ensure!(told.status.success(), "perf script: {}", String::from_utf8_lossy(&told.stderr));
    let told = String::from_utf8_lossy(&told.stdout);
    let mut places = BTreeMap::new();
    for stack in told.split("\n\n").filter(|stack| !stack.trim().is_empty()) {
        *places.entry(place(stack)).or_default() += 1;
    }
    Ok(places)
}

/// Where a stack belongs, whose innermost function stands first.
fn place(stack: &str) -> Place {
    let named = |names: &[(&str, Place)]| {
        let mut frames = stack.lines();
        frames.find_map(|frame| names.iter().find(|(name, _)| frame.contains(name)).map(|(_, place)| *place))
    };
    let is_kernel = stack.lines().any(|frame| {
        ["entry_SYSCALL_64", "asm_exc_", "asm_sysvec_", "ret_from_fork"]
            .iter()
            .any(|entry| frame.contains(entry))
    });
    match is_kernel {
        true => named(CALLS).unwrap_or(Place::Kernel),
        false => named(NAMES).unwrap_or(Place::Rest),
    }
}

/// Side by side, those of the same kind of request.
pub fn tables(profiles: &[Profile]) -> String {
    let mut text = String::new();
    for of_one_kind in profiles.chunk_by(|one, other| one.title == other.title) {
        let _ = write!(text, "| {}: µs of the processor |", of_one_kind[0].title);
        for profile in of_one_kind {
            let _ = write!(text, " {} |", profile.kind.label());
        }
        text += "\n|---|";
        text += &"--:|".repeat(of_one_kind.len());
        for place in Place::ALL {
            let _ = write!(text, "\n| {} |", place.label());
            for profile in of_one_kind {
                let _ = write!(text, " {:.1} |", profile.spent.get(place).copied().unwrap_or(0.0));
            }
        }
        text += "\n| *together* |";
        for profile in of_one_kind {
            let _ = write!(text, " *{:.1}* |", profile.cpu_us);
        }
        text += "\n\n";
    }
    match text.is_empty() {
        true => text,
        false => format!("## Where the time goes\n\n{text}"),
    }
}

// === impl Place ===

impl Place {
    pub const ALL: &[Place] = &[
        Place::Writing,
        Place::Reading,
        Place::Waiting,
        Place::Kernel,
        Place::Runtime,
        Place::Http,
        Place::Words,
        Place::Memory,
        Place::Road,
        Place::Books,
        Place::Database,
        Place::Rest,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Place::Http => "HTTP with either side",
            Place::Words => "what is asked and answered: read, and made a key",
            Place::Memory => "the cache and shared trips",
            Place::Road => "the road between",
            Place::Books => "metrics, log and books",
            Place::Database => "SQLite, and what it is handed over with",
            Place::Runtime => "tokio",
            Place::Writing => "kernel: writing, and waking who waits for it",
            Place::Reading => "kernel: reading",
            Place::Waiting => "kernel: waiting",
            Place::Kernel => "kernel: pages, interrupts, the rest",
            Place::Rest => "not known where",
        }
    }
}
