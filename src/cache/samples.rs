//! What the tests of this room keep and find.

use super::payload::{Payload, Vector};
use super::{Entry, Label, Prefix, Question};
use crate::domain::{Complaint, Durations, FinishReason, Observed, Operation, Scope, Source, Usage};
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn entry(body: Bytes, frames: &[u32]) -> Payload {
    let observed = Observed {
        usage: Usage {
            source: Source::Upstream,
            prompt: 26,
            cached_prompt: 20,
            completion: u64::MAX,
            reasoning: 4,
            images: 3,
            audio: Duration::from_millis(2_500),
        },
        durations: Durations {
            total: Duration::from_nanos(1_250_000_001),
            load: Duration::from_millis(200),
            prompt_eval: Duration::from_millis(50),
            eval: Duration::from_secs(1),
        },
        finish: FinishReason::ToolCalls,
        complete: true,
        failed: false,
        complaint: Complaint::default(),
        content_frames: 11,
    };
    let header = |name, value| (HeaderName::from_static(name), HeaderValue::from_static(value));
    Payload::Answer(Arc::new(Entry {
        body,
        frames: frames.into(),
        headers: [header("content-type", "application/json"), header("x-other", "")].into(),
        model: "llama3:latest".into(),
        observed,
        took: Duration::from_nanos(1_300_000_007),
        stored: Instant::now() - Duration::from_secs(5),
        ttl: Duration::from_secs(3600),
        question: Some(question(r#"{"model":"llama3","prompt":"What is the capital of France?"}"#)),
        hits: Default::default(),
    }))
}

fn question(body: &'static str) -> Box<Question> {
    let texts = ["", "127.0.0.1:11434", "0.34.4", "sha256:0123"].map(Arc::from);
    let beside = Question::without_body(Scope([9; 32]), texts, Bytes::from_static(b"/api/generate?trace=1"));
    Question::of(Bytes::from_static(body.as_bytes()), usize::MAX, &beside).expect("it is small").packed()
}

/// A short one, whole.
pub(super) fn answer() -> Payload {
    entry(Bytes::from_static(br#"{"model":"llama3","response":"Paris.","done":true}"#), &[])
}

/// In two frames.
pub(super) fn streamed() -> Payload {
    entry(Bytes::from_static(b"{\"response\":\"Pa\"}\n{\"response\":\"ris\",\"done\":true}\n"), &[18, 49])
}

/// Several kilobytes of what models say.
pub(super) fn long() -> Payload {
    let words = r#"{"response":"The capital of France is Paris, and it has been for a long time."}"#;
    entry(Bytes::from(words.repeat(100)), &[])
}

/// 384 numbers.
pub(super) fn vector() -> Payload {
    let numbers = (0..384u32).flat_map(|n| (n as f32 * 0.618).sin().to_le_bytes()).collect::<Vec<u8>>();
    Payload::Vector(Arc::new(Vector {
        numbers: numbers.into(),
        tokens: 7,
        source: Source::Estimated,
        took: Duration::from_micros(1234),
        load: Duration::from_micros(234),
        stored: Instant::now() - Duration::from_secs(5),
        ttl: Duration::from_secs(86_400),
        question: None,
    }))
}

/// The same, with what was asked.
pub(super) fn asked() -> Payload {
    let Payload::Vector(vector) = vector() else { unreachable!("it is a vector") };
    let question = Some(question(r#"{"model":"all-minilm","input":"the quick brown fox"}"#));
    Payload::Vector(Arc::new(Vector { question, ..(*vector).clone() }))
}

pub(super) fn label(operation: Operation, model: &str, team: &str) -> Label {
    Label {
        prefix: Prefix::of(operation),
        operation,
        model: model.into(),
        digest: "sha256:0123".into(),
        team: team.into(),
    }
}

/// Every field, the times to the millisecond.
#[track_caller]
pub(super) fn assert_same(one: &Payload, other: &Payload) {
    assert!(one.stored().max(other.stored()) - one.stored().min(other.stored()) < Duration::from_millis(50));
    match (one, other) {
        (Payload::Answer(one), Payload::Answer(other)) => {
            let fields = |entry: &Entry| {
                let pieces = entry.pieces();
                (pieces, entry.headers.clone(), entry.model.clone(), entry.observed, entry.took, entry.ttl)
            };
            assert_eq!(fields(one), fields(other));
            assert_eq!((&one.body, &one.frames), (&other.body, &other.frames));
            assert_eq!(one.question, other.question);
        }
        (Payload::Vector(one), Payload::Vector(other)) => {
            assert_eq!(**one, Vector { stored: one.stored, ..(**other).clone() });
        }
        _ => panic!("{one:?} is not of the kind of {other:?}"),
    }
}
