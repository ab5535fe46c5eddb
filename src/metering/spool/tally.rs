//! Hits that are alike, counted in one word of the spool: the hundredth hit of a second costs an addition, and no entry.
//!
//! Whoever reads a tally closes it. What comes later begins another, so that each hit is read once.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// So many hits, and the time that all of them took, in whole microseconds of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub count: u32,
    pub total: Duration,
}

/// Where the word stands in the body of its entry.
pub(super) const WORD: Range<usize> = 8..16;
/// A hit that takes as long or longer has an entry of its own: as many as can be counted must fit into the word's time.
pub const LONGEST: Duration = Duration::from_micros(1 << (TIME - COUNT));

/// Bits of the word: of the time in microseconds, from the lowest on; of the number; and the highest, which is set where
/// it takes no more.
const TIME: u32 = 40;
const COUNT: u32 = 23;
const CLOSED: u64 = 1 << 63;
const ONE: u64 = 1 << TIME;

impl Tally {
    /// The word of one hit.
    pub(super) fn first(took: Duration) -> u64 {
        ONE | micros(took)
    }

    /// Adds one hit, which took less than [`LONGEST`]. `false` where there can be no more.
    pub(super) fn add(word: &AtomicU64, took: Duration) -> bool {
        let full = (CLOSED - 1) & !(ONE - 1);
        let add = |word: u64| (word & (CLOSED | full) < full).then(|| word + Tally::first(took));
        word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, add).is_ok()
    }

    /// Takes no more; returns what was counted.
    pub(super) fn close(word: &AtomicU64) -> u64 {
        word.fetch_or(CLOSED, Ordering::AcqRel) & !CLOSED
    }

    pub(super) fn read(word: u64) -> Self {
        let count = (word & !CLOSED) >> TIME;
        Tally { count: count as u32, total: Duration::from_micros(word & (ONE - 1)) }
    }
}

fn micros(took: Duration) -> u64 {
    (took.as_micros() as u64).min(LONGEST.as_micros() as u64 - 1)
}

/// Where the last tallies of a file begin, to be found by what is told of their hits. One takes the place of another.
pub(super) struct Places(Box<[AtomicU64]>);

/// Kinds of hits that a second is expected to have: those beyond have an entry more often than they need.
const PLACES: usize = 1 << 10;

