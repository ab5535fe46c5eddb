//! A payload as bytes and back: a fixed order of fields, little endian, every length before what it
//! measures. Reads only what [`super::Seal`] has authenticated, and still believes no length.
//!
//! ```text
//! kind: u8 (1 answer, 2 vector)   stored: u64 ms since 1970   ttl: u64 ms   took: u64 ns
//! answer   usage source u8, prompt u64, cached u64, completion u64, reasoning u64, images u64, audio u64 ns,
//!          total u64 ns, load u64 ns, prompt_eval u64 ns, eval u64 ns,
//!          finish u8, complete u8, failed u8, content frames u64,
//!          model text, headers u32 × (name text, value text), frames u32 × u32, question, body to the end
//! vector   source u8, tokens u32, load u64 ns, question, numbers to the end
//! question present u8; if so: scope 32 bytes, epoch, upstream, version, digest and target text each,
//!          length u32, body text
//! text     length u32, bytes
//! ```
//!
//! A change of this layout is a new [`super::seal::VERSION`].

use super::Question;
use super::payload::{Moment, Payload, Vector};
use super::{Entry, Hits};
use crate::domain::{Complaint, Durations, FinishReason, Observed, Scope, Source, Usage};
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const ANSWER: u8 = 1;
const VECTOR: u8 = 2;

const SOURCES: [Source; 3] = [Source::Upstream, Source::Estimated, Source::None];

/// Appends fields to the bytes.
struct Writer<'a>(&'a mut Vec<u8>);

/// What has not been read yet.
struct Reader<'a>(&'a [u8]);

/// Appends `payload` to `out`. `None` where a part is too long for its length.
pub(super) fn write(payload: &Payload, now: Moment, out: &mut Vec<u8>) -> Option<()> {
    let mut writer = Writer(out);
    let (kind, took) = match payload {
        Payload::Answer(entry) => (ANSWER, entry.took),
        Payload::Vector(vector) => (VECTOR, vector.took),
    };
    writer.u8(kind);
    writer.u64(millis(since_epoch(now.wall_at(payload.stored()))));
    writer.u64(millis(payload.ttl()));
    writer.u64(nanos(took));
    match payload {
        Payload::Answer(entry) => writer.answer(entry),
        Payload::Vector(vector) => {
            writer.u8(source_code(vector.source));
            writer.u32(vector.tokens);
            writer.u64(nanos(vector.load));
            writer.question(vector.question.as_deref())?;
            writer.0.extend_from_slice(&vector.numbers);
            Some(())
        }
    }
}

/// The payload that `bytes` are, all of them. Its age is told by the wall, and is never negative.
pub(super) fn read(bytes: &Bytes, now: Moment) -> Option<Payload> {
    let mut reader = Reader(bytes);
    let kind = reader.u8()?;
    let stored = Duration::from_millis(reader.u64()?);
    let ttl = Duration::from_millis(reader.u64()?);
    let took = Duration::from_nanos(reader.u64()?);
    let stored = stored_at(stored, ttl, now)?;
    match kind {
        ANSWER => reader.answer(bytes, Times { took, stored, ttl }),
        VECTOR => {
            let source = source_of(reader.u8()?)?;
            let tokens = reader.u32()?;
            let load = Duration::from_nanos(reader.u64()?);
            let question = reader.question(bytes)?;
            let numbers = bytes.slice_ref(reader.0);
            let whole = !numbers.is_empty() && numbers.len().is_multiple_of(size_of::<f32>());
            let vector = Vector { numbers, tokens, source, took, load, stored, ttl, question };
            whole.then(|| Payload::Vector(Arc::new(vector)))
        }
        _ => None,
    }
}

struct Times {
    took: Duration,
    stored: Instant,
    ttl: Duration,
}

/// When something was stored that the wall says was stored at `stored`. A clock that runs ahead makes it
/// new, which lengthens its life by as much; one that is ahead by more than its whole life is not believed.
fn stored_at(stored: Duration, ttl: Duration, now: Moment) -> Option<Instant> {
    let wall = since_epoch(now.wall);
    if stored.saturating_sub(wall) > ttl {
        return None;
    }
    now.instant.checked_sub(wall.saturating_sub(stored))
}

