//! Where Pannier listens, what it bears at the door, and who may come.

use super::network::Network;
use crate::domain::units;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `[server]`. In every duration zero means off: no deadline, no wait.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Port 0 takes any free one.
    #[serde(deserialize_with = "units::socket_address")]
    pub listen: SocketAddr,
    #[serde(deserialize_with = "units::socket_address")]
    pub admin_listen: SocketAddr,
    /// Zero means one for each core.
    pub threads: usize,
    pub data_dir: PathBuf,
    pub max_connections: usize,
    pub max_admin_connections: usize,
    /// Of one address; zero means any number.
    pub max_connections_per_ip: usize,
    pub max_heads_per_ip: usize,
    pub per_ip_exempt: Vec<Network>,
    #[serde(deserialize_with = "units::duration")]
    pub header_timeout: Duration,
    /// Bytes.
    #[serde(deserialize_with = "units::size")]
    pub max_header_bytes: usize,
    pub max_headers: usize,
    #[serde(deserialize_with = "units::duration")]
    pub keepalive_timeout: Duration,
    /// Bytes a second; zero means any.
    #[serde(deserialize_with = "units::size")]
    pub body_min_rate: usize,
    #[serde(deserialize_with = "units::duration")]
    pub body_grace: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub write_timeout: Duration,
    /// Bytes.
    #[serde(deserialize_with = "units::size")]
    pub max_body: usize,
    /// Bytes, of all bodies that are held at once.
    #[serde(deserialize_with = "units::size")]
    pub max_buffered: usize,
    #[serde(deserialize_with = "units::duration")]
    pub shutdown_delay: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub drain: Duration,
}

/// `[access]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// `name`, `*.name` or `*`, without scheme and port.
    pub allowed_hosts: Vec<String>,
}
