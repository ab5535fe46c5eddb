//! The way in: connections are accepted, counted and handed to the proxy.

use crate::proxy::{self, Front};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After a failed accept (no descriptor left, mostly) it is tried again this much later.
const BREATH: Duration = Duration::from_millis(50);

/// Where connections come in, and what each is given.
pub struct Entrance {
    front: Arc<Front>,
    /// Those that are open.
    pub connections: TaskTracker,
    most: Arc<Semaphore>,
    closed: watch::Receiver<bool>,
    cut: CancellationToken,
    pub quiet: Quiet,
}

/// Since when no client has been connected.
#[derive(Clone, Default)]
pub struct Quiet(Arc<Mutex<Option<Instant>>>);

// === impl Entrance ===

impl Entrance {
    /// When `closed` turns true idle connections are closed, and all are when `cut` is cancelled.
    pub fn new(
        front: Arc<Front>,
        server: &proxy::Config,
        closed: watch::Receiver<bool>,
        cut: CancellationToken,
    ) -> Self {
        let most = Arc::new(Semaphore::new(server.max_connections.min(Semaphore::MAX_PERMITS)));
        Entrance { front, connections: TaskTracker::new(), most, closed, cut, quiet: Quiet::default() }
    }

    /// Lets in whoever comes, for ever.
    pub async fn accept(self, listener: TcpListener) {
        // While there are too many, the next one waits in the kernel's queue.
        while let Ok(permit) = self.most.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((io, _)) => {
                    let served = proxy::serve(self.front.clone(), io, self.closed.clone());
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

// === impl Quiet ===

impl Quiet {
    /// A client has gone.
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Resolves when nobody is connected, and nobody has been for `time`.
    pub async fn lasts(&self, connections: &TaskTracker, time: Duration) {
        let seen_within = || {
            let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            last.is_some_and(|last| last.elapsed() < time)
        };
        while !connections.is_empty() || seen_within() {
            tokio::time::sleep(BREATH).await;
        }
    }
}
