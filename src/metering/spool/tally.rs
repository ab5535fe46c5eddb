//! Hits that are alike, within a second, are one entry of the spool with a word in it that any thread adds to: how
//! many they are, and how long they took together. Whoever takes the entry over closes the word before; nobody adds
//! to one that is closed, so that it says the same for ever.
//!
//! ```text
//! word     closed (1)  count (23)  microseconds (40)
//! ```

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// How many, and how long they took together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub count: u32,
    pub total: Duration,
}

/// Where the newest entry of each kind may begin in a segment, by a hash of what is alike: a table that forgets.
pub(super) struct Places([AtomicU32; PLACES]);

/// Where the word stands in the body of an entry: behind the tag, where it is aligned.
pub(super) const WORD: Range<usize> = 8..16;
/// A hit that takes longer is counted by itself: so many of them might be more than the word can hold.
pub const LONGEST: Duration = Duration::from_micros(1 << 16);
const CLOSED: u64 = 1 << 63;
const ONE: u64 = 1 << 40;
/// The word has room for twice as many, that none of them comes near its end.
const MOST: u64 = 1 << 22;
const PLACES: usize = 1 << 12;

impl Tally {
    /// The word of the first hit.
    pub(super) fn first(took: Duration) -> u64 {
        ONE + took.min(LONGEST).as_micros() as u64
    }

    /// Adds one to `word`, unless that is closed or has counted enough.
    pub(super) fn add(word: &AtomicU64, took: Duration) -> bool {
        let one = Tally::first(took);
        let add = |word: u64| (word & CLOSED == 0 && word / ONE < MOST).then(|| word + one);
        word.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).is_ok()
    }

    /// Nothing is added to `word` any more; returns what it says.
    pub(super) fn close(word: &AtomicU64) -> u64 {
        word.fetch_or(CLOSED, Ordering::AcqRel)
    }

    pub(super) fn read(word: u64) -> Self {
        let word = word & !CLOSED;
        Tally { count: (word / ONE) as u32, total: Duration::from_micros(word % ONE) }
    }
}

impl Default for Places {
    fn default() -> Self {
        Places([const { AtomicU32::new(0) }; PLACES])
    }
}

impl Places {
    /// Where an entry that is `alike` may begin, if anywhere.
    pub fn find(&self, alike: &[u8]) -> Option<u64> {
        Some(self.place(alike).load(Ordering::Acquire)).filter(|place| *place > 0).map(u64::from)
    }

    /// One begins there, and all of it is there.
    pub fn note(&self, alike: &[u8], begins: u64) {
        self.place(alike).store(u32::try_from(begins).unwrap_or_default(), Ordering::Release);
    }

    fn place(&self, alike: &[u8]) -> &AtomicU32 {
        &self.0[crc32fast::hash(alike) as usize % PLACES]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{EVERY, consumer, is_dirty, on_disk, subject};
    use super::super::{Bounds, Entry, Reel, Spool, Told};
    use super::*;
    use crate::domain::{Observed, RequestId, Usage};
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

    const SECOND: u64 = 1_700_000_000;

    fn spool(folder: &Path) -> Spool {
        Spool::open(folder, Bounds { segment: 1 << 16, most: 1 << 24 }, EVERY).unwrap()
    }

    /// A hit that saved so many tokens.
    fn hit(spool: &Spool, second: u64, key: &str, prompt: u64) {
        let observed = Observed { usage: Usage { prompt, ..Usage::default() }, ..Observed::default() };
        let told = Told::hit(RequestId::first_of(second), Duration::from_micros(3), Some(&observed));
        spool.hit(&told, &consumer(key), &subject(spool));
    }

    /// The tallies from there on, each with the tokens of one, and where they end.
    fn tallies(reel: &Reel, from: u64) -> (Vec<(u64, Tally)>, u64) {
        let (stretch, _) = reel.read(from, Vec::new()).unwrap();
        let tally = |body| match Entry::read(body) {
            Some(Entry::Hits { tally, one }) => Some((one.observed?.usage.prompt, tally)),
            _ => None,
        };
        (stretch.bodies().filter_map(tally).collect(), stretch.end)
    }

    fn of(count: u32) -> Tally {
        Tally { count, total: Duration::from_micros(3) * count }
    }

    #[test]
    fn what_is_alike_is_counted_together_until_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let spool = spool(folder.path());
        for (second, key, prompt) in
            [(0, "a", 1), (0, "a", 1), (0, "b", 1), (1, "a", 1), (0, "a", 2), (1, "a", 1)]
        {
            hit(&spool, SECOND + second, key, prompt);
        }
        let reel = spool.oldest().unwrap();
        let (found, end) = tallies(&reel, 0);
        assert_eq!(found, [(1, of(2)), (1, of(1)), (1, of(2)), (2, of(1))]);
        hit(&spool, SECOND, "a", 1);
        assert_eq!(tallies(&reel, 0).0[..4], found, "what was read stays what it was");
        assert_eq!(tallies(&reel, end).0, [(1, of(1))]);
    }

    #[test]
    fn a_word_counts_no_more_than_it_can_hold() {
        let word = AtomicU64::new(Tally::first(LONGEST * 2));
        for _ in 1..MOST {
            assert!(Tally::add(&word, LONGEST));
        }
        assert!(!Tally::add(&word, LONGEST));
        let all = Tally { count: MOST as u32, total: LONGEST * MOST as u32 };
        assert_eq!(Tally::read(word.load(Ordering::Relaxed)), all);
        assert_eq!(Tally::read(Tally::close(&word)), all);
        assert_eq!(Tally::read(word.load(Ordering::Relaxed)), all);
    }

    #[test]
    fn threads_that_count_and_one_that_reads_agree() {
        const HITS: u64 = 30_000;
        let folder = tempfile::tempdir().unwrap();
        let (spool, is_over) = (spool(folder.path()), AtomicBool::new(false));
        let count = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let (mut count, mut place) = (0, 0);
                loop {
                    let was_over = is_over.load(Ordering::Acquire);
                    let reel = spool.oldest().unwrap();
                    let is_whole = reel.is_over();
                    let (found, end) = tallies(&reel, place);
                    count += found.iter().map(|(_, tally)| u64::from(tally.count)).sum::<u64>();
                    match (is_whole, end > place) {
                        (_, true) => place = end,
                        (true, false) => {
                            spool.remove(&reel).unwrap();
                            place = 0;
                        }
                        (false, false) if was_over => return count,
                        (false, false) => std::thread::yield_now(),
                    }
                }
            });
            let writers: Vec<_> = (0..3)
                .map(|thread| {
                    let spool = &spool;
                    scope.spawn(move || {
                        (0..HITS).for_each(|n| hit(spool, SECOND + n / 1_000, "a", (n + thread) % 7));
                    })
                })
                .collect();
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            is_over.store(true, Ordering::Release);
            reader.join().unwrap()
        });
        assert_eq!(count, 3 * HITS);
        assert_eq!(spool.lost(), 0);
    }

    #[test]
    fn what_was_counted_outlives_the_process_and_a_power_cut() {
        let Some(folder) = on_disk() else { return };
        let spool = spool(folder.path());
        hit(&spool, SECOND, "a", 1);
        spool.tend();
        assert!(!is_dirty(folder.path()));
        hit(&spool, SECOND, "a", 1);
        assert!(is_dirty(folder.path()));
        spool.tend();
        assert!(!is_dirty(folder.path()));
        drop(spool);
        let found = self::spool(folder.path()).adopt().unwrap();
        assert_eq!(tallies(&found.orphans[0], 0).0, [(1, of(2))]);
    }
}
