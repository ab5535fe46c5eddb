//! `POST /embeddings/batch`: many texts, each answered by itself.

mod answers;
mod faults;

use crate::stage::*;
use serde_json::{Value, json};

const MODEL: &str = MODELS[1].0;
const DIGEST: &str = MODELS[1].1;
const BATCH: &str = "/embeddings/batch";
const LINES: &str = "application/x-ndjson";

/// Embeds, but for texts in which `bad` stands: those are refused as Ollama does it.
async fn embedding_upstream() -> Upstream {
    let upstream = Upstream::start().await;
    upstream.on("/api/embed", |visit| match String::from_utf8_lossy(&visit.body()).contains("bad") {
        true => json(400, r#"{"error":"the input length exceeds the context length"}"#),
        false => embedder::embeds(visit, DIGEST),
    });
    upstream
}

fn ask(texts: &[&str]) -> Ask {
    Ask::post(BATCH, &json!({ "model": MODEL, "texts": texts }))
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("text {number}")).collect()
}

fn borrowed(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// The texts that went up so far, each as often as it did.
fn asked_for(upstream: &Upstream) -> Vec<String> {
    let visits = upstream.visits("/api/embed");
    let mut texts: Vec<_> = visits.iter().flat_map(|visit| embedder::texts(&embedder::body(visit))).collect();
    texts.sort();
    texts
}

/// A batch's answer, read from either mode.
struct Told {
    /// A vector, or the code why there is none.
    fates: Vec<Result<Vec<f32>, String>>,
    /// The whole answer, or its last line.
    sums: Value,
    progress: Vec<Value>,
}

impl Told {
    #[track_caller]
    fn read(reply: Reply) -> Told {
        let reply = reply.fine();
        match reply.field("content-type") {
            Some(LINES) => Told::of_lines(&reply.text()),
            kind => {
                assert_eq!(kind, Some("application/json"));
                Told::of_whole(reply.json())
            }
        }
    }

    fn of_whole(sums: Value) -> Told {
        let all = sums["embeddings"].as_array().expect("embeddings");
        let mut errors = sums["errors"].as_array().expect("errors").iter();
        let fates = all.iter().enumerate().map(|(index, vector)| match vector {
            Value::Null => {
                let error = errors.next().expect("an error for each null");
                assert_eq!(error["index"], json!(index));
                Err(error["code"].as_str().expect("a code").to_owned())
            }
            vector => Ok(embedder::numbers(vector)),
        });
        let fates = fates.collect();
        assert!(errors.next().is_none());
        Told { fates, sums, progress: Vec::new() }
    }

    fn of_lines(text: &str) -> Told {
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let first = lines.next().expect("a first line");
        let (mut fates, mut progress, mut sums) = (Vec::new(), Vec::new(), None);
        for line in lines {
            assert!(sums.is_none(), "nothing stands behind the last line: {line}");
            if line["done"] == true {
                sums = Some(line);
            } else if line["progress"].is_object() {
                assert_eq!(line["progress"]["done"], json!(fates.len()));
                progress.push(line["progress"].clone());
            } else {
                assert_eq!(line["index"], json!(fates.len()), "in order");
                fates.push(match line["code"].as_str() {
                    Some(code) => Err(code.to_owned()),
                    None => Ok(embedder::numbers(&line["embedding"])),
                });
            }
        }
        let sums = sums.expect("a last line");
        for (name, other) in [("of", "count"), ("model", "model"), ("digest", "digest")] {
            assert_eq!(first[name], sums[other]);
        }
        Told { fates, sums, progress }
    }

    /// Fails unless every text has its vector, but for those in which `bad` stands; and unless the sums are right.
    #[track_caller]
    fn check(self, texts: &[&str], known: usize) -> Told {
        assert_eq!(self.fates.len(), texts.len());
        for (fate, text) in self.fates.iter().zip(texts) {
            match text.contains("bad") {
                true => assert_eq!(*fate, Err("refused".to_owned()), "{text}"),
                false => assert_eq!(*fate, Ok(embedder::vector(text, DIGEST, None)), "{text}"),
            }
        }
        let good: Vec<_> = texts.iter().filter(|text| !text.contains("bad")).collect();
        let tokens: u64 = good.iter().map(|text| embedder::tokens(text)).sum();
        let sum = |name: &str| self.sums[name].as_u64().unwrap_or_else(|| panic!("no {name}: {}", self.sums));
        let counted = ["count", "succeeded", "failed", "known", "prompt_eval_count"].map(sum);
        let (count, succeeded) = (texts.len() as u64, good.len() as u64);
        assert_eq!(counted, [count, succeeded, count - succeeded, known as u64, tokens]);
        assert_eq!((&self.sums["model"], &self.sums["digest"]), (&json!(MODEL), &json!(DIGEST)));
        assert!(sum("total_duration") > 0 && self.sums["embeddings_per_second"].as_f64() > Some(0.0));
        self
    }
}
