//! `/v1/chat/completions` in the other mode.

use super::{DONE, Usage, chunk_of, chunks_of, same, whole_of};
use crate::dialect::escaped::{Escaped, Grain};
use crate::dialect::speech::Speech;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

const WHOLE: &str = "chat.completion";
const CHUNK: &str = "chat.completion.chunk";

/// A whole answer, members in the order of the wire.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Completion<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    object: &'a str,
    #[serde(borrow)]
    created: &'a RawValue,
    #[serde(borrow)]
    model: &'a RawValue,
    #[serde(borrow)]
    system_fingerprint: &'a RawValue,
    #[serde(borrow)]
    choices: [Choice<'a>; 1],
    #[serde(borrow)]
    usage: Usage<'a>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Choice<'a> {
    index: u32,
    #[serde(borrow)]
    message: Message<'a>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    logprobs: Option<Logprobs<'a>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Message<'a> {
    #[serde(borrow)]
    role: &'a RawValue,
    #[serde(borrow)]
    content: Escaped<'a>,
    #[serde(borrow, default, skip_serializing_if = "Escaped::is_empty")]
    reasoning: Escaped<'a>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<&'a RawValue>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Logprobs<'a> {
    #[serde(borrow)]
    content: Vec<&'a RawValue>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Chunk<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    object: &'a str,
    #[serde(borrow)]
    created: &'a RawValue,
    #[serde(borrow)]
    model: &'a RawValue,
    #[serde(borrow)]
    system_fingerprint: &'a RawValue,
    /// One; none beside the usage.
    #[serde(borrow)]
    choices: Vec<ChunkChoice<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    usage: Option<Usage<'a>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ChunkChoice<'a> {
    index: u32,
    #[serde(borrow)]
    delta: Delta<'a>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    logprobs: Option<Logprobs<'a>>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Delta<'a> {
    /// Only the first one has it; before August 2026 all had.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    role: Option<&'a RawValue>,
    /// Empty, but there, unless it is the last one or goes with a reasoning of its own.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    content: Option<Escaped<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Escaped::is_empty")]
    reasoning: Escaped<'a>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<&'a RawValue>,
}

/// The stream as one object.
pub fn whole(frames: &[Bytes], offers_tools: bool) -> Option<Bytes> {
    let (chunks, last) = chunks_of::<Chunk>(frames)?;
    let Chunk { id, object: CHUNK, created, model, system_fingerprint, choices, usage } = last else {
        return None;
    };
    let usage = usage.filter(|_| choices.is_empty())?;
    let (mut said, mut role, mut finish_reason) = (Speech::default(), None, None);
    for chunk in chunks {
        let goes_on = finish_reason.is_none() && chunk.usage.is_none() && chunk.object == CHUNK;
        let is_same = same(chunk.id, id) && same(chunk.model, model);
        let [ChunkChoice { index: 0, delta, finish_reason: finish, logprobs }] =
            <[_; 1]>::try_from(chunk.choices).ok().filter(|_| goes_on && is_same)?
        else {
            return None;
        };
        role = role.or(delta.role);
        finish_reason = finish;
        said.append(delta.said(logprobs));
    }
    // Ollama drops the calls of tools that nobody offered.
    if said.is_torn() || (!said.tool_calls.is_empty() && !offers_tools) {
        return None;
    }
    let finish_reason = Some(finish_reason?);
    let (message, logprobs) = Message::saying(role?, said);
    let choices = [Choice { index: 0, message, finish_reason, logprobs }];
    whole_of(&Completion { id, object: WHOLE, created, model, system_fingerprint, choices, usage })
}

/// The object as a stream, its usage included.
pub fn chunks(whole: &[u8], grain: Grain) -> Option<Vec<Bytes>> {
    let Completion { id, object: WHOLE, created, model, system_fingerprint, choices, usage } =
        serde_json::from_slice(whole).ok()?
    else {
        return None;
    };
    let [Choice { index: 0, message, finish_reason: Some(finish_reason), logprobs }] = choices else {
        return None;
    };
    let chunk = |choices, usage| {
        chunk_of(&Chunk { id, object: CHUNK, created, model, system_fingerprint, choices, usage })
    };
    let role = message.role;
    let said = message.said(logprobs);
    let mut parts = said.parts(grain);
    if parts.is_empty() {
        // A stream that says nothing still opens with a role.
        parts.push(Speech::default());
    }
    let mut frames = Vec::with_capacity(parts.len() + 3);
    for (number, part) in parts.into_iter().enumerate() {
        let (delta, logprobs) = Delta::adding((number == 0).then_some(role), part);
        frames.push(chunk(vec![ChunkChoice { index: 0, delta, finish_reason: None, logprobs }], None)?);
    }
    let finish_reason = Some(finish_reason);
    let last = ChunkChoice { index: 0, delta: Delta::default(), finish_reason, logprobs: None };
    frames.push(chunk(vec![last], None)?);
    frames.push(chunk(Vec::new(), Some(usage))?);
    frames.push(Bytes::from_static(DONE));
    Some(frames)
}

impl<'a> Message<'a> {
    fn said(self, logprobs: Option<Logprobs<'a>>) -> Speech<'a> {
        let Message { role: _, content, reasoning, tool_calls } = self;
        Speech { thinking: reasoning, text: content, tool_calls, logprobs: listed(logprobs) }
    }

    fn saying(role: &'a RawValue, said: Speech<'a>) -> (Self, Option<Logprobs<'a>>) {
        let Speech { thinking, text, tool_calls, logprobs } = said;
        (Message { role, content: text, reasoning: thinking, tool_calls }, Logprobs::of(logprobs))
    }
}

impl<'a> Delta<'a> {
    fn said(self, logprobs: Option<Logprobs<'a>>) -> Speech<'a> {
        let Delta { role: _, content, reasoning, tool_calls } = self;
        Speech {
            thinking: reasoning,
            text: content.unwrap_or_default(),
            tool_calls,
            logprobs: listed(logprobs),
        }
    }

    fn adding(role: Option<&'a RawValue>, part: Speech<'a>) -> (Self, Option<Logprobs<'a>>) {
        let Speech { thinking, text, tool_calls, logprobs } = part;
        (Delta { role, content: Some(text), reasoning: thinking, tool_calls }, Logprobs::of(logprobs))
    }
}

impl<'a> Logprobs<'a> {
    fn of(content: Vec<&'a RawValue>) -> Option<Self> {
        (!content.is_empty()).then_some(Logprobs { content })
    }
}

fn listed(logprobs: Option<Logprobs<'_>>) -> Vec<&RawValue> {
    logprobs.map(|logprobs| logprobs.content).unwrap_or_default()
}
