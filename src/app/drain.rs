//! Serving, and ending: the order of shutdown is written here.
//!
//! Pingora's own server sleeps its whole grace period however idle it is, closes the listeners before
//! anybody has heard of it, and neither reports the port it got nor that it got none: so the accept loop
//! and the signals are ours.

use super::build::House;
use super::entrance::Entrance;
use super::reload::Reload;
use crate::{admin, proxy};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The tiers have this long to end what they do.
const LAST_WRITES: Duration = Duration::from_secs(5);
/// What was cut off has this long to leave its record.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// To tell the tiers what was of use.
const LAST_HITS: Duration = Duration::from_secs(1);

/// What ends Pannier.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

/// Serves until a signal comes, then ends: not ready, no new connections, running answers finished,
/// books closed.
pub async fn serve(
    house: House,
    data: TcpListener,
    admin: TcpListener,
    reload: Reload,
    server: &proxy::Config,
) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let (close, closed) = watch::channel(false);
    let (stop, stopped) = watch::channel(false);
    let cut = CancellationToken::new();
    let entrance = Entrance::new(house.front.clone(), server, closed, cut.clone());
    let (connections, quiet) = (entrance.connections.clone(), entrance.quiet.clone());
    let accepting = tokio::spawn(entrance.accept(data));
    let below = tokio::spawn(house.below.clone().run(stopped.clone()));
    let (keys, stop_keys) = (house.keys.clone(), stopped.clone());
    let keys = tokio::spawn(async move { keys.run(stop_keys).await });
    let books = tokio::spawn(house.books.clone().run(stopped.clone()));
    start_background(&house, admin, reload, stopped);
    house.readiness.start();

    let hasty = signals.first().await;
    tracing::info!("stopping: not ready any more");
    house.readiness.drain();
    house.draining.store(true, Ordering::Relaxed);
    if !hasty {
        tokio::select! {
            () = signals.or_after(server.shutdown_delay) => {}
            // Nobody is here to be told, and nobody was of late.
            () = quiet.lasts(&connections, server.shutdown_delay) => {}
        }
    }
    accepting.abort();
    let _ = close.send(true);
    connections.close();
    tokio::select! {
        () = connections.wait() => {}
        () = signals.or_after(server.drain) => {
            tracing::warn!(connections = connections.len(), "stopping: cutting off what still runs");
            cut.cancel();
            let _ = tokio::time::timeout(LAST_WORDS, connections.wait()).await;
        }
    }
    // While the tiers below still write down what they are told.
    let _ = tokio::time::timeout(LAST_HITS, house.way.stock.tell_hits()).await;
    let _ = stop.send(true);
    // What still waits to be kept is written; each tier bounds how long that takes.
    let last = async { (tokio::join!(below, keys, books), house.database.close().await) };
    let _ = tokio::time::timeout(LAST_WRITES, last).await;
    tracing::info!("stopped");
    house.log.close();
    Ok(())
}

/// What runs beside the requests, until `stopped`.
fn start_background(house: &House, admin: TcpListener, reload: Reload, stopped: watch::Receiver<bool>) {
    let inventory = house.way.inventory.clone();
    let stop = stopped.clone();
    tokio::spawn(async move { inventory.run(stop).await });
    let (warmer, stop) = (house.warmer.clone(), stopped.clone());
    tokio::spawn(async move { warmer.run(stop).await });
    let (transcribers, stop) = (house.way.ears.transcribers.clone(), stopped.clone());
    tokio::spawn(async move { transcribers.run(stop).await });
    let (stock, stop) = (house.way.stock.clone(), stopped.clone());
    tokio::spawn(async move { stock.follow(stop).await });
    let (stock, stop) = (house.way.stock.clone(), stopped.clone());
    tokio::spawn(async move { stock.tell(stop).await });
    // Without a ledger no database is opened for its sake: books from before stay as they are.
    if house.books.ledger.is_some() {
        let (retention, stop) = (house.told.retention.clone(), stopped.clone());
        tokio::spawn(async move { retention.run(stop).await });
        let (audit, stop) = (house.told.audit.clone(), stopped.clone());
        tokio::spawn(async move { audit.run(stop).await });
    }
    tokio::spawn(reload.run(stopped));
    tokio::spawn(admin::serve(admin, house.admin.clone(), house.admin_bounds));
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Waits for the first. Whether a person is waiting at the keyboard.
    async fn first(&mut self) -> bool {
        tokio::select! {
            _ = self.terminate.recv() => false,
            _ = self.interrupt.recv() => true,
            _ = self.quit.recv() => true,
        }
    }

    /// Waits for `time`, or for another signal that hurries. Zero is no time at all.
    async fn or_after(&mut self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = self.first() => {}
        }
    }
}