impl Default for Places {
    fn default() -> Self {
        Places((0..PLACES).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Places {
    /// Where one may begin whose hits are `alike`. It is for the file to say whether it does.
    pub fn find(&self, alike: &[u8]) -> Option<u64> {
        Some(self.place(alike).load(Ordering::Acquire)).filter(|begins| *begins > 0)
    }

    pub fn note(&self, alike: &[u8], begins: u64) {
        self.place(alike).store(begins, Ordering::Release);
    }

    fn place(&self, alike: &[u8]) -> &AtomicU64 {
        &self.0[crc32fast::hash(alike) as usize % PLACES]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{EVERY, consumer, is_dirty, on_disk, subject};
    use super::super::*;
    use super::*;
    use crate::domain::{Consumer, Observed, RequestId, Source, Usage};
    use std::sync::atomic::AtomicBool;

    fn spool(folder: &Path) -> Spool {
        Spool::open(folder, Bounds { segment: 1 << 16, most: 1 << 24 }, EVERY).unwrap()
    }

    fn hit(spool: &Spool, key: &str, second: u64, prompt: u64) {
        one_more(spool, &consumer(key), second, &recurring(spool, prompt));
    }

    /// An answer, and what its question took.
    fn recurring(spool: &Spool, prompt: u64) -> (Recurring, u64) {
        (Recurring::new(subject(spool)), prompt)
    }

    fn one_more(spool: &Spool, consumer: &Arc<Consumer>, second: u64, (answer, prompt): &(Recurring, u64)) {
        let usage = Usage { source: Source::Upstream, prompt: *prompt, ..Usage::default() };
        let observed = Observed { usage, ..Observed::default() };
        let told = Told::hit(RequestId::first_of(second), Duration::from_micros(30), Some(&observed));
        spool.hit(&told, consumer, answer);
    }

    /// Of each tally in it: how many, in which second, and how many tokens each.
    fn tallies(stretch: &Stretch) -> Vec<(u32, u64, u64)> {
        let entries = stretch.bodies().map(|body| Entry::read(body).unwrap());
        let tallies = entries.filter_map(|entry| match entry {
            Entry::Hits { tally, one } => {
                assert_eq!(tally.total, Duration::from_micros(30) * tally.count);
                Some((tally.count, one.request.second(), one.observed.unwrap().usage.prompt))
            }
            _ => None,
        });
        tallies.collect()
    }

    const MIXED: [(&str, u64, u64); 7] =
        [("a", 7, 5), ("b", 7, 5), ("a", 7, 6), ("a", 8, 5), ("a", 7, 5), ("b", 7, 5), ("a", 7, 5)];

    #[test]
    fn hits_that_are_alike_are_counted_together() {
        let folder = tempfile::tempdir().unwrap();
        let spool = spool(folder.path());
        for (key, second, prompt) in MIXED {
            hit(&spool, key, second, prompt);
        }
        let (stretch, _) = spool.oldest().unwrap().read(0, Vec::new()).unwrap();
        assert_eq!(tallies(&stretch), [(3, 7, 5), (2, 7, 5), (1, 7, 6), (1, 8, 5)]);

        hit(&spool, "a", 7, 5);
        let (again, _) = spool.oldest().unwrap().read(0, Vec::new()).unwrap();
        assert_eq!(tallies(&again)[..4], tallies(&stretch)[..], "what was read stays as it was");
        assert_eq!(tallies(&again)[4..], [(1, 7, 5)]);
    }

    #[test]
    fn whoever_knows_where_they_are_counted_tells_them_apart_all_the_same() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let spools = folders.each_ref().map(|folder| spool(folder.path()));
        let [a, b] = ["a", "b"].map(consumer);
        // Of two spools in one process, whose subjects have the same number.
        let answers = [5, 6].map(|prompt| recurring(&spools[0], prompt));
        subject(&spools[1]);
        for round in 1..4 {
            for spool in &spools {
                for (key, second, prompt) in MIXED {
                    let consumer = if key == "a" { &a } else { &b };
                    one_more(spool, consumer, second, &answers[prompt as usize - 5]);
                }
                let (stretch, _) = spool.oldest().unwrap().read(0, Vec::new()).unwrap();
                let tallies = tallies(&stretch);
                assert_eq!(tallies.len(), 4 * round, "a tally that was read takes no more");
                let expected = [(3, 7, 5), (2, 7, 5), (1, 7, 6), (1, 8, 5)];
                assert!(tallies.chunks(4).all(|tallies| tallies == expected), "{tallies:?}");
            }
        }
    }

    #[test]
    fn what_was_counted_outlives_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let dead = spool(folder.path());
        (0..9).for_each(|_| hit(&dead, "a", 7, 5));
        drop(dead);
        let living = spool(folder.path());
        let orphans = living.adopt().unwrap().orphans;
        let (stretch, _) = orphans[0].read(0, Vec::new()).unwrap();
        assert_eq!(tallies(&stretch), [(9, 7, 5)]);
    }

    #[test]
    fn what_is_added_is_safe_from_a_power_cut_once_it_is_synced() {
        let Some(folder) = on_disk() else { return };
        let spool = spool(folder.path());
        for _ in 0..3 {
            hit(&spool, "a", 7, 5);
            assert!(is_dirty(folder.path()));
            spool.tend();
            assert!(!is_dirty(folder.path()));
        }
        let (stretch, _) = spool.oldest().unwrap().read(0, Vec::new()).unwrap();
        assert_eq!(tallies(&stretch), [(3, 7, 5)]);
    }

    #[test]
    fn each_hit_is_read_once_whoever_reads_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let (spool, is_over) = (spool(folder.path()), AtomicBool::new(false));
        let read = || {
            let (mut count, mut last) = (0, false);
            loop {
                let Some(reel) = spool.oldest() else { return count };
                let mut at = 0;
                loop {
                    let (stretch, is_end) = reel.read(at, Vec::new()).unwrap();
                    count += tallies(&stretch).iter().map(|(count, ..)| count).sum::<u32>();
                    let is_read = stretch.end <= at.max(segment::HEAD);
                    at = stretch.end;
                    if is_end {
                        spool.remove(&reel).unwrap();
                        break;
                    }
                    if is_read && last {
                        return count;
                    }
                    // What came before that is read in one more round.
                    last = is_read && is_over.load(Ordering::Acquire);
                }
            }
        };
        let (a, answers) = (consumer("a"), [0, 1, 2].map(|prompt| recurring(&spool, prompt)));
        let write = || (0..20_000).for_each(|number| one_more(&spool, &a, 7, &answers[number % 3]));
        let count = std::thread::scope(|threads| {
            let reader = threads.spawn(read);
            let writers: Vec<_> = (0..3).map(|_| threads.spawn(write)).collect();
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            is_over.store(true, Ordering::Release);
            reader.join().unwrap()
        });
        assert_eq!((count, spool.lost()), (60_000, 0));
    }

    #[test]
    fn a_word_takes_no_more_than_it_can_hold() {
        let word = AtomicU64::new(Tally::first(Duration::ZERO));
        let most = (1 << COUNT) - 1;
        let longest = LONGEST - Duration::from_micros(1);
        word.store(((most - 1) << TIME) | ((most - 1) * longest.as_micros() as u64), Ordering::Relaxed);
        assert!(Tally::add(&word, longest));
        assert!(!Tally::add(&word, Duration::ZERO));
        let read = Tally::read(Tally::close(&word));
        assert_eq!((read.count, read.total), (most as u32, longest * most as u32));

        let word = AtomicU64::new(Tally::first(longest));
        Tally::close(&word);
        assert!(!Tally::add(&word, longest), "it is closed");
        assert_eq!(Tally::read(word.into_inner()), Tally { count: 1, total: longest });
    }
}
