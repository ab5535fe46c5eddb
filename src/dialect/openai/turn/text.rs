//! `/v1/completions` in the other mode. Ollama writes neither thinking, tool calls nor log
//! probabilities here.

use super::{DONE, Usage, chunk_of, chunks_of, same, whole_of};
use crate::dialect::escaped::{Escaped, Grain};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

const OBJECT: &str = "text_completion";

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

/// The same members, in another order.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Chunk<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    object: &'a str,
    #[serde(borrow)]
    created: &'a RawValue,
    /// One; none beside the usage.
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
    #[serde(borrow)]
    model: &'a RawValue,
    #[serde(borrow)]
    system_fingerprint: &'a RawValue,
    /// Beside a choice it is nought.
    #[serde(borrow)]
    usage: Usage<'a>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Choice<'a> {
    #[serde(borrow)]
    text: Escaped<'a>,
    index: u32,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
}

/// The stream as one object.
pub fn whole(frames: &[Bytes]) -> Option<Bytes> {
    let (chunks, last) = chunks_of::<Chunk>(frames)?;
    let Chunk { id, object: OBJECT, created, choices, model, system_fingerprint, usage } = last else {
        return None;
    };
    if !choices.is_empty() {
        return None;
    }
    let (mut text, mut finish_reason) = (Escaped::default(), None);
    for chunk in chunks {
        let goes_on = finish_reason.is_none() && chunk.usage.is_nought() && chunk.object == OBJECT;
        let is_same = same(chunk.id, id) && same(chunk.model, model);
        let [Choice { text: next, index: 0, finish_reason: finish }] =
            <[_; 1]>::try_from(chunk.choices).ok().filter(|_| goes_on && is_same)?
        else {
            return None;
        };
        finish_reason = finish;
        text.push(&next);
    }
    if text.is_torn() {
        return None;
    }
    let choices = [Choice { text, index: 0, finish_reason: Some(finish_reason?) }];
    whole_of(&Completion { id, object: OBJECT, created, model, system_fingerprint, choices, usage })
}

/// The object as a stream, its usage included.
pub fn chunks(whole: &[u8], grain: Grain) -> Option<Vec<Bytes>> {
    let Completion { id, object: OBJECT, created, model, system_fingerprint, choices, usage } =
        serde_json::from_slice(whole).ok()?
    else {
        return None;
    };
    let [Choice { text, index: 0, finish_reason: Some(finish_reason) }] = choices else { return None };
    let chunk = |choices, usage| {
        chunk_of(&Chunk { id, object: OBJECT, created, choices, model, system_fingerprint, usage })
    };
    let choice = |text, finish_reason| vec![Choice { text, index: 0, finish_reason }];
    let mut frames = Vec::new();
    for slice in text.slices(grain) {
        frames.push(chunk(choice(slice, None), Usage::nought()?)?);
    }
    frames.push(chunk(choice(Escaped::default(), Some(finish_reason)), Usage::nought()?)?);
    frames.push(chunk(Vec::new(), usage)?);
    frames.push(Bytes::from_static(DONE));
    Some(frames)
}

impl Usage<'_> {
    /// As it stands in every chunk but the last.
    fn nought() -> Option<Usage<'static>> {
        let zero: &RawValue = serde_json::from_str("0").ok()?;
        Some(Usage {
            prompt_tokens: zero,
            prompt_tokens_details: None,
            completion_tokens: zero,
            completion_tokens_details: None,
            total_tokens: zero,
        })
    }

    fn is_nought(&self) -> bool {
        [self.prompt_tokens, self.completion_tokens, self.total_tokens].iter().all(|count| count.get() == "0")
    }
}
