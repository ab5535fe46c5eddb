//! The fresh places of an answer of Anthropic's API: the message's id, and the model's name.

use crate::dialect::frame;
use crate::dialect::stencil::Stencil;
use crate::domain::Template;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A message, whole or as it starts.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    model: &'a RawValue,
}

/// An event; only `message_start` holds a message.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(rename = "type", borrow)]
    _kind: &'a RawValue,
}

/// See [`cut`](crate::dialect::cut).
pub fn cut(streamed: bool, frames: &[Bytes], model: &str) -> Option<Template> {
    let mut stencil = Stencil::new(frames, model);
    stencil.each_frame(|stencil, frame| {
        let message = match frame::event(frame).data {
            _ if !streamed => Some(serde_json::from_slice(frame).ok()?),
            // A comment.
            None => None,
            Some(data) => serde_json::from_slice::<Event>(data).ok()?.message,
        };
        let Some(Message { id, model }) = message else { return Some(()) };
        stencil.hex_id(id, "msg_")?;
        stencil.model(model)
    })?;
    stencil.template()
}
