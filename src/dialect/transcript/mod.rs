//! What was said in a recording: how it is asked for, and how it is told, in OpenAI's words and in those of Pannier's
//! own routes.
//!
//! What is kept of it is neither: a line of JSON for each passage ([`Passage`]), from which all shapes are told.

mod scan;
mod sent;
mod shape;
mod tell;
mod wish;

pub use scan::Scanner;
pub use sent::Sent;
pub use shape::{Grain, Manner, Shape};
pub use tell::{Events, Teller};
pub use wish::{Hearing, Wish};

use crate::domain::{Call, Certainty, Fingerprint, Operation, Passage, Reason, Storable, Template};
use bytes::Bytes;

/// A call of a model that listens; `body` is what goes to the upstream, where it is the upstream's.
pub fn call(model: &str, streamed: bool, body: Bytes) -> Call {
    Call {
        model: model.to_owned(),
        operation: Operation::Transcribe,
        streamed,
        body,
        strip_usage: false,
        offers_tools: false,
        fingerprint: Fingerprint([0; 32]),
        certainty: Certainty::Sampled,
        storable: Storable::No(Reason::Off),
        estimated_prompt_tokens: 0,
        texts: None,
    }
}

/// A passage as it is kept.
pub fn line(passage: &Passage) -> Option<Bytes> {
    let mut line = serde_json::to_vec(passage).ok()?;
    line.push(b'\n');
    Some(line.into())
}

/// Nothing in it is ever fresh; `None` where it is no transcript.
pub(super) fn cut(streamed: bool, frames: &[Bytes]) -> Option<Template> {
    let last = frames.last().filter(|_| streamed)?;
    if !matches!(serde_json::from_slice(last), Ok(Passage::End(_))) {
        return None;
    }
    let mut end = 0;
    let ends = frames.iter().map(|frame| {
        end += frame.len();
        u32::try_from(end).ok()
    });
    Some(Template {
        frames: ends.collect::<Option<_>>()?,
        body: frames.concat().into(),
        slots: Box::default(),
    })
}
