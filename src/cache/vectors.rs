//! The memory of vectors: one entry a text, bounded in bytes, synchronous.
//!
//! Not made like the memory of answers. Of a million vectors of 384 numbers (1,536 bytes each), moka took 1.42
//! times their own size of real memory, quick_cache 1.28, and their mere separate allocations 1.20. Here they
//! lie side by side in pages, and take 1.08 times their own size; `benches/vectors.rs` measures it.

use super::shelf::{Shelf, Slot, Stored};
use super::{CacheKey, Directives, Tag, Terms, shelf};
use crate::domain::{Embedding, Reason};
use crate::telemetry::{Eviction, Metrics};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The store has at most so many parts, each with its own lock ...
const MOST_SHELVES: usize = 64;
/// ... and none is smaller than this, in bytes.
const SMALLEST_SHELF: usize = 16 << 20;
/// Set in a count of tokens that is an estimate.
const ESTIMATED: u32 = 1 << 31;
/// The oldest vector that may come from below was stored so long ago at the most.
const OLDEST: Duration = Duration::from_secs(400 * 24 * 3600);

/// Vectors in memory.
pub struct Vectors {
    shelves: Box<[Mutex<Shelf>]>,
    capacity: usize,
    /// What times are counted from.
    born: Instant,
    metrics: Arc<Metrics>,
}

/// A vector that was found.
#[derive(Debug, Clone)]
pub struct Kept {
    pub embedding: Embedding,
    pub stored: Instant,
    pub ttl: Duration,
}

impl Vectors {
    /// `capacity` in bytes; `metrics` counts what has to go.
    pub fn new(capacity: usize, metrics: Arc<Metrics>) -> Self {
        let count = (capacity / SMALLEST_SHELF).clamp(1, MOST_SHELVES);
        let shelves = (0..count).map(|_| Mutex::new(Shelf::new(capacity / count))).collect();
        let now = Instant::now();
        Vectors { shelves, capacity, born: now.checked_sub(OLDEST).unwrap_or(now), metrics }
    }

    /// The vector kept under `key`, until so long after its time.
    pub fn get(&self, key: &CacheKey, now: Instant, stale: Duration) -> Option<Kept> {
        let stale = u64::try_from(stale.as_millis()).unwrap_or(u64::MAX);
        let moment = self.milliseconds(now).saturating_sub(stale);
        let mut shelf = self.shelf(key);
        match shelf.find(key, moment) {
            Stored::Fresh(slot, numbers) => Some(self.kept(&slot, numbers)),
            Stored::Over => {
                self.metrics.evicted(Eviction::Expired);
                None
            }
            Stored::Nothing => None,
        }
    }

    /// When the vector under `key` was stored, and for how long it may be used, should that be over or not; it
    /// does not count as used.
    pub fn look(&self, key: &CacheKey) -> Option<(Instant, Duration)> {
        let (slot, _) = self.shelf(key).look(key)?;
        Some((self.born + Duration::from_millis(slot.stored), Duration::from_millis(slot.lasts)))
    }

    /// The same with all that is known of it: its tag, its hits, and the bytes that it takes.
    pub fn look_closer(&self, key: &CacheKey) -> Option<(Kept, Tag, u64, u64)> {
        let shelf = self.shelf(key);
        let (slot, numbers) = shelf.look(key)?;
        let kept = self.kept(&slot, numbers);
        Some((kept, slot.tag, slot.hits.into(), shelf::row_bytes(numbers.len()) as u64))
    }

    fn kept(&self, slot: &Slot, numbers: &[f32]) -> Kept {
        let embedding = Embedding {
            numbers: numbers.into(),
            tokens: slot.tokens & !ESTIMATED,
            estimated: slot.tokens & ESTIMATED != 0,
            total: Duration::from_nanos(slot.total.into()),
            load: Duration::from_nanos(slot.load.into()),
        };
        let stored = self.born + Duration::from_millis(slot.stored);
        Kept { embedding, stored, ttl: Duration::from_millis(slot.lasts) }
    }

    /// Keeps `embedding`, which was `stored` first, under `key` for `ttl` from then on. One that is too large to share the room with
    /// others is not kept.
    pub fn put(&self, key: CacheKey, embedding: &Embedding, stored: Instant, ttl: Duration, tag: Tag) {
        let nanoseconds = |time: Duration| u32::try_from(time.as_nanos()).unwrap_or(u32::MAX);
        let slot = Slot {
            key,
            stored: self.milliseconds(stored),
            lasts: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            tokens: marked_tokens(embedding),
            total: nanoseconds(embedding.total),
            load: nanoseconds(embedding.load),
            tag,
            hits: 0,
        };
        let gone = self.shelf(&key).keep(slot, &embedding.numbers);
        let shelf::Gone { replaced, over, evicted } = gone;
        for (cause, count) in
            [(Eviction::Replaced, replaced), (Eviction::Expired, over), (Eviction::Size, evicted)]
        {
            (0..count).for_each(|_| self.metrics.evicted(cause));
        }
    }

