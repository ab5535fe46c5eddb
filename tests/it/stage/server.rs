//! The real binary, started on free ports with a data directory of its own.

use super::{APART, Ask, PATIENCE, Reply, Samples, Upstream, Wire, eventually, route, within};
use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

/// How Pannier is to be started.
pub struct Launch {
    command: Command,
    dir: TempDir,
    data_dir: PathBuf,
    listen: String,
    unheard: bool,
    /// Another program that starts it, and its arguments.
    by_way_of: Vec<String>,
}

/// A running Pannier. Dropping it kills it.
pub struct Pannier {
    child: Child,
    /// The data port, and that of the house routes.
    pub addr: SocketAddr,
    pub admin: SocketAddr,
    /// From starting the process to the line that says where it listens.
    pub started_in: Duration,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    dir: TempDir,
    /// Where it keeps what must survive it.
    pub data_dir: PathBuf,
}

/// An address that was free a moment ago, where only those come who asked for it.
pub fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind(APART).expect("a free port");
    listener.local_addr().expect("its address")
}

// === impl Launch ===

impl Launch {
    pub fn new(upstream: &str) -> Launch {
        let dir = TempDir::new().expect("a directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_pannier"));
        // Nothing of the surroundings (OLLAMA_HOST, PANNIER__…) may leak in.
        command.env_clear().env("HOME", dir.path()).env("PATH", "/usr/bin:/bin");
        command.arg("serve").args(["--upstream", upstream]).args(["--admin-listen", "127.0.0.1:0"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let data_dir = dir.path().join("state");
        Launch { command, dir, data_dir, listen: "127.0.0.1:0".into(), unheard: false, by_way_of: Vec::new() }
    }

    pub fn before(upstream: &Upstream) -> Launch {
        Launch::new(&format!("http://{}", upstream.addr))
    }

    /// Sets `section.key` by the environment.
    pub fn set(mut self, key: &str, value: &str) -> Launch {
        self.command.env(format!("PANNIER__{}", key.replace('.', "__").to_uppercase()), value);
        self
    }

    /// Gives a settings file, which `Pannier::configure` can rewrite.
    pub fn file(mut self, toml: &str) -> Launch {
        let path = self.dir.path().join("pannier.toml");
        fs::write(&path, toml).expect("write the settings");
        self.command.arg("--config").arg(path);
        self
    }

    pub fn listen(mut self, address: &str) -> Launch {
        self.listen = address.into();
        self
    }

    /// Keeps what must survive it there, and not in a directory of its own.
    pub fn data_dir(mut self, place: &Path) -> Launch {
        self.data_dir = place.to_owned();
        self
    }

    /// Sends what it writes elsewhere: `Pannier::stdout` stays empty.
    pub fn stdout(mut self, out: impl Into<Stdio>) -> Launch {
        self.command.stdout(out);
        self
    }

    /// So many files and connections may be open at once.
    pub fn descriptors(mut self, most: u32) -> Launch {
        let limited = format!("ulimit -n {most}; exec \"$0\" \"$@\"");
        self.by_way_of = ["/bin/sh", "-c", &limited].map(String::from).into();
        self
    }

    /// It is killed where one of its threads is about to call this of the system's for the `nth` time.
    pub fn killed_at(mut self, call: &str, nth: u32) -> Launch {
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:signal=SIGKILL:when={nth}"));
        // Without `--seccomp-bpf`, under which strace counts wrong.
        let way = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        self.by_way_of = way.map(String::from).into();
        self
    }

    /// Nobody reads its standard output, and nobody closes it.
    pub fn unheard(mut self) -> Launch {
        self.unheard = true;
        self
    }

    pub async fn start(self) -> Pannier {
        self.try_start().await.unwrap_or_else(|said| panic!("did not start: {said}"))
    }

    /// The same; where it ends before it listens, what it has said.
    pub async fn try_start(self) -> Result<Pannier, String> {
        let begun = Instant::now();
        let (unheard, data_dir) = (self.unheard, self.data_dir.clone());
        let (mut child, dir) = self.spawn();
        let stdout = match unheard {
            true => Arc::default(),
            false => child.stdout.take().map(follow).unwrap_or_default(),
        };
        let stderr = follow(child.stderr.take().expect("stderr is piped"));
        let (addr, admin) = loop {
            let line = stderr.lock().expect("stderr").lines().find_map(addresses);
            if let Some(found) = line {
                break found;
            }
            if let Some(status) = child.try_wait().expect("wait") {
                tokio::time::sleep(Duration::from_millis(20)).await;
                return Err(format!("{status}\n{}", stderr.lock().expect("stderr")));
            }
            assert!(begun.elapsed() < PATIENCE, "says nothing\n{}", stderr.lock().expect("stderr"));
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        Ok(Pannier { child, addr, admin, started_in: begun.elapsed(), stdout, stderr, dir, data_dir })
    }

    /// Runs it to its own end: for starts that must fail.
    pub async fn run(self) -> (ExitStatus, String) {
        let (child, _dir) = self.spawn();
        let output = within("the process to end by itself", child.wait_with_output()).await.expect("output");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status, said.into_owned())
    }

    fn spawn(mut self) -> (Child, TempDir) {
        self.command.args(["--listen", &self.listen]).arg("--data-dir").arg(&self.data_dir);
        if let [program, args @ ..] = &self.by_way_of[..] {
            self.command = by_way_of(program, args, self.command.as_std());
        }
        (self.command.spawn().expect("start pannier"), self.dir)
    }
}

/// `command` as another program starts it.
fn by_way_of(program: &str, args: &[String], command: &std::process::Command) -> Command {
    let mut way = Command::new(program);
    way.args(args).arg(command.get_program()).args(command.get_args()).env_clear();
    way.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    way.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    way
}

/// `pannier: listening on http://A (admin http://B, upstream …)`; an address of all interfaces is
/// called on the loopback one.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let rest = line.strip_prefix("pannier: listening on http://")?;
    let (listen, rest) = rest.split_once(" (admin http://")?;
    let (admin, _) = rest.split_once([',', ')'])?;
    let reachable = |text: &str| text.replace("0.0.0.0", "127.0.0.1").parse().ok();
    Some((reachable(listen)?, reachable(admin)?))
}

