//! How entries go when somebody wants it: from every tier, and for good. A tier that cannot be asked just then is
//! not asked for any of them either until it has given them up.

use super::level::Level;
use super::{PROBE_EVERY, Tiers};
use crate::cache::join::join_all;
use crate::cache::stop::stopped;
use crate::cache::{CacheKey, Fault, Label, Selection, TierName};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Removals that one tier may still owe; with one more, it owes all that it has.
const MOST: usize = 64;

/// What a tier has not yet removed.
#[derive(Default)]
pub(super) struct Owed {
    selections: Mutex<Vec<Selection>>,
    any: AtomicBool,
}

impl Tiers {
    /// Removes what is meant from every tier, and from what is still to be written: how many each had, as far
    /// as it could be asked. What could not be done is done as soon as it can.
    pub async fn remove(&self, selection: &Selection) -> Vec<(TierName, Result<u64, Fault>)> {
        {
            // What is being written now is written first, so that it is removed as well.
            let _writing = self.writing.lock().await;
            self.queue.forget(selection);
        }
        let removed = join_all(self.levels.iter().map(|level| level.remove(selection))).await;
        self.levels.iter().map(Level::name).zip(removed).collect()
    }

    /// Removes what could not be removed before, until `stop`.
    pub(super) async fn remove_rest(&self, mut stop: watch::Receiver<bool>) {
        let work = async {
            loop {
                tokio::time::sleep(PROBE_EVERY).await;
                join_all(self.levels.iter().map(Level::remove_owed)).await;
            }
        };
        tokio::select! {
            () = stopped(&mut stop) => {}
            () = work => {}
        }
    }
}

impl Level {
    async fn remove(&self, selection: &Selection) -> Result<u64, Fault> {
        // What is over is never used anyway.
        if selection.expired {
            return self.survey("remove", self.tier.remove(selection)).await;
        }
        // Owed from the beginning: should nobody wait for the end, it is still done.
        self.owed.add(selection);
        let removed = self.survey("remove", self.tier.remove(selection)).await;
        match &removed {
            Ok(_) => self.owed.settle(selection),
            Err(fault) => tracing::warn!(
                tier = self.name().label(),
                %fault,
                "a cache tier could not remove what it was told to; it is not asked for it until it has"
            ),
        }
        removed
    }

    async fn remove_owed(&self) {
        if self.is_left_out() {
            return;
        }
        for selection in self.owed.all() {
            if self.survey("remove", self.tier.remove(&selection)).await.is_err() {
                return;
            }
            self.owed.settle(&selection);
            tracing::info!(tier = self.name().label(), "a cache tier has removed what it still had to");
        }
    }

    /// Whether it may have something under `keys` that was to be removed.
    pub fn still_has_removed(&self, keys: &[CacheKey], label: &Label) -> bool {
        let may_be = |selection: &Selection| keys.iter().any(|key| selection.may_mean(Some(key), label));
        self.owed.any.load(Ordering::Acquire) && self.owed.lock().iter().any(may_be)
    }
}

impl Owed {
    fn add(&self, selection: &Selection) {
        let mut selections = self.lock();
        if selections.len() >= MOST {
            selections.clear();
            selections.push(Selection::default());
        } else {
            selections.push(selection.clone());
        }
        self.any.store(true, Ordering::Release);
    }

    fn settle(&self, selection: &Selection) {
        let mut selections = self.lock();
        if let Some(at) = selections.iter().position(|owed| owed == selection) {
            selections.swap_remove(at);
        }
        self.any.store(!selections.is_empty(), Ordering::Release);
    }

    fn all(&self) -> Vec<Selection> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Selection>> {
        self.selections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
