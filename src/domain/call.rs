//! One thing that a client asks of one model.

use super::{Reason, Texts};
use bytes::Bytes;
use std::sync::Arc;

/// What is asked of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// A conversation is continued: `/api/chat`, `/v1/chat/completions`, `/v1/responses`, `/v1/messages`.
    Chat,
    /// A text is continued: `/api/generate`, `/v1/completions`.
    Text,
    /// Texts become vectors: `/api/embed`, `/api/embeddings`, `/v1/embeddings`.
    Embed,
    /// Speech becomes text: `/v1/audio/*`, `/audio/*`.
    Transcribe,
}

impl Operation {
    pub const ALL: [Operation; 4] =
        [Operation::Chat, Operation::Text, Operation::Embed, Operation::Transcribe];

    /// The one of this label.
    pub fn named(label: &str) -> Option<Self> {
        Operation::ALL.into_iter().find(|operation| operation.label() == label)
    }

    /// The value of the metric label `operation`.
    pub fn label(self) -> &'static str {
        match self {
            Operation::Chat => "chat",
            Operation::Text => "text_completion",
            Operation::Embed => "embeddings",
            Operation::Transcribe => "transcription",
        }
    }
}

/// 256 bits over every field of a call that can change its answer, except the model, which stands
/// beside it by its digest. Two calls with equal fingerprints ask for the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// How sure it is that the same call would get the same answer again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Certainty {
    /// Nothing is sampled: an embedding.
    Exact,
    /// Temperature 0 or `top_k` 1, asked for in the call.
    Greedy,
    /// A seed of zero or more, asked for in the call.
    Seeded,
    /// Everything else: another run gives another sample.
    Sampled,
}

/// Whether an answer to this call may ever be kept or shared, as far as the call itself tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storable {
    Yes,
    /// Never, and why.
    No(Reason),
}

/// One call, read from a request's body without changing it.
#[derive(Debug, Clone)]
pub struct Call {
    /// The model's name as the client wrote it; empty where none could be read.
    pub model: String,
    pub operation: Operation,
    /// Whether the client wants frames (SSE, NDJSON) or one object.
    pub streamed: bool,
    /// What goes upstream: the client's own bytes, or those with `include_usage` asked for.
    pub body: Bytes,
    /// The upstream is asked for a usage chunk that this client did not ask for: take it out again.
    pub strip_usage: bool,
    /// The question brings tools along. Without, Ollama leaves some calls out of a whole answer that it
    /// would stream.
    pub offers_tools: bool,
    pub fingerprint: Fingerprint,
    pub certainty: Certainty,
    pub storable: Storable,
    /// Rough size of the question in tokens (bytes of text / 4), for an answer that carries no usage.
    pub estimated_prompt_tokens: u64,
    /// The texts of an embedding call that can be answered one by one.
    pub texts: Option<Arc<Texts>>,
}
