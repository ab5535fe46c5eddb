//! What an answer cost, in the model server's own figures.

use super::Complaint;
use super::numbered::numbered;
use std::time::Duration;

/// Where token counts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub enum Source {
    /// Nothing was produced, or nobody can say.
    #[default]
    None = 0,
    /// The model server's own usage figures.
    Upstream = 1,
    /// Counted by Pannier: frames with text in them, or bytes / 4.
    Estimated = 2,
}

numbered!(Source);

impl Source {
    pub const ALL: [Source; 3] = [Source::None, Source::Upstream, Source::Estimated];

    pub fn label(self) -> &'static str {
        match self {
            Source::Upstream => "upstream",
            Source::Estimated => "estimated",
            Source::None => "none",
        }
    }
}

/// Tokens of one answer, and what else it was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
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
    /// Pictures in the question.
    pub images: u64,
    /// Of the recording that was listened to.
    pub audio: Duration,
}

impl Usage {
    /// Of both answers together. It is no better known than the worse known of them.
    pub fn and(self, more: Usage) -> Usage {
        let Usage { source, prompt, cached_prompt, completion, reasoning, images, audio } = more;
        Usage {
            source: if source == Source::Upstream { self.source } else { source },
            prompt: self.prompt.saturating_add(prompt),
            cached_prompt: self.cached_prompt.saturating_add(cached_prompt),
            completion: self.completion.saturating_add(completion),
            reasoning: self.reasoning.saturating_add(reasoning),
            images: self.images.saturating_add(images),
            audio: self.audio.saturating_add(audio),
        }
    }
}

/// What Ollama says about its own time; zero where it said nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Durations {
    pub total: Duration,
    pub load: Duration,
    pub prompt_eval: Duration,
    pub eval: Duration,
}

impl Durations {
    /// Of both answers together.
    pub fn and(self, more: Durations) -> Durations {
        let Durations { total, load, prompt_eval, eval } = more;
        Durations {
            total: self.total.saturating_add(total),
            load: self.load.saturating_add(load),
            prompt_eval: self.prompt_eval.saturating_add(prompt_eval),
            eval: self.eval.saturating_add(eval),
        }
    }

    /// As books are kept of them. A server that only says how long it took in all (Ollama of an embedding) has
    /// spent what is left after the load on the question.
    pub fn spent(self) -> Self {
        match self.prompt_eval + self.eval {
            Duration::ZERO => Durations { prompt_eval: self.total.saturating_sub(self.load), ..self },
            _ => self,
        }
    }

    /// How long the model's hardware was at work for the answer: loading, reading, writing.
    pub fn gpu(self) -> Duration {
        let Durations { load, prompt_eval, eval, .. } = self.spent();
        load.saturating_add(prompt_eval).saturating_add(eval)
    }

    /// How long the question waited there: what the server says nothing else of.
    pub fn queue(self) -> Duration {
        self.total.saturating_sub(self.gpu())
    }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Observed {
    pub usage: Usage,
    pub durations: Durations,
    pub finish: FinishReason,
    /// The answer carried its own mark of completion (OLLAMA.md §6.2) and no error:
    /// the only kind of answer that may be kept.
    pub complete: bool,
    /// An error stood inside a 200 answer.
    pub failed: bool,
    /// Where the upstream would not, or an error stood in its answer: why.
    pub complaint: Complaint,
    /// Frames that carried text, thinking or a tool call; each is about one token.
    pub content_frames: u64,
}

/// Tokens that a server may have added to a question: its template, the model's own instructions, and pictures.
const ADDED: u64 = 32_768;

impl Observed {
    /// Whether the server's own counts cannot be those of an answer of `received` bytes to a question of about
    /// `asked` tokens: fewer tokens than four fifths of the frames that had text, each of which is one at least, or
    /// more than there are bytes.
    pub fn is_implausible(&self, received: u64, asked: u64) -> bool {
        let Usage { source, prompt, completion, reasoning, .. } = self.usage;
        let too_few = self.content_frames.saturating_mul(4) > completion.saturating_mul(5).saturating_add(4);
        // What was thought need not have been said.
        let too_many = completion.saturating_sub(reasoning) > received;
        let too_long = prompt > asked.saturating_mul(4).saturating_add(ADDED);
        source == Source::Upstream && (too_few || too_many || too_long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_cannot_be_are_found() {
        let is_odd = |prompt, completion, content_frames| {
            let usage =
                Usage { source: Source::Upstream, prompt, completion, reasoning: 5, ..Usage::default() };
            Observed { usage, content_frames, ..Observed::default() }.is_implausible(1_000, 100)
        };
        assert!(!is_odd(100, 50, 50) && !is_odd(100, 40, 50) && !is_odd(100, 1, 2) && !is_odd(100, 50, 0));
        assert!(is_odd(100, 39, 50) && is_odd(100, 2, 40), "fewer than frames");
        assert!(
            !is_odd(100, 1_005, 50) && is_odd(100, 1_006, 50) && is_odd(100, u64::MAX, 0),
            "more than bytes"
        );
        assert!(
            !is_odd(33_168, 50, 50) && is_odd(33_169, 50, 50) && is_odd(u64::MAX, 50, 50),
            "a long question"
        );
        let usage = Usage { source: Source::Estimated, completion: 9, ..Usage::default() };
        let ours = Observed { usage, content_frames: 90, ..Observed::default() };
        assert!(!ours.is_implausible(0, 0), "what is counted here is told as such");
    }
}
