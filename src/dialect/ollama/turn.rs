//! A native completion in the other mode: its lines as one object, or the object as lines.

use crate::dialect::escaped::Escaped;
use crate::dialect::speech::Speech;
use crate::dialect::{Form, Grain};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A line of `/api/chat` before the last, members in the order of the wire.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ChatLine<'a> {
    #[serde(borrow)]
    model: &'a RawValue,
    #[serde(borrow)]
    created_at: &'a RawValue,
    #[serde(borrow)]
    message: Message<'a>,
    done: bool,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    logprobs: Vec<&'a RawValue>,
}

/// The last line of `/api/chat`, and its whole answer.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Chat<'a> {
    #[serde(borrow)]
    model: &'a RawValue,
    #[serde(borrow)]
    created_at: &'a RawValue,
    #[serde(borrow)]
    message: Message<'a>,
    done: bool,
    #[serde(borrow)]
    done_reason: &'a RawValue,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    logprobs: Vec<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    total_duration: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    load_duration: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    prompt_eval_count: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    prompt_eval_cached_count: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    prompt_eval_duration: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    eval_count: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    eval_duration: Option<&'a RawValue>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Message<'a> {
    #[serde(borrow)]
    role: &'a RawValue,
    #[serde(borrow)]
    content: Escaped<'a>,
    #[serde(borrow, default, skip_serializing_if = "Escaped::is_empty")]
    thinking: Escaped<'a>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<&'a RawValue>,
}

/// A line of `/api/generate` before the last.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct TextLine<'a> {
    #[serde(borrow)]
    model: &'a RawValue,
    #[serde(borrow)]
    created_at: &'a RawValue,
    #[serde(borrow)]
    response: Escaped<'a>,
    #[serde(borrow, default, skip_serializing_if = "Escaped::is_empty")]
    thinking: Escaped<'a>,
    done: bool,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    logprobs: Vec<&'a RawValue>,
}

/// The last line of `/api/generate`, and its whole answer.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Generated<'a> {
    #[serde(borrow)]
    model: &'a RawValue,
    #[serde(borrow)]
    created_at: &'a RawValue,
    #[serde(borrow)]
    response: Escaped<'a>,
    #[serde(borrow, default, skip_serializing_if = "Escaped::is_empty")]
    thinking: Escaped<'a>,
    done: bool,
    #[serde(borrow)]
    done_reason: &'a RawValue,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    context: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    total_duration: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    load_duration: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    prompt_eval_count: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    prompt_eval_cached_count: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    prompt_eval_duration: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    eval_count: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    eval_duration: Option<&'a RawValue>,
    /// Here they only ever stand in the last line.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    logprobs: Vec<&'a RawValue>,
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
        (Form::Chat, true, [lines @ .., last]) => Some(vec![joined_chat(lines, last, offers_tools)?]),
        (Form::Chat, false, [whole]) => chat_lines(whole, grain),
        (Form::Generate, true, [lines @ .., last]) => Some(vec![joined_text(lines, last)?]),
        (Form::Generate, false, [whole]) => text_lines(whole, grain),
        _ => None,
    }
}

fn joined_chat(lines: &[Bytes], last: &[u8], offers_tools: bool) -> Option<Bytes> {
    let mut whole: Chat = serde_json::from_slice(last).ok().filter(|last: &Chat| last.done)?;
    let mut said = Speech::default();
    for line in lines {
        let ChatLine { model, created_at: _, message, done, logprobs } = serde_json::from_slice(line).ok()?;
        let goes_on =
            !done && model.get() == whole.model.get() && message.role.get() == whole.message.role.get();
        said.append(goes_on.then(|| message.said(logprobs))?);
    }
    let Chat { message, logprobs, .. } = whole;
    let role = message.role;
    said.append(message.said(logprobs));
    // Ollama drops the calls of tools that nobody offered, but for those in the last line.
    if said.is_torn() || (!said.tool_calls.is_empty() && !offers_tools) {
        return None;
    }
    whole.logprobs = std::mem::take(&mut said.logprobs);
    whole.message = Message::saying(role, said);
    Some(serde_json::to_vec(&whole).ok()?.into())
}

fn chat_lines(whole: &[u8], grain: Grain) -> Option<Vec<Bytes>> {
    let whole: Chat = serde_json::from_slice(whole).ok().filter(|whole: &Chat| whole.done)?;
    let Chat { model, created_at, message, logprobs, .. } = whole;
    let role = message.role;
    let said = message.said(logprobs);
    let add = |mut part: Speech<'_>| {
        let logprobs = std::mem::take(&mut part.logprobs);
        line(&ChatLine { model, created_at, message: Message::saying(role, part), done: false, logprobs })
    };
    let mut lines: Vec<Bytes> = said.parts(grain).into_iter().map(add).collect::<Option<_>>()?;
    lines.push(line(&Chat {
        message: Message::saying(role, Speech::default()),
        logprobs: Vec::new(),
        ..whole
    })?);
    Some(lines)
}

fn joined_text(lines: &[Bytes], last: &[u8]) -> Option<Bytes> {
    let mut whole: Generated = serde_json::from_slice(last).ok().filter(|last: &Generated| last.done)?;
    let mut said = Speech::default();
    for line in lines {
        let TextLine { model, created_at: _, response, thinking, done, logprobs } =
            serde_json::from_slice(line).ok()?;
        let goes_on = !done && model.get() == whole.model.get();
        said.append(goes_on.then_some(Speech {
            thinking,
            text: response,
            tool_calls: Vec::new(),
            logprobs,
        })?);
    }
    let Generated { response, thinking, logprobs, .. } = whole;
    said.append(Speech { thinking, text: response, tool_calls: Vec::new(), logprobs });
    if said.is_torn() {
        return None;
    }
    let Speech { thinking, text, tool_calls: _, logprobs } = said;
    whole = Generated { response: text, thinking, logprobs, ..whole };
    Some(serde_json::to_vec(&whole).ok()?.into())
}

fn text_lines(whole: &[u8], grain: Grain) -> Option<Vec<Bytes>> {
    let whole: Generated = serde_json::from_slice(whole).ok().filter(|whole: &Generated| whole.done)?;
    let Generated { model, created_at, response, thinking, logprobs, .. } = whole;
    let said = Speech { thinking, text: response, tool_calls: Vec::new(), logprobs };
    let add = |part: Speech<'_>| {
        let Speech { thinking, text, tool_calls: _, logprobs } = part;
        line(&TextLine { model, created_at, response: text, thinking, done: false, logprobs })
    };
    let mut lines: Vec<Bytes> = said.parts(grain).into_iter().map(add).collect::<Option<_>>()?;
    let (response, thinking) = (Escaped::default(), Escaped::default());
    lines.push(line(&Generated { response, thinking, logprobs: Vec::new(), ..whole })?);
    Some(lines)
}

impl<'a> Message<'a> {
    fn said(self, logprobs: Vec<&'a RawValue>) -> Speech<'a> {
        let Message { role: _, content, thinking, tool_calls } = self;
        Speech { thinking, text: content, tool_calls, logprobs }
    }

    /// Without the log probabilities, which stand beside a message.
    fn saying(role: &'a RawValue, said: Speech<'a>) -> Self {
        let Speech { thinking, text, tool_calls, logprobs: _ } = said;
        Message { role, content: text, thinking, tool_calls }
    }
}

fn line(json: &impl Serialize) -> Option<Bytes> {
    let mut line = serde_json::to_vec(json).ok()?;
    line.push(b'\n');
    Some(line.into())
}
