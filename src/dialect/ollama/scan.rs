//! Reads a native answer: lines that are passed by unparsed until one says `"done":true` or is odd.

use crate::dialect::Form;
use crate::dialect::frame::Framing;
use crate::dialect::observe::{Figures, Format, Observer, Tally, Texts, closing_members, count, holds_items};
use crate::domain::{Durations, FinishReason};
use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::LazyLock;
use std::time::Duration;

/// Reads one answer of the native API.
pub type Scanner = Observer<Native>;

/// The native format.
#[derive(Debug)]
pub struct Native {
    form: Form,
}

/// What is acted on in a line or a whole answer.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    done: Option<&'a RawValue>,
    #[serde(borrow)]
    done_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    embeddings: Option<&'a RawValue>,
    #[serde(borrow)]
    embedding: Option<&'a RawValue>,
    #[serde(borrow)]
    total_duration: Option<&'a RawValue>,
    #[serde(borrow)]
    load_duration: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_eval_count: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_eval_cached_count: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_eval_duration: Option<&'a RawValue>,
    #[serde(borrow)]
    eval_count: Option<&'a RawValue>,
    #[serde(borrow)]
    eval_duration: Option<&'a RawValue>,
}

static TEXTS: LazyLock<Texts> =
    LazyLock::new(|| Texts::new(&["\"content\":\"", "\"response\":\"", "\"thinking\":\""]));
static DONE: LazyLock<Finder> = LazyLock::new(|| Finder::new("\"done\":true"));
static NOT_DONE: LazyLock<Finder> = LazyLock::new(|| Finder::new("\"done\":false"));

impl Scanner {
    pub fn new(form: Form, streamed: bool) -> Self {
        Observer::of(Native { form }, streamed)
    }
}

impl Format for Native {
    const FRAMING: Framing = Framing::Lines;

    fn frame(&mut self, line: &[u8], tally: &mut Tally) {
        // A tool call's arguments may hold `"done":true` too: such a line is parsed to be sure.
        let goes_on = NOT_DONE.find(line).is_some() && DONE.find(line).is_none();
        if TEXTS.any(line) {
            tally.content_frames += 1;
        }
        if !goes_on && let Ok(parsed) = serde_json::from_slice::<Line>(line) {
            self.read(&parsed, tally.content_frames > 0, tally);
        }
    }

    fn whole(&mut self, body: &[u8], tally: &mut Tally) {
        if let Ok(parsed) = serde_json::from_slice::<Line>(body) {
            self.read(&parsed, TEXTS.any(body), tally);
        }
    }

    fn ends(&mut self, _: &[u8], tail: &[u8], tally: &mut Tally) {
        if self.form == Form::Embeddings {
            // Nothing but one long vector, and no figures.
            tally.marked = tail.trim_ascii_end().ends_with(b"]}");
            return;
        }
        // `context` stands between the two, and may be longer than the tail.
        let members =
            ["\"done\":true", "\"total_duration\":"].iter().find_map(|key| closing_members(tail, key));
        if let Some(parsed) = members.as_deref().and_then(|members| serde_json::from_slice(members).ok()) {
            // Text is taken for granted: it lies further up.
            self.read(&parsed, true, tally);
            tally.marked = true;
        }
    }
}

impl Native {
    fn read(&self, line: &Line, has_text: bool, tally: &mut Tally) {
        if let Some(error) = line.error {
            tally.fail(error.get().as_bytes());
        }
        let ended = match self.form {
            Form::Embed => line.embeddings.is_some(),
            Form::Embeddings => line.embedding.is_some(),
            _ => line.done.is_some_and(|done| done.get() == "true"),
        };
        if !ended && line.total_duration.is_none() {
            return;
        }
        tally.finish = self.finish(line);
        tally.marked = ended;
        tally.figures = self.figures(line, has_text);
        tally.durations = Durations {
            total: nanoseconds(line.total_duration),
            load: nanoseconds(line.load_duration),
            prompt_eval: nanoseconds(line.prompt_eval_duration),
            eval: nanoseconds(line.eval_duration),
        };
    }

