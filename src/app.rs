//! The composition root.

use crate::config::Loaded;
use std::net::SocketAddr;

/// A port that could not be had: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct CannotBind {
    pub address: SocketAddr,
    pub source: std::io::Error,
}

/// Serves until told to stop.
pub fn run(_loaded: Loaded) -> anyhow::Result<()> {
    anyhow::bail!("nothing to serve with yet")
}
