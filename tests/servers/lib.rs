//! Real servers for tests: each in a temporary folder of its own, on ports that were free, gone with the test.

mod detour;
mod disk;
mod postgres;
mod redis;

pub use detour::{Answers, Detour, Weather};
pub use disk::{Ballast, Disk};
pub use postgres::{Pooler, Postgres, Session};
pub use redis::{Cluster, RedisServer};

use std::net::TcpListener;
use std::process::{Child, Command};

/// A port that nobody listens on.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Sends a signal by its name.
fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status();
    assert!(status.expect("there is a kill").success(), "SIG{name} could not be sent");
}
