//! A completion of OpenAI's API in the other mode: one file a form.

mod chat;
mod events;
mod members;
mod output;
mod response;
mod text;

use crate::dialect::frame::{self, Event};
use crate::dialect::{Form, Grain};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The end of a stream of chunks.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// What an answer cost. Strict, for what a newer server adds may be told differently in the other mode.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Usage<'a> {
    #[serde(borrow)]
    prompt_tokens: &'a RawValue,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens: &'a RawValue,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    total_tokens: &'a RawValue,
}

/// See [`turn`](crate::dialect::turn).
pub fn turn(
    form: Form,
    from_streamed: bool,
    frames: &[Bytes],
    offers_tools: bool,
    grain: Grain,
) -> Option<Vec<Bytes>> {
    match (form, from_streamed, frames) {
        (Form::OpenAiChat, true, chunks) => Some(vec![chat::whole(chunks, offers_tools)?]),
        (Form::OpenAiChat, false, [whole]) => chat::chunks(whole, grain),
        (Form::OpenAiText, true, chunks) => Some(vec![text::whole(chunks)?]),
        (Form::OpenAiText, false, [whole]) => text::chunks(whole, grain),
        (Form::Responses, true, events) => Some(vec![events::whole(events, offers_tools)?]),
        (Form::Responses, false, [whole]) => events::of(whole, grain),
        _ => None,
    }
}

/// Takes a stream of chunks apart: those with choices, and the last one, which has the usage. `None`
/// where a frame is none of the kind, or the end is missing.
fn chunks_of<'a, Chunk: Deserialize<'a>>(frames: &'a [Bytes]) -> Option<(Vec<Chunk>, Chunk)> {
    let (done, frames) = frames.split_last()?;
    if *done != DONE {
        return None;
    }
    let chunk = |frame: &'a Bytes| match frame::event(frame) {
        Event { name: b"", data: Some(data) } => serde_json::from_slice(data).ok(),
        _ => None,
    };
    let mut chunks: Vec<Chunk> = frames.iter().map(chunk).collect::<Option<_>>()?;
    let usage = chunks.pop()?;
    Some((chunks, usage))
}

/// Whether a value of a chunk is the same as in another one.
fn same(one: &RawValue, other: &RawValue) -> bool {
    one.get() == other.get()
}

/// A whole answer ends its line.
fn whole_of(json: &impl Serialize) -> Option<Bytes> {
    let mut whole = serde_json::to_vec(json).ok()?;
    whole.push(b'\n');
    Some(whole.into())
}

fn chunk_of(json: &impl Serialize) -> Option<Bytes> {
    Some(frame::write_event("", &serde_json::to_string(json).ok()?))
}
