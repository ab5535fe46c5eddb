//! Hours, days, weeks and months as an operator means them: those of a time zone, whatever happens to its clocks.

use crate::store::ledger::{Cut, Period, Piece, Stretch};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, ToSpan};
use std::borrow::Cow;

/// Where days begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone(TimeZone);

/// From a moment until before another, both on a whole minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay {
    /// Seconds since 1970.
    pub from: i64,
    pub until: i64,
}

/// How time is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    Hour,
    Day,
    Week,
    Month,
}

pub(super) const HOUR: i64 = 3_600;
pub(super) const DAY: i64 = 86_400;
pub(super) const MINUTE: i64 = 60;
/// Days whose lines are asked for at once.
const DAYS_AT_ONCE: i64 = 31;
/// The first second of the year 9999: no day is told of beyond it.
const LAST: i64 = 253_370_764_800;

impl Grain {
    pub const ALL: [Grain; 4] = [Grain::Hour, Grain::Day, Grain::Week, Grain::Month];

    pub fn name(self) -> &'static str {
        match self {
            Grain::Hour => "hour",
            Grain::Day => "day",
            Grain::Week => "week",
            Grain::Month => "month",
        }
    }

    /// The first day of the one in which `date` is.
    fn first(self, date: Date) -> Option<Date> {
        match self {
            Grain::Hour | Grain::Day => Some(date),
            Grain::Week => date.checked_sub(i64::from(date.weekday().to_monday_zero_offset()).days()).ok(),
            Grain::Month => Some(date.first_of_month()),
        }
    }

    fn span(self) -> Span {
        match self {
            Grain::Hour | Grain::Day => 1.day(),
            Grain::Week => 1.week(),
            Grain::Month => 1.month(),
        }
    }
}

impl Default for Zone {
    fn default() -> Self {
        Zone(TimeZone::UTC)
    }
}

impl Zone {
    /// `None` where nobody knows a zone of this name. The empty name is the system's own.
    pub fn named(name: &str) -> Option<Zone> {
        match name {
            "" => Some(Zone(TimeZone::system())),
            "UTC" => Some(Zone(TimeZone::UTC)),
            name => TimeZone::get(name).ok().map(Zone),
        }
    }

