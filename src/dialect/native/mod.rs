//! Pannier's own routes to the models: what no other dialect has a word for.

mod decode;
mod tell;

pub use decode::{Batch, decode, wants_lines};
pub use tell::{Counts, Failure, Teller, complaint};

use super::{Dialect, Handling, RouteSpec};
use crate::domain::Error;
use bytes::Bytes;

/// Pannier's own dialect.
pub struct Native;

const ROUTES: [RouteSpec; 1] = [RouteSpec::new("POST", "/embeddings/batch", Handling::Batch)];

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
