//! Which entries were used how often: counted here, and written into Redis now and then, all at once.

use super::super::CacheKey;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Different entries between two writings; the hits of further ones are not counted.
const MOST: usize = 16_384;

#[derive(Default)]
pub(super) struct Hits(Mutex<HashMap<CacheKey, Use>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Use {
    pub hits: u64,
    pub last: SystemTime,
}

impl Hits {
    pub fn note(&self, key: CacheKey, times: u32, now: SystemTime) {
        let mut hits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hits.len() >= MOST && !hits.contains_key(&key) {
            return;
        }
        let used = hits.entry(key).or_insert(Use { hits: 0, last: now });
        used.hits += u64::from(times);
        used.last = now;
    }

    /// All of them; counting begins anew.
    pub fn take(&self) -> HashMap<CacheKey, Use> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_counted_by_entry_and_bounded() {
        let (hits, now) = (Hits::default(), SystemTime::now());
        let key = |n: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_le_bytes());
            CacheKey(key)
        };
        for n in (0..MOST + 100).chain(0..10).chain(0..1) {
            hits.note(key(n), 1, now);
        }
        let taken = hits.take();
        assert_eq!(taken.len(), MOST);
        assert_eq!((taken[&key(0)].hits, taken[&key(5)].hits, taken[&key(10)].hits), (3, 2, 1));
        assert!(hits.take().is_empty());
    }
}
