//! JSON with its members in the order of the wire and its texts and numbers as they were written, and
//! what the frames of a stream say all together.

use bytes::Bytes;
use pannier::dialect::frame;
use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// As written.
    Leaf(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// What differs from one run to the next.
const FRESH: [&str; 6] = ["id", "item_id", "call_id", "created", "created_at", "completed_at"];

/// Where a frame says something.
const SPOKEN: [&str; 8] =
    ["content", "thinking", "reasoning", "response", "text", "delta", "tool_calls", "logprobs"];

impl Node {
    pub fn read(json: &[u8]) -> Node {
        serde_json::from_slice(json).expect("JSON")
    }

    pub fn written(&self) -> String {
        match self {
            Node::Leaf(text) => text.clone(),
            Node::List(items) => {
                format!("[{}]", items.iter().map(Node::written).collect::<Vec<_>>().join(","))
            }
            Node::Map(members) => {
                let member = |(name, value): &(String, Node)| format!("\"{name}\":{}", value.written());
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
            }
        }
    }

    /// Puts a sign where two runs differ: ids keep their first letters.
    pub fn mask(&mut self) {
        match self {
            Node::Leaf(_) => {}
            Node::List(items) => items.iter_mut().for_each(Node::mask),
            Node::Map(members) => {
                for (name, value) in members {
                    match value {
                        Node::Leaf(text) if FRESH.contains(&name.as_str()) || name.ends_with("_duration") => {
                            let kind = text.split(|c: char| c.is_ascii_digit() || c == '_').next();
                            *text = format!("<{}>", kind.unwrap_or_default());
                        }
                        value => value.mask(),
                    }
                }
            }
        }
    }

    /// The same with one more member, in one object after the other. Not within what is quoted from the
    /// question or made by the model, which may hold anything.
    pub fn strangers(self) -> Vec<Node> {
        const FREE: [&str; 5] = ["tools", "input", "schema", "arguments", "tool_calls"];
        let mut all = Vec::new();
        match &self {
            Node::Leaf(_) => {}
            Node::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    for strange in item.clone().strangers() {
                        let mut items = items.clone();
                        items[index] = strange;
                        all.push(Node::List(items));
                    }
                }
            }
            Node::Map(members) => {
                let mut more = members.clone();
                more.push(("stranger".into(), Node::Leaf("1".into())));
                all.push(Node::Map(more));
                for (index, (name, value)) in members.iter().enumerate() {
                    // Copied whole: what is in there is in there in both modes.
                    if FREE.contains(&name.as_str())
                        || name == "logprobs"
                        || name.ends_with("_details")
                        || name == "metadata"
                    {
                        continue;
                    }
                    for strange in value.clone().strangers() {
                        let mut members = members.clone();
                        members[index].1 = strange;
                        all.push(Node::Map(members));
                    }
                }
            }
        }
        all
    }

    /// A frame that adds text as several that add the same.
    pub fn pieces(self, cuts: &[prop::sample::Index]) -> Vec<Node> {
        let mut said = Vec::new();
        let mut silent = self.clone();
        if adds("", &self) || self.written().contains("_delta\"") {
            silent.silence(&mut said);
        }
        let Some((_, Node::Leaf(text))) = said.first() else { return vec![self] };
        let plain: String = serde_json::from_str(text).expect("a text");
        let places: Vec<usize> = plain.char_indices().map(|(at, _)| at).chain([plain.len()]).collect();
        let mut at: Vec<usize> = cuts.iter().map(|cut| *cut.get(&places)).chain([0, plain.len()]).collect();
        at.sort_unstable();
        let piece = |pair: &[usize]| {
            let piece = serde_json::to_string(&plain[pair[0]..pair[1]]).expect("a text");
            Node::read(self.written().replacen(text, &piece, 1).as_bytes())
        };
        at.windows(2).map(piece).collect()
    }

    fn member(&self, name: &str) -> Option<&Node> {
        let Node::Map(members) = self else { return None };
        members.iter().find(|(other, _)| other == name).map(|(_, value)| value)
    }

    fn remove(&mut self, name: &str) {
        if let Node::Map(members) = self {
            members.retain(|(other, _)| other != name);
        }
    }

    /// Takes out what a frame says, and returns it by name.
    fn silence(&mut self, said: &mut Vec<(String, Node)>) {
        match self {
            Node::Leaf(_) => {}
            Node::List(items) => items.iter_mut().for_each(|item| item.silence(said)),
            Node::Map(members) => {
                members.retain_mut(|(name, value)| {
                    let speaks = match value {
                        Node::Leaf(text) => text.starts_with('"'),
                        Node::List(_) => true,
                        Node::Map(_) => name == "logprobs",
                    };
                    if !speaks || !SPOKEN.contains(&name.as_str()) {
                        value.silence(said);
                        return true;
                    }
                    let silent = [Node::Leaf("\"\"".into()), Node::List(Vec::new())].contains(value);
                    if !silent {
                        said.push((name.clone(), value.clone()));
                    }
                    false
                });
            }
        }
    }

    fn append(&mut self, more: Node) {
        match (self, more) {
            (Node::Leaf(text), Node::Leaf(more)) => {
                text.truncate(text.len() - 1);
                text.push_str(&more[1..]);
            }
            (Node::List(items), Node::List(more)) => items.extend(more),
            (Node::Map(members), Node::Map(more)) => {
                assert_eq!(members.len(), more.len());
                for ((_, value), (_, more)) in members.iter_mut().zip(more) {
                    value.append(more);
                }
            }
            (one, other) => panic!("{one:?} and {other:?}"),
        }
    }
}

