//! Reads a transcript as it comes about, or what an upstream says of one: Ollama tells no length and no tokens, others
//! tell either (OpenAI's `verbose_json`, and `usage`).

use crate::dialect::frame::Framing;
use crate::dialect::observe::{Figures, Format, Observer, Tally};
use crate::domain::{Durations, FinishReason, Passage};
use memchr::memmem;
use serde::Deserialize;
use std::time::Duration;

/// Reads one transcript.
pub type Scanner = Observer<Lines>;

/// One passage a line, or whatever an upstream answers.
#[derive(Debug, Default)]
pub struct Lines;

/// What an upstream says of a recording.
#[derive(Deserialize)]
struct Told {
    duration: Option<f64>,
    usage: Option<Spent>,
}

#[derive(Deserialize)]
struct Spent {
    seconds: Option<f64>,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl Told {
    fn add_to(self, tally: &mut Tally) {
        let spent = self.usage.unwrap_or(Spent { seconds: None, input_tokens: None, output_tokens: None });
        let seconds = spent.seconds.or(self.duration);
        if let Some(audio) = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
            tally.audio = whole_milliseconds(audio);
        }
        if tally.audio > Duration::ZERO || spent.input_tokens.is_some() {
            let [prompt, completion] = [spent.input_tokens, spent.output_tokens].map(|it| it.or(Some(0)));
            tally.figures = Figures { prompt, completion, ..Figures::default() };
        }
    }
}

/// As it stands in the books: what is paid for is what can be read there.
fn whole_milliseconds(audio: Duration) -> Duration {
    audio - Duration::from_nanos(u64::from(audio.subsec_nanos() % 1_000_000))
}

impl Scanner {
    pub fn new(streamed: bool) -> Self {
        Observer::of(Lines, streamed)
    }
}

impl Format for Lines {
    const FRAMING: Framing = Framing::Lines;

    fn frame(&mut self, line: &[u8], tally: &mut Tally) {
        match serde_json::from_slice(line) {
            Ok(Passage::Segment(segment)) => {
                tally.content_frames += 1;
                // Whoever leaves before the end has had so much of it, and no tokens.
                tally.figures = Figures { prompt: Some(0), completion: Some(0), ..Figures::default() };
                tally.audio = tally.audio.max(Duration::from_millis(segment.end));
            }
            Ok(Passage::End(end)) => {
                tally.marked = true;
                tally.finish = FinishReason::Stop;
                tally.figures = Figures { prompt: Some(0), completion: Some(0), ..Figures::default() };
                tally.audio = whole_milliseconds(Duration::from_nanos(end.audio));
                let [load, decode, listen] = [end.load, end.decode, end.listen].map(Duration::from_nanos);
                let total = load.saturating_add(decode).saturating_add(listen);
                tally.durations = Durations { total, load, prompt_eval: decode, eval: listen };
            }
            // An upstream's events.
            Err(_) => {
                let is_done = memmem::find(line, b"\"transcript.text.done\"").is_some();
                tally.marked |= is_done;
                let told = line.strip_prefix(b"data:").filter(|_| is_done);
                if let Some(told) = told.and_then(|told| serde_json::from_slice::<Told>(told).ok()) {
                    told.add_to(tally);
                }
                tally.content_frames += u64::from(!is_done && line.starts_with(b"data:"));
            }
        }
    }

    /// An upstream's.
    fn whole(&mut self, body: &[u8], tally: &mut Tally) {
        tally.marked = !body.is_empty();
        tally.finish = FinishReason::Stop;
        if let Ok(told) = serde_json::from_slice::<Told>(body) {
            told.add_to(tally);
        }
    }

    fn tail(&mut self, tail: &[u8], tally: &mut Tally) {
        self.whole(tail, tally);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Usage;

    fn read(streamed: bool, body: &str) -> Usage {
        let mut scanner = Scanner::new(streamed);
        scanner.feed(body.as_bytes());
        scanner.finish(None).usage
    }

    #[test]
    fn what_an_upstream_says_of_a_recording_is_believed() {
        for (streamed, body, milliseconds, tokens) in [
            (false, r#"{"text":"a","duration":11.0004}"#, 11_000, 0),
            (false, r#"{"text":"a","usage":{"type":"duration","seconds":3}}"#, 3_000, 0),
            (false, r#"{"text":"a","usage":{"type":"tokens","input_tokens":14,"output_tokens":5}}"#, 0, 19),
            (true, "data: {\"type\":\"transcript.text.done\",\"usage\":{\"input_tokens\":7}}\n\n", 0, 7),
            (false, r#"{"text":"a"}"#, 0, 0),
            (false, r#"{"text":"a","duration":-1}"#, 0, 0),
            (false, "a text", 0, 0),
        ] {
            let usage = read(streamed, body);
            let told = (usage.audio.as_millis(), usage.prompt + usage.completion);
            assert_eq!(told, (milliseconds, tokens), "{body}");
        }
    }
}
