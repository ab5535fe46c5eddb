//! The composition root: from settings to parts, from parts to services, and the order in which they end.

mod build;
mod drain;
mod reload;

use crate::config::Loaded;
use crate::telemetry;
use anyhow::Context;
use build::House;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// A port that could not be had: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct CannotBind {
    pub address: SocketAddr,
    pub source: std::io::Error,
}

/// Serves until told to stop.
///
/// # Errors
/// [`CannotBind`], or whatever else keeps Pannier from starting.
pub fn run(loaded: Loaded) -> anyhow::Result<()> {
    telemetry::start(&loaded.config.log).context("cannot start the log")?;
    // Each client takes a descriptor, and most systems begin with 1,024.
    let _ = rlimit::increase_nofile_limit(rlimit::INFINITY);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if loaded.config.server.threads > 0 {
        runtime.worker_threads(loaded.config.server.threads);
    }
    let runtime = runtime.enable_all().build().context("cannot start the runtime")?;
    let served = runtime.block_on(serve(loaded));
    // What is still running has had its time.
    runtime.shutdown_background();
    served
}

async fn serve(loaded: Loaded) -> anyhow::Result<()> {
    let server = &loaded.config.server;
    let data = bind(server.listen).await?;
    let admin = bind(server.admin_listen).await?;
    let (listen, admin_listen) = (data.local_addr()?, admin.local_addr()?);
    let house = House::build(&loaded.config, listen, admin_listen)?;
    // For people and scripts; everything else that is said goes to the log.
    eprintln!(
        "pannier: listening on http://{listen} (admin http://{admin_listen}, upstream {})",
        house.way.client.target().url()
    );
    let reload = reload::Reload::new(loaded.clone(), house.policy.clone())?;
    drain::serve(house, data, admin, reload, server).await
}

async fn bind(address: SocketAddr) -> Result<TcpListener, CannotBind> {
    TcpListener::bind(address).await.map_err(|source| CannotBind { address, source })
}
