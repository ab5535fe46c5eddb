//! Reads requests in OpenAI's shapes, and asks their streams for usage.

use crate::dialect::Form;
use crate::dialect::fields::{self, MAX_MEMBERS, Object, Text};
use crate::dialect::question::Role::{Keyed, KeyedUnlessEmpty, Unkeyed, Verbatim};
use crate::dialect::question::{Known, Question, Reading, certainty, unreadable};
use crate::domain::{Call, Certainty, Error, Operation, Reason, Storable};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

const CHAT: [Known; 24] = [
    ("model", Unkeyed),
    ("stream", Unkeyed),
    ("stream_options", Unkeyed),
    ("user", Unkeyed),
    ("metadata", Unkeyed),
    ("store", Unkeyed),
    ("service_tier", Unkeyed),
    ("prompt_cache_key", Unkeyed),
    ("safety_identifier", Unkeyed),
    ("messages", Keyed),
    ("tools", Keyed),
    ("response_format", Verbatim),
    ("max_tokens", Keyed),
    ("seed", Keyed),
    ("stop", Keyed),
    ("temperature", Keyed),
    ("top_p", Keyed),
    ("frequency_penalty", Keyed),
    ("presence_penalty", Keyed),
    ("reasoning", Keyed),
    ("reasoning_effort", Keyed),
    ("logprobs", Keyed),
    ("top_logprobs", Keyed),
    ("_debug_render_only", Keyed),
];

const TEXT: [Known; 15] = [
    ("model", Unkeyed),
    ("stream", Unkeyed),
    ("stream_options", Unkeyed),
    ("user", Unkeyed),
    ("prompt", Keyed),
    ("suffix", KeyedUnlessEmpty),
    ("max_tokens", Keyed),
    ("temperature", Keyed),
    ("top_p", Keyed),
    ("frequency_penalty", Keyed),
    ("presence_penalty", Keyed),
    ("seed", Keyed),
    ("stop", Keyed),
    ("logprobs", Keyed),
    ("_debug_render_only", Keyed),
];

/// `encoding_format` changes the bytes of the answer, so it counts.
const EMBED: [Known; 5] = [
    ("model", Unkeyed),
    ("user", Unkeyed),
    ("input", Keyed),
    ("dimensions", Keyed),
    ("encoding_format", Keyed),
];

const RESPONSES: [Known; 17] = [
    ("model", Unkeyed),
    ("stream", Unkeyed),
    ("store", Unkeyed),
    ("metadata", Unkeyed),
    ("user", Unkeyed),
    ("include", Unkeyed),
    ("prompt_cache_key", Unkeyed),
    ("input", Keyed),
    ("instructions", Keyed),
    ("tools", Keyed),
    ("reasoning", Keyed),
    ("text", Verbatim),
    ("max_output_tokens", Keyed),
    ("temperature", Keyed),
    ("top_p", Keyed),
    ("truncation", Keyed),
    ("background", Keyed),
];

const ASK: &str = "\"include_usage\":true";

/// The fields that a form knows.
pub fn known(form: Form) -> &'static [Known] {
    match form {
        Form::OpenAiText => &TEXT,
        Form::OpenAiEmbed => &EMBED,
        Form::Responses => &RESPONSES,
        _ => &CHAT,
    }
}

/// Reads the body of `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings` or `/v1/responses`.
///
/// # Errors
/// `BadRequest`, as for every dialect.
pub fn decode(form: Form, body: Bytes) -> Result<Call, Error> {
    let text = Text::of(&body);
    let Some(question) = Question::read(form, known(form), &text)? else {
        return Ok(unreadable(form, body.clone(), false));
    };
    let embeds = form.operation() == Operation::Embed;
    let streamed = !embeds && question.flag("stream") == Some(true);
    let certainty = if embeds {
        Certainty::Exact
    } else {
        certainty(question.number("temperature"), None, question.number("seed"))
    };
    let reading = Reading { streamed, certainty, obstacle: obstacle(form, &question) };
    let mut call = question.call(form, body.clone(), reading);
    if embeds && call.storable == Storable::Yes {
        call.texts = question.texts(form, text.as_str(), MAX_MEMBERS)?.map(Arc::new);
    }
    if streamed
        && form != Form::Responses
        && !question.odd
        && let Some(patch) = usage_patch(&question, text.as_str())
    {
        call.body = patch.splice(text.as_str());
        call.strip_usage = true;
    }
    Ok(call)
}

fn obstacle(form: Form, question: &Question<'_>) -> Option<Reason> {
    let loads = match form {
        Form::OpenAiText => question.lacks("prompt"),
        Form::OpenAiChat => question.lacks("messages"),
        Form::Responses => {
            question.value("input").is_none_or(|input| input != "\"\"" && fields::is_empty(input))
        }
        _ => false,
    };
    if question.flag("_debug_render_only") == Some(true) {
        Some(Reason::Debug)
    } else if loads {
        Some(Reason::Load)
    } else if form == Form::Responses && question.searches_web() {
        Some(Reason::WebSearch)
    } else {
        None
    }
}

/// What is put into a body, and what it takes the place of.
struct Patch {
    place: Range<usize>,
    text: String,
}

impl Patch {
    fn splice(&self, body: &str) -> Bytes {
        Bytes::from([&body[..self.place.start], &self.text, &body[self.place.end..]].concat())
    }
}

/// Where a stream is asked for its usage; `None` where the client asks for it already, or where
/// `stream_options` is of a type that the upstream will refuse. `text` is what `question` was read from.
fn usage_patch(question: &Question<'_>, text: &str) -> Option<Patch> {
    let within = |value: &str| {
        let start = value.as_ptr() as usize - text.as_ptr() as usize;
        start..start + value.len()
    };
    let Some(options) = question.value_or_null("stream_options") else {
        let start = text.find('{')? + 1;
        return Some(Patch { place: start..start, text: format!("\"stream_options\":{{{ASK}}},") });
    };
    if options == "null" {
        return Some(Patch { place: within(options), text: format!("{{{ASK}}}") });
    }
    let object = Object::read(options)?;
    match object.fields.iter().find(|field| field.folded() == "include_usage").map(|field| field.value) {
        Some(asked @ ("false" | "null")) => Some(Patch { place: within(asked), text: "true".into() }),
        Some(_) => None,
        None => {
            let start = within(options).start + 1;
            let comma = if object.fields.is_empty() { "" } else { "," };
            Some(Patch { place: start..start, text: format!("{ASK}{comma}") })
        }
    }
}