    /// As `zone` takes it; of a system whose zone has no name, how far it is from UTC, or that nobody can say.
    pub fn name(&self) -> Cow<'_, str> {
        match (self.0.iana_name(), self.0.to_fixed_offset()) {
            (Some(name), _) => name.into(),
            (None, Ok(offset)) => offset.to_string().into(),
            (None, Err(_)) => "the system's".into(),
        }
    }

    /// A stretch that has a name, as it is at `now`.
    pub fn stay(&self, name: &str, now: i64) -> Option<Stay> {
        let today = self.date(now)?;
        let (last, name) = match name.strip_prefix("last-") {
            Some(name) => (true, name),
            None => (false, name),
        };
        let month = today.first_of_month();
        let (first, span) = match name {
            "today" if !last => (today, 1.day()),
            "yesterday" if !last => (today.yesterday().ok()?, 1.day()),
            "day" => (today, 1.day()),
            "week" => (Grain::Week.first(today)?, 1.week()),
            "month" => (month, 1.month()),
            "quarter" => (month.checked_sub(i64::from((month.month() - 1) % 3).months()).ok()?, 3.months()),
            "year" => (month.first_of_year(), 1.year()),
            _ => return None,
        };
        let first = if last { first.checked_sub(span).ok()? } else { first };
        let until = first.checked_add(span).ok()?;
        Some(Stay { from: self.begin(first)?, until: self.begin(until)? })
    }

    /// A day (its begin, or its end where it `ends` something), a moment, or how long ago that is.
    pub fn moment(&self, text: &str, now: i64, ends: bool) -> Option<i64> {
        if let Ok(away) = humantime::parse_duration(text) {
            return Some(now.saturating_sub(i64::try_from(away.as_secs()).ok()?));
        }
        if text.len() == "2026-01-31".len() {
            let date: Date = text.parse().ok()?;
            return self.begin(if ends { date.tomorrow().ok()? } else { date });
        }
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Some(moment.as_second());
        }
        let local: DateTime = text.parse().ok()?;
        Some(local.to_zoned(self.0.clone()).ok()?.timestamp().as_second())
    }

    /// What a line is of that begins at `start`.
    pub fn label(&self, grain: Grain, start: i64) -> String {
        let form = match grain {
            Grain::Hour => "%Y-%m-%dT%H:%M%:z",
            Grain::Day => "%Y-%m-%d",
            Grain::Week => "%G-W%V",
            Grain::Month => "%Y-%m",
        };
        self.show(start, form)
    }

    /// The moment, in the form of `strftime`.
    pub fn show(&self, second: i64, form: &str) -> String {
        let zoned = Timestamp::from_second(second).map(|moment| moment.to_zoned(self.0.clone()));
        zoned.map_or_else(|_| second.to_string(), |zoned| zoned.strftime(form).to_string())
    }

    /// The stretches that `stay` consists of when it is cut, in their order; nothing that is told apart is in two of
    /// them. Each is made up of the largest periods that fit.
    pub fn stretches(&self, stay: Stay, grain: Option<Grain>) -> Vec<Stretch> {
        let Stay { from, until } = stay;
        match grain {
            None => vec![whole(stay, from)],
            Some(Grain::Hour) => self.days(stay, Grain::Day).flat_map(|(_, day)| self.hours(day)).collect(),
            Some(Grain::Day) => self.runs(stay),
            Some(grain @ (Grain::Week | Grain::Month)) => {
                self.days(Stay { from, until }, grain).map(|(start, part)| whole(part, start)).collect()
            }
        }
    }

    /// The days, weeks or months of `stay`: when each begins, and what of it is in there.
    pub(super) fn days(&self, stay: Stay, grain: Grain) -> impl Iterator<Item = (i64, Stay)> {
        let first = self.date(stay.from).and_then(|date| grain.first(date));
        let dates = std::iter::successors(first, move |date| date.checked_add(grain.span()).ok());
        let bounds = dates.map_while(move |date| {
            Some((self.begin(date)?, self.begin(date.checked_add(grain.span()).ok()?)?))
        });
        bounds
            .take_while(move |(start, _)| *start < stay.until)
            .map(move |(start, end)| (start, Stay { from: start.max(stay.from), until: end.min(stay.until) }))
    }

    /// Hours between which the clocks were changed are told apart.
    fn hours(&self, day: Stay) -> Vec<Stretch> {
        let mut stretches = Vec::new();
        let mut from = day.from;
        while from < day.until {
            let until = self.next_change(from).min(day.until);
            let cut = Cut::Each { seconds: HOUR, offset: self.offset(from) };
            stretches.push(stretch(Stay { from, until }, cut));
            from = until;
        }
        stretches
    }

    /// Days: many at once, where all begin at the same hour of UTC.
    fn runs(&self, stay: Stay) -> Vec<Stretch> {
        let mut stretches = Vec::new();
        let mut run: Option<Stay> = None;
        let ended = |run: Option<Stay>| {
            run.map(|run| stretch(run, Cut::Each { seconds: DAY, offset: self.offset(run.from) }))
        };
        for (start, day) in self.days(stay, Grain::Day) {
            // There are days that begin at one o'clock.
            let begins_at_midnight = (start + self.offset(start)).rem_euclid(DAY) == 0;
            // What is left of a day is summed up of the largest periods: of a run's smaller ones, some may have gone.
            let is_cut = day.from != start;
            let is_even = begins_at_midnight
                && !is_cut
                && self.next_change(start) >= day.until
                && day.until - start <= DAY;
            let goes_on = run.is_some_and(|run| {
                is_even
                    && self.offset(run.from) == self.offset(start)
                    && day.until - run.from <= DAYS_AT_ONCE * DAY
            });
            match &mut run {
                Some(run) if goes_on => run.until = day.until,
                run => {
                    stretches.extend(ended(run.take()));
                    match is_even {
                        true => *run = Some(day),
                        false => stretches.push(whole(day, start)),
                    }
                }
            }
        }
        stretches.extend(ended(run));
        stretches
    }

    /// Whether clocks show whole hours when UTC does, all of that time.
    pub fn keeps_whole_hours(&self, from: i64, until: i64) -> bool {
        let changes = std::iter::successors(Some(from), |second| Some(self.next_change(*second)));
        changes
            .take_while(|second| *second == from || *second < until)
            .all(|second| self.offset(second) % HOUR == 0)
    }

    /// When clocks are changed next; far away where they are not.
    fn next_change(&self, second: i64) -> i64 {
        let Ok(moment) = Timestamp::from_second(second) else { return LAST };
        self.0.following(moment).next().map_or(LAST, |change| change.timestamp().as_second())
    }

    pub(super) fn offset(&self, second: i64) -> i64 {
        Timestamp::from_second(second).map_or(0, |moment| self.0.to_offset(moment).seconds().into())
    }

    fn date(&self, second: i64) -> Option<Date> {
        let moment = Timestamp::from_second(second).ok()?;
        Some(moment.to_zoned(self.0.clone()).date())
    }

    fn begin(&self, date: Date) -> Option<i64> {
        Some(date.to_zoned(self.0.clone()).ok()?.timestamp().as_second())
    }
}

