//! A server that the bench started: pinned to a core, watched through /proc, and gone when it is dropped.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use crate::client::Connection;

/// What Linux counts the time of a process in, on every machine that this is likely to run on.
const TICKS_PER_SECOND: u64 = 100;
const STARTS_WITHIN: Duration = Duration::from_secs(10);
/// Memory that is not needed any more is given back within this time.
const GIVEN_BACK: Duration = Duration::from_secs(15);
/// Characters of each line that are quoted of a server that ended.
const LAST_WORDS: usize = 160;

/// What is to be started.
pub struct Launch<'a> {
    pub name: &'a str,
    pub program: &'a Path,
    pub args: Vec<OsString>,
    /// The whole environment, besides PATH and HOME.
    pub env: Vec<(String, String)>,
    pub core: usize,
    /// Where it listens.
    pub port: u16,
    /// A path that it answers as soon as it serves.
    pub ready: &'a str,
    /// Where its log goes.
    pub dir: &'a Path,
    /// The signal that ends it and its workers at once, sent when the bench dies before it.
    pub end: &'a str,
}

pub struct Process {
    child: Child,
    /// The process and its workers.
    members: Vec<u32>,
    log: PathBuf,
    /// From the moment before it was started to its first answer.
    pub first_answer: Duration,
}

/// A loopback port that nobody holds at this moment.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Processor time of one process, all its threads, user and system; with `reaped`, that of the children
/// that it has waited for as well. Zero for one that is gone.
pub fn processor_time(pid: u32, reaped: bool) -> Duration {
    let Some(fields) = stat_fields(pid) else { return Duration::ZERO };
    // Counted from the state, which is field 3 of proc(5): utime is 14, cutime is 16.
    let ticks = |field: usize| fields.get(field - 3).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0);
    let own = ticks(14) + ticks(15);
    let total = if reaped { own + ticks(16) + ticks(17) } else { own };
    Duration::from_millis(total * 1000 / TICKS_PER_SECOND)
}

// === impl Process ===

impl Process {
    /// Starts it in a process group of its own and waits for its first answer. It dies with the bench,
    /// however that ends.
    pub fn start(launch: Launch<'_>) -> anyhow::Result<Process> {
        let log = launch.dir.join(format!("{}.log", launch.name));
        let output = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", launch.end, "taskset", "-c", &launch.core.to_string()])
            .arg(launch.program)
            .args(&launch.args)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "HOME"))
            .envs(launch.env.iter().cloned())
            .current_dir(launch.dir)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        let begun = Instant::now();
        let child = command.spawn().context("cannot run setpriv and taskset (package util-linux)")?;
        let mut process = Process { child, members: Vec::new(), log, first_answer: Duration::ZERO };
        process.await_answer(&launch, begun)?;
        process.members = group_members(process.child.id())?;
        Ok(process)
    }

    fn await_answer(&mut self, launch: &Launch<'_>, begun: Instant) -> anyhow::Result<()> {
        let request = format!("GET {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", launch.ready, launch.port);
        loop {
            let answer = Connection::open(launch.port).and_then(|mut it| it.exchange(request.as_bytes()));
            if answer.is_ok_and(|answer| answer.status == 200) {
                self.first_answer = begun.elapsed();
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at its start ({status}): {}", launch.name, self.last_words());
            }
            if begun.elapsed() > STARTS_WITHIN {
                bail!("{} gave no answer within {STARTS_WITHIN:?}: {}", launch.name, self.last_words());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    pub fn processor_time(&self) -> Duration {
        self.members.iter().map(|pid| processor_time(*pid, false)).sum()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Processor time of the process and of all that it has started since, as far as they are still there.
    pub fn family_time(&self) -> Duration {
        let family = group_members(self.child.id()).unwrap_or_default();
        family.into_iter().map(|pid| processor_time(pid, false)).sum()
    }

    /// What the process has started, as far as it is still there.
    pub fn workers(&self) -> anyhow::Result<Vec<u32>> {
        let mut family = group_members(self.child.id())?;
        family.retain(|pid| *pid != self.child.id());
        Ok(family)
    }

    /// Processor time of the process alone, to the nanosecond.
    pub fn precise_time(&self) -> anyhow::Result<Duration> {
        let pid = Pid::from_raw(self.child.id().try_into()?);
        Ok(Duration::from(clock_gettime(clock_getcpuclockid(pid)?)?))
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> u64 {
        self.members.iter().map(|pid| resident(*pid)).sum()
    }

    /// What it keeps: the least resident memory that it has within a while. What a burst of work took, allocators give
    /// back by and by.
    pub fn kept(&self) -> u64 {
        let begun = Instant::now();
        let mut least = self.resident();
        while begun.elapsed() < GIVEN_BACK {
            std::thread::sleep(Duration::from_millis(200));
            least = least.min(self.resident());
        }
        least
    }

    /// An error in dealing with it, with its last words if it has ended.
    pub fn explain(&mut self, error: anyhow::Error) -> anyhow::Error {
        match self.child.try_wait() {
            Ok(Some(status)) => error.context(format!("it ended ({status}): {}", self.last_words())),
            Ok(None) | Err(_) => error,
        }
    }

    /// Forgets what it logged, so that minutes of access log do not fill the disk.
    pub fn trim_log(&self) -> anyhow::Result<()> {
        Ok(File::options().write(true).open(&self.log)?.set_len(0)?)
    }

    /// The last lines of its log, cut to what fits into an error.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let mut lines: Vec<String> =
            log.lines().rev().take(3).map(|line| line.chars().take(LAST_WORDS).collect()).collect();
        lines.reverse();
        if lines.is_empty() { "it said nothing".to_owned() } else { lines.join(" / ") }
    }
}

impl Drop for Process {
    /// Ends it and its workers at once: nothing of a bench needs a graceful end.
    fn drop(&mut self) {
        let group = self.child.id();
        let _ = Command::new("sh").args(["-c", &format!("kill -KILL -{group}")]).status();
        let _ = self.child.wait();
    }
}

/// All processes whose group is `group`.
fn group_members(group: u32) -> anyhow::Result<Vec<u32>> {
    let mut members = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // The process group is field 5.
        if stat_fields(pid).is_some_and(|fields| fields.get(2) == Some(&group.to_string())) {
            members.push(pid);
        }
    }
    Ok(members)
}

/// The fields of /proc/PID/stat behind the name, which may itself hold blanks.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.split_ascii_whitespace().map(str::to_owned).collect())
}

fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib: u64 = line.split_ascii_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
    kib * 1024
}
