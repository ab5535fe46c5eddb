//! Ollama's native API: `/api/*`, and the few routes outside of it.

mod decode;
mod replay;
mod residence;
mod scan;
mod turn;
mod vectors;

pub use decode::{decode, known};
pub(super) use decode::{decode_texts, ends_stay};
pub use replay::cut;
pub use residence::{Manner, Residence};
pub use scan::Scanner;
pub use turn::turn;
pub use vectors::shorten;
pub(super) use vectors::{read_vectors, write_vectors};

use super::{Dialect, Form, Handling, RouteSpec};
use crate::domain::Error;
use bytes::Bytes;

/// The native dialect.
pub struct Ollama;

const fn get(path: &'static str) -> RouteSpec {
    RouteSpec::new("GET", path, Handling::Forward)
}

const fn head(path: &'static str) -> RouteSpec {
    RouteSpec::new("HEAD", path, Handling::Forward)
}

const fn answer(form: Form, path: &'static str) -> RouteSpec {
    RouteSpec::new("POST", path, Handling::Answer(form))
}

const fn changes(method: &'static str, path: &'static str) -> RouteSpec {
    RouteSpec::new(method, path, Handling::ForwardAndRefresh)
}

const ROUTES: [RouteSpec; 30] = [
    answer(Form::Chat, "/api/chat"),
    answer(Form::Generate, "/api/generate"),
    answer(Form::Embed, "/api/embed"),
    answer(Form::Embeddings, "/api/embeddings"),
    get("/"),
    head("/"),
    get("/api/version"),
    head("/api/version"),
    get("/api/tags"),
    head("/api/tags"),
    get("/api/ps"),
    get("/api/status"),
    RouteSpec::new("POST", "/api/show", Handling::Forward),
    changes("POST", "/api/pull"),
    changes("POST", "/api/push"),
    changes("POST", "/api/create"),
    changes("POST", "/api/copy"),
    changes("DELETE", "/api/delete"),
    RouteSpec::new("POST", "/api/blobs/{digest}", Handling::Forward),
    head("/api/blobs/{digest}"),
    RouteSpec::new("POST", "/api/me", Handling::Forward),
    RouteSpec::new("POST", "/api/signout", Handling::ForwardOnce),
    RouteSpec::new("DELETE", "/api/user/keys/{key}", Handling::ForwardOnce),
    get("/api/experimental/model-recommendations"),
    RouteSpec::new("POST", "/api/experimental/web_search", Handling::ForwardOnce),
    RouteSpec::new("POST", "/api/experimental/web_fetch", Handling::ForwardOnce),
    RouteSpec::new("OPTIONS", "/api/chat", Handling::Forward),
    RouteSpec::new("OPTIONS", "/api/generate", Handling::Forward),
    RouteSpec::new("OPTIONS", "/api/embed", Handling::Forward),
    RouteSpec::new("OPTIONS", "/api/tags", Handling::Forward),
];

impl Dialect for Ollama {
    fn name(&self) -> &'static str {
        "ollama"
    }

    fn routes(&self) -> &'static [RouteSpec] {
        &ROUTES
    }

    fn error_body(&self, error: &Error, _request_id: &str) -> Bytes {
        Bytes::from(serde_json::json!({ "error": error.message }).to_string())
    }

    fn error_frame(&self, error: &Error, request_id: &str) -> Bytes {
        let mut line = self.error_body(error, request_id).to_vec();
        line.push(b'\n');
        Bytes::from(line)
    }
}
