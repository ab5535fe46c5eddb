//! Others who listen: weights in memory, and a pipe on which they are told what to hear.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::ground::Ground;

const PEER: &str = include_str!("listen.py");

pub struct Rival {
    child: Child,
    told: ChildStdin,
    says: BufReader<ChildStdout>,
    missing: &'static str,
}

impl Rival {
    /// The newest whisper.cpp by another binding.
    pub fn newest(ground: &Ground, cores: &str, weights: &Path, threads: usize) -> anyhow::Result<Rival> {
        let mut command = on(cores, &ground.options.python);
        command.args(["-c", PEER]).arg(weights).arg(threads.to_string());
        Rival::start(
            command,
            "SKIPPED: no pywhispercpp for BENCH_PYTHON (`make ollama` or `make test` installs it)",
        )
    }

    /// The engine that Pannier has, without Pannier.
    pub fn engine(cores: &str, weights: &Path, threads: usize) -> anyhow::Result<Rival> {
        let mut command = on(cores, &std::env::current_exe()?);
        command.arg("--engine").arg(weights).args(["--engine-threads", &threads.to_string()]);
        Rival::start(command, "the engine by itself does not listen")
    }

    fn start(mut command: Command, missing: &'static str) -> anyhow::Result<Rival> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let (told, says) = child.stdin.take().zip(child.stdout.take()).context("a pipe")?;
        Ok(Rival { child, told, says: BufReader::new(says), missing })
    }

    /// How long it took, and how much of a processor.
    pub fn hear(&mut self, file: &Path) -> anyhow::Result<(Duration, Duration)> {
        writeln!(self.told, "{}", file.display()).context(self.missing)?;
        let mut line = String::new();
        while self.says.read_line(&mut line)? > 0 {
            if let Some(figures) = line.strip_prefix("heard ") {
                let mut seconds = figures.split_whitespace().map(str::parse::<f64>);
                let mut next = || Some(Duration::from_secs_f64(seconds.next()?.ok()?));
                return next().zip(next()).context("no figures");
            }
            line.clear();
        }
        anyhow::bail!(self.missing)
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn on(cores: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", cores]).arg(program);
    command
}
