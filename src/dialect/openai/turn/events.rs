//! `/v1/responses` in the other mode: its events as one object, or the object as events.

use super::members::{Members, Order};
use super::output::{Item, part};
use super::response::Response;
use crate::dialect::escaped::{Escaped, Grain};
use crate::dialect::frame;
use bytes::Bytes;
use std::collections::BTreeMap;

/// All events that add up to an answer. What they say stands in `response.completed` once more.
const KNOWN: [&[u8]; 13] = [
    b"response.created",
    b"response.in_progress",
    b"response.output_item.added",
    b"response.output_item.done",
    b"response.content_part.added",
    b"response.content_part.done",
    b"response.output_text.delta",
    b"response.output_text.done",
    b"response.reasoning_summary_text.delta",
    b"response.reasoning_summary_text.done",
    b"response.function_call_arguments.delta",
    b"response.function_call_arguments.done",
    COMPLETED,
];
const COMPLETED: &[u8] = b"response.completed";

/// What an event may say.
const MEMBERS: &[&str] = &[
    "response",
    "item",
    "item_id",
    "output_index",
    "content_index",
    "summary_index",
    "part",
    "delta",
    "text",
    "arguments",
    "logprobs",
    "sequence_number",
    "type",
];

/// Events in the making, each under its number.
#[derive(Default)]
struct Stream {
    events: Vec<Bytes>,
    /// Items that have been sent.
    items: usize,
    grain: Grain,
}

/// The stream as one object.
pub fn whole(frames: &[Bytes], offers_tools: bool) -> Option<Bytes> {
    let (last, before) = frames.split_last()?;
    for frame in before {
        read(frame).filter(|(name, _)| *name != COMPLETED)?;
    }
    let (COMPLETED, completed) = read(last)? else { return None };
    let mut response = Response::read(completed.value("response")?)?;
    response.output = whole_output(&response, offers_tools)?;
    Some(Bytes::from(response.completed(Order::Struct)? + "\n"))
}

fn read(frame: &[u8]) -> Option<(&[u8], Members<'_>)> {
    let event = frame::event(frame);
    let members = Members::read(std::str::from_utf8(event.data?).ok()?, MEMBERS)?;
    KNOWN.contains(&event.name).then_some((event.name, members))
}

/// A whole answer has at most one reasoning, and then either calls or one message, which may be empty.
fn whole_output<'a>(response: &Response<'a>, offers_tools: bool) -> Option<Vec<Item<'a>>> {
    let (mut reasoning, mut message, mut calls) = (None, None, Vec::new());
    for item in &response.output {
        let twin = match item {
            Item::Reasoning { text, .. } | Item::Message { text, .. } if text.is_torn() => return None,
            Item::Reasoning { .. } => reasoning.replace(item.clone()),
            Item::Message { .. } => message.replace(item.clone()),
            Item::Call(_) => {
                calls.push(item.clone());
                None
            }
        };
        if twin.is_some() {
            return None;
        }
    }
    if !calls.is_empty() {
        // Ollama drops the calls of tools that nobody offered.
        return offers_tools.then(|| reasoning.into_iter().chain(calls).collect());
    }
    let silent =
        || Item::Message { id: another_id(response.id().unwrap_or_default()), text: Escaped::default() };
    Some(reasoning.into_iter().chain([message.unwrap_or_else(silent)]).collect())
}

/// An id for a message, with quotes: with another number than the response's, for which it would be
/// taken otherwise.
fn another_id(response: &str) -> String {
    let number = response.strip_prefix("resp_").and_then(|number| number.parse::<u32>().ok());
    format!("\"msg_{}\"", number.unwrap_or_default().saturating_add(1))
}

/// The object as a stream. `None` where it has calls: what else was said then stands in a stream, but
/// not in a whole answer.
pub fn of(whole: &[u8], grain: Grain) -> Option<Vec<Bytes>> {
    let whole = std::str::from_utf8(whole).ok()?;
    let mut response = Response::read(whole)?;
    let mut stream = Stream { grain, ..Stream::default() };
    for name in ["response.created", "response.in_progress"] {
        stream.send(name, [("response", response.in_progress()?)]);
    }
    // A stream has no message where nothing was said.
    response.output.retain(|item| !matches!(item, Item::Message { text, .. } if text.is_empty()));
    for item in &response.output {
        match item {
            Item::Reasoning { id, text } => stream.reasoning(item, id, text),
            Item::Message { id, text } => stream.message(item, id, text),
            Item::Call(_) => return None,
        }
    }
    stream.send("response.completed", [("response", response.completed(Order::Map)?)]);
    Some(stream.events)
}

impl Stream {
    fn reasoning(&mut self, item: &Item<'_>, id: &str, text: &Escaped<'_>) {
        let about =
            |name, value| [("item_id", id.to_owned()), ("summary_index", "0".to_owned()), (name, value)];
        self.send_item("response.output_item.added", item.begun());
        for slice in text.slices(self.grain) {
            self.send_about("response.reasoning_summary_text.delta", about("delta", slice.value()));
        }
        self.send_about("response.reasoning_summary_text.done", about("text", text.value()));
        self.send_item("response.output_item.done", item.written(Order::Map));
        self.items += 1;
    }

    fn message(&mut self, item: &Item<'_>, id: &str, text: &Escaped<'_>) {
        let about =
            |name, value| [("item_id", id.to_owned()), ("content_index", "0".to_owned()), (name, value)];
        let said = |name, text: &Escaped<'_>| {
            let [item_id, content_index, text] = about(name, text.value());
            [item_id, content_index, text, ("logprobs", "[]".to_owned())]
        };
        self.send_item("response.output_item.added", item.begun());
        let empty = part(&Escaped::default(), Order::Map);
        self.send_about("response.content_part.added", about("part", empty));
        for slice in text.slices(self.grain) {
            self.send_about("response.output_text.delta", said("delta", &slice));
        }
        self.send_about("response.output_text.done", said("text", text));
        self.send_about("response.content_part.done", about("part", part(text, Order::Map)));
        self.send_item("response.output_item.done", item.written(Order::Map));
        self.items += 1;
    }

    fn send_item(&mut self, name: &'static str, item: String) {
        self.send_about(name, [("item", item)]);
    }

    /// An event about the current item.
    fn send_about<const N: usize>(&mut self, name: &'static str, members: [(&'static str, String); N]) {
        let index = ("output_index", self.items.to_string());
        self.send(name, members.into_iter().chain([index]));
    }

    fn send(&mut self, name: &'static str, members: impl IntoIterator<Item = (&'static str, String)>) {
        let mut members: BTreeMap<_, _> = members.into_iter().collect();
        members.insert("type", format!("\"{name}\""));
        members.insert("sequence_number", self.events.len().to_string());
        let members: Vec<String> =
            members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        self.events.push(frame::write_event(name, &format!("{{{}}}", members.join(","))));
    }
}
