//! The fresh places of a native answer: `created_at` of every line, and the model's name.

use crate::dialect::Form;
use crate::dialect::stencil::Stencil;
use crate::domain::Template;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// A line of a completion, or the whole of it.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    model: &'a RawValue,
    #[serde(borrow)]
    created_at: &'a RawValue,
    #[serde(rename = "done")]
    _done: bool,
}

/// `/api/embed`
#[derive(Deserialize)]
struct Embeddings<'a> {
    #[serde(borrow)]
    model: &'a RawValue,
    #[serde(rename = "embeddings")]
    _embeddings: IgnoredAny,
}

/// `/api/embeddings`: nothing in it is ever fresh.
#[derive(Deserialize)]
struct Embedding {
    #[serde(rename = "embedding")]
    _embedding: IgnoredAny,
}

/// See [`cut`](crate::dialect::cut). Lines and whole answers are objects of one shape.
pub fn cut(form: Form, _streamed: bool, frames: &[Bytes], model: &str) -> Option<Template> {
    let mut stencil = Stencil::new(frames, model);
    stencil.each_frame(|stencil, frame| match form {
        Form::Embeddings => serde_json::from_slice::<Embedding>(frame).ok().map(drop),
        Form::Embed => stencil.model(serde_json::from_slice::<Embeddings>(frame).ok()?.model),
        _ => {
            let line: Line = serde_json::from_slice(frame).ok()?;
            stencil.model(line.model)?;
            stencil.rfc3339(line.created_at)
        }
    })?;
    stencil.template()
}
