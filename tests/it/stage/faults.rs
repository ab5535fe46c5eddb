//! A disk that answers with an error now and then, whatever disk it is: a tracer gives the answers in its place.

use super::server::Pannier;
use std::path::Path;
use std::process::Stdio;
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// As long as it is there, calls of a process end with an error and do nothing.
pub struct Fault {
    tracer: Child,
    log: NamedTempFile,
}

/// Which of the calls that a thread makes: `1+1` are all of them, `3+7` the third and each seventh after it.
pub type Which = &'static str;

/// Whether `what` can be tested, which wants strace and a user who may trace; where it cannot, that is said.
pub fn can_trace(what: &str) -> bool {
    use std::io::Write;
    let traced = std::process::Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    let why = match traced {
        Ok(traced) if traced.status.success() => return true,
        Ok(_) => "this user may not trace",
        Err(_) => "no strace is installed",
    };
    // Past the capture of output: whoever reads the test's log must see it.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}: {why}");
    false
}

impl Fault {
    /// `which` of `calls` on `files`, or on any where none is named, end with `error` from now on.
    pub async fn of(pannier: &Pannier, calls: &str, error: &str, which: Which, files: &[&Path]) -> Fault {
        let mut strace = Command::new("strace");
        let log = NamedTempFile::new().expect("a file");
        strace.arg("-f").arg("-o").arg(log.path()).args(["-e", &format!("trace={calls}")]);
        strace.args(["-e", &format!("inject={calls}:error={error}:when={which}")]);
        for file in files {
            strace.arg("-P").arg(file);
        }
        strace.args(["-p", &pannier.id().to_string()]);
        strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut tracer = strace.spawn().expect("start strace");
        let mut said = BufReader::new(tracer.stderr.take().expect("stderr is piped")).lines();
        let attached = async {
            while let Some(line) = said.next_line().await.expect("what strace says") {
                if line.contains("attached") {
                    return;
                }
            }
            panic!("strace did not attach");
        };
        super::within("strace to attach", attached).await;
        // Whoever starts another thread makes it say so: it must be heard.
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        Fault { tracer, log }
    }

    /// The disk is well again; it was not when it was asked.
    pub async fn ends(mut self) {
        self.tracer.kill().await.expect("kill strace");
        let log = std::fs::read_to_string(self.log.path()).expect("what it did");
        assert!(log.contains("(INJECTED)"), "nothing has failed:\n{log}");
    }
}
