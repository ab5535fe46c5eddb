//! What a file certainly does not hold, so that nobody looks for it there: most of what is asked for a first time was
//! never kept.
//!
//! A Bloom filter over the keys, which are hashes themselves: each sets a few bits, and a key one of whose bits is not
//! set was never seen. What is removed leaves its bits behind, until all is read anew.

use super::CacheKey;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bits of room for a key, of which four are set: where there is no more room than that, one of four hundred keys that
/// were never kept is looked for in vain.
const BITS: u64 = 16;
/// 32 KiB are enough for 16,384 keys, 8 MiB for four million; beyond those more and more are looked for in vain.
const WORDS: [u64; 2] = [1 << 12, 1 << 20];

/// By default of a file of which nothing is known: there is no room in it yet.
#[derive(Debug, Default)]
pub(super) struct Absent {
    bits: Box<[AtomicU64]>,
    /// All keys of the file are marked.
    is_complete: AtomicBool,
    /// Up to here, where they are not.
    read: Mutex<Option<CacheKey>>,
    marked: AtomicU64,
}

impl Absent {
    /// Of a file with so many entries, whose keys are still to be marked; until they are, nothing is certain. There is
    /// room for as many again.
    pub fn new(entries: u64) -> Self {
        let words = (entries.saturating_mul(2 * BITS) / 64).clamp(WORDS[0], WORDS[1]).next_power_of_two();
        let bits = std::iter::repeat_with(AtomicU64::default).take(words as usize).collect();
        Absent { bits, ..Absent::default() }
    }

    /// `key` is kept, or is about to be.
    pub fn mark(&self, key: &CacheKey) {
        if self.bits.is_empty() {
            return;
        }
        for (word, bit) in self.places(key) {
            self.bits[word].fetch_or(bit, Ordering::Release);
        }
        self.marked.fetch_add(1, Ordering::Relaxed);
    }

    /// Marks the next of the keys that were there, in their order; after the last, none.
    pub fn read(&self, keys: &[CacheKey]) {
        match keys.last() {
            Some(last) => {
                keys.iter().for_each(|key| self.mark(key));
                *self.reading() = Some(*last);
            }
            None => self.is_complete.store(true, Ordering::Release),
        }
    }

    /// The last key that was read.
    pub fn read_up_to(&self) -> Option<CacheKey> {
        *self.reading()
    }

    pub fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Acquire)
    }

    /// Whether it is worth reading all keys anew, where there are so many of them: for want of room, or because most
    /// that are marked are not there any more.
    pub fn is_stale(&self, entries: u64) -> bool {
        if self.bits.is_empty() {
            return true;
        }
        let room = self.bits.len() as u64 * 64 / BITS;
        self.marked.load(Ordering::Relaxed) > room.max(entries.saturating_mul(2))
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        size_of_val(&*self.bits)
    }

    /// Whether `key` is certainly not there.
    pub fn lacks(&self, key: &CacheKey) -> bool {
        self.is_complete()
            && self.places(key).any(|(word, bit)| self.bits[word].load(Ordering::Acquire) & bit == 0)
    }

    fn reading(&self) -> MutexGuard<'_, Option<CacheKey>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Words, and a bit in each.
    fn places(&self, CacheKey(key): &CacheKey) -> impl Iterator<Item = (usize, u64)> {
        let words = self.bits.len();
        key.as_chunks::<8>().0.iter().map(move |quarter| {
            let number = u64::from_le_bytes(*quarter);
            ((number >> 6) as usize % words, 1 << (number & 63))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> CacheKey {
        CacheKey(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    #[test]
    fn what_was_marked_is_never_absent_and_what_was_not_mostly_is() {
        let absent = Absent::new(50_000);
        for number in 0..100_000 {
            absent.mark(&key(number));
        }
        absent.read(&[key(100_000)]);
        assert_eq!(absent.read_up_to(), Some(key(100_000)));
        assert!(!absent.lacks(&key(1_000_000)), "the rest of the file may hold it");
        absent.read(&[]);
        assert!((0..=100_000).all(|number| !absent.lacks(&key(number))));
        let in_vain = (100_001..200_000).filter(|number| !absent.lacks(&key(*number))).count();
        assert!(in_vain < 500, "{in_vain}");
    }

    #[test]
    fn what_is_full_or_mostly_of_what_has_gone_is_read_anew() {
        let absent = Absent::new(0);
        for number in 0..16_384 {
            absent.mark(&key(number));
        }
        assert!(!absent.is_stale(16_384));
        absent.mark(&key(16_384));
        assert!(absent.is_stale(4_000) && !absent.is_stale(10_000));
        assert!(Absent::default().is_stale(0), "nothing is known");
        assert_eq!(Absent::new(16_385).size(), 2 * absent.size());
        assert_eq!(Absent::new(u64::MAX).size(), 8 << 20);
    }
}
