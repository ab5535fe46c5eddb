//! A message of Anthropic's API in the other mode: its events as one object, or the object as events.

use crate::dialect::escaped::{Escaped, Grain, json_text};
use crate::dialect::frame;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The end of a stream.
const STOP: &[u8] = b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

/// A whole answer, members in the order of the wire.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Message<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(rename = "type")]
    kind: &'a str,
    role: &'a str,
    #[serde(borrow)]
    model: &'a RawValue,
    /// `null` where nothing was said.
    #[serde(borrow)]
    content: Option<Vec<Block<'a>>>,
    /// Not there as long as it is not known.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    stop_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Usage<'a>,
}

/// A block of any kind, whole or as it starts.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Block<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    text: Option<Escaped<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    name: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Box<RawValue>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    thinking: Option<Escaped<'a>>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Usage<'a> {
    #[serde(borrow)]
    input_tokens: &'a RawValue,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    cache_read_input_tokens: Option<&'a RawValue>,
    output_tokens: u64,
}

/// `message_start`
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Start<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    message: Message<'a>,
}

/// `content_block_start`, `content_block_delta` and `content_block_stop`
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Piece<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    index: usize,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    content_block: Option<Block<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    delta: Option<Delta<'a>>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Delta<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    text: Option<Escaped<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    partial_json: Option<Escaped<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    thinking: Option<Escaped<'a>>,
}

/// `message_delta`
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct End<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    delta: Stop<'a>,
    #[serde(borrow)]
    usage: Usage<'a>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Stop<'a> {
    #[serde(borrow)]
    stop_reason: &'a RawValue,
}

/// A stream as it is read: what its closed blocks say, and the open one.
#[derive(Default)]
struct Reading<'a> {
    thinking: Escaped<'a>,
    text: Escaped<'a>,
    tools: Vec<Block<'a>>,
    open: Option<Open<'a>>,
}

struct Open<'a> {
    index: usize,
    block: Block<'a>,
    /// A tool's input: JSON in a string.
    input: Escaped<'a>,
}

/// Events in the making.
#[derive(Default)]
struct Stream {
    events: Vec<Bytes>,
    /// Blocks that have been sent.
    blocks: usize,
    grain: Grain,
}

/// See [`turn`](crate::dialect::turn).
pub fn turn(from_streamed: bool, frames: &[Bytes], offers_tools: bool, grain: Grain) -> Option<Vec<Bytes>> {
    match (from_streamed, frames) {
        (true, events) => Some(vec![whole(events, offers_tools)?]),
        (false, [whole]) => events(whole, grain),
        _ => None,
    }
}

// === impl Reading ===

/// The stream as one object.
fn whole(frames: &[Bytes], offers_tools: bool) -> Option<Bytes> {
    let [start, blocks @ .., end, stop] = frames else { return None };
    let Start { kind: _, mut message } = data("message_start", start)?;
    let End { kind: _, delta: Stop { stop_reason }, usage } = data("message_delta", end)?;
    let begins = message.stop_reason.is_none() && message.content.is_some_and(|blocks| blocks.is_empty());
    if *stop != STOP || !begins {
        return None;
    }
    let mut reading = Reading::default();
    for frame in blocks {
        reading.read(frame)?;
    }
    message.content = reading.blocks(offers_tools)?;
    message.stop_reason = Some(stop_reason);
    message.usage = usage;
    let mut whole = serde_json::to_vec(&message).ok()?;
    whole.push(b'\n');
    Some(whole.into())
}

impl<'a> Reading<'a> {
    fn read(&mut self, frame: &'a [u8]) -> Option<()> {
        let event = frame::event(frame);
        let piece: Piece = serde_json::from_slice(event.data?).ok()?;
        match (event.name, piece, &mut self.open) {
            (b"content_block_start", Piece { index, content_block: Some(block), delta: None, .. }, None) => {
                self.open = Some(Open { index, block, input: Escaped::default() });
                Some(())
            }
            (
                b"content_block_delta",
                Piece { index, content_block: None, delta: Some(delta), .. },
                Some(open),
            ) => {
                (index == open.index).then_some(())?;
                open.append(delta)
            }
            (b"content_block_stop", Piece { index, content_block: None, delta: None, .. }, Some(open)) => {
                (index == open.index).then_some(())?;
                self.close()
            }
            _ => None,
        }
    }

    fn close(&mut self) -> Option<()> {
        let Open { index: _, mut block, input } = self.open.take()?;
        match &block {
            Block {
                kind: "thinking",
                thinking: Some(thinking),
                text: None,
                id: None,
                name: None,
                input: None,
            } => {
                self.thinking.push(thinking);
            }
            Block { kind: "text", text: Some(text), thinking: None, id: None, name: None, input: None } => {
                self.text.push(text);
            }
            Block { kind: "tool_use", id: Some(_), name: Some(_), text: None, thinking: None, .. } => {
                let input = input.plain().filter(|input| input.starts_with('{'))?;
                block.input = Some(RawValue::from_string(input).ok()?);
                self.tools.push(block);
            }
            _ => return None,
        }
        Some(())
    }