/// The JSON of a frame; `None` where it has none.
pub fn value_of(frame: &[u8]) -> Option<Node> {
    match frame::event(frame).data {
        Some(b"[DONE]") => None,
        Some(data) => Some(Node::read(data)),
        None => Some(Node::read(frame)),
    }
}

/// The frame with another JSON in it.
pub fn with_value(frame: &[u8], json: &[u8]) -> Bytes {
    let Some(data) = frame::event(frame).data else { return [json, b"\n"].concat().into() };
    let at = data.as_ptr() as usize - frame.as_ptr() as usize;
    [&frame[..at], json, &frame[at + data.len()..]].concat().into()
}

pub fn sequence_number(frame: &[u8]) -> Option<usize> {
    let Node::Leaf(number) = value_of(frame)?.member("sequence_number")?.clone() else { return None };
    number.parse().ok()
}

/// A frame as what it is and what it adds.
#[derive(Debug, PartialEq)]
pub struct Told {
    event: String,
    frame: Option<Node>,
    said: Vec<(String, Node)>,
}

/// All frames in order; those that add to the same thing are one.
pub fn said(frames: &[Bytes]) -> Vec<Told> {
    let mut all: Vec<Told> = Vec::new();
    for frame in frames {
        let event = String::from_utf8_lossy(frame::event(frame).name).into_owned();
        let mut node = value_of(frame);
        let mut said = Vec::new();
        let role = node.as_ref().is_some_and(|node| node.written().contains("\"delta\":{\"role\""));
        if let Some(node) = &mut node {
            node.remove("sequence_number");
            node.mask();
            if adds(&event, node) {
                node.silence(&mut said);
            }
            if event == "message_start" {
                estimate(node);
            }
        }
        let nothing = said.is_empty() && node.as_ref().is_some_and(|node| adds(&event, node));
        if nothing && node.as_ref().is_some_and(|node| node.member("done").is_some()) {
            continue;
        }
        let names = |said: &[(String, Node)]| said.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        match all.last_mut() {
            Some(last)
                if !said.is_empty() && !role && names(&last.said) == names(&said) && last.event == event =>
            {
                for ((_, value), (_, more)) in last.said.iter_mut().zip(said) {
                    value.append(more);
                }
            }
            _ => all.push(Told { event, frame: node, said }),
        }
    }
    all
}

/// Whether a frame adds to what was said, rather than to tell where things begin and end.
fn adds(event: &str, node: &Node) -> bool {
    let is = |name: &str, value: &str| node.written().contains(&format!("\"{name}\":{value}"));
    event.ends_with("delta") && event != "message_delta" || is("done", "false") || is("finish_reason", "null")
}

/// How long the question is, is not known for sure when a message starts.
fn estimate(node: &mut Node) {
    if let Node::Map(members) = node {
        for (name, value) in members {
            match name.as_str() {
                "message" => estimate(value),
                "usage" => *value = Node::Leaf("<estimate>".into()),
                _ => {}
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        let mut json = serde_json::Deserializer::from_str(raw.get());
        let node = match raw.get().as_bytes()[0] {
            b'{' => json.deserialize_map(Nodes),
            b'[' => json.deserialize_seq(Nodes),
            _ => Ok(Node::Leaf(raw.get().to_owned())),
        };
        node.map_err(serde::de::Error::custom)
    }
}

struct Nodes;

impl<'de> Visitor<'de> for Nodes {
    type Value = Node;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Node::Map(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }
}
