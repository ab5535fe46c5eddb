//! What is needed to listen.

use super::fetching::Fetches;
use crate::media::voice::{Config, Fault, Heard, Transcribers};
use crate::telemetry::Metrics;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::MutexGuard;

/// Recordings of which it is remembered what is in them.
const KNOWN: u64 = 16_384;

/// What is needed to listen.
pub struct Ears {
    pub transcribers: Arc<Transcribers>,
    /// By the hash of a file's bytes.
    pub(super) heard: moka::sync::Cache<[u8; 32], Heard>,
    /// Whoever sends what others are just having opened waits for that, and opens nothing: by a byte of the hash.
    opening: [tokio::sync::Mutex<()>; 256],
    waiting: AtomicUsize,
    /// Whether models are fetched when they are asked for first, and from where.
    pub(super) fetches_models: bool,
    pub(super) mirror: String,
    pub(super) fetches: Arc<Fetches>,
}

impl Ears {
    /// `dir`: where models are that are not said to be elsewhere.
    pub fn new(config: &Config, dir: PathBuf, metrics: &Arc<Metrics>) -> Self {
        let metrics = metrics.clone();
        let transcribers = Arc::new(Transcribers::new(config, dir, move || metrics.transcriber_lost()));
        Ears {
            transcribers,
            heard: moka::sync::Cache::new(KNOWN),
            opening: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            waiting: AtomicUsize::new(0),
            fetches_models: config.download,
            mirror: config.mirror.clone(),
            fetches: Arc::default(),
        }
    }

    /// Whoever has this is alone at opening recordings whose hash begins so.
    ///
    /// # Errors
    /// When too many wait for it, or one too long.
    pub(super) async fn alone_at(&self, begins: u8) -> Result<MutexGuard<'_, ()>, Fault> {
        let opening = &self.opening[usize::from(begins)];
        match opening.try_lock() {
            Ok(alone) => Ok(alone),
            Err(_) => self.transcribers.in_line(&self.waiting, async { Ok(opening.lock().await) }).await,
        }
    }

    /// Requests that wait for their turn, or for others that open the same recording.
    pub fn waiting(&self) -> usize {
        self.transcribers.waiting() + self.waiting.load(Ordering::Relaxed)
    }

    /// Recordings of which it is known what is in them.
    pub fn known(&self) -> u64 {
        self.heard.entry_count()
    }
}