    /// As a whole answer has them: one of thinking, one of text, then the tools.
    fn blocks(self, offers_tools: bool) -> Option<Option<Vec<Block<'a>>>> {
        let Reading { thinking, text, tools, open } = self;
        // Ollama drops the calls of tools that nobody offered.
        let is_known = open.is_none() && (tools.is_empty() || offers_tools);
        if !is_known || thinking.is_torn() || text.is_torn() {
            return None;
        }
        let thinking = (!thinking.is_empty()).then(|| Block::thinking(thinking));
        let text = (!text.is_empty()).then(|| Block::text(text));
        let blocks: Vec<Block> = thinking.into_iter().chain(text).chain(tools).collect();
        Some((!blocks.is_empty()).then_some(blocks))
    }
}

impl<'a> Open<'a> {
    fn append(&mut self, delta: Delta<'a>) -> Option<()> {
        let (into, more) = match delta {
            Delta { kind: "thinking_delta", thinking: Some(more), text: None, partial_json: None } => {
                (self.block.thinking.as_mut()?, more)
            }
            Delta { kind: "text_delta", text: Some(more), thinking: None, partial_json: None } => {
                (self.block.text.as_mut()?, more)
            }
            Delta { kind: "input_json_delta", partial_json: Some(more), thinking: None, text: None } => {
                (&mut self.input, more)
            }
            _ => return None,
        };
        into.push(&more);
        Some(())
    }
}

impl<'a> Block<'a> {
    fn thinking(thinking: Escaped<'a>) -> Self {
        Block { kind: "thinking", text: None, id: None, name: None, input: None, thinking: Some(thinking) }
    }

    fn text(text: Escaped<'a>) -> Self {
        Block { kind: "text", text: Some(text), id: None, name: None, input: None, thinking: None }
    }
}

fn data<'a, T: Deserialize<'a>>(name: &str, frame: &'a [u8]) -> Option<T> {
    let event = frame::event(frame);
    (event.name == name.as_bytes()).then(|| serde_json::from_slice(event.data?).ok())?
}

// === impl Stream ===

/// The object as a stream.
fn events(whole: &[u8], grain: Grain) -> Option<Vec<Bytes>> {
    let mut message: Message = serde_json::from_slice(whole).ok()?;
    let stop_reason = message.stop_reason.take()?;
    let usage = message.usage.clone();
    let blocks = message.content.replace(Vec::new()).unwrap_or_default();
    // Ollama estimates the question where it does not know better yet.
    message.usage.output_tokens = 0;
    let mut stream = Stream { grain, ..Stream::default() };
    stream.send("message_start", &Start { kind: "message_start", message })?;
    for block in blocks {
        stream.block(block)?;
    }
    let delta = Stop { stop_reason };
    stream.send("message_delta", &End { kind: "message_delta", delta, usage })?;
    stream.events.push(Bytes::from_static(STOP));
    Some(stream.events)
}

impl Stream {
    fn block(&mut self, mut block: Block<'_>) -> Option<()> {
        match block {
            Block {
                kind: "thinking",
                thinking: Some(said),
                text: None,
                id: None,
                name: None,
                input: None,
            } => {
                self.start(Block::thinking(Escaped::default()))?;
                for slice in said.slices(self.grain) {
                    self.add(Delta { kind: "thinking_delta", thinking: Some(slice), ..Delta::default() })?;
                }
            }
            Block { kind: "text", text: Some(said), thinking: None, id: None, name: None, input: None } => {
                self.start(Block::text(Escaped::default()))?;
                for slice in said.slices(self.grain) {
                    self.add(Delta { kind: "text_delta", text: Some(slice), ..Delta::default() })?;
                }
            }
            Block {
                kind: "tool_use",
                id: Some(_),
                name: Some(_),
                text: None,
                thinking: None,
                ref mut input,
            } => {
                let empty = RawValue::from_string("{}".to_owned()).ok()?;
                let input = input.replace(empty.clone()).unwrap_or(empty);
                let input = json_text(input.get());
                self.start(block)?;
                let partial_json = Some(Escaped::of_value(&input)?);
                self.add(Delta { kind: "input_json_delta", partial_json, ..Delta::default() })?;
            }
            _ => return None,
        }
        self.piece(Piece { kind: "content_block_stop", ..Piece::default() })?;
        self.blocks += 1;
        Some(())
    }

    fn start(&mut self, block: Block<'_>) -> Option<()> {
        self.piece(Piece { kind: "content_block_start", content_block: Some(block), ..Piece::default() })
    }

    fn add(&mut self, delta: Delta<'_>) -> Option<()> {
        self.piece(Piece { kind: "content_block_delta", delta: Some(delta), ..Piece::default() })
    }

    fn piece(&mut self, piece: Piece<'_>) -> Option<()> {
        self.send(piece.kind, &Piece { index: self.blocks, ..piece })
    }

    fn send(&mut self, name: &str, json: &impl Serialize) -> Option<()> {
        self.events.push(frame::write_event(name, &serde_json::to_string(json).ok()?));
        Some(())
    }
}
