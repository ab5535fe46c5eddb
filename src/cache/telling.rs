//! What is of use in memory is told to the tiers below: they would take the entries that are used most for those that
//! nobody wants.

use super::memory::Tagged;
use super::stop::stopped;
use super::{CacheKey, Stock};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Between two times.
const EVERY: Duration = Duration::from_secs(60);
/// Entries at a time, those that were of use most often; the uses of the others add up until they are among them. A
/// small part of what each tier remembers of such until it has written it down.
const MOST: usize = 4_096;

impl Stock {
    /// Tells the tiers now and then, until `stop`.
    pub async fn tell(self: &Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = tokio::time::sleep(EVERY) => self.tell_hits().await,
            }
        }
    }

    /// Tells the tiers what was of use since they were told last.
    pub async fn tell_hits(self: &Arc<Self>) {
        if self.tiers.is_empty() {
            return;
        }
        let stock = self.clone();
        // To go through all of them takes long.
        let telling = tokio::task::spawn_blocking(move || stock.tiers.used_in_memory(&stock.told()));
        let _ = telling.await;
    }

    fn told(&self) -> Vec<(CacheKey, u32)> {
        let mut used = BinaryHeap::with_capacity(MOST + 1);
        let mut see = |key: CacheKey, hits: u64| {
            if hits > 0 {
                used.push(Reverse((hits, key.0)));
            }
            if used.len() > MOST {
                used.pop();
            }
        };
        self.memory.all().for_each(|(key, Tagged { entry, .. })| see(key, entry.hits.untold()));
        self.vectors.untold(&mut see);
        let mut told = Vec::with_capacity(used.len());
        for Reverse((_, key)) in used.into_sorted_vec() {
            let key = CacheKey(key);
            match self.memory.look(&key) {
                Some(entry) if told.len() + entry.hits.entries() > MOST => break,
                Some(entry) => entry.hits.tell(key, &mut told),
                None => told.extend(self.vectors.tell(&key).map(|hits| (key, hits))),
            }
        }
        told
    }
}
