//! Identical look-ups under way at the same time are one. The first does it for all; should it be called
//! off, the next goes on.

use crate::cache::{CacheKey, Payload, TierName};
use crate::domain::Scope;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::OnceCell;

/// Look-ups that are shared at once; one more is done alone.
const MOST: usize = 4096;

pub(super) type Found = Option<(Payload, TierName)>;
type Name = (CacheKey, Scope);

/// The look-ups under way.
#[derive(Default)]
pub(super) struct Sharing(Mutex<HashMap<Name, Shared>>);

struct Shared {
    found: Arc<OnceCell<Found>>,
    seekers: usize,
}

/// One of those who wait; the last one takes the look-up off the list.
struct Seeker<'a> {
    sharing: &'a Sharing,
    name: Name,
}

impl Sharing {
    /// What `look_up` finds, or what somebody else's finds who began before this one ended.
    pub async fn find<F: Future<Output = Found>>(
        &self,
        key: &CacheKey,
        scope: &Scope,
        look_up: impl FnOnce() -> F,
    ) -> Found {
        match self.join((*key, *scope)) {
            Some((_seeker, found)) => found.get_or_init(look_up).await.clone(),
            None => look_up().await,
        }
    }

    fn join(&self, name: Name) -> Option<(Seeker<'_>, Arc<OnceCell<Found>>)> {
        let mut under_way = self.lock();
        if under_way.len() >= MOST && !under_way.contains_key(&name) {
            return None;
        }
        let shared = under_way.entry(name).or_insert_with(|| Shared { found: Arc::default(), seekers: 0 });
        shared.seekers += 1;
        Some((Seeker { sharing: self, name }, shared.found.clone()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Shared>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seeker<'_> {
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
    use crate::cache::samples;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    const KEY: CacheKey = CacheKey([1; 32]);
    const SCOPE: Scope = Scope([1; 32]);

    #[tokio::test(start_paused = true)]
    async fn a_crowd_looks_once_and_all_find_it() {
        let (sharing, looks) = (Sharing::default(), AtomicUsize::new(0));
        let look_up = async || {
            looks.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
            Some((samples::answer(), TierName::Redis))
        };
        let seek = || sharing.find(&KEY, &SCOPE, look_up);
        let elsewhere = sharing.find(&KEY, &Scope([2; 32]), look_up);
        let (a, b, c, d) = tokio::join!(seek(), seek(), seek(), elsewhere);
        assert!(a.is_some() && b.is_some() && c.is_some() && d.is_some());
        assert_eq!(looks.load(Ordering::Relaxed), 2, "another scope looks for itself");
        assert_eq!(sharing.len(), 0);
        assert!(seek().await.is_some());
        assert_eq!(looks.load(Ordering::Relaxed), 3, "what is over is not shared");
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_goes_on_where_the_first_leaves() {
        let (sharing, looks) = (Sharing::default(), AtomicUsize::new(0));
        let look_up = async || {
            looks.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
            Some((samples::answer(), TierName::Redis))
        };
        let leaver = tokio::time::timeout(Duration::from_millis(5), sharing.find(&KEY, &SCOPE, look_up));
        let (left, stayed) = tokio::join!(leaver, sharing.find(&KEY, &SCOPE, look_up));
        assert!(left.is_err() && stayed.is_some());
        assert_eq!((looks.load(Ordering::Relaxed), sharing.len()), (2, 0));
    }

    #[tokio::test]
    async fn the_list_is_bounded() {
        let sharing = Sharing::default();
        let name = |n: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&n.to_le_bytes());
            (CacheKey(key), SCOPE)
        };
        let seekers: Vec<_> = (0..MOST).filter_map(|n| sharing.join(name(n))).collect();
        assert_eq!((seekers.len(), sharing.len()), (MOST, MOST));
        assert!(sharing.join(name(MOST)).is_none());
        assert!(sharing.join(name(0)).is_some());
        assert!(sharing.find(&name(MOST).0, &SCOPE, async || None).await.is_none());
        drop(seekers);
        assert_eq!(sharing.len(), 0);
    }
}
