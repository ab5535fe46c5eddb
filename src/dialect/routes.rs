//! Which route a request is for, judged by the bytes of its path as they will be forwarded.

use super::DIALECTS;
use super::native::View;
use super::transcript::Hearing;
use crate::domain::{Operation, Route};

/// The template of all routes that are in no table.
const OTHER: &str = "other";

/// The shapes of call that are answered rather than forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// `POST /api/generate`
    Generate,
    /// `POST /api/chat`
    Chat,
    /// `POST /api/embed`
    Embed,
    /// `POST /api/embeddings`
    Embeddings,
    /// `POST /v1/chat/completions`
    OpenAiChat,
    /// `POST /v1/completions`
    OpenAiText,
    /// `POST /v1/embeddings`
    OpenAiEmbed,
    /// `POST /v1/responses`
    Responses,
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/audio/transcriptions` and all others for what is said in recordings
    Transcription,
}

impl Form {
    /// Those whose bodies are JSON.
    pub const ALL: [Form; 9] = [
        Form::Generate,
        Form::Chat,
        Form::Embed,
        Form::Embeddings,
        Form::OpenAiChat,
        Form::OpenAiText,
        Form::OpenAiEmbed,
        Form::Responses,
        Form::Messages,
    ];

    pub fn operation(self) -> Operation {
        match self {
            Form::Generate | Form::OpenAiText => Operation::Text,
            Form::Chat | Form::OpenAiChat | Form::Responses | Form::Messages => Operation::Chat,
            Form::Embed | Form::Embeddings | Form::OpenAiEmbed => Operation::Embed,
            Form::Transcription => Operation::Transcribe,
        }
    }

    pub fn path(self) -> &'static str {
        match self {
            Form::Generate => "/api/generate",
            Form::Chat => "/api/chat",
            Form::Embed => "/api/embed",
            Form::Embeddings => "/api/embeddings",
            Form::OpenAiChat => "/v1/chat/completions",
            Form::OpenAiText => "/v1/completions",
            Form::OpenAiEmbed => "/v1/embeddings",
            Form::Responses => "/v1/responses",
            Form::Messages => "/v1/messages",
            Form::Transcription => "/v1/audio/transcriptions",
        }
    }
}

/// What is done with a request for a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// Read and answered by the gateway.
    Answer(Form),
    /// The same, for a batch of texts that are embedded one by one.
    Batch,
    /// The same, for what is to be told of pictures.
    See(View),
    /// The same, for what is said in a recording.
    Hear(Hearing),
    /// Passed on unread.
    Forward,
    /// The same, and never twice.
    ForwardOnce,
    /// The same; when it ends, what names mean may have changed.
    ForwardAndRefresh,
}

/// One row of a dialect's table.
#[derive(Debug, Clone, Copy)]
pub struct RouteSpec {
    pub method: &'static str,
    /// Exact, or with one `{…}` as its last segment.
    pub path: &'static str,
    pub handling: Handling,
}

impl RouteSpec {
    pub const fn new(method: &'static str, path: &'static str, handling: Handling) -> Self {
        RouteSpec { method, path, handling }
    }

    fn matches(&self, method: &str, path: &str) -> bool {
        if self.method != method {
            return false;
        }
        match self.path.find('{') {
            None => self.path == path,
            Some(open) => path.len() > open && path.as_bytes().starts_with(&self.path.as_bytes()[..open]),
        }
    }
}

/// Whether a request does no harm when it arrives twice, as far as that is known of its route.
pub fn may_repeat(method: &str, route: Route, handling: Handling) -> bool {
    match handling {
        Handling::ForwardOnce | Handling::ForwardAndRefresh => false,
        _ => route.template != OTHER || is_safe(method),
    }
}

/// Whether a request with this method changes nothing (RFC 9110 §9.2.1).
pub fn is_safe(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS")
}

/// The templates of all routes that are known by name, and that of all others.
pub fn templates() -> Vec<&'static str> {
    let known = DIALECTS.into_iter().flat_map(|dialect| dialect.routes()).map(|spec| spec.path);
    known.chain([OTHER]).collect()
}

/// The route of `method` and `path` (without its query), and what is done with it. Unknown ones are
/// `other`; a non-`GET` under `/api/` that nobody knows may change models, so names are read again.
pub fn find(method: &str, path: &str) -> (Route, Handling) {
    for dialect in DIALECTS {
        if let Some(spec) = dialect.routes().iter().find(|spec| spec.matches(method, path)) {
            return (Route { template: spec.path, dialect: dialect.name() }, spec.handling);
        }
    }
    let handling = match method {
        _ if is_safe(method) => Handling::Forward,
        _ if path.starts_with("/api/") => Handling::ForwardAndRefresh,
        _ => Handling::Forward,
    };
    let dialect = if path.starts_with("/v1/messages") {
        "anthropic"
    } else if path.starts_with("/v1/") {
        "openai"
    } else {
        "ollama"
    };
    (Route { template: OTHER, dialect }, handling)
}
