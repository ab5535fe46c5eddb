//! What an answer cost, in the model server's own figures.

use std::time::Duration;

/// Where token counts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub enum Source {
    /// The model server's own usage figures.
    Upstream,
    /// Counted by Pannier: frames with text in them, or bytes / 4.
    Estimated,
    /// Nothing was produced, or nobody can say.
    #[default]
    None,
}

impl Source {
    pub fn label(self) -> &'static str {
        match self {
            Source::Upstream => "upstream",
            Source::Estimated => "estimated",
            Source::None => "none",
        }
    }
}

/// Tokens of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub source: Source,
    /// Tokens of the question, those that the server had cached included.
    pub prompt: u64,
    /// Of `prompt`, those read from the server's prefix cache.
    pub cached_prompt: u64,
    /// Tokens of the answer, reasoning included.
    pub completion: u64,
    /// Of `completion`, those spent on reasoning, where the server says so.
    pub reasoning: u64,
}

/// What Ollama says about its own time; zero where it said nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Durations {
    pub total: Duration,
    pub load: Duration,
    pub prompt_eval: Duration,
    pub eval: Duration,
}

/// Why the model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub enum FinishReason {
    Stop,
    Length,
    ToolCalls,
    /// The stream broke, or carried an error.
    Error,
    /// Everybody who wanted it left.
    Cancelled,
    /// The model was loaded or unloaded; nothing was generated.
    Load,
    /// The answer does not say, or is of a kind that has no end to speak of.
    #[default]
    Unknown,
}

impl FinishReason {
    pub const ALL: [FinishReason; 7] = [
        FinishReason::Stop,
        FinishReason::Length,
        FinishReason::ToolCalls,
        FinishReason::Error,
        FinishReason::Cancelled,
        FinishReason::Load,
        FinishReason::Unknown,
    ];

    pub fn label(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::ToolCalls => "tool_calls",
            FinishReason::Error => "error",
            FinishReason::Cancelled => "cancelled",
            FinishReason::Load => "load",
            FinishReason::Unknown => "unknown",
        }
    }
}

/// All that was learned from reading an answer without touching it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Observed {
    pub usage: Usage,
    pub durations: Durations,
    pub finish: FinishReason,
    /// The answer carried its own mark of completion (OLLAMA.md §6.2) and no error:
    /// the only kind of answer that may be kept.
    pub complete: bool,
    /// An error stood inside a 200 answer.
    pub failed: bool,
    /// Frames that carried text, thinking or a tool call; each is about one token.
    pub content_frames: u64,
}
