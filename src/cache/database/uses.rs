//! What of the entries was of use, until it is written down: a hit costs no write.

use crate::store::entries::{Key, Use};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Uses not yet written down, of a bounded number of entries.
#[derive(Debug, Default)]
pub(super) struct Uses(Mutex<BTreeMap<Key, Use>>);

/// Entries whose uses are remembered; those of further ones are forgotten until these are written down.
const MOST: usize = 32_768;

impl Uses {
    /// Each of `used` was of use, so often, last at `now`.
    pub fn note<'a>(&self, used: impl IntoIterator<Item = (&'a Key, u32)>, now: i64) {
        let mut uses = self.lock();
        for (key, hits) in used {
            add(&mut uses, *key, Use { hits, last: now });
        }
    }

    /// At most `most` of what is to be written down, which is then no longer here.
    pub fn take(&self, most: usize) -> BTreeMap<Key, Use> {
        let mut uses = self.lock();
        std::iter::from_fn(|| uses.pop_first()).take(most).collect()
    }

    /// Takes back what could not be written down.
    pub fn put_back(&self, taken: BTreeMap<Key, Use>) {
        let mut uses = self.lock();
        for (key, more) in taken {
            add(&mut uses, key, more);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Use>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(uses: &mut BTreeMap<Key, Use>, key: Key, more: Use) {
    let full = uses.len() >= MOST;
    match uses.entry(key) {
        Entry::Occupied(mut known) => {
            let known = known.get_mut();
            known.hits = known.hits.saturating_add(more.hits);
            known.last = known.last.max(more.last);
        }
        Entry::Vacant(place) if !full => {
            place.insert(more);
        }
        Entry::Vacant(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> Key {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_le_bytes());
        key
    }

    #[test]
    fn uses_add_up_and_what_was_taken_can_come_back() {
        let uses = Uses::default();
        uses.note([(&key(1), 1), (&key(2), 1), (&key(1), 1)], 10);
        let taken = uses.take(9);
        uses.note([(&key(1), 1)], 9);
        uses.put_back(taken);
        let all = uses.take(9);
        assert_eq!(all[&key(1)], Use { hits: 3, last: 10 });
        assert_eq!(all[&key(2)], Use { hits: 1, last: 10 });
        assert!(uses.take(9).is_empty());
    }

    #[test]
    fn it_is_bounded() {
        let uses = Uses::default();
        let keys: Vec<Key> = (0..100_000).map(key).collect();
        uses.note(keys.iter().map(|key| (key, 1)), 1);
        uses.note([(&key(0), 1)], 2);
        let first = uses.take(100);
        let rest = uses.take(usize::MAX);
        assert_eq!((first.len(), rest.len()), (100, MOST - 100));
        let twice = first.get(&key(0)).or(rest.get(&key(0)));
        assert_eq!(twice, Some(&Use { hits: 2, last: 2 }));
    }
}
