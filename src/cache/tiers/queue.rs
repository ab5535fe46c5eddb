//! What is still to be written into the tiers: bounded in number and in bytes. Nobody ever waits for room in
//! it; what does not fit is not kept, and counted.

use crate::cache::{CacheKey, Label, Lease, Payload, Selection};
use crate::domain::Scope;
use crate::telemetry::{Metrics, WriteLoss};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// What one errand costs beside its bytes.
const OVERHEAD: usize = 512;

/// One thing to be done behind the answers.
pub(super) enum Errand {
    Keep(Box<Keeping>),
    /// What could not be opened goes.
    Remove {
        depth: usize,
        key: CacheKey,
    },
}

/// One entry on its way into the tiers above `depth`.
pub(super) struct Keeping {
    pub key: CacheKey,
    pub scope: Scope,
    pub label: Label,
    pub load: Load,
    pub stored: Instant,
    pub ttl: Duration,
    /// It goes into the levels before this one.
    pub depth: usize,
    /// Given back once the entry can be found.
    pub lease: Option<Lease>,
}

pub(super) enum Load {
    Payload(Payload),
    /// As it came from another tier.
    Sealed(Bytes),
}

/// First come, first written.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Somebody put something in.
    filled: Notify,
    most: usize,
    most_bytes: usize,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Waiting {
    errands: VecDeque<Errand>,
    bytes: usize,
}

// === impl Queue ===

impl Queue {
    pub fn new(most: usize, most_bytes: usize, metrics: Arc<Metrics>) -> Self {
        Queue { waiting: Mutex::default(), filled: Notify::new(), most, most_bytes, metrics }
    }

    pub fn put(&self, errand: Errand) {
        let weight = errand.weight();
        let mut waiting = self.lock();
        if waiting.errands.len() >= self.most || waiting.bytes + weight > self.most_bytes {
            drop(waiting);
            self.metrics.write_lost(WriteLoss::QueueFull, 1);
            return;
        }
        waiting.bytes += weight;
        waiting.errands.push_back(errand);
        drop(waiting);
        self.filled.notify_one();
    }

    /// Waits until there is something.
    pub async fn filled(&self) {
        while self.lock().errands.is_empty() {
            self.filled.notified().await;
        }
    }

    /// The oldest, at most `most` of them, and no more than about `bytes`; at least one if there is one.
    pub fn take(&self, most: usize, bytes: usize) -> Vec<Errand> {
        let mut waiting = self.lock();
        let mut taken = Vec::new();
        let mut taken_bytes = 0;
        while let Some(errand) = waiting.errands.front() {
            let weight = errand.weight();
            if taken.len() >= most || (taken_bytes + weight > bytes && !taken.is_empty()) {
                break;
            }
            taken_bytes += weight;
            taken.extend(waiting.errands.pop_front());
        }
        waiting.bytes -= taken_bytes;
        taken
    }

    /// What is meant is not written any more.
    pub fn forget(&self, selection: &Selection) {
        let mut waiting = self.lock();
        waiting.errands.retain(|errand| match errand {
            Errand::Keep(keeping) => !keeping.is_meant(selection),
            Errand::Remove { .. } => true,
        });
        waiting.bytes = waiting.errands.iter().map(Errand::weight).sum();
    }

    /// Number, and bytes.
    pub fn size(&self) -> (usize, usize) {
        let waiting = self.lock();
        (waiting.errands.len(), waiting.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Errand ===

impl Errand {
    fn weight(&self) -> usize {
        let load = match self {
            Errand::Keep(keeping) => match &keeping.load {
                Load::Payload(payload) => payload.weight(),
                Load::Sealed(sealed) => sealed.len(),
            },
            Errand::Remove { .. } => 0,
        };
        load + OVERHEAD
    }
}

impl Keeping {
    fn is_meant(&self, selection: &Selection) -> bool {
        let over = || self.stored.elapsed() >= self.ttl;
        selection.may_mean(Some(&self.key), &self.label) && (!selection.expired || over())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::samples;
    use crate::domain::Operation;

    fn keeping(n: u8, model: &str) -> Errand {
        Errand::Keep(Box::new(Keeping {
            key: CacheKey([n; 32]),
            scope: Scope([0; 32]),
            label: samples::label(Operation::Chat, model, "lab"),
            load: Load::Sealed(Bytes::from(vec![0; 1000 - OVERHEAD])),
            stored: Instant::now(),
            ttl: Duration::from_secs(60),
            depth: 1,
            lease: None,
        }))
    }

    fn keys(errands: &[Errand]) -> Vec<u8> {
        let key = |errand: &Errand| match errand {
            Errand::Keep(keeping) => keeping.key.0[0],
            Errand::Remove { key, .. } => key.0[0],
        };
        errands.iter().map(key).collect()
    }

    fn lost(metrics: &Metrics) -> bool {
        let page = String::from_utf8(metrics.render(crate::telemetry::Exposition::Text).1).unwrap();
        !page.contains("pannier_cache_writes_lost_total{cause=\"queue_full\"} 0\n")
    }

    #[test]
    fn it_holds_so_many_and_so_many_bytes() {
        let metrics = Arc::new(Metrics::new());
        for (most, most_bytes) in [(3, 1 << 20), (100, 3999)] {
            let queue = Queue::new(most, most_bytes, metrics.clone());
            (0..3).for_each(|n| queue.put(keeping(n, "m")));
            assert_eq!(queue.size(), (3, 3000));
            queue.put(keeping(9, "m"));
            assert_eq!(queue.size(), (3, 3000));
            assert!(lost(&metrics));
        }
    }

    #[test]
    fn groups_are_of_the_oldest_and_bounded() {
        let queue = Queue::new(100, 1 << 20, Arc::default());
        (0..7).for_each(|n| queue.put(keeping(n, "m")));
        assert_eq!(keys(&queue.take(2, 1 << 20)), [0, 1]);
        assert_eq!(keys(&queue.take(100, 2500)), [2, 3]);
        assert_eq!(keys(&queue.take(100, 1)), [4], "one is always taken");
        assert_eq!(keys(&queue.take(100, 1 << 20)), [5, 6]);
        assert_eq!(queue.size(), (0, 0));
    }

    #[test]
    fn what_is_removed_is_not_written_later() {
        let queue = Queue::new(100, 1 << 20, Arc::default());
        queue.put(keeping(0, "a"));
        queue.put(keeping(1, "b"));
        queue.put(Errand::Remove { depth: 0, key: CacheKey([2; 32]) });
        queue.forget(&Selection { expired: true, ..Selection::default() });
        assert_eq!(queue.size().0, 3);
        queue.forget(&Selection { model: Some("a".into()), ..Selection::default() });
        assert_eq!(queue.size(), (2, 1000 + OVERHEAD));
        assert_eq!(keys(&queue.take(9, 1 << 20)), [1, 2]);
    }
}
