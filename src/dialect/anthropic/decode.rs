//! Reads requests in Anthropic's shape.

use crate::dialect::Form;
use crate::dialect::fields::Text;
use crate::dialect::question::Role::{Keyed, Unkeyed, Verbatim};
use crate::dialect::question::{Known, Question, Reading, certainty, unreadable};
use crate::domain::{Call, Error, Reason};
use bytes::Bytes;

/// `cache_control` and `tool_choice`, which Ollama ignores, count as unknown fields do.
const MESSAGES: [Known; 13] = [
    ("model", Unkeyed),
    ("stream", Unkeyed),
    ("metadata", Unkeyed),
    ("system", Keyed),
    ("messages", Keyed),
    ("tools", Keyed),
    ("thinking", Keyed),
    ("output_config", Verbatim),
    ("max_tokens", Keyed),
    ("temperature", Keyed),
    ("top_p", Keyed),
    ("top_k", Keyed),
    ("stop_sequences", Keyed),
];

/// The fields that the form knows.
pub fn known() -> &'static [Known] {
    &MESSAGES
}

/// Reads the body of `/v1/messages`.
///
/// # Errors
/// `BadRequest`, as for every dialect.
pub fn decode(body: Bytes) -> Result<Call, Error> {
    let form = Form::Messages;
    let text = Text::of(&body);
    let Some(question) = Question::read(form, &MESSAGES, &text)? else {
        return Ok(unreadable(form, body.clone(), false));
    };
    let reading = Reading {
        streamed: question.flag("stream") == Some(true),
        certainty: certainty(question.number("temperature"), question.number("top_k"), None),
        obstacle: question.searches_web().then_some(Reason::WebSearch),
    };
    Ok(question.call(form, body.clone(), reading))
}
