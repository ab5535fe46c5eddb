//! What stands in the spool: trips, and answers to requests.

use super::code::{Cursor, ENTRY, NUMBERS, Scratch, Tag};
use super::symbols::Symbol;
use super::tally::Tally;
use crate::domain::{
    CacheOutcome, Complaint, Durations, Ended, Ending, Kind, Observed, Record, RequestId, Source, Trip, Usage,
};
use std::time::Duration;

/// An entry, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<'a> {
    Account {
        id: u64,
        key: &'a str,
        team: &'a str,
    },
    Subject {
        id: u64,
        subject: Subject<'a>,
    },
    Trip(TripEntry<'a>),
    Answer(AnswerEntry<'a>),
    /// So many hits like this `one`, which came in the second that its id says, and took all of the tally's time.
    Hits {
        tally: Tally,
        one: AnswerEntry<'a>,
    },
}

/// What is asked, and on which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Empty where no model was asked.
    pub model: &'a str,
    pub digest: &'a str,
    pub endpoint: &'a str,
    pub dialect: &'a str,
    pub operation: &'a str,
    pub streamed: bool,
}

/// A trip upstream, for the request that began it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TripEntry<'a> {
    pub request: RequestId,
    pub account: u64,
    pub subject: u64,
    pub status: u16,
    pub total: Duration,
    pub first_token: Option<Duration>,
    pub observed: Observed,
    /// The code of what went wrong, or nothing.
    pub error: &'a str,
}

/// How a request was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerEntry<'a> {
    pub request: RequestId,
    pub account: u64,
    pub subject: u64,
    /// The same was said before, as if it had come to a clean end: it has not. With what status, and when.
    pub amends: Option<(u16, Duration)>,
    pub status: u16,
    pub ending: Ended,
    pub cache: CacheOutcome,
    pub total: Duration,
    pub first_byte: Option<Duration>,
    /// What the answer took when it was made.
    pub observed: Option<Observed>,
    /// The code of what went wrong, or nothing, and what was said of it.
    pub error: &'a str,
    pub message: &'a str,
}

/// How a request was answered, to be written.
pub struct Told<'a> {
    pub request: RequestId,
    pub status: u16,
    pub ending: Ending,
    pub cache: CacheOutcome,
    pub total: Duration,
    pub first_byte: Option<Duration>,
    pub observed: Option<&'a Observed>,
    pub message: &'a str,
    /// See [`AnswerEntry::amends`].
    pub amends: Option<(u16, Duration)>,
}

const AMENDS: u64 = 1;
const HAS_OBSERVED: u64 = 2;
const FAILED: u64 = 4;

impl<'a> Told<'a> {
    /// A remembered answer was given, which took `observed` when it was made.
    pub fn hit(request: RequestId, took: Duration, observed: Option<&'a Observed>) -> Self {
        Told {
            request,
            status: 200,
            ending: Ending::Complete,
            cache: CacheOutcome::Hit,
            total: took,
            first_byte: Some(took),
            observed,
            message: "",
            amends: None,
        }
    }

    pub fn of(record: &'a Record) -> Self {
        Told {
            request: record.id,
            status: record.status,
            ending: record.ending,
            cache: record.cache,
            total: record.total,
            first_byte: record.first_byte,
            observed: record.observed.as_ref(),
            message: record.message.as_deref().unwrap_or(""),
            amends: record.settled.map(|settled| (settled.status, settled.total)),
        }
    }
}

pub(super) fn trip(trip: &Trip, account: &Symbol, subject: &Symbol) -> Scratch<ENTRY> {
    let mut out = Scratch::default();
    out.number(Tag::Trip as u64);
    out.raw(&trip.payer.request.0);
    out.number(account.id);
    out.number(subject.id);
    out.number(trip.status.into());
    time(&mut out, Some(trip.total));
    time(&mut out, trip.first_token);
    figures(&mut out, &trip.observed);
    out.text(trip.error.map_or("", Kind::code));
    besides(&mut out, &trip.observed);
    out
}

