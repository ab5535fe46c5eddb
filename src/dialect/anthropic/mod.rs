//! Anthropic's API as Ollama speaks it: `/v1/messages`.

mod decode;
mod replay;
mod scan;
mod turn;

pub use decode::{decode, known};
pub use replay::cut;
pub use scan::Scanner;
pub use turn::turn;

use super::{Dialect, Form, Handling, RouteSpec};
use crate::domain::Error;
use bytes::Bytes;

/// Anthropic's dialect.
pub struct Anthropic;

const ROUTES: [RouteSpec; 1] = [RouteSpec::new("POST", "/v1/messages", Handling::Answer(Form::Messages))];

/// Anthropic's `type` for a status.
fn kind_of(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

impl Dialect for Anthropic {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn routes(&self) -> &'static [RouteSpec] {
        &ROUTES
    }

    fn error_body(&self, error: &Error, request_id: &str) -> Bytes {
        let body = serde_json::json!({
            "type": "error",
            "error": { "type": kind_of(error.kind.status()), "message": error.message },
            "request_id": request_id,
        });
        Bytes::from(format!("{body}\n"))
    }

    fn error_frame(&self, error: &Error, request_id: &str) -> Bytes {
        let body = self.error_body(error, request_id);
        let json = String::from_utf8_lossy(body.trim_ascii_end());
        Bytes::from(format!("event: error\ndata: {json}\n\n"))
    }
}
