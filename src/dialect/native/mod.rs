//! Pannier's own routes to the models: what no other dialect has a word for.

mod decode;
mod look;
mod retold;
mod tell;

pub use decode::{Batch, decode, wants_lines};
pub use look::{Look, View};
pub use retold::{Narrator, Retold};
pub use tell::{Counts, Failure, Teller, complaint};

use super::transcript::{Hearing, Manner};
use super::{Dialect, Handling, RouteSpec};
use crate::domain::Error;
use bytes::Bytes;

/// Pannier's own dialect.
pub struct Native;

const fn see(view: View, path: &'static str) -> RouteSpec {
    RouteSpec::new("POST", path, Handling::See(view))
}

const fn hear(translate: bool, path: &'static str) -> RouteSpec {
    RouteSpec::new("POST", path, Handling::Hear(Hearing { translate, manner: Manner::Native }))
}

const ROUTES: [RouteSpec; 9] = [
    RouteSpec::new("POST", "/embeddings/batch", Handling::Batch),
    see(View::Analyze, "/vision/analyze"),
    see(View::Analyze, "/vision/upload"),
    see(View::Caption, "/vision/caption"),
    see(View::Ocr, "/vision/ocr"),
    hear(false, "/audio/transcribe"),
    hear(true, "/audio/translate"),
    hear(false, "/audio/upload/transcribe"),
    hear(true, "/audio/upload/translate"),
];

impl Dialect for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn routes(&self) -> &'static [RouteSpec] {
        &ROUTES
    }

    fn error_body(&self, error: &Error, _request_id: &str) -> Bytes {
        Bytes::from(Failure::of(error).to_json())
    }

    fn error_frame(&self, error: &Error, _request_id: &str) -> Bytes {
        Bytes::from(Failure::of(error).to_json() + "\n")
    }
}
