//! Tells what a model said of a picture, as the routes for pictures tell it.

use super::View;
use super::tell::Failure;
use crate::dialect::escaped::json_text;
use crate::dialect::frame::{self, Framing, Splitter};
use bytes::Bytes;
use serde::Deserialize;

/// Who tells it: for one view, of a model as it is called by whoever asks.
#[derive(Debug, Clone)]
pub struct Narrator {
    view: View,
    /// As it stands in JSON.
    model: String,
}

/// A stream that is told line by line while it comes.
#[derive(Debug)]
pub struct Retold {
    narrator: Narrator,
    splitter: Splitter,
}

/// An answer of `/api/generate`, or one line of it.
#[derive(Deserialize)]
struct Said {
    response: String,
    #[serde(default)]
    done: bool,
    total_duration: Option<u64>,
    eval_count: Option<u64>,
}

impl Narrator {
    pub fn new(view: View, model: &str) -> Self {
        Narrator { view, model: json_text(model) }
    }

    /// A whole answer; `None` where it is none.
    pub fn whole(&self, answer: &[u8]) -> Option<String> {
        let said = serde_json::from_slice::<Said>(answer).ok().filter(|said| said.done)?;
        let (model, text) = (&self.model, &said.response);
        Some(match self.view {
            View::Analyze => self.line(&said, text),
            View::Caption => format!("{{\"caption\":{},\"model\":{model}}}", json_text(text.trim())),
            View::Ocr => format!("{{\"text\":{},\"model\":{model}}}", json_text(text.trim())),
        })
    }

    /// What comes instead of the whole answers of several pictures; `told` are those, or why there is none.
    pub fn list(&self, told: &[Result<String, Failure>]) -> String {
        let failed = told.iter().filter(|told| told.is_err()).count();
        let each: Vec<String> =
            told.iter().map(|told| told.clone().unwrap_or_else(|failure| failure.to_json())).collect();
        let (model, count, results) = (&self.model, told.len(), each.join(","));
        let succeeded = count - failed;
        format!(
            "{{\"model\":{model},\"results\":[{results}],\"count\":{count},\"succeeded\":{succeeded},\"failed\":{failed}}}"
        )
    }

    /// What comes instead of a stream's pieces.
    pub fn lines(self) -> Retold {
        Retold { narrator: self, splitter: Splitter::new(Framing::Lines) }
    }

    fn line(&self, said: &Said, text: &str) -> String {
        let (model, done, text) = (&self.model, said.done, json_text(text));
        let name = match self.view {
            View::Analyze => "response",
            View::Caption => "caption",
            View::Ocr => "text",
        };
        let count =
            |name, value: Option<u64>| value.map_or(String::new(), |value| format!(",\"{name}\":{value}"));
        let took = count("total_duration", said.total_duration);
        let tokens = count("eval_count", said.eval_count);
        format!("{{\"model\":{model},\"{name}\":{text},\"done\":{done}{took}{tokens}}}")
    }
}

impl Retold {
    /// What can be told now that `piece` has come; `None` for nothing.
    pub fn pass(&mut self, piece: &[u8]) -> Option<Bytes> {
        let mut told = Vec::new();
        let Retold { narrator, splitter } = self;
        splitter.feed(piece, |line| retell(narrator, line, &mut told));
        if splitter.open().len() > frame::LONGEST {
            told.append(&mut splitter.take_open());
        }
        (!told.is_empty()).then(|| Bytes::from(told))
    }

    /// What is left when the stream has ended.
    pub fn finish(&mut self) -> Option<Bytes> {
        let open = self.splitter.take_open();
        let mut told = Vec::new();
        if !open.is_empty() {
            retell(&self.narrator, &open, &mut told);
        }
        (!told.is_empty()).then(|| Bytes::from(told))
    }
}

/// One line. What says nothing of a picture, such as an error, is told in its own words.
fn retell(narrator: &Narrator, line: &[u8], told: &mut Vec<u8>) {
    match serde_json::from_slice::<Said>(line) {
        Ok(said) => {
            told.extend_from_slice(narrator.line(&said, &said.response).as_bytes());
            told.push(b'\n');
        }
        Err(_) => told.extend_from_slice(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const ANSWER: &[u8] = br#"{"model":"m:latest","response":" a <b>\n","done":true,"context":[1],"total_duration":9,"eval_count":2}"#;

    fn whole(view: View) -> Value {
        let told = Narrator::new(view, "m").whole(ANSWER).expect("an answer");
        serde_json::from_str(&told).expect("JSON")
    }

    #[test]
    fn each_view_has_a_shape_of_its_own() {
        let analysis = json!({ "model": "m", "response": " a <b>\n", "done": true, "total_duration": 9, "eval_count": 2 });
        assert_eq!(whole(View::Analyze), analysis);
        assert_eq!(whole(View::Caption), json!({ "caption": "a <b>", "model": "m" }));
        assert_eq!(whole(View::Ocr), json!({ "text": "a <b>", "model": "m" }));
        let told = |answer: &[u8]| Narrator::new(View::Ocr, "m").whole(answer);
        for none in [&b"{\"response\":\"a\",\"done\":false}"[..], b"{\"error\":\"a\"}", b"", b"<html>"] {
            assert_eq!(told(none), None);
        }
    }

    #[test]
    fn several_are_told_in_their_order() {
        let failure = Failure { code: "bad_request", message: "no".into(), status: 400 };
        let told = [Ok("{\"text\":\"a\"}".to_owned()), Err(failure)];
        let list: Value = serde_json::from_str(&Narrator::new(View::Ocr, "m").list(&told)).expect("JSON");
        let results = json!([{ "text": "a" }, { "error": "no", "code": "bad_request" }]);
        assert_eq!(
            list,
            json!({ "model": "m", "results": results, "count": 2, "succeeded": 1, "failed": 1 })
        );
    }

    #[test]
    fn a_stream_is_told_the_same_however_it_is_cut() {
        let stream = [
            &b"{\"model\":\"m:latest\",\"created_at\":\"x\",\"response\":\"a\",\"done\":false}\n"[..],
            b"{\"error\":\"broken\"}\n",
            ANSWER,
            b"\n{\"response\":\"no end\"",
        ]
        .concat();
        let told = |step: usize| {
            let mut retold = Narrator::new(View::Caption, "m").lines();
            let mut told: Vec<u8> =
                stream.chunks(step).filter_map(|piece| retold.pass(piece)).flatten().collect();
            told.extend(retold.finish().into_iter().flatten());
            String::from_utf8(told).expect("text")
        };
        let whole = told(stream.len());
        let lines: Vec<&str> = whole.lines().collect();
        assert_eq!(lines[0], r#"{"model":"m","caption":"a","done":false}"#);
        assert_eq!(lines[1], r#"{"error":"broken"}"#);
        assert!(lines[2].ends_with(r#""done":true,"total_duration":9,"eval_count":2}"#), "{}", lines[2]);
        assert_eq!(lines[3], r#"{"response":"no end""#);
        for step in 1..40 {
            assert_eq!(told(step), whole, "{step}");
        }
    }
}