fn follow(output: impl AsyncRead + Unpin + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let kept = text.clone();
    tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut text = kept.lock().expect("output");
            text.push_str(&line);
            text.push('\n');
        }
    });
    text
}

// === impl Pannier ===

impl Pannier {
    pub async fn start(upstream: &Upstream) -> Pannier {
        Launch::before(upstream).start().await
    }

    pub async fn open(&self) -> Wire {
        Wire::open(self.addr).await
    }

    /// Asks on a connection of its own.
    pub async fn ask(&self, ask: &Ask) -> Reply {
        self.open().await.exchange(ask).await
    }

    /// Asks until the answer comes from the memory: what was stored is there a moment after the
    /// first answer's end. Goes no further than the memory.
    pub async fn remembered(&self, ask: &Ask) -> Reply {
        let only = ask.clone().with("Cache-Control", "only-if-cached");
        eventually("the answer is remembered", || async {
            let reply = self.ask(&only).await;
            (reply.status() == 200).then_some(())
        })
        .await;
        let reply = self.ask(ask).await.fine();
        assert!(reply.is_hit(), "remembered, and yet: {:?}", reply.cache());
        reply
    }

    /// Waits until new completions are kept under the settings in force, or are no more.
    pub async fn comes_to_keep(&self, wanted: bool) {
        let ask = eventually(&format!("completions are kept: {wanted}"), || async {
            let mut body = route("/api/chat").body(false);
            body["options"]["seed"] = fastrand::u32(..1 << 30).into();
            let ask = Ask::post("/api/chat", &body);
            let bypassed = self.ask(&ask).await.fine().cache().contains("fwd=bypass");
            (bypassed != wanted).then_some(ask)
        })
        .await;
        match wanted {
            true => drop(self.remembered(&ask).await),
            false => {
                let only = ask.with("Cache-Control", "only-if-cached");
                assert_eq!(self.ask(&only).await.status(), 504);
            }
        }
    }