    fn finish(&self, line: &Line) -> FinishReason {
        match (self.form, line.done_reason.map(RawValue::get)) {
            // No vector at all: the question was empty, and only loaded the model.
            (Form::Embed, _) if line.embeddings.is_some() && !holds_items(line.embeddings) => {
                FinishReason::Load
            }
            (Form::Embeddings, _) if !holds_items(line.embedding) => FinishReason::Load,
            (_, Some("\"stop\"")) => FinishReason::Stop,
            (_, Some("\"length\"")) => FinishReason::Length,
            (_, Some("\"load\"" | "\"unload\"")) => FinishReason::Load,
            _ => FinishReason::Unknown,
        }
    }

    /// A counter of zero is left out on the wire; an answer with text cannot have taken zero tokens.
    fn figures(&self, line: &Line, has_text: bool) -> Figures {
        let or_zero = |value: Option<&RawValue>| if value.is_none() { Some(0) } else { count(value) };
        match self.form {
            Form::Embeddings => Figures::default(),
            Form::Embed => {
                Figures { prompt: or_zero(line.prompt_eval_count), completion: Some(0), ..Figures::default() }
            }
            _ => Figures {
                prompt: or_zero(line.prompt_eval_count),
                cached_prompt: count(line.prompt_eval_cached_count),
                completion: if has_text { count(line.eval_count) } else { or_zero(line.eval_count) },
                reasoning: None,
            },
        }
    }
}