pub(super) fn answer(told: &Told<'_>, account: &Symbol, subject: &Symbol) -> Scratch<ENTRY> {
    let (ending, error) = match told.ending {
        Ending::Complete => (Ended::Complete, ""),
        Ending::Refused(kind) => (Ended::Refused, kind.code()),
        Ending::Broken(kind) => (Ended::Broken, kind.code()),
    };
    let mut out = Scratch::default();
    out.number(Tag::Answer as u64);
    out.raw(&told.request.0);
    out.number(account.id);
    out.number(subject.id);
    let failed = told.observed.is_some_and(|observed| observed.failed);
    let flags = [(told.amends.is_some(), AMENDS), (told.observed.is_some(), HAS_OBSERVED), (failed, FAILED)];
    out.number(flags.into_iter().filter_map(|(is, flag)| is.then_some(flag)).sum());
    out.number(told.status.into());
    out.number(ending.number().into());
    out.number(told.cache.number().into());
    time(&mut out, Some(told.total));
    time(&mut out, told.first_byte);
    if let Some(observed) = told.observed {
        figures(&mut out, observed);
    }
    if let Some((status, total)) = told.amends {
        out.number(status.into());
        time(&mut out, Some(total));
    }
    if !error.is_empty() {
        out.text(error);
        out.text(told.message);
    }
    if let Some(observed) = told.observed {
        besides(&mut out, observed);
    }
    out
}

/// One hit, to which others may be added that are like it behind the tally's word.
pub(super) fn hits(told: &Told<'_>, account: &Symbol, subject: &Symbol) -> Scratch<NUMBERS> {
    let mut out = Scratch::default();
    out.raw(&(Tag::Hits as u64).to_le_bytes());
    out.raw(&Tally::first(told.total).to_ne_bytes());
    out.number(told.request.second());
    out.number(account.id);
    out.number(subject.id);
    let failed = told.observed.is_some_and(|observed| observed.failed);
    let flags = [(told.observed.is_some(), HAS_OBSERVED), (failed, FAILED)];
    out.number(flags.into_iter().filter_map(|(is, flag)| is.then_some(flag)).sum());
    if let Some(observed) = told.observed {
        figures(&mut out, observed);
        besides(&mut out, observed);
    }
    out
}

impl<'a> Entry<'a> {
    /// `None` for what is of a later version than this.
    pub fn read(body: &'a [u8]) -> Option<Entry<'a>> {
        let mut from = Cursor(body);
        let tag = from.number()?;
        if tag == Tag::Account as u64 {
            return Some(Entry::Account { id: from.number()?, key: from.text()?, team: from.text()? });
        }
        if tag == Tag::Subject as u64 {
            let id = from.number()?;
            let [model, digest, endpoint] = [from.text()?, from.text()?, from.text()?];
            let (dialect, operation) = (from.text()?, from.text()?);
            let streamed = from.number()? == 1;
            let subject = Subject { model, digest, endpoint, dialect, operation, streamed };
            return Some(Entry::Subject { id, subject });
        }
        if tag == Tag::Trip as u64 {
            return read_trip(&mut from).map(Entry::Trip);
        }
        if tag == Tag::Answer as u64 {
            return read_answer(&mut from).map(Entry::Answer);
        }
        if tag == Tag::Hits as u64 {
            return read_hits(&mut from);
        }
        None
    }
}

fn read_hits<'a>(from: &mut Cursor<'a>) -> Option<Entry<'a>> {
    from.raw(7)?;
    let tally = Tally::read(u64::from_ne_bytes(from.raw(8)?.try_into().ok()?));
    let request = RequestId::first_of(from.number()?);
    let (account, subject, flags) = (from.number()?, from.number()?, from.number()?);
    let mut observed = read_observed(from, flags)?;
    if let Some(observed) = &mut observed {
        read_besides(from, observed);
    }
    let one = AnswerEntry {
        request,
        account,
        subject,
        amends: None,
        status: 200,
        ending: Ended::Complete,
        cache: CacheOutcome::Hit,
        total: Duration::ZERO,
        first_byte: None,
        observed,
        error: "",
        message: "",
    };
    Some(Entry::Hits { tally, one })
}