    /// Shows `see` all that there is, each with the bytes that it takes. One part after the other: nobody who
    /// looks something up waits long.
    pub fn see_all(&self, mut see: impl FnMut(&Slot, usize)) {
        for shelf in &self.shelves {
            lock(shelf).all().for_each(|(slot, bytes)| see(slot, bytes));
        }
    }

    /// Shows `see` how often each was found of which that has not been told on; one part after the other.
    pub fn untold(&self, see: &mut impl FnMut(CacheKey, u64)) {
        for shelf in &self.shelves {
            lock(shelf).untold().for_each(|(key, hits)| see(key, hits.into()));
        }
    }

    /// Tells on how often the vector under `key` was found.
    pub fn tell(&self, key: &CacheKey) -> Option<u32> {
        self.shelf(key).tell(key).map(u32::from)
    }

    /// The keys of all that there are, of one part after the other.
    pub fn keys(&self) -> impl Iterator<Item = CacheKey> {
        let of_shelf = |shelf| lock(shelf).all().map(|(slot, _)| slot.key).collect::<Vec<_>>();
        self.shelves.iter().flat_map(of_shelf)
    }

    /// Takes out what is meant, for which `is_meant` is also told whether its time is over; returns how many that
    /// were.
    pub fn remove(&self, now: Instant, is_meant: impl Fn(&Slot, bool) -> bool) -> u64 {
        let moment = self.milliseconds(now);
        let remove = |shelf| lock(shelf).remove(moment, &is_meant) as u64;
        let removed = self.shelves.iter().map(remove).sum();
        (0..removed).for_each(|_| self.metrics.evicted(Eviction::Explicit));
        removed
    }

    /// Bytes that they may take.
    pub fn capacity(&self) -> u64 {
        self.capacity as u64
    }

    pub fn entries(&self) -> u64 {
        self.shelves.iter().map(|shelf| lock(shelf).entries() as u64).sum()
    }

    /// Bytes of memory, about.
    pub fn bytes(&self) -> u64 {
        self.shelves.iter().map(|shelf| lock(shelf).bytes() as u64).sum()
    }

    fn shelf(&self, key: &CacheKey) -> MutexGuard<'_, Shelf> {
        // The shelf looks at the first eight bytes, so this is one of the others.
        lock(&self.shelves[usize::from(key.0[8]) % self.shelves.len()])
    }

    fn milliseconds(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.born).as_millis() as u64
    }
}

impl Kept {
    /// Whether its time is over.
    pub fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.stored) >= self.ttl
    }

    /// The same while the upstream is down.
    ///
    /// # Errors
    /// Why it may not.
    pub fn fit_when_stale(
        mut self,
        directives: &Directives,
        terms: Terms,
        now: Instant,
    ) -> Result<Self, Reason> {
        self.ttl = self.ttl.min(terms.ttl);
        directives.accept_stale(now.saturating_duration_since(self.stored), self.ttl, terms.stale)?;
        Ok(self)
    }

    /// It, as long as a request with these `directives` may have it on these `terms`, and for how long.
    ///
    /// # Errors
    /// Why it may not.
    pub fn fit_for(mut self, directives: &Directives, terms: Terms, now: Instant) -> Result<Self, Reason> {
        self.ttl = self.ttl.min(terms.ttl);
        directives.accept(now.saturating_duration_since(self.stored), self.ttl)?;
        Ok(self)
    }
}

fn marked_tokens(embedding: &Embedding) -> u32 {
    embedding.tokens.min(ESTIMATED - 1) | if embedding.estimated { ESTIMATED } else { 0 }
}

