//! The object of the responses API, which Ollama writes as a struct in a whole answer and as maps within
//! events.

use super::members::{Members, Order, rewritten};
use super::output::Item;
use serde::Deserialize;
use serde_json::value::RawValue;

/// In the order of Go's struct, as all of these.
const RESPONSE: &[&str] = &[
    "id",
    "object",
    "created_at",
    "completed_at",
    "status",
    "incomplete_details",
    "model",
    "previous_response_id",
    "instructions",
    "output",
    "error",
    "tools",
    "tool_choice",
    "truncation",
    "parallel_tool_calls",
    "text",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "top_logprobs",
    "temperature",
    "reasoning",
    "usage",
    "max_output_tokens",
    "max_tool_calls",
    "store",
    "background",
    "service_tier",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
];
const USAGE: &[&str] =
    &["input_tokens", "output_tokens", "total_tokens", "input_tokens_details", "output_tokens_details"];
const TEXT: &[&str] = &["format"];
const FORMAT: &[&str] = &["type", "name", "schema", "strict"];
const REASONING: &[&str] = &["effort", "summary"];

/// A complete answer.
pub struct Response<'a> {
    /// All but the output.
    members: Members<'a>,
    pub output: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Head<'a> {
    object: &'a str,
    status: &'a str,
    #[serde(borrow)]
    output: Vec<&'a RawValue>,
}

impl<'a> Response<'a> {
    /// `None` for one that is not complete, or has anything in it that Ollama 0.34 does not write.
    pub fn read(json: &'a str) -> Option<Self> {
        let mut members = Members::read(json, RESPONSE)?;
        let Head { object: "response", status: "completed", output } = serde_json::from_str(json).ok()?
        else {
            return None;
        };
        members.remove("output");
        let output = output.into_iter().map(|item| Item::read(item.get())).collect::<Option<_>>()?;
        Some(Response { members, output })
    }

    /// Its id, without quotes.
    pub fn id(&self) -> Option<&str> {
        self.members.value("id")?.strip_prefix('"')?.strip_suffix('"')
    }

    /// As it stands in a whole answer, or in `response.completed`.
    pub fn completed(&self, order: Order) -> Option<String> {
        let mut members = self.echo(order)?;
        let output: Vec<String> = self.output.iter().map(|item| item.written(order)).collect();
        members.set("output", format!("[{}]", output.join(",")));
        members.set("usage", rewritten(self.members.value("usage")?, USAGE, order)?);
        Some(members.written(order))
    }

    /// As it stands in the first two events.
    pub fn in_progress(&self) -> Option<String> {
        let mut members = self.echo(Order::Map)?;
        members.set("completed_at", "null");
        members.set("status", "\"in_progress\"");
        members.set("output", "[]");
        members.set("usage", "null");
        Some(members.written(Order::Map))
    }

    /// The members that repeat the question, and the rest as it is.
    fn echo(&self, order: Order) -> Option<Members<'a>> {
        let mut members = self.members.clone();
        let text = Members::read(self.members.value("text")?, TEXT)?;
        let format = rewritten(text.value("format")?, FORMAT, order)?;
        members.set("text", format!("{{\"format\":{format}}}"));
        members.set("reasoning", reasoning(self.members.value("reasoning")?, order)?);
        Some(members)
    }
}

/// What is not set is left out of a struct, and `null` in a map.
fn reasoning(json: &str, order: Order) -> Option<String> {
    if json == "null" {
        return Some(json.to_owned());
    }
    let mut members = Members::read(json, REASONING)?;
    for name in REASONING {
        match (members.value(name), order) {
            (Some("null"), Order::Struct) => members.remove(name),
            (None, Order::Map) => members.set(name, "null"),
            _ => {}
        }
    }
    Some(members.written(order))
}
