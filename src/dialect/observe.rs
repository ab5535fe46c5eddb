//! How an answer is read while it passes: cut into frames, or by its end, and what is counted on the
//! way. What the bytes mean is the dialect's to say ([`Format`]).

use super::frame::{self, Framing, Splitter};
use crate::domain::{Complaint, Durations, FinishReason, Observed, Source, Usage};
use memchr::memmem::{self, Finder};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use std::time::Duration;

/// How much of a whole answer's end is kept.
const TAIL: usize = 4 << 10;

/// What one dialect reads out of an answer. Nothing of it fails: what cannot be read says nothing.
pub trait Format {
    const FRAMING: Framing;

    /// How much of a whole answer's beginning is kept, in bytes.
    const BEGINNING: usize = 0;

    /// Reads a frame of a stream, terminator included.
    fn frame(&mut self, frame: &[u8], tally: &mut Tally);

    /// Reads a whole answer.
    fn whole(&mut self, body: &[u8], tally: &mut Tally);

    /// Reads the first bytes ([`Format::BEGINNING`]) and the last of a whole answer that nobody kept. Marks it complete
    /// where those hold the answer's closing members.
    fn ends(&mut self, beginning: &[u8], tail: &[u8], tally: &mut Tally);
}

/// Reads one answer.
#[derive(Debug)]
pub struct Observer<F> {
    format: F,
    intake: Intake,
    tally: Tally,
}

/// The bytes between two pieces.
#[derive(Debug)]
enum Intake {
    Frames(Splitter),
    /// A frame grew beyond [`frame::LONGEST`]: nothing is read any more.
    Abandoned,
    Whole {
        /// At most [`Format::BEGINNING`].
        beginning: Vec<u8>,
        /// At most twice [`TAIL`], so that it is moved once in [`TAIL`] bytes.
        end: Vec<u8>,
        len: usize,
    },
}

/// What an answer said so far.
#[derive(Debug, Default)]
pub struct Tally {
    /// The mark of completion was seen (for formats with two marks: both, in order).
    pub marked: bool,
    /// An error stood in the answer.
    pub failed: bool,
    pub complaint: Complaint,
    pub finish: FinishReason,
    /// Frames that carried text, thinking or a tool call.
    pub content_frames: u64,
    pub figures: Figures,
    pub durations: Durations,
    /// Of the recording that was listened to.
    pub audio: Duration,
}

/// Counts as the server gave them; `None` where it gave none, or none that can be used.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    pub prompt: Option<u64>,
    pub cached_prompt: Option<u64>,
    pub completion: Option<u64>,
    pub reasoning: Option<u64>,
}

/// Where a frame's text stands, found without parsing. A key with its quotes cannot stand inside a JSON
/// string, where quotes are escaped.
#[derive(Debug)]
pub struct Texts {
    /// `"content":"`: anything but a quote after it is text.
    keys: Vec<Finder<'static>>,
    /// `"tool_calls":[`
    calls: Finder<'static>,
}

// === impl Observer ===

impl<F: Format> Observer<F> {
    pub fn of(format: F, streamed: bool) -> Self {
        let intake = if streamed {
            Intake::Frames(Splitter::new(F::FRAMING))
        } else {
            Intake::Whole { beginning: Vec::new(), end: Vec::new(), len: 0 }
        };
        Observer { format, intake, tally: Tally::default() }
    }

    /// See [`Scanner::feed`](super::Scanner::feed).
    pub fn feed(&mut self, piece: &[u8]) -> bool {
        let Observer { format, intake, tally } = self;
        match intake {
            Intake::Frames(splitter) => {
                splitter.feed(piece, |frame| format.frame(frame, tally));
                if splitter.open().len() > frame::LONGEST {
                    *intake = Intake::Abandoned;
                }
                tally.content_frames > 0
            }
            Intake::Abandoned => tally.content_frames > 0,
            Intake::Whole { beginning, end, len } => {
                *len += piece.len();
                let room = F::BEGINNING - beginning.len();
                beginning.extend_from_slice(&piece[..piece.len().min(room)]);
                end.extend_from_slice(&piece[piece.len().saturating_sub(TAIL)..]);
                if end.len() > 2 * TAIL {
                    end.drain(..end.len() - TAIL);
                }
                *len > 0
            }
        }
    }

