//! A `redis-server`, or a Cluster of three.

use super::{free_port, signal};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// One server, which may be stopped and started again as it was.
pub struct RedisServer {
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
    child: Option<Child>,
}

/// Three servers that share the slots.
pub struct Cluster {
    pub nodes: Vec<RedisServer>,
}

impl RedisServer {
    /// Running, with `arguments` besides the necessary ones. `None`, and a word about it, where there is no
    /// `redis-server`.
    pub fn start(arguments: &[&str]) -> Option<Self> {
        let mut server = RedisServer::stopped(arguments)?;
        server.begin();
        Some(server)
    }

    /// One that does not run yet.
    pub fn stopped(arguments: &[&str]) -> Option<Self> {
        if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            // Past the capture of output: whoever reads the test's log must see it.
            let _ =
                writeln!(std::io::stderr(), "SKIPPED: a test on a real Redis: no redis-server is installed");
            return None;
        }
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Some(RedisServer { folder: tempfile::tempdir().unwrap(), port: free_port(), arguments, child: None })
    }

    /// Starts it, and waits until it answers.
    pub fn begin(&mut self) {
        let child = Command::new("redis-server")
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .arg("--dir")
            .arg(self.folder.path())
            .arg("--unixsocket")
            .arg(self.socket())
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
        let began = Instant::now();
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "redis-server does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let _ = std::fs::remove_file(self.socket());
    }

    /// SIGSTOP: it holds its connections, and says nothing.
    pub fn pause(&self) {
        signal(self.child.as_ref().unwrap(), "STOP");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        signal(self.child.as_ref().unwrap(), "CONT");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// A connection past everything that is tested.
    pub fn own_connection(&self) -> redis::Connection {
        let client = redis::Client::open(format!("unix://{}", self.socket().display())).unwrap();
        client.get_connection().unwrap()
    }

    /// Runs one command, which must succeed, past everything that is tested.
    pub fn run<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut run = redis::cmd(command[0]);
        run.arg(&command[1..]);
        run.query(&mut self.own_connection()).unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(child) = &self.child {
            // One that is paused would not die of anything else.
            signal(child, "KILL");
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }
}

impl Cluster {
    pub fn start() -> Option<Self> {
        let node = || RedisServer::start(&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]);
        let nodes = [node()?, node()?, node()?];
        let places = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let joined = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(places)
            .arg("--cluster-yes")
            .stdout(Stdio::null())
            .status();
        assert!(joined.unwrap().success(), "the nodes do not join");
        let cluster = Cluster { nodes: nodes.into() };
        let began = Instant::now();
        let is_ready =
            |node: &RedisServer| node.run::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
        while !cluster.nodes.iter().all(is_ready) {
            assert!(began.elapsed() < Duration::from_secs(20), "the cluster does not become ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(cluster)
    }

    pub fn url(&self) -> String {
        let places: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://{}", places.join(","))
    }
}
