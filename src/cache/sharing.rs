//! Identical look-ups under way at the same time are one. The first does it for all; should it be called
//! off, the next goes on.

use super::{CacheKey, Era};
use crate::domain::Scope;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OnceCell;

/// Look-ups that are shared at once; one more is done alone.
const MOST: usize = 4096;

/// What is looked for, and since when: what was found before a removal is nothing for those who come after it.
type Name = (CacheKey, Scope, Era);

/// The look-ups under way, and what each finds.
pub(super) struct Sharing<T>(Mutex<HashMap<Name, Shared<T>>>);

struct Shared<T> {
    found: Arc<OnceCell<T>>,
    seekers: usize,
}

/// One of those who wait, and what they find; the last one takes the look-up off the list.
pub(super) struct Seeker<T> {
    sharing: Arc<Sharing<T>>,
    name: Name,
    found: Arc<OnceCell<T>>,
}

// === impl Sharing ===

impl<T: Clone> Sharing<T> {
    /// What `look_up` finds, or what somebody else's finds who began before this one ended.
    pub async fn find<F: Future<Output = T>>(
        self: &Arc<Self>,
        key: &CacheKey,
        scope: &Scope,
        era: Era,
        look_up: impl FnOnce() -> F,
    ) -> T {
        match self.join(key, scope, era) {
            Some(seeker) => seeker.find(look_up).await,
            None => look_up().await,
        }
    }

    /// A place among those who look for `key`; `None` where too much is looked for.
    pub fn join(self: &Arc<Self>, key: &CacheKey, scope: &Scope, era: Era) -> Option<Seeker<T>> {
        let name = (*key, *scope, era);
        let mut under_way = self.lock();
        if under_way.len() >= MOST && !under_way.contains_key(&name) {
            return None;
        }
        let shared = under_way.entry(name).or_insert_with(|| Shared { found: Arc::default(), seekers: 0 });
        shared.seekers += 1;
        Some(Seeker { sharing: self.clone(), name, found: shared.found.clone() })
    }
}

impl<T> Sharing<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Shared<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Sharing<T> {
    fn default() -> Self {
        Sharing(Mutex::default())
    }
}

// === impl Seeker ===

impl<T: Clone> Seeker<T> {
    /// What the first of them finds.
    pub async fn find<F: Future<Output = T>>(&self, look_up: impl FnOnce() -> F) -> T {
        self.found.get_or_init(look_up).await.clone()
    }
}

impl<T> Drop for Seeker<T> {
    fn drop(&mut self) {
        let mut under_way = self.sharing.lock();
        if let Some(shared) = under_way.get_mut(&self.name) {
            shared.seekers -= 1;
            if shared.seekers == 0 {
                under_way.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Eras, Selection, TierName, samples};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    const KEY: CacheKey = CacheKey([1; 32]);
    const SCOPE: Scope = Scope([1; 32]);

    fn era() -> Era {
        Eras::default().now()
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_looks_once_and_all_find_it() {
        let (sharing, looks) = (Arc::new(Sharing::default()), AtomicUsize::new(0));
        let look_up = async || {
            looks.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
            Some((samples::answer(), TierName::Redis))
        };
        let seek = || sharing.find(&KEY, &SCOPE, era(), look_up);
        let elsewhere = sharing.find(&KEY, &Scope([2; 32]), era(), look_up);
        let (a, b, c, d) = tokio::join!(seek(), seek(), seek(), elsewhere);
        assert!(a.is_some() && b.is_some() && c.is_some() && d.is_some());
        assert_eq!(looks.load(Ordering::Relaxed), 2, "another scope looks for itself");
        assert_eq!(sharing.len(), 0);
        assert!(seek().await.is_some());
        assert_eq!(looks.load(Ordering::Relaxed), 3, "what is over is not shared");
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_after_a_removal_looks_for_himself() {
        let (sharing, looks, eras) = (Arc::new(Sharing::default()), AtomicUsize::new(0), Eras::default());
        let look_up = async || {
            looks.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
            Some((samples::answer(), TierName::Redis))
        };
        let before = sharing.find(&KEY, &SCOPE, eras.now(), look_up);
        drop(eras.begin(&Selection::default()));
        let after = sharing.find(&KEY, &SCOPE, eras.now(), look_up);
        let (before, after) = tokio::join!(before, after);
        assert!(before.is_some() && after.is_some());
        assert_eq!(looks.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_goes_on_where_the_first_leaves() {
        let (sharing, looks) = (Arc::new(Sharing::default()), AtomicUsize::new(0));
        let look_up = async || {
            looks.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
            Some((samples::answer(), TierName::Redis))
        };
        let leaver =
            tokio::time::timeout(Duration::from_millis(5), sharing.find(&KEY, &SCOPE, era(), look_up));
        let (left, stayed) = tokio::join!(leaver, sharing.find(&KEY, &SCOPE, era(), look_up));
        assert!(left.is_err() && stayed.is_some());
        assert_eq!((looks.load(Ordering::Relaxed), sharing.len()), (2, 0));
    }

    #[tokio::test]
    async fn the_list_is_bounded() {
        let sharing: Arc<Sharing<Option<()>>> = Arc::default();
        let name = |n: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_le_bytes());
            (CacheKey(key), SCOPE)
        };
        let seekers: Vec<_> = (0..MOST).filter_map(|n| sharing.join(&name(n).0, &SCOPE, era())).collect();
        assert_eq!((seekers.len(), sharing.len()), (MOST, MOST));
        assert!(sharing.join(&name(MOST).0, &SCOPE, era()).is_none());
        assert!(sharing.join(&name(0).0, &SCOPE, era()).is_some());
        assert!(sharing.find(&name(MOST).0, &SCOPE, era(), async || None).await.is_none());
        drop(seekers);
        assert_eq!(sharing.len(), 0);
    }
}
