//! Answers that are given again and again: their hits are alike, but for who asks and when.

use super::Symbol;
use crate::domain::Consumer;
use arc_swap::ArcSwapOption;
use std::sync::Arc;

/// What the hits on one remembered answer have in common, besides the figures of that.
#[derive(Debug)]
pub struct Recurring {
    pub subject: Arc<Symbol>,
    /// Where some of them were counted last.
    last: ArcSwapOption<Place>,
}

/// Hits on it of one consumer's, in one second.
#[derive(Clone, Copy)]
pub(super) struct Kin<'a> {
    pub answer: &'a Recurring,
    pub consumer: &'a Arc<Consumer>,
    pub second: u64,
}

/// Where the tally of some begins.
#[derive(Debug)]
struct Place {
    /// Kept, so that no other can have its address.
    consumer: Arc<Consumer>,
    second: u64,
    /// In which segment, by its number in this process.
    turn: u64,
    begins: u64,
}

impl Recurring {
    pub fn new(subject: Arc<Symbol>) -> Self {
        Recurring { subject, last: ArcSwapOption::empty() }
    }
}

impl Kin<'_> {
    /// Where their tally begins in the segment of that number, if it is theirs that is noted.
    pub fn place(&self, turn: u64) -> Option<u64> {
        let last = self.answer.last.load();
        last.as_ref()
            .filter(|place| self.is_now(place, turn) && self.is_theirs(place))
            .map(|place| place.begins)
    }

    /// Their tally begins there. Who is the first in a second stays noted for it: consumers who take turns do not
    /// displace each other at each hit.
    pub fn note(&self, turn: u64, begins: u64) {
        let Kin { answer, consumer, second } = *self;
        let is_others = |place: &Arc<Place>| self.is_now(place, turn) && !self.is_theirs(place);
        if !answer.last.load().as_ref().is_some_and(is_others) {
            let place = Place { consumer: consumer.clone(), second, turn, begins };
            answer.last.store(Some(Arc::new(place)));
        }
    }

    fn is_now(&self, place: &Place, turn: u64) -> bool {
        place.second == self.second && place.turn == turn
    }

    fn is_theirs(&self, place: &Place) -> bool {
        Arc::ptr_eq(&place.consumer, self.consumer)
    }
}
