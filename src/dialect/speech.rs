//! What an answer says, apart from how a dialect wraps it: the frames of a stream add up to it, and it
//! is cut into frames again.

use super::escaped::{Escaped, Grain, MOST};
use serde_json::value::RawValue;

/// What a whole answer says, or what one frame adds to it.
#[derive(Debug, Clone, Default)]
pub struct Speech<'a> {
    pub thinking: Escaped<'a>,
    pub text: Escaped<'a>,
    /// As they stand on the wire.
    pub tool_calls: Vec<&'a RawValue>,
    pub logprobs: Vec<&'a RawValue>,
}

impl<'a> Speech<'a> {
    pub fn append(&mut self, next: Speech<'a>) {
        self.thinking.push(&next.thinking);
        self.text.push(&next.text);
        self.tool_calls.extend(next.tool_calls);
        self.logprobs.extend(next.logprobs);
    }

    /// Whether letters may have been lost between two frames.
    pub fn is_torn(&self) -> bool {
        self.thinking.is_torn() || self.text.is_torn()
    }

    /// What each frame of a stream adds, in Ollama's order: thinking, text, all tool calls at once.
    /// Log probabilities come along from the first frame on, some with each, and by themselves where
    /// there are more of them than frames.
    pub fn parts(&'a self, grain: Grain) -> Vec<Speech<'a>> {
        let thinking = self.thinking.slices(grain).map(|thinking| Speech { thinking, ..Speech::default() });
        let text = self.text.slices(grain).map(|text| Speech { text, ..Speech::default() });
        let mut parts: Vec<Speech> = thinking.chain(text).collect();
        if !self.tool_calls.is_empty() {
            parts.push(Speech { tool_calls: self.tool_calls.clone(), ..Speech::default() });
        }
        for (index, run) in runs(&self.logprobs).into_iter().enumerate() {
            if index == parts.len() {
                parts.push(Speech::default());
            }
            parts[index].logprobs = run.to_vec();
        }
        parts
    }
}

/// `values` in runs of at most [`MOST`] bytes, or of one.
fn runs<'s, 'a>(values: &'s [&'a RawValue]) -> Vec<&'s [&'a RawValue]> {
    let mut runs = Vec::new();
    let (mut from, mut size) = (0, 0);
    for (index, value) in values.iter().enumerate() {
        size += value.get().len();
        if size > MOST && index > from {
            runs.push(&values[from..index]);
            (from, size) = (index, value.get().len());
        }
    }
    if from < values.len() {
        runs.push(&values[from..]);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).expect("JSON")
    }

    #[test]
    fn logprobs_come_along_and_none_is_lost() {
        let probabilities: Vec<String> =
            (0..100).map(|n| format!("{{\"n\":{n},\"x\":\"{}\"}}", "x".repeat(500))).collect();
        let huge = format!("[{}]", "1,".repeat(MOST) + "1");
        let mut logprobs: Vec<&RawValue> = probabilities.iter().map(|json| raw(json)).collect();
        logprobs.push(raw(&huge));
        let speech =
            Speech { text: Escaped::of_value("\"a\"").expect("a text"), logprobs, ..Speech::default() };
        let parts = speech.parts(Grain::Coarse);
        assert!(parts.len() > 10);
        assert_eq!(parts.iter().filter(|part| !part.text.is_empty()).count(), 1);
        for part in &parts {
            let size: usize = part.logprobs.iter().map(|value| value.get().len()).sum();
            assert!(size <= MOST || part.logprobs.len() == 1, "{size}");
        }
        let together: Vec<&str> =
            parts.iter().flat_map(|part| &part.logprobs).map(|value| value.get()).collect();
        let expected: Vec<&str> = speech.logprobs.iter().map(|value| value.get()).collect();
        assert_eq!(together, expected);
    }

    #[test]
    fn nothing_said_is_no_part() {
        assert!(Speech::default().parts(Grain::Coarse).is_empty());
    }
}
