//! The fresh places of an answer of OpenAI's API: its ids, its times, and the model's name.

use crate::dialect::Form;
use crate::dialect::frame;
use crate::dialect::stencil::Stencil;
use crate::domain::Template;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// A completion, whole or a chunk of it.
#[derive(Deserialize)]
struct Completion<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    created: &'a RawValue,
    #[serde(borrow)]
    model: &'a RawValue,
    #[serde(rename = "choices")]
    _choices: IgnoredAny,
}

#[derive(Deserialize)]
struct Embeddings<'a> {
    #[serde(borrow)]
    model: &'a RawValue,
    #[serde(rename = "data")]
    _data: IgnoredAny,
}

/// The responses API's answer, whole or in an event.
#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    created_at: &'a RawValue,
    #[serde(borrow)]
    completed_at: Option<&'a RawValue>,
    #[serde(borrow)]
    model: &'a RawValue,
    #[serde(borrow)]
    output: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// An event of the responses API: about the response, about an item of it, or about a part of one.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    response: Option<Response<'a>>,
    #[serde(borrow)]
    item: Option<Item<'a>>,
    #[serde(borrow)]
    item_id: Option<&'a RawValue>,
    #[serde(rename = "sequence_number")]
    _sequence_number: u64,
}

/// See [`cut`](crate::dialect::cut).
pub fn cut(form: Form, streamed: bool, frames: &[Bytes], model: &str) -> Option<Template> {
    let mut stencil = Stencil::new(frames, model);
    stencil.each_frame(|stencil, frame| {
        let json = match frame::event(frame).data {
            _ if !streamed => frame,
            // A comment, or the end: nothing in them is ever fresh.
            None | Some(b"[DONE]") => return Some(()),
            Some(data) => data,
        };
        match form {
            Form::Responses if streamed => event(stencil, serde_json::from_slice(json).ok()?),
            Form::Responses => response(stencil, serde_json::from_slice(json).ok()?),
            Form::OpenAiEmbed => stencil.model(serde_json::from_slice::<Embeddings>(json).ok()?.model),
            _ => completion(stencil, serde_json::from_slice(json).ok()?),
        }
    })?;
    stencil.template()
}

fn completion<'a>(stencil: &mut Stencil<'a>, completion: Completion<'a>) -> Option<()> {
    stencil.numbered_id(completion.id)?;
    stencil.unix_seconds(completion.created)?;
    stencil.model(completion.model)
}

fn event<'a>(stencil: &mut Stencil<'a>, event: Event<'a>) -> Option<()> {
    if let Some(answer) = event.response {
        response(stencil, answer)?;
    }
    let ids = [event.item.and_then(|item| item.id), event.item_id];
    ids.into_iter().flatten().try_for_each(|id| stencil.numbered_id(id))
}

fn response<'a>(stencil: &mut Stencil<'a>, response: Response<'a>) -> Option<()> {
    stencil.numbered_id(response.id)?;
    stencil.unix_seconds(response.created_at)?;
    if let Some(completed_at) = response.completed_at {
        stencil.unix_seconds(completed_at)?;
    }
    stencil.model(response.model)?;
    response.output.into_iter().filter_map(|item| item.id).try_for_each(|id| stencil.numbered_id(id))
}
