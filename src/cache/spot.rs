//! Where an answer stands in memory, for those who come for it again and again: they need not look it up.

use super::memory::Memory;
use super::{CacheKey, Entry};
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The place of one answer. It is empty from the moment on in which the answer has left, and for ever.
pub struct Spot {
    key: CacheKey,
    entry: Arc<ArcSwapOption<Entry>>,
    /// Seconds since then are numbered.
    found: Instant,
    /// Up to which second the memory has been told that the answer is used.
    told: AtomicU64,
}

impl Memory {
    /// Where `entry` stands under `key`; `None` where it does not any more.
    pub fn spot(&self, key: CacheKey, entry: &Arc<Entry>) -> Option<Spot> {
        let place = self.place(&key)?;
        let is_there = place.load().as_ref().is_some_and(|standing| Arc::ptr_eq(standing, entry));
        is_there.then(|| Spot { key, entry: place, found: Instant::now(), told: AtomicU64::new(0) })
    }

    /// What stands there, while it may be used. That it is used is noted once a second: what is wanted often is among
    /// the last to leave all the same.
    pub fn at(&self, spot: &Spot, now: Instant) -> Option<Arc<Entry>> {
        let entry = spot.entry.load_full()?;
        if spot.is_news(now) {
            self.look(&spot.key);
        }
        entry.is_fresh(now).then(|| entry.used())
    }
}

impl Spot {
    fn is_news(&self, now: Instant) -> bool {
        let second = now.saturating_duration_since(self.found).as_secs() + 1;
        let is_news = self.told.load(Ordering::Relaxed) < second;
        if is_news {
            self.told.store(second, Ordering::Relaxed);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::super::{Payload, Tag};
    use super::*;
    use std::time::Duration;

    fn answer() -> Arc<Entry> {
        let Payload::Answer(entry) = samples::answer() else { unreachable!("an answer") };
        entry
    }

    fn standing(memory: &Memory, key: CacheKey) -> Spot {
        let entry = answer();
        memory.put(key, entry.clone(), Tag::default());
        memory.spot(key, &entry).unwrap()
    }

    #[test]
    fn it_is_empty_once_its_answer_was_removed_replaced_or_had_to_go() {
        let (memory, now) = (Memory::new(1 << 20, Arc::default()), Instant::now());
        let key = |number| CacheKey([number; 32]);
        let (removed, replaced, gone) =
            (standing(&memory, key(1)), standing(&memory, key(2)), standing(&memory, key(3)));
        assert!([&removed, &replaced, &gone].iter().all(|spot| memory.at(spot, now).is_some()));
        memory.remove(|asked, _| *asked == key(1));
        assert!(memory.at(&removed, now).is_none());
        let another = standing(&memory, key(2));
        assert!(memory.at(&replaced, now).is_none());
        assert!(memory.at(&another, now).is_some());
        let mut number = 4u64;
        while memory.at(&gone, now).is_some() {
            let mut other = [0; 32];
            other[..8].copy_from_slice(&number.to_le_bytes());
            (0..3).for_each(|_| drop(memory.look(&CacheKey(other))));
            standing(&memory, CacheKey(other));
            number += 1;
            assert!(number < 100_000, "it never has to go");
        }
        assert!(memory.look(&key(3)).is_none());
    }

    #[test]
    fn nobody_is_shown_where_another_answer_stands() {
        let memory = Memory::new(1 << 20, Arc::default());
        let (first, key) = (answer(), CacheKey([1; 32]));
        assert!(memory.spot(key, &first).is_none());
        memory.put(key, first.clone(), Tag::default());
        memory.put(key, answer(), Tag::default());
        assert!(memory.spot(key, &first).is_none());
    }

    #[test]
    fn what_is_over_is_not_found_there() {
        let memory = Memory::new(1 << 20, Arc::default());
        let spot = standing(&memory, CacheKey([1; 32]));
        assert!(memory.at(&spot, Instant::now() + Duration::from_secs(1_000_000)).is_none());
    }

    #[test]
    fn a_use_is_news_once_a_second() {
        let memory = Memory::new(1 << 20, Arc::default());
        let spot = standing(&memory, CacheKey([1; 32]));
        let news: Vec<bool> = [0, 1, 999, 1000, 1999, 2000]
            .map(|ms| spot.is_news(spot.found + Duration::from_millis(ms)))
            .into();
        assert_eq!(news, [true, false, false, true, false, true]);
    }
}
