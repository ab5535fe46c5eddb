//! When a bounded map is to be told to throw out what is too much. By itself it does that after some dozens of
//! entries or a while: with large ones that would be several times what it may hold.

use std::sync::atomic::{AtomicU64, Ordering};

/// This part of the capacity may be held beyond it for a moment.
const PART: u64 = 32;

/// What has come into one map since it was last told.
pub struct Settling {
    unsettled: AtomicU64,
    most: u64,
}

impl Settling {
    /// Of a map that may hold `capacity` bytes.
    pub fn new(capacity: u64) -> Self {
        Settling { unsettled: AtomicU64::new(0), most: capacity / PART }
    }

    /// `weight` bytes have come: whether it is time.
    pub fn is_due(&self, weight: u64) -> bool {
        let is_due = self.unsettled.fetch_add(weight, Ordering::Relaxed) + weight > self.most;
        if is_due {
            self.unsettled.store(0, Ordering::Relaxed);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_time_whenever_a_part_has_come() {
        let settling = Settling::new(320);
        let due: Vec<bool> = [4, 4, 4, 4, 11, 10].map(|weight| settling.is_due(weight)).into();
        assert_eq!(due, [false, false, true, false, true, false]);
    }
}