impl Stay {
    /// Widened to whole minutes: nothing finer is kept. `None` where nothing can be in it.
    pub fn new(from: i64, until: i64) -> Option<Stay> {
        let from = from.clamp(0, LAST).div_euclid(MINUTE) * MINUTE;
        let until = until.clamp(0, LAST).saturating_add(MINUTE - 1).div_euclid(MINUTE) * MINUTE;
        (from < until).then_some(Stay { from, until })
    }

    /// The last so many days, in whole hours: sums by the hour are kept for longest.
    pub fn last(days: i64, now: i64) -> Stay {
        let until = (now.div_euclid(HOUR) + 1) * HOUR;
        let from = now.saturating_sub(days.saturating_mul(DAY)).clamp(0, now).div_euclid(HOUR) * HOUR;
        Stay { from, until }
    }

    /// What of it is within another.
    pub fn within(self, other: Stay) -> Option<Stay> {
        let (from, until) = (self.from.max(other.from), self.until.min(other.until));
        (from < until).then_some(Stay { from, until })
    }

    /// As a moment for programs.
    pub fn show(second: i64) -> String {
        let moment = Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_secs(second));
        moment.map_or_else(|_| second.to_string(), |moment| moment.to_string())
    }
}

fn whole(stay: Stay, start: i64) -> Stretch {
    stretch(stay, Cut::Whole { start })
}

fn stretch(stay: Stay, cut: Cut) -> Stretch {
    let fits = |period: &Period| match cut {
        Cut::Whole { .. } => true,
        Cut::Each { seconds, offset } => period.seconds() <= seconds && offset % period.seconds() == 0,
    };
    let mut periods: Vec<Period> = Period::ALL.into_iter().filter(fits).collect();
    periods.reverse();
    let mut pieces = Vec::new();
    cover(stay, &periods, &mut pieces);
    Stretch { pieces, cut }
}

