//! A pgbouncer between a server and those who use it.

use super::Postgres;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::{Child, Stdio};
use tempfile::TempDir;

/// Gives each transaction whichever of three connections is free. Dropping it kills it.
pub struct Pooler(Child, TempDir);

impl Pooler {
    /// `None` where pgbouncer is not installed, which is said loudly.
    pub fn before(postgres: &Postgres) -> Option<Pooler> {
        let program =
            ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].into_iter().find(|path| Path::new(path).exists());
        let Some(program) = program else {
            let _ = writeln!(std::io::stderr(), "SKIPPED: a test behind a real pgbouncer: none is installed");
            return None;
        };
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().display();
        let settings = format!(
            "[databases]\npostgres = host={}\n[pgbouncer]\nlisten_port = 6432\nunix_socket_dir = {path}\n\
             auth_type = trust\nauth_file = {path}/users\npool_mode = transaction\ndefault_pool_size = 3\n",
            postgres.socket().display()
        );
        std::fs::write(folder.path().join("users"), "\"pannier\" \"\"\n").expect("write");
        std::fs::write(folder.path().join("settings"), settings).expect("write");
        let owner = std::fs::metadata(postgres.socket()).expect("its folder");
        chown(folder.path(), Some(owner.uid()), Some(owner.gid())).expect("give it away");
        let mut command = postgres.command(program);
        command.arg(folder.path().join("settings")).stderr(Stdio::null()).stdout(Stdio::null());
        Some(Pooler(command.spawn().expect("start pgbouncer"), folder))
    }

    pub fn url(&self) -> String {
        let socket = self.1.path().display();
        format!("postgresql://pannier@localhost:6432/postgres?host={socket}&pgbouncer=true")
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
