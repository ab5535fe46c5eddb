//! The items of a response's output.

use super::members::{Members, Order};
use crate::dialect::escaped::Escaped;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Of any kind, in the order of Go's struct. A call has `namespace` where its function has one, and
/// `execution` where it searches for tools.
const ITEM: &[&str] = &[
    "id",
    "type",
    "status",
    "role",
    "content",
    "call_id",
    "name",
    "namespace",
    "execution",
    "arguments",
    "summary",
    "encrypted_content",
];
const PART: &[&str] = &["type", "text", "annotations", "logprobs"];
const SUMMARY: &[&str] = &["type", "text"];

/// One complete item. An id comes with its quotes.
#[derive(Debug, Clone)]
pub enum Item<'a> {
    Reasoning { id: String, text: Escaped<'a> },
    Message { id: String, text: Escaped<'a> },
    Call(Members<'a>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reasoning<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(rename = "type")]
    _kind: &'a str,
    #[serde(borrow)]
    summary: [Summary<'a>; 1],
    #[serde(borrow)]
    encrypted_content: Escaped<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Summary<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    text: Escaped<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(rename = "type")]
    _kind: &'a str,
    status: &'a str,
    role: &'a str,
    #[serde(borrow)]
    content: [Part<'a>; 1],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    text: Escaped<'a>,
    annotations: [(); 0],
    logprobs: [(); 0],
}

impl<'a> Item<'a> {
    /// `None` for an item of another kind, and for one that is not complete.
    pub fn read(json: &'a str) -> Option<Self> {
        let members = Members::read(json, ITEM)?;
        match members.value("type")? {
            "\"reasoning\"" => Item::reasoning(serde_json::from_str(json).ok()?),
            "\"message\"" => Item::message(serde_json::from_str(json).ok()?),
            "\"function_call\"" | "\"tool_search_call\"" => {
                (members.value("status")? == "\"completed\"").then_some(Item::Call(members))
            }
            _ => None,
        }
    }

    fn reasoning(read: Reasoning<'a>) -> Option<Self> {
        let Reasoning { id, _kind, summary: [Summary { kind: "summary_text", text }], encrypted_content } =
            read
        else {
            return None;
        };
        (text == encrypted_content).then(|| Item::Reasoning { id: id.get().to_owned(), text })
    }

    fn message(read: Message<'a>) -> Option<Self> {
        let Message { id, _kind, status: "completed", role: "assistant", content } = read else {
            return None;
        };
        let [Part { kind: "output_text", text, annotations: [], logprobs: [] }] = content else {
            return None;
        };
        Some(Item::Message { id: id.get().to_owned(), text })
    }

    /// Complete.
    pub fn written(&self, order: Order) -> String {
        self.members(true, order).written(order)
    }

    /// As it stands in `response.output_item.added`.
    pub fn begun(&self) -> String {
        self.members(false, Order::Map).written(Order::Map)
    }

    fn members(&self, complete: bool, order: Order) -> Members<'a> {
        let list = |item: String| if complete { format!("[{item}]") } else { "[]".to_owned() };
        let mut members = Members::new(ITEM);
        match self {
            Item::Reasoning { id, text } => {
                let mut summary = Members::new(SUMMARY);
                summary.set("type", "\"summary_text\"");
                summary.set("text", text.value());
                members.set("id", id.clone());
                members.set("type", "\"reasoning\"");
                members.set("summary", list(summary.written(order)));
                if complete {
                    members.set("encrypted_content", text.value());
                }
            }
            Item::Message { id, text } => {
                members.set("id", id.clone());
                members.set("type", "\"message\"");
                members.set("status", if complete { "\"completed\"" } else { "\"in_progress\"" });
                members.set("role", "\"assistant\"");
                members.set("content", list(part(text, order)));
            }
            Item::Call(call) => return call.clone(),
        }
        members
    }
}

/// The one part of a message.
pub fn part(text: &Escaped<'_>, order: Order) -> String {
    let mut part = Members::new(PART);
    part.set("type", "\"output_text\"");
    part.set("text", text.value());
    part.set("annotations", "[]");
    part.set("logprobs", "[]");
    part.written(order)
}
