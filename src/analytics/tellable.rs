//! What the sums that are left can tell of a stretch of time: all of it, a little more where it ends between them, or
//! less where they have gone.

use super::reports::Question;
use super::time::{DAY, Grain, HOUR, MINUTE, Stay, Zone};
use crate::store::ledger::{Gone, Kept, Period, Stretch};
use serde::Serialize;

/// A question, as far as there is an answer to it.
#[derive(Debug, Clone)]
pub struct Tellable {
    /// About the time that is told of.
    pub(super) question: Question,
    pub(super) stretches: Vec<Stretch>,
    asked: Stay,
}

/// From a moment until another, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Span {
    from: String,
    until: String,
}

impl Tellable {
    pub(super) fn of(question: Question, kept: &Kept) -> Self {
        let asked = question.stay;
        let stay = question.zone.tellable(asked, question.grain, &kept.gone);
        let filled = kept.extent.and_then(|(from, until)| stay.within(Stay { from, until }));
        let stretches = filled.map_or_else(Vec::new, |stay| question.zone.stretches(stay, question.grain));
        Tellable { question: Question { stay, ..question }, stretches, asked }
    }

    /// Whether the sums that make it up are still there.
    pub(super) fn is_there(&self, kept: &Kept) -> bool {
        let Question { stay, zone, grain, .. } = &self.question;
        zone.tellable(self.asked, *grain, &kept.gone) == *stay
    }

    /// The time that was asked for, where another one is told of.
    pub(super) fn asked(&self) -> Option<Stay> {
        Some(self.asked).filter(|asked| *asked != self.question.stay)
    }

    /// The time that is told of, where it is not the one that was asked for.
    pub fn other(&self) -> Option<Span> {
        self.asked().map(|_| Span::of(self.question.stay))
    }
}

impl Span {
    pub(super) fn of(stay: Stay) -> Self {
        Span { from: Stay::show(stay.from), until: Stay::show(stay.until) }
    }

    /// In the form of ISO 8601.
    pub fn interval(&self) -> String {
        format!("{}/{}", self.from, self.until)
    }
}

impl Zone {
    /// What of `stay` can be told in lines of this grain. Its ends move apart to where periods begin and end whose sums
    /// are there; what can be no whole line any more is left out.
    fn tellable(&self, stay: Stay, grain: Option<Grain>, gone: &Gone) -> Stay {
        let steps = [MINUTE, HOUR, DAY];
        let earlier = steps.map(|step| stay.from.div_euclid(step) * step);
        let later = steps.map(|step| up(stay.until, step));
        let Some(until) = later.into_iter().find(|second| is_told(*second, gone)) else {
            return Stay { from: stay.until, until: stay.until };
        };
        let from = earlier.into_iter().find(|second| is_told(*second, gone));
        let from = from.unwrap_or_else(|| up(gone.before(Period::Day), DAY));
        let from = self.first_line(Stay { from, until }, grain, gone);
        Stay { from: from.min(until), until }
    }

    /// From when on each line of `stay` begins where periods do whose sums are there.
    fn first_line(&self, stay: Stay, grain: Option<Grain>, gone: &Gone) -> i64 {
        let (minute, hour) = (gone.before(Period::Minute), gone.before(Period::Hour));
        match grain {
            None => stay.from,
            Some(Grain::Hour) => {
                let kept = if self.keeps_whole_hours(hour, minute) { hour } else { minute };
                let first = kept + (-kept - self.offset(kept)).rem_euclid(HOUR);
                if stay.from < kept { first } else { stay.from }
            }
            Some(grain) => {
                let lines = self.days(stay, grain).take_while(|(start, _)| *start < minute + DAY);
                let cut = lines.filter(|(start, _)| *start > stay.from && !is_told(*start, gone));
                cut.last().map_or(stay.from, |(_, line)| line.until)
            }
        }
    }
}

/// Whether what is before and what is behind a moment can be told apart: the largest periods that meet there, and those
/// that lead from there to the next larger ones, have to be there.
fn is_told(second: i64, gone: &Gone) -> bool {
    let is_there = |period: Period, within: i64| second.div_euclid(within) * within >= gone.before(period);
    match second {
        day if day % DAY == 0 => is_there(Period::Day, DAY),
        hour if hour % HOUR == 0 => is_there(Period::Hour, DAY),
        _ => is_there(Period::Minute, HOUR) && is_there(Period::Hour, DAY),
    }
}

