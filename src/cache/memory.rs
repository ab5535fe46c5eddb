//! The first tier: in this process, bounded in bytes, concrete and synchronous.

use super::{CacheKey, Entry, Settling, Tag};
use crate::telemetry::{Eviction, Metrics};
use arc_swap::ArcSwapOption;
use moka::notification::RemovalCause;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is found under a key.
#[derive(Debug)]
pub enum Found {
    Fresh(Arc<Entry>),
    /// Its time was over.
    Over,
    Nothing,
}

/// An answer, and where its label stands.
#[derive(Clone)]
pub struct Tagged {
    pub entry: Arc<Entry>,
    pub tag: Tag,
}

/// The same as the map has it. The map lets go of what left it only when no thread could look at it any more, which
/// other threads, and the next dozens to leave, can put off for long: so the answer is taken out of its place.
#[derive(Clone)]
struct Place {
    entry: Arc<ArcSwapOption<Entry>>,
    tag: Tag,
}

/// Finished answers in memory.
pub struct Memory {
    entries: moka::sync::Cache<CacheKey, Place>,
    settling: Settling,
    metrics: Arc<Metrics>,
}

impl Memory {
    /// `capacity` in bytes; `metrics` counts what has to go.
    pub fn new(capacity: u64, metrics: Arc<Metrics>) -> Self {
        let count = metrics.clone();
        let entries = moka::sync::Cache::builder()
            .max_capacity(capacity)
            .weigher(|_, place: &Place| place.entry.load().as_ref().map_or(0, |entry| entry.weight()))
            .eviction_listener(move |_, place: Place, cause| {
                place.entry.store(None);
                match cause {
                    RemovalCause::Size => count.evicted(Eviction::Size),
                    RemovalCause::Replaced => count.evicted(Eviction::Replaced),
                    // Those whose time is over are thrown out below, and counted there.
                    RemovalCause::Expired | RemovalCause::Explicit => {}
                }
            })
            .build();
        Memory { entries, settling: Settling::new(capacity), metrics }
    }

    /// The answer kept under `key`, while it may be used. One whose time is over goes, unless it may be wanted for so
    /// long afterwards.
    pub fn find(&self, key: &CacheKey, now: Instant, stale: Duration) -> Found {
        match self.look(key) {
            Some(entry) if entry.is_fresh(now) => Found::Fresh(entry.used()),
            Some(entry) => {
                if entry.age(now) >= entry.ttl.saturating_add(stale) {
                    self.entries.invalidate(key);
                    self.metrics.evicted(Eviction::Expired);
                }
                Found::Over
            }
            None => Found::Nothing,
        }
    }

    /// What stands under `key`, whether or not it may be used. What is over stays.
    pub fn look(&self, key: &CacheKey) -> Option<Arc<Entry>> {
        self.entries.get(key)?.entry.load_full()
    }

    /// The place of what stands under `key`.
    pub(super) fn place(&self, key: &CacheKey) -> Option<Arc<ArcSwapOption<Entry>>> {
        Some(self.entries.get(key)?.entry)
    }

    /// The same with its label's place.
    pub fn look_closer(&self, key: &CacheKey) -> Option<Tagged> {
        self.entries.get(key)?.tagged()
    }

    /// Whatever there is, in no order, without a use of it being noted.
    pub fn all(&self) -> impl Iterator<Item = (CacheKey, Tagged)> {
        self.entries.iter().filter_map(|(key, place)| Some((*key, place.tagged()?)))
    }

    pub fn put(&self, key: CacheKey, entry: Arc<Entry>, tag: Tag) {
        let weight = u64::from(entry.weight());
        self.entries.insert(key, Place { entry: Arc::new(ArcSwapOption::new(Some(entry))), tag });
        if self.settling.is_due(weight) {
            self.entries.run_pending_tasks();
        }
    }

    /// Takes out what is meant; returns how many that were.
    pub fn remove(&self, is_meant: impl Fn(&CacheKey, &Tagged) -> bool) -> u64 {
        let mut removed = 0;
        for (key, tagged) in self.all() {
            if is_meant(&key, &tagged) {
                self.entries.invalidate(&key);
                self.metrics.evicted(Eviction::Explicit);
                removed += 1;
            }
        }
        self.entries.run_pending_tasks();
        removed
    }

    /// Bytes that it may take.
    pub fn capacity(&self) -> u64 {
        self.entries.policy().max_capacity().unwrap_or(u64::MAX)
    }

    pub fn entries(&self) -> u64 {
        self.entries.entry_count()
    }

    /// Bytes of memory, about.
    pub fn bytes(&self) -> u64 {
        self.entries.weighted_size()
    }
}

impl Place {
    /// `None` once it has left.
    fn tagged(&self) -> Option<Tagged> {
        Some(Tagged { entry: self.entry.load_full()?, tag: self.tag })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Hits;
    use super::*;
    use crate::domain::Observed;
    use bytes::Bytes;

    fn entry(ttl: Duration, stored: Instant) -> Arc<Entry> {
        Arc::new(Entry {
            body: Bytes::from_static(b"{}"),
            frames: Box::new([]),
            headers: Box::default(),
            model: "m".into(),
            observed: Observed::default(),
            took: Duration::ZERO,
            stored,
            ttl,
            question: None,
            hits: Hits::default(),
        })
    }

    #[test]
    fn an_entry_is_found_until_its_time_is_over() {
        let memory = Memory::new(1 << 20, Arc::default());
        let now = Instant::now();
        memory.put(CacheKey([1; 32]), entry(Duration::from_secs(10), now), Tag::default());
        let find = |key, after, stale| {
            memory.find(&CacheKey([key; 32]), now + Duration::from_secs(after), Duration::from_secs(stale))
        };
        assert!(matches!(find(1, 9, 0), Found::Fresh(_)));
        assert!(matches!(find(2, 0, 0), Found::Nothing));
        let find = |stale| find(1, 10, stale);
        assert!(matches!(find(1), Found::Over));
        assert!(memory.look(&CacheKey([1; 32])).is_some(), "it may be wanted");
        assert!(matches!(find(0), Found::Over));
        assert!(memory.look(&CacheKey([1; 32])).is_none(), "what was over is gone");
    }

    #[test]
    fn large_entries_are_not_held_beyond_it_either() {
        const LARGE: usize = 1 << 20;
        let memory = Memory::new(16 * LARGE as u64, Arc::default());
        let now = Instant::now();
        let mut held = Vec::new();
        for n in 0..200u8 {
            let large = Entry {
                body: vec![n; LARGE].into(),
                ..Arc::into_inner(entry(Duration::from_secs(10), now)).unwrap()
            };
            let large = Arc::new(large);
            held.push(Arc::downgrade(&large));
            memory.put(CacheKey([n; 32]), large, Tag::default());
            let alive = held.iter().filter(|entry| entry.strong_count() > 0).count();
            // What was thrown out is given back a little later than that.
            assert!(alive <= 24, "{alive} of them after {n}");
        }
    }

    #[test]
    fn it_never_holds_more_than_it_may() {
        let memory = Memory::new(64 << 10, Arc::default());
        let now = Instant::now();
        for n in 0..10_000u32 {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&n.to_le_bytes());
            memory.put(CacheKey(key), entry(Duration::from_secs(10), now), Tag::default());
        }
        memory.entries.run_pending_tasks();
        assert!(memory.bytes() <= 64 << 10, "{}", memory.bytes());
        assert!(memory.entries() < 200, "{}", memory.entries());
    }
}
