//! Tells what became of the texts of a batch, one after the other: in one JSON answer, or line by line.

use crate::dialect::escaped::json_text;
use crate::dialect::{numbers, openai};
use crate::domain::{Embedding, Error};
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;

/// Why a text has no vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Stable.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// What a request for this text alone would be answered.
    pub status: u16,
}

/// How far a batch has come. Every text that was given counts, also one that was given before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub of: usize,
    pub done: usize,
    /// Of those that are done: known before, and without a vector.
    pub known: usize,
    pub failed: usize,
    pub tokens: u64,
    pub took: Duration,
}

/// Writes an answer down as it comes about.
#[derive(Debug)]
pub struct Teller {
    streamed: bool,
    base64: bool,
    /// The members that say which model it is.
    model: String,
    /// Those of the texts so far, as they stand in the list of them.
    failures: Vec<String>,
    /// The numbers of those whose vector is over.
    stale: Vec<String>,
}

impl Failure {
    pub fn of(error: &Error) -> Self {
        Failure { code: error.kind.code(), message: error.message.clone(), status: error.kind.status() }
    }

    /// As a whole answer.
    pub fn to_json(&self) -> String {
        format!(r#"{{"error":{},"code":"{}"}}"#, json_text(&self.message), self.code)
    }

    fn of_text(&self, index: usize) -> String {
        let Failure { code, message, status } = self;
        let message = json_text(message);
        format!(r#"{{"index":{index},"error":{message},"code":"{code}","status":{status}}}"#)
    }
}

impl Counts {
    pub fn succeeded(&self) -> usize {
        self.done - self.failed
    }

    /// Vectors a second, so far.
    fn rate(&self) -> f64 {
        let rate = self.succeeded() as f64 / self.took.as_secs_f64().max(1e-6);
        (rate * 10.0).round() / 10.0
    }
}

impl Teller {
    /// `model` as the client wrote it, and its digest where that is known.
    pub fn new(model: &str, digest: Option<&str>, streamed: bool, base64: bool) -> Self {
        let digest = digest.map_or(String::new(), |digest| format!(",\"digest\":{}", json_text(digest)));
        let model = format!("\"model\":{}{digest}", json_text(model));
        Teller { streamed, base64, model, failures: Vec::new(), stale: Vec::new() }
    }

    /// Before the first text. `known`: how many have a vector already.
    pub fn begin(&self, out: &mut Vec<u8>, of: usize, known: usize) {
        let model = &self.model;
        let begun = match self.streamed {
            true => format!("{{{model},\"of\":{of},\"known\":{known}}}\n"),
            false => format!("{{{model},\"embeddings\":["),
        };
        out.extend_from_slice(begun.as_bytes());
    }

    /// Text number `index`, which comes behind the one before. `stale`: its time is over.
    pub fn vector(&mut self, out: &mut Vec<u8>, index: usize, embedding: &Embedding, stale: bool) {
        match self.streamed {
            true => out.extend_from_slice(format!("{{\"index\":{index},\"embedding\":").as_bytes()),
            false => self.separate(out, index),
        }
        match self.base64 {
            true => openai::write_base64(out, &embedding.numbers),
            false => numbers::write_array(out, &embedding.numbers),
        }
        if self.streamed {
            let stale = if stale { ",\"stale\":true" } else { "" };
            let tokens = embedding.tokens;
            out.extend_from_slice(format!(",\"prompt_eval_count\":{tokens}{stale}}}\n").as_bytes());
        } else if stale {
            self.stale.push(index.to_string());
        }
    }

    /// The same, for one without a vector.
    pub fn failure(&mut self, out: &mut Vec<u8>, index: usize, failure: &Failure) {
        let told = failure.of_text(index);
        if self.streamed {
            out.extend_from_slice(told.as_bytes());
            out.push(b'\n');
        } else {
            self.separate(out, index);
            out.extend_from_slice(b"null");
            self.failures.push(told);
        }
    }

    /// How far it has come; in a whole answer there is no place for that.
    pub fn progress(&self, out: &mut Vec<u8>, counts: &Counts) {
        let Counts { of, done, known, failed, .. } = *counts;
        if self.streamed {
            let progress = json!({ "of": of, "done": done, "known": known, "failed": failed, "embeddings_per_second": counts.rate() });
            out.extend_from_slice(format!("{{\"progress\":{progress}}}\n").as_bytes());
        }
    }

    /// Behind the last text.
    pub fn end(&self, out: &mut Vec<u8>, counts: &Counts) {
        let Counts { of, known, failed, tokens, took, .. } = *counts;
        let (begun, errors) = match self.streamed {
            true => (format!("{{\"done\":true,{}", self.model), String::new()),
            false => ("]".to_owned(), format!(",\"errors\":[{}]{}", self.failures.join(","), self.stale())),
        };
        let sums = format!(
            ",\"count\":{of},\"succeeded\":{},\"failed\":{failed},\"known\":{known}{errors},\
             \"prompt_eval_count\":{tokens},\"total_duration\":{},\"embeddings_per_second\":{}}}\n",
            counts.succeeded(),
            took.as_nanos(),
            counts.rate(),
        );
        out.extend_from_slice(begun.as_bytes());
        out.extend_from_slice(sums.as_bytes());
    }

    /// The member that names those that are over, where there are any.
    fn stale(&self) -> String {
        match self.stale.is_empty() {
            true => String::new(),
            false => format!(",\"stale\":[{}]", self.stale.join(",")),
        }
    }

    fn separate(&self, out: &mut Vec<u8>, index: usize) {
        if index > 0 {
            out.push(b',');
        }
    }
}

/// What the upstream says is wrong, where its answer is an error that says so.
pub fn complaint(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Complaint {
        error: String,
    }
    serde_json::from_slice::<Complaint>(body).ok().map(|complaint| complaint.error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn told(streamed: bool, base64: bool) -> String {
        let mut teller = Teller::new("m", Some("d"), streamed, base64);
        let mut out = Vec::new();
        let vector = Embedding {
            numbers: [0.5, -1.0].into(),
            tokens: 3,
            estimated: false,
            total: Duration::ZERO,
            load: Duration::ZERO,
        };
        let failure = Failure { code: "refused", message: "no \"a\"".into(), status: 400 };
        let counts =
            Counts { of: 3, done: 3, known: 1, failed: 1, tokens: 6, took: Duration::from_millis(500) };
        teller.begin(&mut out, 3, 1);
        teller.vector(&mut out, 0, &vector, false);
        teller.failure(&mut out, 1, &failure);
        teller.progress(&mut out, &Counts { done: 2, ..counts });
        teller.vector(&mut out, 2, &vector, true);
        teller.end(&mut out, &counts);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_whole_answer_is_one_object() {
        let answer: Value = serde_json::from_str(&told(false, false)).expect("JSON");
        assert_eq!(
            answer,
            json!({
                "model": "m", "digest": "d", "embeddings": [[0.5, -1], null, [0.5, -1]],
                "count": 3, "succeeded": 2, "failed": 1, "known": 1, "prompt_eval_count": 6,
                "errors": [{ "index": 1, "error": "no \"a\"", "code": "refused", "status": 400 }],
                "stale": [2],
                "total_duration": 500_000_000, "embeddings_per_second": 4,
            })
        );
        let base64: Value = serde_json::from_str(&told(false, true)).expect("JSON");
        assert_eq!(base64["embeddings"], json!(["AAAAPwAAgL8=", null, "AAAAPwAAgL8="]));
    }

    #[test]
    fn lines_are_told_apart_by_their_first_member() {
        let lines = told(true, false);
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines[0], json!({ "model": "m", "digest": "d", "of": 3, "known": 1 }));
        assert_eq!(lines[1], json!({ "index": 0, "embedding": [0.5, -1], "prompt_eval_count": 3 }));
        assert_eq!((&lines[2]["index"], &lines[2]["code"]), (&json!(1), &json!("refused")));
        assert_eq!(
            lines[3],
            json!({ "progress": { "of": 3, "done": 2, "known": 1, "failed": 1, "embeddings_per_second": 2.0 } })
        );
        assert_eq!((&lines[1].get("stale"), &lines[4]["stale"]), (&None, &json!(true)));
        assert_eq!((&lines[5]["done"], &lines[5]["succeeded"]), (&json!(true), &json!(2)));
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn a_complaint_is_taken_from_where_ollama_puts_it() {
        assert_eq!(complaint(b"{\"error\":\"too long\"}").as_deref(), Some("too long"));
        assert_eq!(complaint(b"{\"error\":{\"message\":\"x\"}}"), None);
        assert_eq!(complaint(b"<html>"), None);
    }
}
