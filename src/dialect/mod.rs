//! Wire formats: pure functions over bytes. Knows no socket, no clock, no cache.
//!
//! A dialect *reads* (model, streamed, inputs, usage) and *renders* only what is Pannier's own (errors,
//! the fresh places of a replay). Ollama speaks all three dialects itself, so nothing is ever translated.

pub mod anthropic;
pub mod canon;
pub mod encoding;
pub mod fields;
pub mod frame;
mod numbers;
mod observe;
pub mod ollama;
pub mod openai;
mod question;
mod routes;
mod stencil;
mod vectors;

pub use routes::{Form, Handling, RouteSpec, find};
pub use vectors::{Looks, Vectors, read_embeddings, render_embeddings};

use crate::domain::{Call, Error, Observed, Template};
use bytes::Bytes;

/// One wire format.
pub trait Dialect: Send + Sync {
    /// `ollama`, `openai`, `anthropic`: a metric label.
    fn name(&self) -> &'static str;

    /// Every route that is known by name. What is in no table is forwarded unread.
    fn routes(&self) -> &'static [RouteSpec];

    /// An error of Pannier's own, as a whole answer's body (`application/json`).
    fn error_body(&self, error: &Error, request_id: &str) -> Bytes;

    /// The same inside a stream whose status has gone out, as one frame.
    fn error_frame(&self, error: &Error, request_id: &str) -> Bytes;
}

/// All dialects, in the order in which a path is looked for.
pub static DIALECTS: [&dyn Dialect; 3] = [&ollama::Ollama, &openai::OpenAi, &anthropic::Anthropic];

/// Reads a request's body.
///
/// # Errors
/// `BadRequest` only for what is ambiguous (two keys that fold to one field that Pannier acts on) or
/// nested deeper than 128. Everything else that is odd, unparsable included, becomes a call that is
/// not storable: the upstream judges it.
pub fn decode(form: Form, body: Bytes) -> Result<Call, Error> {
    match form {
        Form::Generate | Form::Chat | Form::Embed | Form::Embeddings => ollama::decode(form, body),
        Form::OpenAiChat | Form::OpenAiText | Form::OpenAiEmbed | Form::Responses => {
            openai::decode(form, body)
        }
        Form::Messages => anthropic::decode(body),
    }
}

/// Reads an answer as it passes, without touching or keeping it.
pub enum Scanner {
    Ollama(ollama::Scanner),
    OpenAi(openai::Scanner),
    Anthropic(anthropic::Scanner),
}

impl Scanner {
    /// `streamed`: whether the answer comes in frames, judged by its content type
    /// (`application/x-ndjson`, `text/event-stream`), not by what was asked.
    pub fn new(form: Form, streamed: bool) -> Self {
        match form {
            Form::Generate | Form::Chat | Form::Embed | Form::Embeddings => {
                Scanner::Ollama(ollama::Scanner::new(form, streamed))
            }
            Form::OpenAiChat | Form::OpenAiText | Form::OpenAiEmbed | Form::Responses => {
                Scanner::OpenAi(openai::Scanner::new(form, streamed))
            }
            Form::Messages => Scanner::Anthropic(anthropic::Scanner::new(streamed)),
        }
    }

    /// Reads the next piece, cut anywhere. Returns whether a frame with content has been seen by now
    /// (for whole answers: whether any byte has).
    pub fn feed(&mut self, piece: &[u8]) -> bool {
        match self {
            Scanner::Ollama(s) => s.feed(piece),
            Scanner::OpenAi(s) => s.feed(piece),
            Scanner::Anthropic(s) => s.feed(piece),
        }
    }

    /// Whether the mark of completion has been seen: a reader need not wait for what may follow.
    /// Whole answers carry none; theirs is the length.
    pub fn has_ended(&self) -> bool {
        match self {
            Scanner::Ollama(s) => s.has_ended(),
            Scanner::OpenAi(s) => s.has_ended(),
            Scanner::Anthropic(s) => s.has_ended(),
        }
    }

    /// What was seen. `whole` is the complete body where it was kept; without it a whole answer's
    /// usage is looked for in its last 4 KiB, which the scanner keeps. Called once, at the end or
    /// when the stream broke off (`complete` is then false, and tokens are estimated from frames).
    pub fn finish(&mut self, whole: Option<&[u8]>) -> Observed {
        match self {
            Scanner::Ollama(s) => s.finish(whole),
            Scanner::OpenAi(s) => s.finish(whole),
            Scanner::Anthropic(s) => s.finish(whole),
        }
    }
}

/// Marks the fresh places of a complete answer (OLLAMA.md §10.2), and puts `model` (as the new
/// client wrote it) where the stored answer names its model. `frames` are the answer's frames, one
/// element for a whole answer. `None` where the answer is not of the expected shape: it is then not
/// kept. Shares the bytes of `frames` when there is one and nothing in it must change.
pub fn cut(form: Form, streamed: bool, frames: &[Bytes], model: &str) -> Option<Template> {
    match form {
        Form::Generate | Form::Chat | Form::Embed | Form::Embeddings => {
            ollama::cut(form, streamed, frames, model)
        }
        Form::OpenAiChat | Form::OpenAiText | Form::OpenAiEmbed | Form::Responses => {
            openai::cut(form, streamed, frames, model)
        }
        Form::Messages => anthropic::cut(streamed, frames, model),
    }
}

/// Whether a native answer says that another server made it (OLLAMA.md §1.8): such answers are never
/// kept. A key with its quotes cannot stand inside a JSON string.
pub fn is_remote(body: &[u8]) -> bool {
    memchr::memmem::find(body, b"\"remote_host\":").is_some()
}
