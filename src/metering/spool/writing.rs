//! Writing entries: into the current file, or into the next where that is full.

use super::code::Tag;
use super::recurring::{Kin, Recurring};
use super::tally::WORD;
use super::{Spool, Symbol, Told, Turn, entry, segment};
use crate::domain::{Consumer, Trip};
use crate::metering::config::Sync;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Spool {
    /// Writes down a trip.
    pub fn trip(&self, trip: &Trip) {
        let subject = self.symbols.subject(trip.route, Some(&trip.call));
        let account = self.symbols.account(&trip.payer.consumer, self.number);
        let entry = entry::trip(trip, &account, &subject);
        self.put([&account, &subject], entry.bytes());
    }

    /// Writes down how `consumer`'s request for `subject` was answered.
    pub fn answer(&self, told: &Told<'_>, consumer: &Arc<Consumer>, subject: &Symbol) {
        let account = self.symbols.account(consumer, self.number);
        self.put([&account, subject], entry::answer(told, &account, subject).bytes());
    }

    /// Writes down one more hit of its second like others before. It took less than
    /// [`LONGEST_TALLIED`](super::LONGEST_TALLIED), and has nothing but its figures to be told apart by, which are
    /// always the same of one `answer`.
    pub fn hit(&self, told: &Told<'_>, consumer: &Arc<Consumer>, answer: &Recurring) {
        if self.sync == Sync::Each {
            return self.answer(told, consumer, &answer.subject);
        }
        let turn = self.current.load();
        let turn = turn.as_ref();
        let kin = Kin { answer, consumer, second: told.request.second() };
        let add = |(turn, begins): &(&Arc<Turn>, u64)| turn.segment.add(*begins, told.total);
        if turn.and_then(|turn| Some((turn, kin.place(turn.number)?))).is_some_and(|noted| add(&noted)) {
            return;
        }
        let account = self.symbols.account(consumer, self.number);
        let entry = entry::hits(told, &account, &answer.subject);
        let alike = &entry.bytes()[WORD.end..];
        let find =
            |turn: &Turn| turn.tallies.find(alike).filter(|begins| turn.segment.counts(*begins, alike));
        match turn.and_then(|turn| Some((turn, find(turn)?))).filter(add) {
            Some((turn, begins)) => kin.note(turn.number, begins),
            None => self.put([&account, &answer.subject], entry.bytes()),
        }
    }

    fn put(&self, symbols: [&Symbol; 2], body: &[u8]) {
        loop {
            let turn = self.current.load();
            if turn.as_ref().is_some_and(|turn| self.append(turn, symbols, body)) {
                return;
            }
            let full = turn.as_ref().map_or(0, |turn| turn.number);
            drop(turn);
            if self.turn_over(full).is_err() {
                self.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Whether there was room for it.
    fn append(&self, turn: &Turn, symbols: [&Symbol; 2], body: &[u8]) -> bool {
        let [one, other] = symbols;
        let new = |symbol: &Symbol| symbol.said.load(Ordering::Acquire) != turn.number;
        let put = match (new(one), new(other)) {
            (false, false) => turn.segment.append(&[body]),
            (true, false) => turn.segment.append(&[&one.meaning, body]),
            (false, true) => turn.segment.append(&[&other.meaning, body]),
            (true, true) => turn.segment.append(&[&one.meaning, &other.meaning, body]),
        };
        if let Ok(end) = put {
            if body[0] == Tag::Hits as u8 {
                turn.tallies.note(&body[WORD.end..], end - segment::room(body.len()));
            }
            symbols.iter().for_each(|symbol| symbol.said.store(turn.number, Ordering::Release));
            if self.sync == Sync::Each {
                self.heed(turn.segment.sync());
            }
        }
        put.is_ok()
    }
}
