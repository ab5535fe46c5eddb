//! What was said in a recording, as it is written down piece by piece.

use serde::{Deserialize, Serialize};

/// One line of a transcript.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Passage {
    Segment(Segment),
    /// The last one.
    End(Close),
}

/// A few words that belong together. Times are milliseconds of the recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    pub start: u64,
    pub end: u64,
    /// As the model wrote it, its leading space included.
    pub text: String,
    pub tokens: Vec<i32>,
    pub temperature: f32,
    pub avg_logprob: f32,
    pub no_speech_prob: f32,
    pub words: Vec<Word>,
}

/// One word of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    pub word: String,
    pub start: u64,
    pub end: u64,
}

/// What is known at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Close {
    /// `en`
    pub language: String,
    /// `english`
    pub language_name: String,
    /// Of the whole recording, in nanoseconds, as everything here.
    pub audio: u64,
    /// What it took to load the model, to open the recording, and to listen.
    pub load: u64,
    pub decode: u64,
    pub listen: u64,
}
