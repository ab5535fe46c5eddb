//! Reads a transcript as it comes about, or what an upstream says of one: Ollama tells no length and no tokens, others
//! tell either (OpenAI's `verbose_json`, and `usage`).

use crate::dialect::frame::Framing;
use crate::dialect::observe::{Figures, Format, Observer, Tally, closing_members, count};
use crate::domain::{Durations, FinishReason, Passage};
use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::Duration;

/// Reads one transcript.
pub type Scanner = Observer<Lines>;

/// One passage a line, or whatever an upstream answers.
#[derive(Debug, Default)]
pub struct Lines;

/// What an upstream says of a recording.
#[derive(Deserialize)]
struct Told<'a> {
    duration: Option<f64>,
    #[serde(borrow)]
    usage: Option<Spent<'a>>,
}

#[derive(Deserialize, Default)]
struct Spent<'a> {
    seconds: Option<f64>,
    #[serde(borrow)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens: Option<&'a RawValue>,
}

impl Told<'_> {
    fn add_to(self, tally: &mut Tally) {
        let spent = self.usage.unwrap_or_default();
        let seconds = spent.seconds.or(self.duration);
        if let Some(audio) = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
            tally.audio = whole_milliseconds(audio);
        }
        let [prompt, completion] = [spent.input_tokens, spent.output_tokens].map(count);
        if tally.audio > Duration::ZERO || prompt.is_some() {
            let figures = &mut tally.figures;
            figures.prompt = prompt.or(figures.prompt).or(Some(0));
            figures.completion = completion.or(figures.completion).or(Some(0));
        }
    }
}

/// As it stands in the books: what is paid for is what can be read there.
fn whole_milliseconds(audio: Duration) -> Duration {
    audio - Duration::from_nanos(u64::from(audio.subsec_nanos() % 1_000_000))
}

/// What stands in `beginning` up to the value of `key` (with its quotes and colon) and that value, a number, as an object
/// of their own; `None` where it is not one of the first members.
fn up_to(beginning: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    let value = memmem::find(beginning, key)? + key.len();
    let end = value + beginning[value..].iter().position(|byte| matches!(byte, b',' | b'}'))?;
    Some([&beginning[..end], b"}"].concat())
}

impl Scanner {
    pub fn new(streamed: bool) -> Self {
        Observer::of(Lines, streamed)
    }
}

impl Format for Lines {
    const FRAMING: Framing = Framing::Lines;
    const BEGINNING: usize = 512;

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

    /// OpenAI's have the length before the text, and what was spent after it.
    fn ends(&mut self, beginning: &[u8], tail: &[u8], tally: &mut Tally) {
        (tally.marked, tally.finish) = (true, FinishReason::Stop);
        let ends = [
            up_to(beginning, b"\"duration\":"),
            closing_members(tail, "\"duration\":"),
            closing_members(tail, "\"usage\":"),
        ];
        for end in ends.iter().flatten() {
            if let Ok(told) = serde_json::from_slice::<Told>(end) {
                told.add_to(tally);
            }
        }
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
            (false, r#"{"text":"a","usage":{"input_tokens":18446744073709551615,"output_tokens":5}}"#, 0, 0),
            (false, r#"{"text":"a","usage":{"input_tokens":-4.5,"output_tokens":5}}"#, 0, 0),
        ] {
            let usage = read(streamed, body);
            let told = (usage.audio.as_millis(), usage.prompt + usage.completion);
            assert_eq!(told, (milliseconds, tokens), "{body}");
        }
    }

    /// Longer than anybody keeps.
    #[test]
    fn of_a_long_one_both_ends_are_read() {
        let text = "no \"quotes\" {\"duration\":4} ".repeat(1_000).replace('"', "\\\"");
        let segments = r#"{"start":0.0,"duration":3,"usage":{"input_tokens":7}},"#.repeat(500);
        for (begin, end, milliseconds, tokens) in [
            (r#""task":"transcribe","duration": 8.47, "#, r#""segments":[]"#, 8_470, 0),
            (r#""duration":8.47,"#, r#""usage":{"type":"duration","seconds":9}"#, 9_000, 0),
            (r#""logprobs":null,"#, r#""usage": {"input_tokens":14,"output_tokens":5}"#, 0, 19),
            ("", r#""duration":1.5"#, 1_500, 0),
            ("", r#""language":"en""#, 0, 0),
        ] {
            let segments = format!(r#""parts":[{}],"#, segments.trim_end_matches(','));
            let usage = read(false, &format!("{{{begin}{segments}\"text\":\"{text}\",{end}}}"));
            let told = (usage.audio.as_millis(), usage.prompt + usage.completion);
            assert_eq!(told, (milliseconds, tokens), "{begin} … {end}");
        }
    }
}
