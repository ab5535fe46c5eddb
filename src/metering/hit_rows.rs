//! Which hits get a row of their own.

use std::time::{SystemTime, UNIX_EPOCH};

/// How many hits of each second still get a row.
#[derive(Debug)]
pub(super) struct HitRows {
    most: u32,
    second: u64,
    had: u32,
}

impl HitRows {
    /// At most so many a second.
    pub fn new(most: u32) -> Self {
        HitRows { most, second: 0, had: 0 }
    }

    /// Whether one that came `at` that moment is among them.
    pub fn take(&mut self, at: SystemTime) -> bool {
        let second = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.second != second {
            (self.second, self.had) = (second, 0);
        }
        self.had = self.had.saturating_add(1);
        self.had <= self.most
    }
}
