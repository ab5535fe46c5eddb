//! What answers come to that took the same of the same: settled once, as long as no price changes between them.

use super::bill::{Matter, Settlement};
use super::prices::Prices;
use super::spool::AnswerEntry;
use crate::domain::{CacheOutcome, Ended, Observed};
use hashbrown::HashMap;
use std::ops::Range;
use std::time::SystemTime;

/// Those of one batch.
pub(super) struct Settlements<'a> {
    prices: &'a Prices,
    /// In which nothing that is known changes.
    steady: Range<SystemTime>,
    known: HashMap<Alike, Settlement>,
}

/// Answers that are settled alike.
#[derive(PartialEq, Eq, Hash)]
struct Alike {
    /// A number within the batch.
    subject: usize,
    cache: CacheOutcome,
    is_complete: bool,
    observed: Option<Observed>,
}

impl<'a> Settlements<'a> {
    pub fn new(prices: &'a Prices) -> Self {
        Settlements { prices, steady: SystemTime::UNIX_EPOCH..SystemTime::UNIX_EPOCH, known: HashMap::new() }
    }

    /// What `answer` comes to, which asked for what `matter` says: the batch's `subject`.
    pub fn of(&mut self, answer: &AnswerEntry<'_>, subject: usize, matter: Matter<'_>) -> &Settlement {
        if !self.steady.contains(&matter.at) {
            self.steady = self.prices.steady(matter.at);
            self.known.clear();
        }
        let AnswerEntry { cache, ending, observed, .. } = *answer;
        let is_complete = ending == Ended::Complete;
        let settle = || self.prices.answer(matter, cache, is_complete, observed.as_ref());
        self.known.entry(Alike { subject, cache, is_complete, observed }).or_insert_with(settle)
    }
}
