//! Tells what was said: as text, as subtitles, with all that is known, or while it is still being said.

use super::{Grain, Hearing, Manner, Shape};
use crate::dialect::escaped::json_text;
use crate::dialect::frame::{Framing, Splitter};
use crate::domain::{Close, Passage, Segment};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;

/// Who tells it.
#[derive(Debug, Clone)]
pub struct Teller {
    pub hearing: Hearing,
    pub shape: Shape,
    pub grain: Grain,
    /// As whoever asks calls it.
    pub model: String,
}

/// A stream that is told event by event while it comes.
#[derive(Debug)]
pub struct Events {
    splitter: Splitter,
    text: String,
}

/// All that was said.
struct Transcript {
    segments: Vec<Segment>,
    end: Close,
}

impl Teller {
    /// A whole answer; `None` where what is kept is no transcript.
    pub fn whole(&self, kept: &[u8]) -> Option<String> {
        let transcript = Transcript::read(kept)?;
        Some(match (self.hearing.manner, self.shape) {
            (_, Shape::Text) => transcript.text() + "\n",
            (_, Shape::Srt) => transcript.srt(),
            (_, Shape::Vtt) => transcript.vtt(),
            (Manner::OpenAi, Shape::Json) => {
                json!({ "text": transcript.text(), "usage": transcript.usage() }).to_string()
            }
            (Manner::OpenAi, Shape::Verbose) => self.verbose(&transcript).to_string(),
            (Manner::Native, Shape::Json | Shape::Verbose) => self.native(&transcript).to_string(),
        })
    }

    /// What comes instead of a stream's lines.
    pub fn events(&self) -> Events {
        Events { splitter: Splitter::new(Framing::Lines), text: String::new() }
    }

    fn verbose(&self, transcript: &Transcript) -> Value {
        let Transcript { end, .. } = transcript;
        let mut told = json!({
            "task": if self.hearing.translate { "translate" } else { "transcribe" },
            // The text's: a translation is into English.
            "language": if self.hearing.translate { "english" } else { &end.language_name },
            "duration": end.seconds(),
            "text": transcript.text(),
            "usage": transcript.usage(),
        });
        if self.grain.segments {
            told["segments"] = transcript.numbered().map(|(id, segment)| segment_of(id, segment)).collect();
        }
        if self.grain.words {
            let words = transcript.segments.iter().flat_map(|segment| &segment.words);
            let word = |word: &crate::domain::Word| json!({ "word": word.word, "start": seconds(word.start), "end": seconds(word.end) });
            told["words"] = words.map(word).collect();
        }
        told
    }

    fn native(&self, transcript: &Transcript) -> Value {
        let segment = |(_, segment): (usize, &Segment)| {
            let (start, end) = (seconds(segment.start), seconds(segment.end));
            json!({ "start": start, "end": end, "text": segment.text.trim() })
        };
        json!({
            "text": transcript.text(),
            "language": transcript.end.language,
            "duration": transcript.end.seconds(),
            "model": self.model,
            "segments": transcript.numbered().map(segment).collect::<Value>(),
        })
    }
}

impl Transcript {
    fn read(kept: &[u8]) -> Option<Self> {
        let mut segments = Vec::new();
        for line in kept.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line).ok()? {
                Passage::Segment(segment) => segments.push(segment),
                Passage::End(end) => return Some(Transcript { segments, end }),
            }
        }
        None
    }

    fn text(&self) -> String {
        let text: String = self.segments.iter().map(|segment| segment.text.as_str()).collect();
        text.trim().to_owned()
    }

    fn usage(&self) -> Value {
        usage(&self.end)
    }

    fn numbered(&self) -> impl Iterator<Item = (usize, &Segment)> {
        self.segments.iter().enumerate()
    }

    fn srt(&self) -> String {
        let mut told = String::new();
        for (id, segment) in self.numbered() {
            let (start, end) = (clock(segment.start, ','), clock(segment.end, ','));
            let _ = write!(told, "{}\n{start} --> {end}\n{}\n\n", id + 1, caption(&segment.text));
        }
        told
    }

    fn vtt(&self) -> String {
        let mut told = "WEBVTT\n\n".to_owned();
        for segment in &self.segments {
            let (start, end) = (clock(segment.start, '.'), clock(segment.end, '.'));
            let text = caption(&segment.text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let _ = write!(told, "{start} --> {end}\n{text}\n\n");
        }
        told
    }
}

impl Close {
    fn seconds(&self) -> f64 {
        self.audio as f64 / 1e9
    }
}

impl Events {
    /// What can be told now that `piece` has come; `None` for nothing.
    pub fn pass(&mut self, piece: &[u8]) -> Option<Bytes> {
        let mut told = String::new();
        let Events { splitter, text } = self;
        splitter.feed(piece, |line| told.push_str(&event(line, text)));
        (!told.is_empty()).then(|| told.into())
    }
}

/// What a line comes to; `text` is all that was said before.
fn event(line: &[u8], text: &mut String) -> String {
    match serde_json::from_slice(line) {
        Ok(Passage::Segment(segment)) => {
            // The first has a space before it, which belongs to no word.
            let delta = if text.is_empty() { segment.text.trim_start() } else { &segment.text };
            text.push_str(delta);
            format!("data: {{\"type\":\"transcript.text.delta\",\"delta\":{}}}\n\n", json_text(delta))
        }
        // With no usage: an event's is in tokens, and there are none.
        Ok(Passage::End(_)) => {
            let text = json_text(text.trim_end());
            format!("data: {{\"type\":\"transcript.text.done\",\"text\":{text}}}\n\n")
        }
        Err(_) => String::new(),
    }
}

/// Whole seconds that have begun, as OpenAI counts them.
fn usage(end: &Close) -> Value {
    json!({ "type": "duration", "seconds": end.audio.div_ceil(1_000_000_000) })
}

fn segment_of(id: usize, segment: &Segment) -> Value {
    let Segment { text, tokens, temperature, avg_logprob, no_speech_prob, .. } = segment;
    json!({
        "id": id,
        // Of the window that it was found in; what it is good for, its times say as well.
        "seek": segment.start / 10,
        "start": seconds(segment.start),
        "end": seconds(segment.end),
        "text": text,
        "tokens": tokens,
        "temperature": temperature,
        "avg_logprob": avg_logprob,
        "compression_ratio": compression_ratio(text),
        "no_speech_prob": no_speech_prob,
    })
}

/// How much of a text is repetition.
fn compression_ratio(text: &str) -> f64 {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
    let packed = packed.write_all(text.as_bytes()).and_then(|()| packed.finish());
    packed.map_or(1.0, |packed| text.len() as f64 / packed.len().max(1) as f64)
}

fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1e3
}

/// `00:00:10,500`
fn clock(milliseconds: u64, point: char) -> String {
    let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    format!("{:02}:{:02}:{seconds:02}{point}{rest:03}", minutes / 60, minutes % 60)
}

/// An empty line would end it, and an arrow begin another.
fn caption(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("\n").replace("-->", "->")
}

#[cfg(test)]
mod tests;