/// What an answer took, where its flags say that anything is known of that.
fn read_observed(from: &mut Cursor<'_>, flags: u64) -> Option<Option<Observed>> {
    let failed = flags & FAILED != 0;
    match flags & HAS_OBSERVED {
        0 => Some(None),
        _ => Some(Some(Observed { failed, ..read_figures(from)? })),
    }
}

fn read_trip<'a>(from: &mut Cursor<'a>) -> Option<TripEntry<'a>> {
    let mut entry = TripEntry {
        request: request(from)?,
        account: from.number()?,
        subject: from.number()?,
        status: u16::try_from(from.number()?).ok()?,
        total: read_time(from)?.unwrap_or_default(),
        first_token: read_time(from)?,
        observed: read_figures(from)?,
        error: from.text()?,
    };
    read_besides(from, &mut entry.observed);
    Some(entry)
}

fn read_answer<'a>(from: &mut Cursor<'a>) -> Option<AnswerEntry<'a>> {
    let (request, account, subject) = (request(from)?, from.number()?, from.number()?);
    let flags = from.number()?;
    let status = u16::try_from(from.number()?).ok()?;
    let ending = Ended::numbered(i64::try_from(from.number()?).ok()?)?;
    let cache = CacheOutcome::numbered(i64::try_from(from.number()?).ok()?)?;
    let (total, first_byte) = (read_time(from)?.unwrap_or_default(), read_time(from)?);
    let mut observed = read_observed(from, flags)?;
    let amends = match flags & AMENDS {
        0 => None,
        _ => Some((u16::try_from(from.number()?).ok()?, read_time(from)?.unwrap_or_default())),
    };
    let (error, message) = match ending {
        Ended::Complete => ("", ""),
        Ended::Refused | Ended::Broken => (from.text()?, from.text()?),
    };
    if let Some(observed) = &mut observed {
        read_besides(from, observed);
    }
    Some(AnswerEntry {
        request,
        account,
        subject,
        amends,
        status,
        ending,
        cache,
        total,
        first_byte,
        observed,
        error,
        message,
    })
}

fn request(from: &mut Cursor<'_>) -> Option<RequestId> {
    from.raw(16)?.try_into().ok().map(RequestId)
}

fn figures<const ROOM: usize>(out: &mut Scratch<ROOM>, observed: &Observed) {
    let Usage { source, prompt, cached_prompt, completion, reasoning, images: _, audio: _ } = observed.usage;
    for number in [source.number().into(), prompt, cached_prompt, completion, reasoning] {
        out.number(number);
    }
    let durations = observed.durations.spent();
    for duration in [durations.total, durations.load, durations.prompt_eval, durations.eval] {
        out.number(micros(duration));
    }
}

fn read_figures(from: &mut Cursor<'_>) -> Option<Observed> {
    let source = Source::numbered(i64::try_from(from.number()?).ok()?)?;
    let [prompt, cached_prompt, completion, reasoning] =
        [from.number()?, from.number()?, from.number()?, from.number()?];
    let usage = Usage { source, prompt, cached_prompt, completion, reasoning, ..Usage::default() };
    let mut next = || from.number().map(Duration::from_micros);
    let durations = Durations { total: next()?, load: next()?, prompt_eval: next()?, eval: next()? };
    Some(Observed { usage, durations, ..Observed::default() })
}

/// Stands at the end, where older entries have nothing; nothing means none.
fn besides<const ROOM: usize>(out: &mut Scratch<ROOM>, observed: &Observed) {
    let Usage { images, audio, .. } = observed.usage;
    let numbers = [micros(audio), images, observed.complaint.number().into()];
    let written = numbers.iter().rposition(|number| *number > 0).map_or(0, |last| last + 1);
    numbers[..written].iter().for_each(|number| out.number(*number));
}

