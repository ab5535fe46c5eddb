//! The way in: connections are accepted, counted and handed to the proxy.

use crate::proxy::{self, Front, TooMany};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After a failed accept (no descriptor left, mostly) it is tried again this much later.
const BREATH: Duration = Duration::from_millis(50);

/// How many at once are told why they are not let in.
const MOST_TOLD: usize = 32;

/// Where connections come in, and what each is given.
pub struct Entrance {
    front: Arc<Front>,
    /// Those that are open.
    pub connections: TaskTracker,
    most: Arc<Semaphore>,
    /// Those that are being told why they are not let in.
    told: Arc<Semaphore>,
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
        let told = Arc::new(Semaphore::new(MOST_TOLD));
        Entrance { front, connections: TaskTracker::new(), most, told, closed, cut, quiet: Quiet::default() }
    }

    /// Lets in whoever comes, for ever.
    pub async fn accept(self, listener: TcpListener) {
        // While there are too many, the next one waits in the kernel's queue.
        while let Ok(permit) = self.most.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((io, client)) => {
                    let presence = match self.front.crowd.enter(client.ip()) {
                        Ok(presence) => presence,
                        Err(why) => {
                            self.turn_away(io, why);
                            continue;
                        }
                    };
                    // Boxed: a future that is handed on is stored once more at each hand.
                    let served =
                        Box::pin(proxy::serve(self.front.clone(), io, presence, self.closed.clone()));
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

    /// Says why not, to as many as can be told at once; the others just see the connection closed.
    fn turn_away(&self, io: TcpStream, why: TooMany) {
        let Ok(permit) = self.told.clone().try_acquire_owned() else {
            self.front.door.count_refused(why);
            return;
        };
        let front = self.front.clone();
        tokio::spawn(async move {
            proxy::turn_away(front, io, why).await;
            drop(permit);
        });
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
