//! Serving, and ending: the order of shutdown is written here.
//!
//! Pingora's own server sleeps its whole grace period however idle it is, closes the listeners before
//! anybody has heard of it, and neither reports the port it got nor that it got none: so the accept loop
//! and the signals are ours.

use super::build::House;
use super::reload::Reload;
use crate::admin;
use crate::proxy::{self, Front};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After a failed accept (no descriptor left, mostly) it is tried again this much later.
const BREATH: Duration = Duration::from_millis(50);

/// What was cut off has this long to leave its record.
const LAST_WORDS: Duration = Duration::from_secs(1);

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
    let connections = TaskTracker::new();
    let entrance = Entrance {
        front: house.front.clone(),
        connections: connections.clone(),
        most: Arc::new(Semaphore::new(server.max_connections.min(Semaphore::MAX_PERMITS))),
        closed,
        cut: cut.clone(),
        quiet: Quiet::default(),
    };
    let quiet = entrance.quiet.clone();
    let accepting = tokio::spawn(entrance.accept(data));
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
    let _ = stop.send(true);
    house.log.close();
    Ok(())
}

/// Since when no client has been connected.
#[derive(Clone, Default)]
struct Quiet(Arc<Mutex<Option<Instant>>>);

impl Quiet {
    /// A client has gone.
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Resolves when nobody is connected, and nobody has been for `time`.
    async fn lasts(&self, connections: &TaskTracker, time: Duration) {
        let seen_within = || {
            let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            last.is_some_and(|last| last.elapsed() < time)
        };
        while !connections.is_empty() || seen_within() {
            tokio::time::sleep(BREATH).await;
        }
    }
}

/// What runs beside the requests, until `stopped`.
fn start_background(house: &House, admin: TcpListener, reload: Reload, stopped: watch::Receiver<bool>) {
    let inventory = house.way.inventory.clone();
    let stop = stopped.clone();
    tokio::spawn(async move { inventory.run(stop).await });
    tokio::spawn(reload.run(stopped));
    let parts = house.admin.clone();
    tokio::spawn(async move {
        if let Err(error) = admin::serve(admin, parts).await {
            tracing::error!(%error, "the admin listener failed");
        }
    });
}

/// Where connections come in, and what each is given.
struct Entrance {
    front: Arc<Front>,
    connections: TaskTracker,
    most: Arc<Semaphore>,
    /// Idle connections are closed.
    closed: watch::Receiver<bool>,
    /// All are.
    cut: CancellationToken,
    quiet: Quiet,
}

impl Entrance {
    async fn accept(self, listener: TcpListener) {
        // While there are too many, the next one waits in the kernel's queue.
        while let Ok(permit) = self.most.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((io, _)) => {
                    // Boxed: a future that is handed on is stored once more at each hand.
                    let served = Box::pin(proxy::serve(self.front.clone(), io, self.closed.clone()));
                    let (cut, quiet) = (self.cut.clone(), self.quiet.clone());
                    self.connections.spawn(async move {
                        cut.run_until_cancelled(served).await;
                        quiet.note();
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }
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
