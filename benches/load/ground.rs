//! The ground that all contenders meet on: the options, a folder of its own, the stub upstream, quiet.

use std::cell::Cell;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::contender::{Contender, Kind};
use crate::machine::Quiet;
use crate::options::Options;
use crate::process::{Launch, Process, free_port};

/// Between two tokens of a paced stream.
const TOKEN_INTERVAL_MS: u64 = 2;
/// A thousand streams are three thousand sockets, and the stub holds some besides.
const OPEN_FILES: usize = 16_384;
/// Attempts to remove the bench's folder under the servers' hands.
const REMOVALS: usize = 100;

pub struct Ground {
    pub options: Options,
    pub quiet: Quiet,
    /// The upstream of all contenders.
    pub stub: Contender,
    dir: TempDir,
    /// The next number that no request has carried yet.
    fresh: Cell<u64>,
}

// === impl Ground ===

impl Ground {
    /// Checks the tools, settles this process on the load generator's core, and starts the stub there.
    pub fn prepare(options: Options) -> anyhow::Result<Ground> {
        look_for_tools()?;
        settle(options.load_core)?;
        let dir = scratch()?;
        leave_nothing_behind(dir.path());
        let stub = start_stub(dir.path(), Kind::Beside, options.load_core)?;
        let quiet = Quiet::new(options.retakes());
        // Numbers below are for the requests that are asked again and again.
        let fresh = Cell::new(10_000_000);
        Ok(Ground { options, quiet, stub, dir, fresh })
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The first of `many` numbers that no request has carried yet.
    pub fn fresh(&self, many: u64) -> u64 {
        self.fresh.replace(self.fresh.get() + many)
    }
}

/// # Errors
/// Without a tool that every part needs: all that are missing are named.
fn look_for_tools() -> anyhow::Result<()> {
    let is_missing = |tool: &str| {
        let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output();
        !found.is_ok_and(|found| found.status.success())
    };
    let needed = [("wrk", "wrk"), ("nginx", "nginx-light"), ("taskset", "util-linux")];
    let missing: Vec<&str> =
        needed.into_iter().filter(|(tool, _)| is_missing(tool)).map(|(_, package)| package).collect();
    let packages = missing.join(" ");
    ensure!(missing.is_empty(), "not installed: {packages} (Debian: apt-get install {packages})");
    Ok(())
}

/// A stub upstream on `core`.
pub fn start_stub(dir: &Path, kind: Kind, core: usize) -> anyhow::Result<Contender> {
    let port = free_port()?;
    let args = ["--stub", &port.to_string(), "--token-interval-ms", &TOKEN_INTERVAL_MS.to_string()];
    let process = Process::start(Launch {
        name: kind.label(),
        program: &std::env::current_exe()?,
        args: args.map(Into::into).to_vec(),
        env: Vec::new(),
        core,
        port,
        ready: "/api/version",
        dir,
        end: "KILL",
    })?;
    Ok(Contender { kind, port, process })
}

/// Puts this process, and with it wrk, on `core`, and lets it and its children open enough files.
fn settle(core: usize) -> anyhow::Result<()> {
    let me = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-a", "-c", "-p", &core.to_string(), &me]).output()?;
    ensure!(pinned.status.success(), "cannot use core {core}: {}", String::from_utf8_lossy(&pinned.stderr));
    let limit = Command::new("prlimit").args(["--pid", &me, &format!("--nofile={OPEN_FILES}")]).output()?;
    if !limit.status.success() {
        eprintln!("cannot raise the limit of open files to {OPEN_FILES}; a thousand streams may not fit");
    }
    Ok(())
}

/// In memory where there is such a place: nginx keeps its cache in files, and shall not wait for a disk.
fn scratch() -> anyhow::Result<TempDir> {
    let shared = Path::new("/dev/shm");
    let dir = if shared.is_dir() { TempDir::with_prefix_in("load-", shared) } else { TempDir::new() };
    dir.context("cannot make a folder for the bench")
}

/// On Ctrl-C the servers die with this process, but the folder would stay.
fn leave_nothing_behind(dir: &Path) {
    let dir = dir.to_owned();
    std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            // The servers still write into it: what they add between two looks is there for the next one.
            for _ in 0..REMOVALS {
                if std::fs::remove_dir_all(&dir).is_ok() {
                    break;
                }
            }
            std::process::exit(130);
        }
    });
}