/// Nothing panics while a shelf is locked that would leave it half changed.
fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::Vector;
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn key(number: u64) -> CacheKey {
        CacheKey(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    /// Of `length` numbers, all of which only `number` has.
    fn embedding(number: u64, length: usize) -> Embedding {
        Embedding {
            numbers: (0..length).map(|at| number as f32 + at as f32 / 4096.0).collect(),
            tokens: number as u32,
            estimated: number.is_multiple_of(3),
            total: Duration::from_nanos(number * 7),
            load: Duration::from_nanos(number),
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_vector_is_found_as_it_was_until_its_time_is_over() {
        let vectors = Vectors::new(1 << 20, Arc::default());
        let now = vectors.born + MINUTE;
        let made = embedding(5, 384);
        vectors.put(key(1), &made, now, MINUTE, Tag::default());
        let kept =
            vectors.get(&key(1), now + MINUTE - Duration::from_millis(1), Duration::ZERO).expect("there");
        assert_eq!((kept.embedding, kept.stored, kept.ttl), (made, now, MINUTE));
        assert!(vectors.get(&key(2), now, Duration::ZERO).is_none());
        assert!(vectors.get(&key(1), now + MINUTE, Duration::ZERO).is_none());
        assert_eq!(vectors.entries(), 0, "what was over is gone");
    }

    #[test]
    fn it_never_holds_more_than_it_may_and_keeps_what_is_used() {
        let capacity = 1 << 20;
        let vectors = Vectors::new(capacity, Arc::default());
        let now = vectors.born;
        vectors.put(key(0), &embedding(0, 384), now, MINUTE, Tag::default());
        for number in 1..5000 {
            vectors.put(key(number), &embedding(number, 384), now, MINUTE, Tag::default());
            assert!(
                vectors.get(&key(0), now, Duration::ZERO).is_some(),
                "used all the time, and gone after {number}"
            );
            assert!(vectors.bytes() <= capacity as u64, "{}", vectors.bytes());
        }
        let raw = 384 * 4;
        assert!(vectors.entries() * raw > capacity as u64 * 8 / 10, "{}", vectors.entries());
        assert!(vectors.get(&key(1), now, Duration::ZERO).is_none());
        assert!(vectors.get(&key(4999), now, Duration::ZERO).is_some());
    }

    #[test]
    fn vectors_of_another_length_take_the_room_of_those_that_nobody_uses() {
        let vectors = Vectors::new(1 << 20, Arc::default());
        let now = vectors.born;
        (0..2000).for_each(|number| {
            vectors.put(key(number), &embedding(number, 384), now, MINUTE, Tag::default())
        });
        (2000..4000).for_each(|number| {
            vectors.put(key(number), &embedding(number, 768), now, MINUTE, Tag::default())
        });
        let of_these =
            (2000..4000).filter(|number| vectors.get(&key(*number), now, Duration::ZERO).is_some()).count();
        assert!(of_these * 768 * 4 > (1 << 20) * 7 / 10, "{of_these}");
        assert!(vectors.bytes() <= 1 << 20);
    }

    #[test]
    fn one_that_would_fill_the_room_is_not_kept() {
        let vectors = Vectors::new(64 << 10, Arc::default());
        vectors.put(key(1), &embedding(1, 16_000), vectors.born, MINUTE, Tag::default());
        assert_eq!((vectors.entries(), vectors.bytes()), (0, 0));
    }

    #[test]
    fn outside_it_is_the_same_and_nothing_else_passes_for_one() {
        for number in 0..200 {
            let made = embedding(number, number as usize % 9 + 1);
            let vector = Vector::of(&made, Instant::now(), Duration::ZERO);
            assert_eq!(vector.embedding(), Some(made));
            let torn = vector.numbers.slice(..vector.numbers.len() - 1);
            assert_eq!(Vector { numbers: torn, ..vector.clone() }.embedding(), None);
            assert_eq!(Vector { numbers: Default::default(), ..vector.clone() }.embedding(), None);
            let not_numbers = vec![0xff; vector.numbers.len()].into();
            assert_eq!(Vector { numbers: not_numbers, ..vector }.embedding(), None);
        }
    }

    proptest! {
        /// Whatever is kept, looked for and thrown out: what is found is what was kept last under that key.
        #[test]
        fn what_is_found_is_what_was_kept(
            steps in prop::collection::vec((0u64..60, 1u64..1000, 0usize..4, any::<bool>()), 1..400),
        ) {
            let vectors = Vectors::new(16 << 10, Arc::default());
            let now = vectors.born;
            let mut model = HashMap::new();
            for (name, value, length, put) in steps {
                if put {
                    let made = embedding(value, [1, 3, 64, 200][length]);
                    vectors.put(key(name), &made, now, MINUTE, Tag::default());
                    model.insert(name, made);
                } else if let Some(kept) = vectors.get(&key(name), now, Duration::ZERO) {
                    prop_assert_eq!(Some(&kept.embedding), model.get(&name));
                }
                prop_assert!(vectors.bytes() <= 16 << 10);
            }
        }
    }
}