fn since_epoch(wall: SystemTime) -> Duration {
    wall.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn source_code(source: Source) -> u8 {
    match source {
        Source::Upstream => 0,
        Source::Estimated => 1,
        Source::None => 2,
    }
}

fn source_of(code: u8) -> Option<Source> {
    SOURCES.into_iter().find(|source| source_code(*source) == code)
}

fn finish_code(finish: FinishReason) -> u8 {
    match finish {
        FinishReason::Stop => 0,
        FinishReason::Length => 1,
        FinishReason::ToolCalls => 2,
        FinishReason::Error => 3,
        FinishReason::Cancelled => 4,
        FinishReason::Load => 5,
        FinishReason::Unknown => 6,
    }
}

fn finish_of(code: u8) -> Option<FinishReason> {
    FinishReason::ALL.into_iter().find(|finish| finish_code(*finish) == code)
}

// === impl Writer ===

impl Writer<'_> {
    /// Takes everything apart, so that the compiler stops whoever adds a field and forgets it here.
    fn answer(&mut self, entry: &Entry) -> Option<()> {
        let Entry { body, frames, headers, model, observed, question, took: _, stored: _, ttl: _, hits: _ } =
            entry;
        self.observed(observed);
        self.text(model.as_bytes())?;
        self.length(headers.len())?;
        for (name, value) in headers {
            self.text(name.as_str().as_bytes())?;
            self.text(value.as_bytes())?;
        }
        self.length(frames.len())?;
        for end in frames {
            self.u32(*end);
        }
        self.question(question.as_deref())?;
        self.0.extend_from_slice(body);
        Some(())
    }

    fn question(&mut self, question: Option<&Question>) -> Option<()> {
        self.u8(u8::from(question.is_some()));
        let Some(question) = question else { return Some(()) };
        let Question { scope, epoch, upstream, version, digest, target, .. } = question;
        self.0.extend_from_slice(&scope.0);
        for text in [epoch, upstream, version, digest] {
            self.text(text.as_bytes())?;
        }
        self.text(target)?;
        let (length, body) = question.stored();
        self.u32(length);
        self.text(body)
    }

    fn observed(&mut self, observed: &Observed) {
        let Observed { usage, durations, finish, complete, failed, complaint: _, content_frames } = *observed;
        let Usage { source, prompt, cached_prompt, completion, reasoning, images, audio } = usage;
        let Durations { total, load, prompt_eval, eval } = durations;
        self.u8(source_code(source));
        for number in [prompt, cached_prompt, completion, reasoning, images] {
            self.u64(number);
        }
        for duration in [audio, total, load, prompt_eval, eval] {
            self.u64(nanos(duration));
        }
        self.u8(finish_code(finish));
        self.u8(u8::from(complete));
        self.u8(u8::from(failed));
        self.u64(content_frames);
    }

    fn u8(&mut self, number: u8) {
        self.0.push(number);
    }

    fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn length(&mut self, length: usize) -> Option<()> {
        self.u32(u32::try_from(length).ok()?);
        Some(())
    }

    fn text(&mut self, text: &[u8]) -> Option<()> {
        self.length(text.len())?;
        self.0.extend_from_slice(text);
        Some(())
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn answer(mut self, bytes: &Bytes, times: Times) -> Option<Payload> {
        let observed = self.observed()?;
        let model = std::str::from_utf8(self.text()?).ok()?.into();
        let headers = self.headers()?;
        let frames = self.frames()?;
        let question = self.question(bytes)?;
        let body = bytes.slice_ref(self.0);
        // Whoever cuts the body at its frames does not look again.
        let fits = match frames.last() {
            Some(last) => *last as usize == body.len() && frames.is_sorted(),
            None => true,
        };
        let Times { took, stored, ttl } = times;
        let entry = Entry {
            body,
            frames,
            headers,
            model,
            observed,
            took,
            stored,
            ttl,
            question,
            hits: Hits::default(),
        };
        fits.then(|| Payload::Answer(Arc::new(entry)))
    }

    fn question(&mut self, bytes: &Bytes) -> Option<Option<Box<Question>>> {
        if !self.flag()? {
            return Some(None);
        }
        let scope = Scope(self.array()?);
        let mut text = || Some(std::str::from_utf8(self.text()?).ok()?.into());
        let texts = [text()?, text()?, text()?, text()?];
        let target = bytes.slice_ref(self.text()?);
        let length = self.u32()?;
        let body = bytes.slice_ref(self.text()?);
        Question::read(Question::without_body(scope, texts, target), length, body).map(Some)
    }

    fn observed(&mut self) -> Option<Observed> {
        Some(Observed {
            usage: Usage {
                source: source_of(self.u8()?)?,
                prompt: self.u64()?,
                cached_prompt: self.u64()?,
                completion: self.u64()?,
                reasoning: self.u64()?,
                images: self.u64()?,
                audio: self.nanos()?,
            },
            durations: Durations {
                total: self.nanos()?,
                load: self.nanos()?,
                prompt_eval: self.nanos()?,
                eval: self.nanos()?,
            },
            finish: finish_of(self.u8()?)?,
            complete: self.flag()?,
            failed: self.flag()?,
            // What is kept is no complaint.
            complaint: Complaint::default(),
            content_frames: self.u64()?,
        })
    }

    fn headers(&mut self) -> Option<Box<[(HeaderName, HeaderValue)]>> {
        let count = self.u32()?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = HeaderName::from_bytes(self.text()?).ok()?;
            headers.push((name, HeaderValue::from_bytes(self.text()?).ok()?));
        }
        Some(headers.into())
    }

    fn frames(&mut self) -> Option<Box<[u32]>> {
        let count = self.u32()? as usize;
        let ends = self.take(count.checked_mul(size_of::<u32>())?)?;
        let (ends, _) = ends.as_chunks::<4>();
        Some(ends.iter().map(|end| u32::from_le_bytes(*end)).collect())
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn nanos(&mut self) -> Option<Duration> {
        self.u64().map(Duration::from_nanos)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use proptest::prelude::*;

    fn written(payload: &Payload, now: Moment) -> Bytes {
        let mut out = Vec::new();
        write(payload, now, &mut out).unwrap();
        out.into()
    }

    #[test]
    fn what_was_written_is_read_field_by_field() {
        let now = Moment::now();
        for payload in [samples::answer(), samples::streamed(), samples::vector(), samples::asked()] {
            let read = read(&written(&payload, now), now).unwrap();
            samples::assert_same(&payload, &read);
        }
    }

    #[test]
    fn an_age_is_told_by_the_wall() {
        let now = Moment::now();
        let bytes = written(&samples::answer(), now);
        let later = Moment { wall: now.wall + Duration::from_secs(600), ..now };
        let age = read(&bytes, later).unwrap().age(later.instant);
        let expected = samples::answer().age(now.instant) + Duration::from_secs(600);
        assert!(age.abs_diff(expected) < Duration::from_millis(50), "{age:?}");
    }

    /// RELIABILITY.md R-15, as far as a cache goes.
    #[test]
    fn a_clock_that_runs_ahead_makes_nothing_live_longer_than_twice() {
        let now = Moment::now();
        let payload = samples::answer();
        let bytes = written(&payload, now);
        let behind = |time| Moment { wall: now.wall - time, ..now };
        let young = read(&bytes, behind(payload.ttl())).unwrap();
        assert_eq!(young.age(now.instant), Duration::ZERO);
        assert!(!young.is_fresh(now.instant + payload.ttl()));
        let further = behind(payload.ttl() + Duration::from_secs(3600));
        assert!(read(&bytes, further).is_none());
    }

    #[test]
    fn nothing_shorter_is_a_payload_of_another_kind_of_end() {
        let now = Moment::now();
        let bytes = written(&samples::streamed(), now);
        for length in 0..bytes.len() {
            assert!(read(&bytes.slice(..length), now).is_none(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0u8..4) {
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            if let Some(Payload::Answer(entry)) = read(&bytes.into(), Moment::now()) {
                entry.pieces();
            }
        }

        #[test]
        fn no_change_of_a_payload_makes_it_panic(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
            let now = Moment::now();
            let mut bytes = written(&samples::streamed(), now).to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Some(Payload::Answer(entry)) = read(&bytes.into(), now) {
                entry.pieces();
            }
        }
    }
}
