//! Reads a transcript as it comes about, or what an upstream says of one.

use crate::dialect::frame::Framing;
use crate::dialect::observe::{Figures, Format, Observer, Tally};
use crate::domain::{Durations, FinishReason, Passage};
use memchr::memmem;
use std::time::Duration;

/// Reads one transcript.
pub type Scanner = Observer<Lines>;

/// One passage a line, or whatever an upstream answers.
#[derive(Debug, Default)]
pub struct Lines;

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
                tally.audio = Duration::from_nanos(end.audio);
                let [load, decode, listen] = [end.load, end.decode, end.listen].map(Duration::from_nanos);
                let total = load.saturating_add(decode).saturating_add(listen);
                tally.durations = Durations { total, load, prompt_eval: decode, eval: listen };
            }
            // An upstream's events.
            Err(_) => {
                let is_done = memmem::find(line, b"\"transcript.text.done\"").is_some();
                tally.marked |= is_done;
                tally.content_frames += u64::from(!is_done && line.starts_with(b"data:"));
            }
        }
    }

    /// An upstream's, of which nothing is known but that it is there.
    fn whole(&mut self, body: &[u8], tally: &mut Tally) {
        tally.marked = !body.is_empty();
        tally.finish = FinishReason::Stop;
    }

    fn tail(&mut self, tail: &[u8], tally: &mut Tally) {
        self.whole(tail, tally);
    }
}