fn nanoseconds(value: Option<&RawValue>) -> Duration {
    Duration::from_nanos(count(value).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::frame::LONGEST;
    use crate::domain::{Observed, Source, Usage};

    const FIRST: &str = r#"{"model":"m","created_at":"2026-08-21T18:48:22.1Z","message":{"role":"assistant","content":"The"},"done":false}"#;

    fn stream(lines: &[&str]) -> Observed {
        let mut scanner = Scanner::new(Form::Chat, true);
        for line in lines {
            scanner.feed(line.as_bytes());
            scanner.feed(b"\n");
        }
        scanner.finish(None)
    }

    fn whole(form: Form, body: &str) -> Observed {
        let mut scanner = Scanner::new(form, false);
        scanner.feed(body.as_bytes());
        scanner.finish(Some(body.as_bytes()))
    }

    #[test]
    fn done_within_a_tool_call_is_not_the_end() {
        let call = r#"{"message":{"content":"","tool_calls":[{"function":{"name":"f","arguments":{"done":true,"done_reason":"stop"}}}]},"done":false}"#;
        let observed = stream(&[call]);
        assert!(!observed.complete);
        assert_eq!((observed.content_frames, observed.finish), (1, FinishReason::Error));
        let last = r#"{"message":{"content":"","tool_calls":[{"function":{"name":"f","arguments":{"done":false}}}]},"done":true,"done_reason":"stop","prompt_eval_count":4,"eval_count":9}"#;
        let observed = stream(&[last]);
        assert!(observed.complete);
        assert_eq!((observed.usage.prompt, observed.usage.completion), (4, 9));
    }

    #[test]
    fn an_error_line_fails_the_answer_wherever_it_stands() {
        let error = r#"{"error":"an error was encountered while running the model"}"#;
        let done = r#"{"done":true,"done_reason":"stop","eval_count":1}"#;
        for lines in [&[error][..], &[FIRST, error], &[FIRST, done, error], &[error, FIRST, done]] {
            let observed = stream(lines);
            assert!(observed.failed && !observed.complete, "{lines:?}");
            assert_eq!(observed.finish, FinishReason::Error);
        }
        let observed = whole(Form::Chat, error);
        assert_eq!((observed.failed, observed.usage), (true, Usage::default()));
    }

    #[test]
    fn no_tokens_beside_text_are_not_believed() {
        let done = r#"{"done":true,"done_reason":"stop","prompt_eval_count":3,"eval_count":0}"#;
        let usage = stream(&[FIRST, FIRST, done]).usage;
        assert_eq!((usage.source, usage.prompt, usage.completion), (Source::Estimated, 3, 2));
        let usage = stream(&[done]).usage;
        assert_eq!((usage.source, usage.prompt, usage.completion), (Source::Upstream, 3, 0));
    }

    #[test]
    fn a_figure_that_cannot_be_is_none() {
        for odd in [
            "-1",
            "1.5",
            "1e3",
            "1e999",
            "9223372036854775808",
            "99999999999999999999999",
            "\"7\"",
            "[7]",
            "true",
        ] {
            let last = format!(
                r#"{{"done":true,"done_reason":"stop","prompt_eval_count":5,"eval_count":{odd},"total_duration":{odd}}}"#
            );
            let observed = stream(&[FIRST, FIRST, &last]);
            let usage = Usage { source: Source::Estimated, prompt: 5, completion: 2, ..Usage::default() };
            assert_eq!(observed.usage, usage, "{odd}");
            assert!(observed.complete && observed.durations.total.is_zero(), "{odd}");
        }
    }

    #[test]
    fn a_counter_of_zero_is_left_out() {
        let observed = stream(&[r#"{"message":{"content":""},"done":true,"done_reason":"stop"}"#]);
        assert_eq!(observed.usage, Usage { source: Source::Upstream, ..Usage::default() });
        // But text was not had for nothing.
        let observed = stream(&[FIRST, r#"{"message":{"content":"!"},"done":true,"done_reason":"stop"}"#]);
        assert_eq!(observed.usage, Usage { source: Source::Estimated, completion: 2, ..Usage::default() });
    }

    #[test]
    fn an_answer_that_was_given_up_is_not_complete() {
        let observed = whole(Form::Generate, r#"{"model":"m","response":"no no no","done":false}"#);
        assert!(!observed.complete && !observed.failed);
        assert_eq!((observed.finish, observed.usage), (FinishReason::Error, Usage::default()));
        assert_eq!(whole(Form::Embed, r#"{"model":"m","embeddings":[]}"#).finish, FinishReason::Load);
        assert_eq!(whole(Form::Embeddings, r#"{"embedding":[]}"#).finish, FinishReason::Load);
    }

    #[test]
    fn the_last_line_may_lack_its_end() {
        let mut scanner = Scanner::new(Form::Chat, true);
        assert!(scanner.feed(format!("{FIRST}\n").as_bytes()));
        scanner.feed(br#"{"message":{"content":""},"done":true,"done_reason":"stop","eval_count":1}"#);
        assert!(scanner.finish(None).complete);
    }

    #[test]
    fn the_end_of_a_long_answer_is_enough() {
        let text = "\\\"done\\\":true ".repeat(1000);
        let context = "1,".repeat(9000) + "1";
        for body in [
            format!(
                r#"{{"response":"{text}","done":true,"done_reason":"length","total_duration":7,"prompt_eval_count":3,"eval_count":4}}"#
            ),
            format!(
                r#"{{"response":"{text}","done":true,"context":[{context}],"total_duration":7,"prompt_eval_count":3,"eval_count":4}}"#
            ),
        ] {
            let mut scanner = Scanner::new(Form::Generate, false);
            body.as_bytes().chunks(1000).for_each(|piece| assert!(scanner.feed(piece)));
            let observed = scanner.finish(None);
            assert!(observed.complete);
            assert_eq!((observed.usage.prompt, observed.usage.completion), (3, 4));
            assert_eq!(observed.durations.total, Duration::from_nanos(7));
        }
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let mut scanner = Scanner::new(Form::Chat, true);
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..LONGEST / piece.len() + 1 {
            scanner.feed(&piece);
        }
        scanner.feed(b"\n{\"done\":true,\"done_reason\":\"stop\"}\n");
        assert_eq!(scanner.finish(None), Observed { finish: FinishReason::Error, ..Observed::default() });
    }
}
