//! What was removed stays removed: whoever set out before a removal keeps nothing afterwards that was meant by
//! it, however late he comes back.

use super::{CacheKey, Label, Selection};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

/// Removals that are remembered. Whoever set out before all of them keeps nothing.
const MOST: usize = 1024;

/// The time between two removals. Read where a road begins: before anything is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Era(u64);

/// All removals, numbered.
#[derive(Default)]
pub struct Eras {
    now: AtomicU64,
    removals: RwLock<Removals>,
}

#[derive(Default)]
struct Removals {
    /// Meanwhile nothing is kept that is meant.
    under_way: Vec<Selection>,
    /// Each with the era that began at its end, oldest first.
    done: VecDeque<(u64, Selection)>,
    /// When the first of them began that are not remembered any more.
    forgotten: u64,
}

/// A removal under way; a new era begins when it is dropped.
#[must_use]
pub struct UnderWay<'a> {
    eras: &'a Eras,
    selection: &'a Selection,
}

// === impl Eras ===

impl Eras {
    /// The era that it is.
    pub fn now(&self) -> Era {
        Era(self.now.load(Ordering::Acquire))
    }

    /// Puts away what belongs under `key`, unless it was removed since `era`; `key` is `None` where it was made
    /// of what stands under several. No removal begins while `put` runs: either it is put away before, and
    /// removed, or not at all.
    pub fn during<T>(
        &self,
        key: Option<&CacheKey>,
        label: &Label,
        era: Era,
        put: impl FnOnce() -> T,
    ) -> Option<T> {
        let removals = self.removals.read().unwrap_or_else(PoisonError::into_inner);
        (!removals.forbid(key, label, era)).then(put)
    }

    /// A removal begins.
    pub fn begin<'a>(&'a self, selection: &'a Selection) -> UnderWay<'a> {
        self.write().under_way.push(selection.clone());
        UnderWay { eras: self, selection }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Removals> {
        self.removals.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Removals {
    fn forbid(&self, key: Option<&CacheKey>, label: &Label, Era(era): Era) -> bool {
        let is_meant = |selection: &Selection| selection.may_mean(key, label);
        let later = self.done.iter().rev().take_while(|(ended, _)| *ended > era);
        era < self.forgotten
            || self.under_way.iter().any(is_meant)
            || later.map(|(_, selection)| selection).any(is_meant)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut removals = self.eras.write();
        if let Some(at) = removals.under_way.iter().position(|selection| selection == self.selection) {
            removals.under_way.swap_remove(at);
        }
        let era = self.eras.now.load(Ordering::Relaxed) + 1;
        if removals.done.len() >= MOST
            && let Some((ended, _)) = removals.done.pop_front()
        {
            removals.forgotten = ended;
        }
        removals.done.push_back((era, self.selection.clone()));
        self.eras.now.store(era, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Prefix, samples};
    use super::*;
    use crate::domain::Operation;

    const KEY: CacheKey = CacheKey([1; 32]);

    fn chats(model: &str) -> Label {
        samples::label(Operation::Chat, model, "lab")
    }

    fn of_model(model: &str) -> Selection {
        Selection { model: Some(model.into()), ..Selection::default() }
    }

    #[test]
    fn who_set_out_before_a_removal_keeps_nothing_that_was_meant() {
        let eras = Eras::default();
        let keeps = |label: &Label, era| eras.during(Some(&KEY), label, era, || ()).is_some();
        let before = eras.now();
        assert!(keeps(&chats("m"), before));
        let selection = of_model("m");
        let removal = eras.begin(&selection);
        let meanwhile = eras.now();
        assert!(!keeps(&chats("m"), before) && !keeps(&chats("m"), meanwhile));
        assert!(keeps(&chats("n"), before), "it was not meant");
        drop(removal);
        assert!(!keeps(&chats("m"), before) && !keeps(&chats("m"), meanwhile), "for ever");
        assert!(keeps(&chats("n"), before) && keeps(&chats("m"), eras.now()));
    }

    #[test]
    fn what_was_made_of_several_is_meant_with_any_of_them() {
        let eras = Eras::default();
        let before = eras.now();
        drop(eras.begin(&Selection { key: Some(CacheKey([2; 32])), ..Selection::default() }));
        assert!(eras.during(Some(&KEY), &chats("m"), before, || ()).is_some());
        assert!(eras.during(None, &chats("m"), before, || ()).is_none());
    }

    #[test]
    fn who_set_out_before_all_that_is_remembered_keeps_nothing() {
        let eras = Eras::default();
        let before = eras.now();
        let other = Selection { prefix: Some(Prefix::Embedding), ..Selection::default() };
        for _ in 0..MOST {
            drop(eras.begin(&other));
        }
        assert!(eras.during(Some(&KEY), &chats("m"), before, || ()).is_some());
        let then = eras.now();
        drop(eras.begin(&other));
        assert!(eras.during(Some(&KEY), &chats("m"), before, || ()).is_none());
        assert!(eras.during(Some(&KEY), &chats("m"), then, || ()).is_some());
    }
}
