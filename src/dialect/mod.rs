//! Wire formats: pure functions over bytes. Knows no socket, no clock, no cache.
//!
//! A dialect *reads* (model, streamed, inputs, usage) and *renders* only what is Pannier's own (errors,
//! the fresh places of a replay, an answer in the other mode). Ollama speaks its three dialects itself, so
//! nothing is ever translated.

pub mod anthropic;
pub mod canon;
pub mod encoding;
mod escaped;
pub mod fields;
pub mod frame;
mod listing;
mod multipart;
pub mod native;
mod numbers;
mod observe;
pub mod ollama;
pub mod openai;
pub mod pictures;
mod question;
mod routes;
mod speech;
mod stencil;
pub mod transcript;
mod vectors;

pub use escaped::Grain;
pub use listing::Listing;
pub use question::{Counted, Difference, Outline, Part};
pub use routes::{Form, Handling, RouteSpec, find, is_safe, may_repeat, templates};
pub use vectors::{Looks, Vectors, read_embeddings, read_embeddings_at_all, render_embeddings};

use crate::domain::{Call, Error, Observed, Template};
use bytes::Bytes;
use frame::Framing;
use http::{HeaderName, HeaderValue, header};

/// One wire format.
pub trait Dialect: Send + Sync {
    /// `ollama`, `openai`, `anthropic`, `native`: a metric label.
    fn name(&self) -> &'static str;

    /// Every route that is known by name. What is in no table is forwarded unread.
    fn routes(&self) -> &'static [RouteSpec];

    /// An error of Pannier's own, as a whole answer's body (`application/json`).
    fn error_body(&self, error: &Error, request_id: &str) -> Bytes;

    /// The same inside a stream whose status has gone out, as one frame.
    fn error_frame(&self, error: &Error, request_id: &str) -> Bytes;
}

/// All dialects, in the order in which a path is looked for.
pub static DIALECTS: [&dyn Dialect; 4] =
    [&ollama::Ollama, &openai::OpenAi, &anthropic::Anthropic, &native::Native];

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
        Form::Transcription => Ok(transcript::call("", false, body)),
    }
}

/// A request's body field by field, in the terms of the key of its answer; `None` where nobody here can read
/// it. Of an embedding call, each text of which has a key of its own, in the terms of those.
pub fn outline(form: Form, body: &[u8]) -> Option<Outline> {
    let known = match form {
        Form::Generate | Form::Chat | Form::Embed | Form::Embeddings => ollama::known(form),
        Form::OpenAiChat | Form::OpenAiText | Form::OpenAiEmbed | Form::Responses => openai::known(form),
        Form::Messages => anthropic::known(),
        Form::Transcription => return None,
    };
    let text = fields::Text::of(body);
    let question = question::Question::read(form, known, &text).ok()??;
    Some(question.outline(matches!(form, Form::Embed | Form::OpenAiEmbed)))
}

/// Reads an answer as it passes, without touching or keeping it.
pub enum Scanner {
    Ollama(ollama::Scanner),
    OpenAi(openai::Scanner),
    Anthropic(anthropic::Scanner),
    Transcript(transcript::Scanner),
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
            Form::Transcription => Scanner::Transcript(transcript::Scanner::new(streamed)),
        }
    }

    /// Reads the next piece, cut anywhere. Returns whether a frame with content has been seen by now
    /// (for whole answers: whether any byte has).
    pub fn feed(&mut self, piece: &[u8]) -> bool {
        match self {
            Scanner::Ollama(s) => s.feed(piece),
            Scanner::OpenAi(s) => s.feed(piece),
            Scanner::Anthropic(s) => s.feed(piece),
            Scanner::Transcript(s) => s.feed(piece),
        }
    }

    /// Whether the mark of completion has been seen: a reader need not wait for what may follow.
    /// Whole answers carry none; theirs is the length.
    pub fn has_ended(&self) -> bool {
        match self {
            Scanner::Ollama(s) => s.has_ended(),
            Scanner::OpenAi(s) => s.has_ended(),
            Scanner::Anthropic(s) => s.has_ended(),
            Scanner::Transcript(s) => s.has_ended(),
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
            Scanner::Transcript(s) => s.finish(whole),
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
        Form::Transcription => transcript::cut(streamed, frames),
    }
}

/// A complete answer as the same question gets it in the other mode (OLLAMA.md §10.3): a stream's frames
/// as the one whole, or the whole as frames of this `grain`, of at most 4 KiB of text each. A stream of
/// chunks is turned with its usage, as if `include_usage` had been asked for.
///
/// `offers_tools` is the question's ([`Call::offers_tools`]). `None` where it is not known for sure what
/// the server would say: an answer that is not complete, has no usage, or has anything in it that
/// Ollama 0.34 does not write.
pub fn turn(
    form: Form,
    from_streamed: bool,
    frames: &[Bytes],
    offers_tools: bool,
    grain: Grain,
) -> Option<Vec<Bytes>> {
    match form {
        Form::Generate | Form::Chat | Form::Embed | Form::Embeddings => {
            ollama::turn(form, from_streamed, frames, offers_tools, grain)
        }
        Form::OpenAiChat | Form::OpenAiText | Form::OpenAiEmbed | Form::Responses => {
            openai::turn(form, from_streamed, frames, offers_tools, grain)
        }
        Form::Messages => anthropic::turn(from_streamed, frames, offers_tools, grain),
        // There is but one mode.
        Form::Transcription => None,
    }
}

/// The fields of an answer that has been turned, as Ollama sets them in that mode: its type, and for some
/// streams what it says of caching (OLLAMA.md §1.3).
pub fn head(form: Form, streamed: bool) -> Vec<(HeaderName, HeaderValue)> {
    let kind = match (streamed, Framing::of(form)) {
        (true, Framing::Lines) => "application/x-ndjson",
        (true, Framing::Events) => "text/event-stream",
        (false, Framing::Lines) => "application/json; charset=utf-8",
        (false, Framing::Events) => "application/json",
    };
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let uncached = streamed && matches!(form, Form::Responses | Form::Messages);
    let caching = uncached.then(|| (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")));
    [kind].into_iter().chain(caching).collect()
}

/// Whether a native answer says that another server made it (OLLAMA.md §1.8): such answers are never
/// kept. A key with its quotes cannot stand inside a JSON string.
pub fn is_remote(body: &[u8]) -> bool {
    memchr::memmem::find(body, b"\"remote_host\":").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a real Ollama 0.34.4 sends them.
    #[test]
    fn a_turned_answer_has_the_fields_of_its_mode() {
        let text = |form, streamed| {
            let line = |(name, value): (HeaderName, HeaderValue)| {
                format!("{name}: {}", value.to_str().expect("text"))
            };
            head(form, streamed).into_iter().map(line).collect::<Vec<_>>().join(", ")
        };
        for form in [Form::Chat, Form::Generate] {
            assert_eq!(text(form, true), "content-type: application/x-ndjson");
            assert_eq!(text(form, false), "content-type: application/json; charset=utf-8");
        }
        for form in [Form::OpenAiChat, Form::OpenAiText] {
            assert_eq!(text(form, true), "content-type: text/event-stream");
            assert_eq!(text(form, false), "content-type: application/json");
        }
        for form in [Form::Responses, Form::Messages] {
            assert_eq!(text(form, true), "content-type: text/event-stream, cache-control: no-cache");
            assert_eq!(text(form, false), "content-type: application/json");
        }
    }
}
