//! Which hits get a row of their own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// How many hits of each second still get a row.
#[derive(Debug)]
pub(super) struct HitRows {
    most: u64,
    /// The second, and how many it has had.
    had: AtomicU64,
}

/// Of the bits that say how many.
const BITS: u32 = 24;

impl HitRows {
    /// At most so many a second.
    pub fn new(most: u32) -> Self {
        HitRows { most: u64::from(most).min((1 << BITS) - 1), had: AtomicU64::new(0) }
    }

    /// Whether one that came `at` that moment is among them. Writes nothing where it is not.
    pub fn take(&self, at: SystemTime) -> bool {
        let second = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let take = |word: u64| {
            let had = if word >> BITS == second { word & ((1 << BITS) - 1) } else { 0 };
            (had < self.most).then_some((second << BITS) | (had + 1))
        };
        self.had.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}