    /// Asks a house route on its own listener.
    pub async fn house(&self, target: &str) -> Reply {
        Wire::open(self.admin).await.exchange(&Ask::get(target)).await
    }

    /// The same with the admin key.
    pub async fn administer(&self, ask: Ask) -> Reply {
        let ask = ask.with("X-API-Key", &self.admin_key());
        Wire::open(self.admin).await.exchange(&ask).await
    }

    pub async fn metrics(&self) -> Samples {
        Samples::parse(self.house("/metrics").await.fine().text())
    }

    /// With those of single keys, which only the admin key opens.
    pub async fn metrics_of_keys(&self) -> Samples {
        Samples::parse(self.administer(Ask::get("/metrics")).await.fine().text())
    }

    /// Waits until the samples called `name` with these labels sum up to `value`.
    pub async fn counts(&self, name: &str, labels: &[(&str, &str)], value: f64) -> Samples {
        let what = format!("{name}{labels:?} = {value}");
        let until = Instant::now() + PATIENCE;
        loop {
            let samples = self.metrics().await;
            let sum = samples.sum(name, labels);
            if sum == value {
                return samples;
            }
            assert!(Instant::now() < until, "{what}, but it is {sum}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn stdout(&self) -> String {
        self.stdout.lock().expect("stdout").clone()
    }

    /// All that it has written so far.
    pub fn output(&self) -> String {
        self.stdout() + &self.stderr.lock().expect("stderr")
    }

    /// The admin key that its first start made.
    pub fn admin_key(&self) -> String {
        let key = fs::read_to_string(self.data_dir.join("admin.key")).expect("an admin key");
        key.trim_end().to_owned()
    }

    /// Rewrites the settings file that `Launch::file` gave.
    pub fn configure(&self, toml: &str) {
        let path: PathBuf = self.dir.path().join("pannier.toml");
        fs::write(path, toml).expect("write the settings");
    }

    /// Sends it a signal by name: `TERM`, `HUP` …
    pub fn signal(&self, name: &str) {
        run(&format!("kill -{name} {}", self.id()));
    }

    /// How it ended, and how long it took from now.
    pub async fn ended(&mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        let status = within("the process to end", self.child.wait()).await.expect("wait");
        (status, begun.elapsed())
    }

    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("read its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib * 1024
    }

    /// The most of it that any look at it showed while `doing` was done.
    pub async fn resident_while<T>(&self, doing: impl Future<Output = T>) -> (T, u64) {
        let mut doing = std::pin::pin!(doing);
        let mut most = self.resident();
        loop {
            tokio::select! {
                done = &mut doing => return (done, most.max(self.resident())),
                () = tokio::time::sleep(Duration::from_millis(20)) => most = most.max(self.resident()),
            }
        }
    }

    /// Processor time that it has used so far.
    pub fn processor_time(&self) -> Duration {
        processor_time(self.id())
    }

    /// Takes away all descriptors that it does not use at this moment.
    pub fn leave_no_descriptor(&self) {
        let id = self.id();
        let used = |number: &u32| fs::symlink_metadata(format!("/proc/{id}/fd/{number}")).is_ok();
        let first_free = (0..).take_while(used).count();
        run(&format!("prlimit --pid {id} --nofile={first_free}:"));
    }

    /// Gives them back.
    pub fn return_descriptors(&self) {
        run(&format!("prlimit --pid {} --nofile=1024:", self.id()));
    }

    /// Of its process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it still runs")
    }
}

/// Processor time that a process has used so far.
fn processor_time(process: u32) -> Duration {
    const TICKS_A_SECOND: u64 = 100;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("read its times");
    // Behind the name, which may contain anything: state is the third field, utime and stime are 14 and 15.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>());
    let ticks: u64 = ticks.map(|ticks| ticks.expect("a number")).sum();
    Duration::from_millis(ticks * 1000 / TICKS_A_SECOND)
}

fn run(command: &str) {
    let status = std::process::Command::new("sh").arg("-c").arg(command).status();
    assert!(status.expect("sh").success(), "{command}");
}
