//! The composition root: from settings to parts, from parts to services, and the order in which they end.

mod below;
mod build;
mod database;
mod drain;
mod entrance;
mod keys;
mod ledger;
pub mod models;
mod reload;
mod reports;
mod why;

use crate::config::{Loaded, Watch};
use crate::proxy;
use crate::telemetry::{self, Metrics};
use anyhow::Context;
use build::House;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted; the system's own limit applies.
const BACKLOG: u32 = 4096;
/// Descriptors that are not for clients and their trips upstream.
const SPARE_DESCRIPTORS: usize = 64;

/// Keys and prices of the database have this long to be read, and the books' currency to be written down in a new one,
/// before the first client is let in.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// A port that could not be had: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct CannotBind {
    pub address: SocketAddr,
    pub source: std::io::Error,
}

/// Memory comes in pages of a few kilobytes, and not of two megabytes, which the allocator asks for: an idle Pannier
/// would hold three times of what it uses. The processes that it starts inherit this.
fn take_small_pages() {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_thp_disable(true);
}

/// Serves until told to stop.
///
/// # Errors
/// [`CannotBind`], or whatever else keeps Pannier from starting.
pub fn run(loaded: Loaded) -> anyhow::Result<()> {
    take_small_pages();
    let metrics = Arc::new(Metrics::new());
    // Until the very end: dropped, it has written all.
    let _log = telemetry::start(&loaded.config.log, metrics.log_dropped()).context("cannot start the log")?;
    // Each client takes a descriptor, and most systems begin with 1,024.
    let descriptors = rlimit::increase_nofile_limit(rlimit::INFINITY).unwrap_or(rlimit::INFINITY);
    let mut loaded = loaded;
    fit_connections(&mut loaded.config.server, descriptors);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if loaded.config.server.threads > 0 {
        runtime.worker_threads(loaded.config.server.threads);
    }
    let runtime = runtime.enable_all().build().context("cannot start the runtime")?;
    let served = runtime.block_on(serve(loaded, metrics));
    // What is still running has had its time.
    runtime.shutdown_background();
    served
}

/// Each client may need a second descriptor, for its trip upstream; the house's own listener gets an eighth.
fn fit_connections(server: &mut proxy::Config, descriptors: u64) {
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let of_house = server.max_admin_connections.min(descriptors / 8).max(1);
    let most = (descriptors.saturating_sub(SPARE_DESCRIPTORS + of_house) / 2).max(1);
    server.max_admin_connections = of_house;
    let wanted = server.max_connections;
    if wanted > most {
        tracing::warn!(descriptors, wanted, most, "fewer connections: the system allows too few files");
        server.max_connections = most;
    }
}

async fn serve(loaded: Loaded, metrics: Arc<Metrics>) -> anyhow::Result<()> {
    let server = &loaded.config.server;
    // Before anybody can know that we are here: a signal that nobody listens to ends the process.
    let watch = Watch::new(loaded.sources.file())?;
    let data = bind(server.listen).await?;
    let admin = bind(server.admin_listen).await?;
    let (listen, admin_listen) = (data.local_addr()?, admin.local_addr()?);
    let house = House::build(&loaded.config, metrics, listen, admin_listen)?;
    let (_, books) = tokio::join!(house.keys.begin(FIRST_LOOK), house.books.card.begin(FIRST_LOOK));
    books.context("the books cannot be kept")?;
    // For people and scripts; everything else that is said goes to the log.
    eprintln!(
        "pannier: listening on http://{listen} (admin http://{admin_listen}, upstream {})",
        house.way.client.target().url()
    );
    let live = reload::Live::of(&house);
    let reload = reload::Reload::new(loaded.clone(), live, watch);
    drain::serve(house, data, admin, reload, server).await
}

/// Listens as Go does, and so as bare Ollama does: with as long a queue as the system allows.
async fn bind(address: SocketAddr) -> Result<TcpListener, CannotBind> {
    let listening = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listening().map_err(|source| CannotBind { address, source })
}
