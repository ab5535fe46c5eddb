//! Reads an answer of OpenAI's API: chunks that are passed by unparsed while they carry text and no
//! finish reason, events of the responses API by their names.

use crate::dialect::Form;
use crate::dialect::frame::{self, Event, Framing};
use crate::dialect::observe::{Figures, Format, Observer, Tally, Texts, closing_members, count, holds_items};
use crate::domain::FinishReason;
use memchr::memmem::{self, Finder};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::LazyLock;

/// Reads one answer of OpenAI's API.
pub type Scanner = Observer<OpenAiFormat>;

/// OpenAI's formats.
#[derive(Debug)]
pub struct OpenAiFormat {
    form: Form,
}

/// What is acted on in a chunk or a whole answer, of whichever form.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<&'a RawValue>,
    /// Embeddings.
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    /// The responses API's answer.
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
}

/// `response.completed` and its like.
#[derive(Deserialize)]
struct Enclosing<'a> {
    #[serde(borrow)]
    response: Answer<'a>,
}

#[derive(Deserialize)]
struct Counts<'a> {
    #[serde(borrow, alias = "input_tokens")]
    prompt_tokens: Option<&'a RawValue>,
    #[serde(borrow, alias = "input_tokens_details")]
    prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow, alias = "output_tokens")]
    completion_tokens: Option<&'a RawValue>,
    #[serde(borrow, alias = "output_tokens_details")]
    completion_tokens_details: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Details<'a> {
    #[serde(borrow)]
    cached_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_tokens: Option<&'a RawValue>,
}

static TEXTS: LazyLock<Texts> =
    LazyLock::new(|| Texts::new(&["\"content\":\"", "\"text\":\"", "\"reasoning\":\""]));
static NOT_FINISHED: LazyLock<Finder> = LazyLock::new(|| Finder::new("\"finish_reason\":null"));

impl Scanner {
    pub fn new(form: Form, streamed: bool) -> Self {
        Observer::of(OpenAiFormat { form }, streamed)
    }
}

impl Format for OpenAiFormat {
    const FRAMING: Framing = Framing::Events;

    fn frame(&mut self, frame: &[u8], tally: &mut Tally) {
        if self.form == Form::Responses {
            return read_event(frame::event(frame), tally);
        }
        // Arguments of a tool call are a string here, so neither key can stand inside them.
        let has_text = TEXTS.any(frame);
        if has_text {
            tally.content_frames += 1;
        }
        if has_text && NOT_FINISHED.find(frame).is_some() {
            return;
        }
        match frame::event(frame).data {
            Some(b"[DONE]") => tally.marked = tally.finish != FinishReason::Unknown,
            Some(data) => {
                if let Ok(chunk) = serde_json::from_slice::<Answer>(data) {
                    read_chunk(&chunk, tally);
                }
            }
            None => {}
        }
    }

    fn whole(&mut self, body: &[u8], tally: &mut Tally) {
        let Ok(answer) = serde_json::from_slice::<Answer>(body) else { return };
        note_error(answer.error, tally);
        match self.form {
            Form::OpenAiEmbed => {
                tally.marked = holds_items(answer.data);
                // An embedding has no tokens of its own.
                tally.figures = Figures { completion: Some(0), ..figures(answer.usage) };
            }
            Form::Responses => read_response(&answer, tally),
            _ => {
                tally.finish = finish_of(answer.choices);
                tally.marked = tally.finish != FinishReason::Unknown;
                tally.figures = figures(answer.usage);
            }
        }
    }

    fn ends(&mut self, _: &[u8], tail: &[u8], tally: &mut Tally) {
        if let Some(members) = closing_members(tail, "\"usage\":") {
            self.whole(&members, tally);
            tally.marked = true;
        }
    }
}

fn note_error(error: Option<&RawValue>, tally: &mut Tally) {
    if let Some(error) = error {
        tally.fail(error.get().as_bytes());
    }
}