    /// See [`Scanner::has_ended`](super::Scanner::has_ended).
    pub fn has_ended(&self) -> bool {
        self.tally.marked
    }

    /// See [`Scanner::finish`](super::Scanner::finish).
    pub fn finish(&mut self, whole: Option<&[u8]>) -> Observed {
        let Observer { format, intake, tally } = self;
        match intake {
            // A client takes a last line without its end for a line, but no event without its own.
            Intake::Frames(splitter) if F::FRAMING == Framing::Lines && !splitter.open().is_empty() => {
                format.frame(splitter.open(), tally);
            }
            Intake::Frames(_) => {}
            Intake::Abandoned => tally.marked = false,
            Intake::Whole { beginning, end, len } => match whole {
                Some(body) => format.whole(body, tally),
                None if *len == end.len() => format.whole(end, tally),
                None => format.ends(beginning, &end[end.len().saturating_sub(TAIL)..], tally),
            },
        }
        tally.observed()
    }
}

// === impl Tally ===

impl Tally {
    /// An error stands in the answer, in these bytes.
    pub fn fail(&mut self, error: &[u8]) {
        if !self.failed {
            self.complaint = Complaint::of(error);
        }
        self.failed = true;
    }

    fn observed(&self) -> Observed {
        let loaded = self.finish == FinishReason::Load;
        let complete = self.marked && !self.failed && !loaded;
        let usage = if loaded { Usage::default() } else { self.figures.usage(self.content_frames) };
        Observed {
            usage: Usage { audio: self.audio, ..usage },
            durations: self.durations,
            finish: if complete || (loaded && !self.failed) { self.finish } else { FinishReason::Error },
            complete,
            failed: self.failed,
            complaint: self.complaint,
            content_frames: self.content_frames,
        }
    }
}

impl Figures {
    /// The server's figures where both are known; else what is missing is counted in frames.
    fn usage(self, content_frames: u64) -> Usage {
        // None at all beside text is not believed.
        let told = self.completion.filter(|told| *told > 0 || content_frames == 0);
        let source = match (self.prompt, told) {
            (Some(_), Some(_)) => Source::Upstream,
            _ if content_frames > 0 => Source::Estimated,
            _ => return Usage::default(),
        };
        let prompt = self.prompt.unwrap_or(0);
        let completion = told.unwrap_or(content_frames);
        Usage {
            source,
            prompt,
            cached_prompt: self.cached_prompt.unwrap_or(0).min(prompt),
            completion,
            reasoning: self.reasoning.unwrap_or(0).min(completion),
            ..Usage::default()
        }
    }
}

/// A count that can be worked with: no sign, no fraction, within `i64`.
pub fn count(value: Option<&RawValue>) -> Option<u64> {
    value?.get().parse().ok().filter(|&count| count <= i64::MAX as u64)
}

/// Whether a value is an array with something in it.
pub fn holds_items(value: Option<&RawValue>) -> bool {
    value
        .and_then(|value| value.get().strip_prefix('['))
        .is_some_and(|rest| !rest.trim_start().starts_with(']'))
}

/// The last members of a whole answer, from `key` (with its quotes and colon) on, as an object of their
/// own; `None` where `tail` does not hold them. A like key deeper inside leaves braces over, and is
/// passed by.
pub fn closing_members(tail: &[u8], key: &str) -> Option<Vec<u8>> {
    memmem::rfind_iter(tail, key).find_map(|at| {
        let members = [b"{", &tail[at..]].concat();
        serde_json::from_slice::<IgnoredAny>(&members).is_ok().then_some(members)
    })
}

// === impl Texts ===

impl Texts {
    /// `keys` with quotes, colon and the value's opening quote.
    pub fn new(keys: &[&'static str]) -> Self {
        Texts {
            keys: keys.iter().map(|&key| Finder::new(key)).collect(),
            calls: Finder::new("\"tool_calls\":["),
        }
    }

    /// Whether a frame carries text, thinking or a tool call.
    pub fn any(&self, frame: &[u8]) -> bool {
        let has_text = |key: &Finder| {
            let value = key.find(frame).and_then(|at| frame.get(at + key.needle().len()));
            value.is_some_and(|&first| first != b'"')
        };
        self.keys.iter().any(has_text) || self.calls.find(frame).is_some()
    }
}
