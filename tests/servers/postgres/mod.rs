//! A real PostgreSQL, started for one test in a temporary folder, on a socket there and no port.

mod pooler;

pub use pooler::Pooler;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running server. Dropping it kills it.
pub struct Postgres {
    programs: PathBuf,
    /// Whom it runs as, where this is root, which it refuses.
    user: Option<(u32, u32)>,
    folder: TempDir,
    settings: Vec<String>,
    server: Option<Child>,
}

/// Somebody else at the server. Dropping it ends what it does.
pub struct Session(Child);

const START: Duration = Duration::from_secs(60);
/// In the name of the socket; nothing listens on any port.
const PORT: &str = "5432";

impl Postgres {
    /// `None` where PostgreSQL is not installed, which is said loudly.
    pub fn start() -> Option<Postgres> {
        Postgres::start_with(&[])
    }

    /// With settings such as `max_connections=5`.
    pub fn start_with(settings: &[&str]) -> Option<Postgres> {
        let Some(programs) = programs() else {
            // Past the capture of output: whoever reads the test's log must see it.
            let _ =
                writeln!(std::io::stderr(), "SKIPPED: a test on a real PostgreSQL: no initdb is installed");
            return None;
        };
        let user = user();
        let folder = TempDir::new().expect("a folder");
        if let Some((user, group)) = user {
            chown(folder.path(), Some(user), Some(group)).expect("give the folder away");
        }
        let settings = settings.iter().map(|setting| setting.to_string()).collect();
        let mut postgres = Postgres { programs, user, folder, settings, server: None };
        let made = postgres
            .program("initdb")
            .args(["--no-sync", "--auth=trust", "--username=pannier", "--encoding=UTF8", "--locale=C"])
            .arg(postgres.data())
            .output()
            .expect("initdb");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        postgres.start_again();
        Some(postgres)
    }

    /// Starts the server that was stopped, on the same data.
    pub fn start_again(&mut self) {
        assert!(self.server.is_none(), "it runs");
        let log =
            File::options().append(true).create(true).open(self.folder.path().join("log")).expect("a log");
        let mut command = self.program("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path()).args(["-p", PORT]);
        for setting in ["listen_addresses=", "fsync=off", "shared_buffers=32MB", "log_line_prefix=%m "] {
            command.args(["-c", setting]);
        }
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.server = Some(command.spawn().expect("start postgres"));
        let begun = Instant::now();
        while !self.answers() {
            assert!(begun.elapsed() < START, "it does not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// As `pg_ctl stop -m immediate`: as if it had crashed.
    pub fn stop_immediately(&mut self) {
        self.signal("QUIT");
        self.server.take().expect("it runs").wait().expect("its end");
    }

    /// Stops the server and all its processes in their tracks, until [`thaw`](Postgres::thaw).
    pub fn freeze(&self) {
        self.signal_all("STOP");
    }

    pub fn thaw(&self) {
        self.signal_all("CONT");
    }

    /// For whoever connects through sqlx.
    pub fn url(&self) -> String {
        format!("postgresql://pannier@localhost:{PORT}/postgres?host={}", self.socket().display())
    }

    /// The folder of its socket.
    pub fn socket(&self) -> &Path {
        self.folder.path()
    }

    /// What `psql` answers to a query, without decoration.
    pub fn ask(&self, query: &str) -> String {
        let answer = self.psql().args(["-qAtc", query]).output().expect("psql");
        assert!(answer.status.success(), "{query}: {}", String::from_utf8_lossy(&answer.stderr));
        String::from_utf8_lossy(&answer.stdout).trim().to_string()
    }

    /// All that is in it, as a backup holds it.
    pub fn dump(&self) -> Vec<u8> {
        let mut dump = self.program("pg_dump");
        dump.arg("-h").arg(self.socket()).args(["-p", PORT, "-U", "pannier", "-d", "postgres"]);
        let dumped = dump.output().expect("pg_dump");
        assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
        dumped.stdout
    }

    /// Another who does this, called `user` there.
    pub fn session(&self, user: &str, query: &str) -> Session {
        let mut command = self.psql();
        command.args(["-U", user, "-qAtc", query]).env("PGAPPNAME", "another");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Session(command.spawn().expect("psql"))
    }

    /// What the server wrote down.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A program that runs as the server does.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir(self.folder.path()).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }

    fn answers(&self) -> bool {
        self.psql().args(["-qAtc", "SELECT 1"]).output().is_ok_and(|answer| answer.status.success())
    }

    fn psql(&self) -> Command {
        let mut command = self.program("psql");
        command.arg("-h").arg(self.socket()).args(["-p", PORT, "-U", "pannier", "-d", "postgres"]);
        command
    }

    fn program(&self, name: &str) -> Command {
        self.command(self.programs.join(name))
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn signal(&self, signal: &str) {
        send(signal, self.server.as_ref().expect("it runs").id());
    }

    fn signal_all(&self, signal: &str) {
        let server = self.server.as_ref().expect("it runs").id();
        let children =
            fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap_or_default();
        for process in children.split_whitespace().filter_map(|id| id.parse().ok()) {
            send(signal, process);
        }
        send(signal, server);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            send("CONT", server.id());
            send("QUIT", server.id());
            let _ = server.wait();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn send(signal: &str, process: u32) {
    // A process that has just gone is as good as told.
    let _ = Command::new("kill")
        .arg(format!("-{signal}"))
        .arg(process.to_string())
        .stderr(Stdio::null())
        .status();
}

/// Where initdb and the others are: on Debian beside their version, elsewhere on the path.
fn programs() -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin"))
        .collect();
    versions.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    versions
        .into_iter()
        .rev()
        .chain(std::env::split_paths(&path))
        .find(|folder| folder.join("initdb").exists())
}

/// Where this is root: the user `postgres`, or else `nobody`.
fn user() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own)).ok()? != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    find("postgres").or_else(|| find("nobody"))
}