/// The next whole `step`, where it is none.
fn up(second: i64, step: i64) -> i64 {
    second.saturating_add(step - 1).div_euclid(step) * step
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ledger::Piece;
    use proptest::prelude::*;

    /// In October.
    const FIRST: i64 = 20_000 * DAY;
    /// Nothing has gone.
    const NEVER: i64 = -99 * DAY;

    fn told(zone: &str, grain: Option<Grain>, asked: (i64, i64), gone: [i64; 3]) -> (i64, i64) {
        let (from, until) = (FIRST + asked.0, FIRST + asked.1);
        let gone = Gone::new(gone.map(|before| FIRST + before));
        let Stay { from, until } = Zone::named(zone).unwrap().tellable(Stay { from, until }, grain, &gone);
        (from - FIRST, until - FIRST)
    }

    #[test]
    fn ends_move_to_where_sums_are() {
        let asked = (3_000, 2 * DAY + 5_040);
        assert_eq!(told("UTC", None, asked, [NEVER; 3]), asked);
        assert_eq!(told("UTC", None, asked, [9 * DAY, 0, 0]), (0, 2 * DAY + 2 * HOUR), "whole hours");
        assert_eq!(told("UTC", None, asked, [9 * DAY, 9 * DAY, 0]), (0, 3 * DAY), "whole days");
        assert_eq!(told("UTC", None, asked, [2 * DAY, 0, 0]), (0, asked.1), "as little as needs be");
        assert_eq!(told("UTC", None, asked, [0, 0, DAY]), (DAY, asked.1), "nothing is left of the first day");
        assert_eq!(told("UTC", None, asked, [0, 0, 9 * DAY]), (asked.1, asked.1), "nor of anything else");
    }

    #[test]
    fn lines_are_whole_or_not_told() {
        let berlin = (-HOUR, 5 * DAY - HOUR);
        assert_eq!(told("Europe/Berlin", Some(Grain::Day), berlin, [9 * DAY, NEVER, NEVER]), berlin);
        let gone = [9 * DAY, 2 * DAY + 1, NEVER];
        let day = told("Europe/Berlin", Some(Grain::Day), berlin, gone);
        assert_eq!(day, (4 * DAY - 2 * HOUR, berlin.1), "hours tell where days begin");
        assert_eq!(
            told("Europe/Berlin", None, berlin, gone),
            (-DAY, berlin.1),
            "one line needs no such thing"
        );
        assert_eq!(told("UTC", Some(Grain::Hour), (0, 5 * DAY), gone), (2 * DAY + HOUR, 5 * DAY));
        let gone = [2 * DAY, NEVER, NEVER];
        let kolkata = (DAY - 5 * HOUR - 1_800, 5 * DAY - 5 * HOUR - 1_800);
        assert_eq!(told("Asia/Kolkata", Some(Grain::Day), kolkata, gone).0, 3 * DAY - 5 * HOUR - 1_800);
        assert_eq!(told("Asia/Kolkata", Some(Grain::Hour), kolkata, gone).0, 2 * DAY + 1_800);
    }

    #[test]
    fn the_rest_of_a_first_day_needs_no_minutes_that_have_gone() {
        let (zone, day) = (Zone::named("Asia/Kolkata").unwrap(), Some(Grain::Day));
        let gone = Gone::new([FIRST + 2 * HOUR, NEVER, NEVER]);
        let stay = zone.tellable(Stay { from: FIRST, until: FIRST + 3 * DAY }, day, &gone);
        assert_eq!(stay.from, FIRST, "hours tell of it");
        let pieces = zone.stretches(stay, day).into_iter().flat_map(|stretch| stretch.pieces);
        let early = pieces.filter(|piece| piece.from < gone.before(Period::Minute));
        assert!(early.map(|piece| piece.period).eq([Period::Hour]));
    }

    proptest! {
        /// No sum that has gone is needed for what can be told, and no line is of less than it says.
        #[test]
        fn what_is_told_is_there(
            name in prop::sample::select(vec!["UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"]),
            grain in prop::sample::select(vec![None, Some(Grain::Hour), Some(Grain::Day), Some(Grain::Week),
                                               Some(Grain::Month)]),
            from in 600_000_000_i64..1_900_000_000, minutes in 1..90_000_i64,
            befores in prop::array::uniform3(-10 * DAY..80 * DAY),
        ) {
            // Finer sums go first: the settings see to that.
            let mut befores = befores;
            befores.sort_unstable_by_key(|before| std::cmp::Reverse(*before));
            let zone = Zone::named(name).unwrap();
            let asked = Stay::new(from, from + minutes * 60).unwrap();
            let gone = Gone::new(befores.map(|before| from + before));
            let stay = zone.tellable(asked, grain, &gone);
            prop_assert!(stay.from <= stay.until && asked.until <= stay.until && stay.until < asked.until + DAY);
            prop_assert!(asked.from - DAY < stay.from);
            let is_cut = stay.from > asked.from;
            if is_cut && stay.from < stay.until && let Some(grain) = grain {
                let starts: Vec<i64> = zone.days(stay, grain).map(|(start, _)| start).collect();
                prop_assert!(grain == Grain::Hour || stay.from % DAY == 0 || starts[0] == stay.from);
            }
            if stay.from == stay.until {
                return Ok(());
            }
            for Stretch { pieces, cut } in zone.stretches(stay, grain) {
                for Piece { period, from, .. } in pieces {
                    prop_assert!(from >= gone.before(period), "{period:?} {from} {cut:?}");
                }
            }
        }
    }
}
