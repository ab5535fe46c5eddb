//! Reads native requests.

use crate::dialect::Form;
use crate::dialect::fields::{self, MAX_MEMBERS, Text};
use crate::dialect::question::Role::{Keyed, KeyedUnlessEmpty, Sorted, Tristate, Unkeyed, Verbatim};
use crate::dialect::question::{Known, Question, Reading, certainty, unreadable};
use crate::domain::{Call, Certainty, Error, Operation, Reason, Storable, Texts};
use bytes::Bytes;
use std::sync::Arc;

const GENERATE: [Known; 18] = [
    ("model", Unkeyed),
    ("stream", Unkeyed),
    ("keep_alive", Unkeyed),
    ("prompt", Keyed),
    ("suffix", KeyedUnlessEmpty),
    ("system", KeyedUnlessEmpty),
    ("template", KeyedUnlessEmpty),
    ("context", Keyed),
    ("raw", Keyed),
    ("format", Verbatim),
    ("images", Keyed),
    ("options", Sorted),
    ("think", Tristate),
    ("truncate", Keyed),
    ("shift", Keyed),
    ("logprobs", Keyed),
    ("top_logprobs", Keyed),
    ("_debug_render_only", Keyed),
];

const CHAT: [Known; 13] = [
    ("model", Unkeyed),
    ("stream", Unkeyed),
    ("keep_alive", Unkeyed),
    ("messages", Keyed),
    ("tools", Keyed),
    ("format", Verbatim),
    ("options", Sorted),
    ("think", Tristate),
    ("truncate", Keyed),
    ("shift", Keyed),
    ("logprobs", Keyed),
    ("top_logprobs", Keyed),
    ("_debug_render_only", Keyed),
];

const EMBED: [Known; 7] = [
    ("model", Unkeyed),
    ("stream", Unkeyed),
    ("keep_alive", Unkeyed),
    ("input", Keyed),
    ("truncate", Keyed),
    ("dimensions", Keyed),
    ("options", Sorted),
];

const EMBEDDINGS: [Known; 4] =
    [("model", Unkeyed), ("keep_alive", Unkeyed), ("prompt", Keyed), ("options", Sorted)];

/// A form's table, and the field without which the model is only loaded.
fn table(form: Form) -> (&'static [Known], &'static str) {
    match form {
        Form::Chat => (&CHAT, "messages"),
        Form::Embed => (&EMBED, "input"),
        Form::Embeddings => (&EMBEDDINGS, "prompt"),
        _ => (&GENERATE, "prompt"),
    }
}

/// The fields that a form knows.
pub fn known(form: Form) -> &'static [Known] {
    table(form).0
}

/// Reads the body of `/api/generate`, `/api/chat`, `/api/embed` or `/api/embeddings`.
///
/// # Errors
/// `BadRequest`, as for every dialect.
pub fn decode(form: Form, body: Bytes) -> Result<Call, Error> {
    let (known, _) = table(form);
    let text = Text::of(&body);
    let Some(question) = Question::read(form, known, &text)? else {
        return Ok(unreadable(form, body.clone(), form.operation() != Operation::Embed));
    };
    let mut call = call(form, &question, body.clone());
    if form == Form::Embed && call.storable == Storable::Yes {
        call.texts = question.texts(form, text.as_str(), MAX_MEMBERS)?.map(Arc::new);
    }
    Ok(call)
}

/// Reads the body of `/api/embed` and the texts in it, of which there are `most`, also where the answer must not be kept.
///
/// # Errors
/// The same.
pub fn decode_texts(body: Bytes, most: usize) -> Result<(Call, Option<Texts>), Error> {
    let text = Text::of(&body);
    let Some(question) = Question::read(Form::Embed, &EMBED, &text)? else {
        return Ok((unreadable(Form::Embed, body.clone(), false), None));
    };
    let texts = question.texts(Form::Embed, text.as_str(), most)?;
    Ok((call(Form::Embed, &question, body.clone()), texts))
}

/// The call that a question is, but for its texts.
fn call(form: Form, question: &Question<'_>, body: Bytes) -> Call {
    let (_, asked) = table(form);
    let embeds = form.operation() == Operation::Embed;
    let obstacle = if question.flag("_debug_render_only") == Some(true) {
        Some(Reason::Debug)
    } else if question.lacks(asked) {
        Some(Reason::Load)
    } else if question.value("keep_alive").is_some_and(ends_stay) {
        Some(Reason::KeepAlive)
    } else {
        None
    };
    let reading = Reading {
        streamed: !embeds && question.flag("stream").unwrap_or(true),
        certainty: if embeds { Certainty::Exact } else { options_certainty(question) },
        obstacle,
    };
    question.call(form, body, reading)
}

/// Ollama reads `options` into a map, so its keys are not folded.
fn options_certainty(question: &Question<'_>) -> Certainty {
    let options = question.object("options");
    let number = |key| options.as_ref()?.exact(key).and_then(fields::number);
    certainty(number("temperature"), number("top_k"), number("seed"))
}

/// Seconds: Go counts nanoseconds in 63 bits, and what is longer comes out as anything.
const LONGEST_STAY: f64 = 9_223_372_036.0;

/// Whether a `keep_alive` has an effect that a stored answer would not have: it unloads the model
/// (nothing, or less than a whole second as a number) or pins it (negative, or more than Go can count).
pub fn ends_stay(keep_alive: &str) -> bool {
    match fields::number(keep_alive) {
        Some(seconds) => !(1.0..LONGEST_STAY).contains(&seconds),
        None => fields::string(keep_alive).is_some_and(|duration| {
            duration.starts_with('-') || !duration.bytes().any(|digit| matches!(digit, b'1'..=b'9'))
        }),
    }
}