/// The largest periods in the middle, smaller ones at the edges.
fn cover(stay: Stay, periods: &[Period], pieces: &mut Vec<Piece>) {
    let Some((period, smaller)) = periods.split_first() else { return };
    if stay.from >= stay.until {
        return;
    }
    let seconds = period.seconds();
    let from = stay.from.saturating_add(seconds - 1).div_euclid(seconds) * seconds;
    let until = stay.until.div_euclid(seconds) * seconds;
    if from >= until {
        return cover(stay, smaller, pieces);
    }
    cover(Stay { until: from, ..stay }, smaller, pieces);
    pieces.push(Piece { period: *period, from, until });
    cover(Stay { from: until, ..stay }, smaller, pieces);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zone(name: &str) -> Zone {
        Zone::named(name).unwrap()
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn stays_have_names() {
        let zone = zone("Europe/Berlin");
        // A Sunday, in the last hour of November there.
        let now = at("2026-11-29T22:30:00Z");
        for (name, from, until) in [
            ("today", "2026-11-28T23:00:00Z", "2026-11-29T23:00:00Z"),
            ("yesterday", "2026-11-27T23:00:00Z", "2026-11-28T23:00:00Z"),
            ("week", "2026-11-22T23:00:00Z", "2026-11-29T23:00:00Z"),
            ("month", "2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z"),
            ("last-month", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"),
            ("quarter", "2026-09-30T22:00:00Z", "2026-12-31T23:00:00Z"),
            ("last-quarter", "2026-06-30T22:00:00Z", "2026-09-30T22:00:00Z"),
            ("year", "2025-12-31T23:00:00Z", "2026-12-31T23:00:00Z"),
        ] {
            assert_eq!(zone.stay(name, now), Some(Stay { from: at(from), until: at(until) }), "{name}");
        }
        for name in ["", "last-", "last-today", "fortnight"] {
            assert_eq!(zone.stay(name, now), None, "{name}");
        }
    }

    #[test]
    fn moments_are_written_in_many_ways() {
        let (zone, now) = (zone("Europe/Berlin"), at("2026-11-29T12:00:00Z"));
        let read = |text: &str, ends: bool| zone.moment(text, now, ends);
        assert_eq!(read("2026-11-01", false), Some(at("2026-10-31T23:00:00Z")));
        assert_eq!(read("2026-11-01", true), Some(at("2026-11-01T23:00:00Z")), "a day is over at its end");
        assert_eq!(read("2026-11-01T06:00:00Z", true), Some(at("2026-11-01T06:00:00Z")));
        assert_eq!(read("2026-11-01T06:00", false), Some(at("2026-11-01T05:00:00Z")));
        assert_eq!(read("2h", false), Some(at("2026-11-29T10:00:00Z")));
        for wrong in ["", "soon", "2026-13-01", "31.1.2027", "-1d"] {
            assert_eq!(read(wrong, false), None, "{wrong}");
        }
        assert!(Stay::new(100, 40).is_none() && Stay::new(i64::MAX, i64::MAX).is_none());
        assert_eq!(Stay::new(61, 61 + 120), Some(Stay { from: 60, until: 240 }));
    }

    #[test]
    fn zones_are_called_what_they_are() {
        assert_eq!(
            [zone("Europe/Berlin"), zone("UTC"), Zone::default()].map(|zone| zone.name().into_owned()),
            ["Europe/Berlin", "UTC", "UTC"]
        );
        let fixed = Zone(TimeZone::fixed(jiff::tz::offset(2)));
        let nameless = Zone(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap());
        assert_eq!((&*fixed.name(), &*nameless.name()), ("+02", "the system's"));
    }

    #[test]
    fn hours_are_whole_or_not_at_any_time_of_the_year() {
        let (summer, winter) = (at("2026-01-15T00:00:00Z"), at("2026-07-15T00:00:00Z"));
        let island = zone("Australia/Lord_Howe");
        assert!(island.keeps_whole_hours(summer, summer + DAY) && !island.keeps_whole_hours(winter, winter));
        assert!(!island.keeps_whole_hours(summer, winter), "clocks go back by half an hour");
        assert!(!zone("Asia/Kolkata").keeps_whole_hours(summer, winter));
        assert!(zone("Europe/Berlin").keeps_whole_hours(0, winter));
    }

    #[test]
    fn lines_are_named_as_people_name_time() {
        let zone = zone("Europe/Berlin");
        let start = at("2026-12-31T23:00:00Z");
        let labels = Grain::ALL.map(|grain| zone.label(grain, start));
        assert_eq!(labels, ["2027-01-01T00:00+01:00", "2027-01-01", "2026-W53", "2027-01"]);
    }

    #[test]
    fn a_month_of_a_zone_is_made_of_few_sums() {
        let stay = zone("Europe/Berlin").stay("month", at("2026-11-15T00:00:00Z")).unwrap();
        let [stretch] = &zone("Europe/Berlin").stretches(stay, None)[..] else { panic!() };
        let periods: Vec<Period> = stretch.pieces.iter().map(|piece| piece.period).collect();
        assert_eq!(periods, [Period::Hour, Period::Day, Period::Hour]);
        let stretches = zone("UTC").stretches(Stay { from: 0, until: 31 * DAY }, Some(Grain::Day));
        let piece = Piece { period: Period::Day, from: 0, until: 31 * DAY };
        assert_eq!(stretches, [Stretch { pieces: vec![piece], cut: Cut::Each { seconds: DAY, offset: 0 } }]);
    }

    /// What each minute of a stay is counted as.
    fn told(stretches: &[Stretch]) -> Vec<(i64, i64)> {
        let mut minutes = Vec::new();
        for Stretch { pieces, cut } in stretches {
            for Piece { period, from, until } in pieces {
                assert!(from < until && from % period.seconds() == 0 && until % period.seconds() == 0);
                for start in (*from..*until).step_by(period.seconds() as usize) {
                    let bucket = |second: i64| match cut {
                        Cut::Whole { start } => *start,
                        Cut::Each { seconds, offset } => second - (second + offset) % seconds,
                    };
                    let end = start + period.seconds();
                    assert_eq!(bucket(start), bucket(end - 1), "a sum is of two lines");
                    minutes.extend((start..end).step_by(60).map(|minute| (minute, bucket(start))));
                }
            }
        }
        minutes
    }

    proptest! {
        #[test]
        fn every_minute_is_counted_once_and_where_it_belongs(
            name in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata",
                                              "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia"]),
            grain in prop::sample::select(vec![None, Some(Grain::Hour), Some(Grain::Day), Some(Grain::Week),
                                               Some(Grain::Month)]),
            from in 600_000_000_i64..1_900_000_000, minutes in 1..70_000_i64,
        ) {
            let zone = zone(name);
            let stay = Stay::new(from, from + minutes * 60).unwrap();
            let told = told(&zone.stretches(stay, grain));
            let all: Vec<i64> = (stay.from..stay.until).step_by(60).collect();
            prop_assert_eq!(told.iter().map(|(minute, _)| *minute).collect::<Vec<_>>(), all);
            for (minute, start) in told {
                let expected = match grain {
                    None => stay.from,
                    // Where a change of clocks does not fall on an hour, two parts of one are told apart.
                    Some(Grain::Hour) => {
                        prop_assert!(minute - start < HOUR);
                        continue;
                    }
                    Some(grain) => zone.begin(grain.first(zone.date(minute).unwrap()).unwrap()).unwrap(),
                };
                prop_assert_eq!(start, expected, "{}", Stay::show(minute));
            }
        }
    }
}