fn read_chunk(chunk: &Answer, tally: &mut Tally) {
    // When Ollama fails in mid-stream, its writer makes an empty chunk of the error.
    note_error(chunk.error, tally);
    if chunk.model.is_some_and(|model| model.get() == "\"\"") {
        tally.fail(b"");
    }
    let finish = finish_of(chunk.choices);
    if finish != FinishReason::Unknown {
        tally.finish = finish;
    }
    // `/v1/completions` puts zeros into every chunk but the last, which has no choices.
    let figures = figures(chunk.usage);
    let zeros = figures.prompt.unwrap_or(0) == 0 && figures.completion.unwrap_or(0) == 0;
    if chunk.usage.is_some() && !(zeros && holds_items(chunk.choices)) {
        tally.figures = figures;
    }
}

fn read_event(event: Event, tally: &mut Tally) {
    match event.name {
        name if name.ends_with(b".delta") => tally.content_frames += 1,
        b"response.completed" => {
            let enclosing = event.data.and_then(|data| serde_json::from_slice::<Enclosing>(data).ok());
            if let Some(Enclosing { response }) = enclosing {
                read_response(&response, tally);
            }
        }
        b"response.failed" | b"error" => tally.fail(event.data.unwrap_or_default()),
        // An error of the server's own, in a frame without a name.
        b"" => {
            let answer = event.data.and_then(|data| serde_json::from_slice::<Answer>(data).ok());
            note_error(answer.and_then(|answer| answer.error), tally);
        }
        _ => {}
    }
}

fn read_response(response: &Answer, tally: &mut Tally) {
    note_error(response.error, tally);
    tally.marked = response.output.is_some() && response.status.is_some_and(|s| s.get() == "\"completed\"");
    tally.figures = figures(response.usage);
    // The responses API has no finish reason; it says `completed` when cut off by the limit, too.
    let calls = response
        .output
        .is_some_and(|output| memmem::find(output.get().as_bytes(), b"\"type\":\"function_call\"").is_some());
    tally.finish = if calls { FinishReason::ToolCalls } else { FinishReason::Stop };
}

/// The finish reason of the only choice (Ollama ignores `n`); `Unknown` while there is none.
fn finish_of(choices: Option<&RawValue>) -> FinishReason {
    let choices: Option<Vec<Choice>> = choices.and_then(|raw| serde_json::from_str(raw.get()).ok());
    let reason = choices.as_deref().unwrap_or_default().iter().find_map(|choice| choice.finish_reason);
    match reason.map(RawValue::get) {
        None => FinishReason::Unknown,
        Some("\"length\"") => FinishReason::Length,
        Some("\"tool_calls\"" | "\"function_call\"") => FinishReason::ToolCalls,
        Some("\"load\"" | "\"unload\"") => FinishReason::Load,
        Some(_) => FinishReason::Stop,
    }
}

