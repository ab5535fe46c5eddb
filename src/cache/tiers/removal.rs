//! How entries go when somebody wants it: from every tier, and for good. A tier that cannot be asked just then is
//! not asked for any of them either until it has given them up.
//!
//! Replicas that share a tier read its notices each second, and drop what they say. Until then one of them may
//! still write what it has on its way, or read that: so the removal is done once more when all must have heard of
//! the first.

use super::level::Level;
use super::{PROBE_EVERY, Tiers};
use crate::cache::board::{KEPT, MOST as MOST_NOTICES, Notice};
use crate::cache::join::join_all;
use crate::cache::stop::stopped;
use crate::cache::{CacheKey, Fault, Label, Selection, TierName};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Removals that one tier may still owe; with one more, it owes all that it has. As many may wait to be done once more,
/// before others wait for them.
const MOST: usize = 1024;
/// By then all replicas have heard of it.
const AGAIN_AFTER: Duration = Duration::from_secs(3);
/// To read notices.
const READING: Duration = Duration::from_secs(1);

/// What a tier has not yet removed, or not for the last time.
#[derive(Default)]
pub(super) struct Owed {
    removals: Mutex<Vec<Removal>>,
    /// Some have not been done at all.
    any: AtomicBool,
}

#[derive(Debug, Clone, PartialEq)]
struct Removal {
    selection: Selection,
    /// When it is to be done once more; `None` where it has not been done at all.
    again: Option<Instant>,
}

/// How far the notices of a tier have been read.
#[derive(Default)]
pub(super) struct Heard {
    last: String,
    at: Option<Instant>,
}

impl Tiers {
    /// Removes what is meant from every tier, and from what is still to be written: how many each had, as far
    /// as it could be asked. What could not be done is done as soon as it can.
    pub async fn remove(&self, selection: &Selection) -> Vec<(TierName, Result<u64, Fault>)> {
        self.forget_waiting(selection).await;
        let removed = join_all(self.levels.iter().map(|level| level.remove(selection))).await;
        self.levels.iter().map(Level::name).zip(removed).collect()
    }

    /// The same for what another has removed from the tiers that it shares with this process.
    pub async fn remove_own(&self, selection: &Selection) {
        self.forget_waiting(selection).await;
        let own = self.levels.iter().filter(|level| level.tier.board().is_none());
        join_all(own.map(|level| level.remove(selection))).await;
    }

    async fn forget_waiting(&self, selection: &Selection) {
        // What is being written now is written first, so that it is removed as well.
        let _writing = self.writing.lock().await;
        self.queue.forget(selection);
    }

    /// Removes what could not be removed before, and once more what others may have brought back, until `stop`.
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

    /// What others have removed since this was asked last.
    pub async fn heard(&self) -> Vec<Selection> {
        join_all(self.levels.iter().map(Level::hear)).await.into_iter().flatten().collect()
    }
}

impl Level {
    async fn remove(&self, selection: &Selection) -> Result<u64, Fault> {
        // What is over is never used anyway.
        if selection.expired {
            return self.survey("remove", self.tier.remove(selection)).await;
        }
        // Whoever removes faster than replicas hear of it waits for them.
        let waited = Instant::now();
        while self.owed.is_crowded() && waited.elapsed() < 2 * AGAIN_AFTER {
            tokio::time::sleep(PROBE_EVERY / 4).await;
        }
        // Owed from the beginning: should nobody wait for the end, it is still done.
        self.owed.add(selection);
        let removed = self.survey("remove", self.remove_first(selection)).await;
        match &removed {
            Ok(_) => self.done(selection),
            Err(fault) => tracing::warn!(
                tier = self.name().label(),
                %fault,
                "a cache tier could not remove what it was told to; it is not asked for it until it has"
            ),
        }
        removed
    }

    /// The others hear of it first, so that they bring nothing back.
    async fn remove_first(&self, selection: &Selection) -> Result<u64, Fault> {
        let posted = self.post(selection, false).await;
        let removed = self.tier.remove(selection).await?;
        if posted.is_err() {
            // On one that is full there is room only now.
            self.post(selection, false).await?;
        }
        Ok(removed)
    }

    /// The others hear of it afterwards, so that they drop what they have read meanwhile.
    async fn remove_again(&self, selection: &Selection) -> Result<u64, Fault> {
        let removed = self.tier.remove(selection).await?;
        self.post(selection, true).await?;
        Ok(removed)
    }

