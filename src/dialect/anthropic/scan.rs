//! Reads an answer of Anthropic's API: events by their names, of which only `message_delta` is parsed.

use crate::dialect::frame::{self, Framing};
use crate::dialect::observe::{Figures, Format, Observer, Tally, closing_members, count};
use crate::domain::FinishReason;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Reads one answer of Anthropic's API.
pub type Scanner = Observer<Messages>;

/// The messages format.
#[derive(Debug)]
pub struct Messages;

/// What is acted on in a whole answer.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    stop_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// `message_delta`. The usage in `message_start` is an estimate, and never read.
#[derive(Deserialize)]
struct MessageDelta<'a> {
    #[serde(borrow)]
    delta: Message<'a>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Counts<'a> {
    #[serde(borrow)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_read_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_creation_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens: Option<&'a RawValue>,
}

impl Scanner {
    pub fn new(streamed: bool) -> Self {
        Observer::of(Messages, streamed)
    }
}

impl Format for Messages {
    const FRAMING: Framing = Framing::Events;

    fn frame(&mut self, frame: &[u8], tally: &mut Tally) {
        let event = frame::event(frame);
        match event.name {
            b"content_block_delta" => tally.content_frames += 1,
            b"message_delta" => {
                let parsed = event.data.and_then(|data| serde_json::from_slice::<MessageDelta>(data).ok());
                if let Some(MessageDelta { delta, usage }) = parsed {
                    tally.finish = finish_of(delta.stop_reason);
                    tally.figures = figures(usage);
                }
            }
            b"message_stop" => tally.marked = tally.finish != FinishReason::Unknown,
            b"error" => tally.fail(event.data.unwrap_or_default()),
            _ => {}
        }
    }

    fn whole(&mut self, body: &[u8], tally: &mut Tally) {
        let Ok(message) = serde_json::from_slice::<Message>(body) else { return };
        if let Some(error) = message.error {
            tally.fail(error.get().as_bytes());
        }
        tally.finish = finish_of(message.stop_reason);
        tally.marked = tally.finish != FinishReason::Unknown;
        tally.figures = figures(message.usage);
    }

    fn ends(&mut self, _: &[u8], tail: &[u8], tally: &mut Tally) {
        if let Some(members) = closing_members(tail, "\"stop_reason\":") {
            self.whole(&members, tally);
        }
    }
}

/// `Unknown` while there is none.
fn finish_of(stop_reason: Option<&RawValue>) -> FinishReason {
    match stop_reason.map(RawValue::get) {
        None => FinishReason::Unknown,
        Some("\"max_tokens\"") => FinishReason::Length,
        Some("\"tool_use\"") => FinishReason::ToolCalls,
        Some(_) => FinishReason::Stop,
    }
}

/// `input_tokens` leaves out what the server's own cache held.
fn figures(usage: Option<&RawValue>) -> Figures {
    let counts: Option<Counts> = usage.and_then(|usage| serde_json::from_str(usage.get()).ok());
    let Some(counts) = counts else { return Figures::default() };
    let cached = count(counts.cache_read_input_tokens);
    let beside = cached.unwrap_or(0).saturating_add(count(counts.cache_creation_input_tokens).unwrap_or(0));
    Figures {
        prompt: count(counts.input_tokens).map(|input| input.saturating_add(beside)),
        cached_prompt: cached,
        completion: count(counts.output_tokens),
        reasoning: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Observed, Source, Usage};

    const TEXT: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"I\"}}\n\n";
    const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

    fn delta(usage: &str) -> String {
        format!(
            "event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"tool_use\"}},\"usage\":{usage}}}\n\n"
        )
    }

    fn stream(frames: &[&str]) -> Observed {
        let mut scanner = Scanner::new(true);
        for frame in frames {
            scanner.feed(frame.as_bytes());
        }
        scanner.finish(None)
    }

    #[test]
    fn the_prompt_is_what_was_read_and_what_was_cached() {
        let last = delta(
            r#"{"input_tokens":1,"cache_read_input_tokens":10,"cache_creation_input_tokens":100,"output_tokens":6}"#,
        );
        let observed = stream(&[TEXT, &last, STOP]);
        let usage = Usage {
            source: Source::Upstream,
            prompt: 111,
            cached_prompt: 10,
            completion: 6,
            ..Usage::default()
        };
        assert_eq!(
            (observed.usage, observed.finish, observed.complete),
            (usage, FinishReason::ToolCalls, true)
        );
        let last =
            delta(r#"{"input_tokens":-1,"output_tokens":9223372036854775807,"cache_read_input_tokens":9e9}"#);
        assert_eq!(stream(&[TEXT, &last, STOP]).usage.source, Source::Estimated);
    }

    #[test]
    fn a_stop_needs_its_reason() {
        let last = delta(r#"{"input_tokens":1,"output_tokens":6}"#);
        assert!(!stream(&[TEXT, STOP]).complete);
        assert!(!stream(&[TEXT, &last]).complete);
        assert!(!stream(&[STOP, &last]).complete);
        let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"x\"}}\n\n";
        let observed = stream(&[TEXT, error, &last, STOP]);
        assert_eq!((observed.failed, observed.complete), (true, false));
    }

    #[test]
    fn a_stop_reason_within_a_tool_call_is_passed_by() {
        let body = r#"{"id":"msg_1","content":[{"type":"text","text":"TEXT"},{"type":"tool_use","input":{"stop_reason":"end_turn"}}],"stop_reason":"max_tokens","usage":{"input_tokens":1,"output_tokens":6}}"#
            .replace("TEXT", &"x".repeat(9000));
        let mut scanner = Scanner::new(false);
        assert!(scanner.feed(body.as_bytes()));
        let observed = scanner.finish(None);
        assert_eq!((observed.finish, observed.usage.completion), (FinishReason::Length, 6));
        assert!(observed.complete);
    }
}
