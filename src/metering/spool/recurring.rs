//! Answers that are given again and again: their hits are alike, but for who asks and when.

use super::Symbol;
use crate::domain::{Consumer, Observed};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the hits on one remembered answer have in common.
#[derive(Debug)]
pub struct Recurring {
    /// No other has it in this process.
    number: u64,
    pub subject: Arc<Symbol>,
    /// What the answer took when it was made.
    pub observed: Observed,
}

/// Hits on it of one consumer's, in one second, and in one segment, by its number in this process.
#[derive(Clone, Copy)]
pub(super) struct Kin<'a> {
    pub answer: &'a Recurring,
    pub consumer: &'a Arc<Consumer>,
    pub second: u64,
    pub turn: u64,
}

/// Where this thread has last added to the tally of some.
struct Place {
    answer: u64,
    /// Kept, so that no other can have its address.
    consumer: Arc<Consumer>,
    second: u64,
    turn: u64,
    begins: u64,
}

/// Places that a thread knows; one takes the room of another.
const NEAR: usize = 256;

static ANSWERS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static NEARBY: RefCell<Box<[Option<Place>]>> = RefCell::new((0..NEAR).map(|_| None).collect());
}

impl Recurring {
    pub fn new(subject: Arc<Symbol>, observed: Observed) -> Self {
        Recurring { number: ANSWERS.fetch_add(1, Ordering::Relaxed), subject, observed }
    }
}

impl Kin<'_> {
    /// Where their tally begins, if this thread has added to it and to no other in its room since.
    pub fn place(&self) -> Option<u64> {
        let Kin { answer, consumer, second, turn } = *self;
        NEARBY.with_borrow(|nearby| {
            let place = nearby[self.room()].as_ref()?;
            let is_it = place.answer == answer.number
                && Arc::ptr_eq(&place.consumer, consumer)
                && place.second == second
                && place.turn == turn;
            is_it.then_some(place.begins)
        })
    }

    /// Their tally begins there.
    pub fn note(&self, begins: u64) {
        let Kin { answer, consumer, second, turn } = *self;
        let place = Place { answer: answer.number, consumer: consumer.clone(), second, turn, begins };
        NEARBY.with_borrow_mut(|nearby| nearby[self.room()] = Some(place));
    }

    fn room(&self) -> usize {
        let consumer = Arc::as_ptr(self.consumer) as usize / size_of::<Consumer>();
        (self.answer.number as usize).wrapping_add(consumer) % NEAR
    }
}