    async fn post(&self, selection: &Selection, again: bool) -> Result<(), Fault> {
        let Some(board) = self.tier.board() else { return Ok(()) };
        board.post(&Notice { by: self.signature, selection: selection.clone(), again }.write()).await
    }

    fn done(&self, selection: &Selection) {
        let again = self.tier.board().map(|_| Instant::now() + AGAIN_AFTER);
        self.owed.settle(selection, again);
    }

    /// All that is due: that one of them fails does not keep the others waiting.
    async fn remove_owed(&self) {
        for Removal { selection, again } in self.owed.due() {
            if self.is_left_out() {
                return;
            }
            let removed = match again {
                None => self.survey("remove", self.remove_first(&selection)).await,
                Some(_) => self.survey("remove", self.remove_again(&selection)).await,
            };
            match (removed, again) {
                (Err(_), _) => {}
                (Ok(_), Some(_)) => self.owed.settle_again(&selection),
                (Ok(_), None) => {
                    self.done(&selection);
                    tracing::info!(
                        tier = self.name().label(),
                        "a cache tier has removed what it still had to"
                    );
                }
            }
        }
    }

    /// Whether it may have something under `keys` that was to be removed.
    pub fn still_has_removed(&self, keys: &[CacheKey], label: &Label) -> bool {
        let may_be = |removal: &Removal| {
            let may_mean = |key| removal.selection.may_mean(Some(key), label);
            removal.again.is_none() && keys.iter().any(may_mean)
        };
        self.owed.any.load(Ordering::Acquire) && self.owed.lock().iter().any(may_be)
    }

    /// What the notices say that have come since the last look, but for those that are one's own.
    async fn hear(&self) -> Vec<Selection> {
        let Some(board) = self.tier.board().filter(|_| !self.is_left_out()) else { return Vec::new() };
        let mut heard = self.heard.lock().await;
        let Ok(notices) = self.time("notices", READING, board.read(&heard.last)).await else {
            return Vec::new();
        };
        let is_first = heard.last.is_empty();
        let was_deaf = heard.at.is_some_and(|at| at.elapsed() > KEPT) || notices.len() >= MOST_NOTICES;
        heard.at = Some(Instant::now());
        if let Some((name, _)) = notices.last() {
            heard.last.clone_from(name);
        }
        if was_deaf && !is_first {
            return vec![Selection::default()];
        }
        let notices = notices.iter().map(|(_, text)| Notice::read(text));
        let of_others = notices.filter(|notice| notice.by != self.signature || notice.again);
        of_others.map(|notice| notice.selection).collect()
    }
}

impl Owed {
    fn add(&self, selection: &Selection) {
        let mut removals = self.lock();
        let undone = removals.iter().filter(|owed| owed.again.is_none()).count();
        // Those that are to be done once more pile up where a tier cannot be asked for that.
        let full = undone >= MOST || removals.len() >= 2 * MOST;
        if full {
            removals.clear();
        }
        let selection = if full { Selection::default() } else { selection.clone() };
        removals.push(Removal { selection, again: None });
        self.any.store(true, Ordering::Release);
    }

    /// Most of them have been done, and wait to be done once more.
    fn is_crowded(&self) -> bool {
        self.lock().iter().filter(|owed| owed.again.is_some()).count() >= MOST
    }

    /// It has been done, and is to be done `again`, or never.
    fn settle(&self, selection: &Selection, again: Option<Instant>) {
        let mut removals = self.lock();
        let is_it = |owed: &Removal| owed.again.is_none() && owed.selection == *selection;
        if let Some(at) = removals.iter().position(is_it) {
            removals.swap_remove(at);
            removals.extend(again.map(|at| Removal { selection: selection.clone(), again: Some(at) }));
        }
        let any = removals.iter().any(|owed| owed.again.is_none());
        self.any.store(any, Ordering::Release);
    }

    fn settle_again(&self, selection: &Selection) {
        let mut removals = self.lock();
        let is_it = |owed: &Removal| owed.again.is_some() && owed.selection == *selection;
        if let Some(at) = removals.iter().position(is_it) {
            removals.swap_remove(at);
        }
    }

    /// What is to be done by now.
    fn due(&self) -> Vec<Removal> {
        let now = Instant::now();
        self.lock().iter().filter(|owed| owed.again.is_none_or(|at| at <= now)).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Removal>> {
        self.removals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