fn read_besides(from: &mut Cursor<'_>, observed: &mut Observed) {
    let mut number = || from.number().unwrap_or(0);
    observed.usage.audio = Duration::from_micros(number());
    observed.usage.images = number();
    observed.complaint = i64::try_from(number()).ok().and_then(Complaint::numbered).unwrap_or_default();
}

/// 0 for none; else one more than the microseconds.
fn time(out: &mut Scratch<ENTRY>, time: Option<Duration>) {
    out.number(time.map_or(0, |time| micros(time).saturating_add(1)));
}

fn read_time(from: &mut Cursor<'_>) -> Option<Option<Duration>> {
    Some(from.number()?.checked_sub(1).map(Duration::from_micros))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::Symbols;
    use super::*;
    use crate::domain::Route;

    /// Nothing, a recording, pictures, a complaint, and all: and as entries were before there was any.
    #[test]
    fn what_stands_at_the_end_may_be_missing() {
        let subject = Symbols::default().subject(Route { template: "/api/chat", dialect: "ollama" }, None);
        let none = Complaint::Unknown;
        for (images, millis, complaint) in [
            (0, 0, none),
            (0, 1_500, none),
            (3, 0, none),
            (u64::MAX, 1, none),
            (0, 0, Complaint::TooLong),
            (1, 2, Complaint::BadRequest),
        ] {
            let usage = Usage { images, audio: Duration::from_millis(millis), ..Usage::default() };
            let observed = Observed { usage, complaint, ..Observed::default() };
            let told = Told::hit(RequestId([0; 16]), Duration::ZERO, Some(&observed));
            let whole = answer(&told, &subject, &subject).bytes().to_vec();
            let Some(Entry::Answer(read)) = Entry::read(&whole) else { panic!("{usage:?} cannot be read") };
            assert_eq!(read.observed, Some(observed));
        }
    }

    /// What does not fit is not written, and would be read as something else.
    #[test]
    fn the_longest_hit_fits() {
        let most = Duration::from_micros(u64::MAX);
        let symbol = Symbol { id: u64::MAX, meaning: Box::default(), said: Default::default() };
        let [prompt, cached_prompt, completion, reasoning, images] = [u64::MAX; 5];
        let (source, audio) = (Source::Estimated, most);
        let usage = Usage { source, prompt, cached_prompt, completion, reasoning, images, audio };
        let durations = Durations { total: most, load: most, prompt_eval: most, eval: most };
        let complaint = Complaint::TooLong;
        let observed = Observed { usage, durations, complaint, failed: true, ..Observed::default() };
        let told = Told::hit(RequestId([0xff; 16]), most, Some(&observed));
        let whole = hits(&told, &symbol, &symbol);
        let Some(Entry::Hits { one, .. }) = Entry::read(whole.bytes()) else { panic!("it cannot be read") };
        let read = one.observed.unwrap();
        assert_eq!((one.account, one.subject, read.usage), (u64::MAX, u64::MAX, usage));
        assert_eq!((read.complaint, read.durations.spent()), (complaint, observed.durations.spent()));
    }

    #[test]
    fn what_has_a_number_that_nobody_knows_cannot_be_read() {
        let usage = Usage { source: Source::Upstream, prompt: 77, ..Usage::default() };
        let observed = Observed { usage, ..Observed::default() };
        let told = Told::hit(RequestId([0; 16]), Duration::ZERO, Some(&observed));
        let subject = Symbols::default().subject(Route { template: "/api/chat", dialect: "ollama" }, None);
        let mut bytes = answer(&told, &subject, &subject).bytes().to_vec();
        assert!(
            matches!(Entry::read(&bytes), Some(Entry::Answer(entry)) if entry.observed == Some(observed))
        );
        let source = bytes.windows(2).position(|pair| pair == [Source::Upstream.number(), 77]).unwrap();
        bytes[source] = 9;
        assert_eq!(Entry::read(&bytes), None);
    }
}
