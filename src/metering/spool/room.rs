//! How much of the disk the spool takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of all files that this process has claimed, and how many they may be.
#[derive(Debug)]
pub(super) struct Rooms {
    held: Arc<AtomicU64>,
    most: u64,
}

/// So many bytes, which count as held until this is dropped.
#[derive(Debug)]
pub(super) struct Room {
    pub bytes: u64,
    held: Arc<AtomicU64>,
}

impl Rooms {
    pub fn new(most: u64) -> Self {
        Rooms { held: Arc::default(), most }
    }

    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    pub fn left(&self) -> u64 {
        self.most.saturating_sub(self.held())
    }

    /// For a file that is to be made; `None` where there may not be so much.
    pub fn take(&self, bytes: u64) -> Option<Room> {
        let more = |held: u64| held.checked_add(bytes).filter(|held| *held <= self.most);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Room { bytes, held: self.held.clone() })
    }

    /// Of a file that is there, whether it fits in or not.
    pub fn count(&self, bytes: u64) -> Room {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Room { bytes, held: self.held.clone() }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
