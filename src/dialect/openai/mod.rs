//! OpenAI's API as Ollama speaks it: `/v1/*` but for `/v1/messages`.

mod decode;
mod replay;
mod scan;
mod strip;
mod turn;
mod vectors;

pub use decode::{decode, known};
pub use replay::cut;
pub use scan::Scanner;
pub use strip::UsageStrip;
pub use turn::turn;
pub(super) use vectors::{read_vectors, write_base64, write_vectors};

use super::transcript::{Hearing, Manner};
use super::{Dialect, Form, Handling, RouteSpec};
use crate::domain::{Error, Kind};
use bytes::Bytes;

/// OpenAI's dialect.
pub struct OpenAi;

const fn hear(translate: bool, path: &'static str) -> RouteSpec {
    RouteSpec::new("POST", path, Handling::Hear(Hearing { translate, manner: Manner::OpenAi }))
}

const ROUTES: [RouteSpec; 9] = [
    RouteSpec::new("POST", "/v1/chat/completions", Handling::Answer(Form::OpenAiChat)),
    RouteSpec::new("POST", "/v1/completions", Handling::Answer(Form::OpenAiText)),
    RouteSpec::new("POST", "/v1/embeddings", Handling::Answer(Form::OpenAiEmbed)),
    RouteSpec::new("POST", "/v1/responses", Handling::Answer(Form::Responses)),
    RouteSpec::new("GET", "/v1/models", Handling::Forward),
    RouteSpec::new("GET", "/v1/models/{model}", Handling::Forward),
    hear(false, "/v1/audio/transcriptions"),
    hear(true, "/v1/audio/translations"),
    RouteSpec::new("POST", "/v1/systemone", Handling::Forward),
];

/// OpenAI's `type` and `code` for each kind.
fn names(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Unauthenticated | Kind::KeyExpired | Kind::KeyDisabled => {
            ("invalid_request_error", "invalid_api_key")
        }
        Kind::NotFound => ("not_found_error", "not_found"),
        Kind::RateLimited => ("requests", "rate_limit_exceeded"),
        Kind::BadRequest
        | Kind::Forbidden
        | Kind::Unpriced
        | Kind::MethodNotAllowed
        | Kind::RequestTimeout
        | Kind::TooLarge
        | Kind::HeadTooLarge
        | Kind::Unsupported
        | Kind::ExpectationFailed
        | Kind::NotCached => ("invalid_request_error", kind.code()),
        Kind::Overloaded
        | Kind::UpstreamUnreachable
        | Kind::UpstreamAborted
        | Kind::UpstreamTimeout
        | Kind::Loop
        | Kind::Internal
        | Kind::Stopping
        | Kind::ClientGone => ("api_error", kind.code()),
    }
}

impl Dialect for OpenAi {
    fn name(&self) -> &'static str {
        "openai"
    }

    fn routes(&self) -> &'static [RouteSpec] {
        &ROUTES
    }

    fn error_body(&self, error: &Error, _request_id: &str) -> Bytes {
        let (kind, code) = names(error.kind);
        let body = serde_json::json!({
            "error": { "message": error.message, "type": kind, "param": null, "code": code }
        });
        Bytes::from(format!("{body}\n"))
    }

    fn error_frame(&self, error: &Error, request_id: &str) -> Bytes {
        let body = self.error_body(error, request_id);
        let json = String::from_utf8_lossy(body.trim_ascii_end());
        Bytes::from(format!("data: {json}\n\n"))
    }
}