fn figures(usage: Option<&RawValue>) -> Figures {
    fn read<'a, T: Deserialize<'a>>(value: Option<&'a RawValue>) -> Option<T> {
        serde_json::from_str(value?.get()).ok()
    }
    let Some(counts) = read::<Counts>(usage) else { return Figures::default() };
    let prompt_details = read::<Details>(counts.prompt_tokens_details);
    let completion_details = read::<Details>(counts.completion_tokens_details);
    Figures {
        prompt: count(counts.prompt_tokens),
        cached_prompt: prompt_details.and_then(|details| count(details.cached_tokens)),
        completion: count(counts.completion_tokens),
        reasoning: completion_details.and_then(|details| count(details.reasoning_tokens)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Observed, Source, Usage};

    fn stream(form: Form, frames: &[&str]) -> Observed {
        let mut scanner = Scanner::new(form, true);
        for frame in frames {
            scanner.feed(frame.as_bytes());
            scanner.feed(b"\n\n");
        }
        scanner.finish(None)
    }

    const TEXT: &str = r#"data: {"id":"chatcmpl-7","model":"m","choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}"#;
    const STOP: &str =
        r#"data: {"id":"chatcmpl-7","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    const DONE: &str = "data: [DONE]";

    #[test]
    fn the_end_is_a_finish_reason_and_then_done() {
        assert!(stream(Form::OpenAiChat, &[TEXT, STOP, DONE]).complete);
        for frames in [&[TEXT, DONE][..], &[TEXT, STOP], &[TEXT, DONE, STOP]] {
            assert!(!stream(Form::OpenAiChat, frames).complete, "{frames:?}");
        }
        // Ollama before August 2026 put the reason on the last text.
        let last = TEXT.replace("null", "\"length\"");
        let observed = stream(Form::OpenAiChat, &[TEXT, &last, DONE]);
        assert_eq!((observed.complete, observed.finish), (true, FinishReason::Length));
        assert_eq!((observed.usage.source, observed.usage.completion), (Source::Estimated, 2));
    }

    #[test]
    fn a_lost_error_leaves_an_empty_chunk() {
        let lost = TEXT.replace("Hel", "").replace("\"m\"", "\"\"");
        for error in
            [lost.as_str(), r#"data: {"error":{"message":"x","type":"api_error","param":null,"code":null}}"#]
        {
            let observed = stream(Form::OpenAiChat, &[TEXT, error]);
            assert!(observed.failed && !observed.complete, "{error}");
            assert!(stream(Form::OpenAiChat, &[TEXT, error, STOP, DONE]).failed);
        }
        assert!(stream(Form::Responses, &["event: response.failed\ndata: {}"]).failed);
    }

    #[test]
    fn zeros_beside_choices_are_not_the_usage() {
        let zeros = r#","usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}"#;
        let stop = STOP.replace("}]}", "}]") + zeros;
        let observed = stream(Form::OpenAiText, &[TEXT, &stop, DONE]);
        assert_eq!((observed.usage.source, observed.usage.completion), (Source::Estimated, 1));
        let none = format!(r#"data: {{"model":"m","choices":[]{zeros}"#);
        let observed = stream(Form::OpenAiText, &[&stop, &none, DONE]);
        assert_eq!((observed.usage.source, observed.usage.completion), (Source::Upstream, 0));
        // Nor are they where text came.
        let observed = stream(Form::OpenAiText, &[TEXT, &stop, &none, DONE]);
        assert_eq!((observed.usage.source, observed.usage.completion), (Source::Estimated, 1));
    }

    #[test]
    fn reasoning_and_odd_figures() {
        let usage = r#"data: {"model":"m","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":8,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":5}}}"#;
        let expected = Usage {
            source: Source::Upstream,
            prompt: 9,
            cached_prompt: 4,
            completion: 8,
            reasoning: 5,
            ..Usage::default()
        };
        assert_eq!(stream(Form::OpenAiChat, &[TEXT, STOP, usage, DONE]).usage, expected);
        for odd in ["-8", "8.5", "1e999", "null", "{}"] {
            let usage = usage.replace(":8,", &format!(":{odd},")).replace(":4}", &format!(":{odd}}}"));
            let observed = stream(Form::OpenAiChat, &[TEXT, STOP, &usage, DONE]);
            let expected = Usage {
                source: Source::Estimated,
                prompt: 9,
                cached_prompt: 0,
                completion: 1,
                reasoning: 1,
                ..Usage::default()
            };
            assert_eq!(observed.usage, expected, "{odd}");
        }
    }

    #[test]
    fn the_end_of_a_long_answer_is_enough() {
        let text = "x".repeat(9000);
        let body = format!(
            r#"{{"id":"chatcmpl-1","model":"m","choices":[{{"message":{{"content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":3,"completion_tokens":4}}}}"#
        );
        let mut scanner = Scanner::new(Form::OpenAiChat, false);
        body.as_bytes().chunks(777).for_each(|piece| assert!(scanner.feed(piece)));
        let observed = scanner.finish(None);
        assert_eq!((observed.complete, observed.usage.prompt, observed.usage.completion), (true, 3, 4));
    }
}
