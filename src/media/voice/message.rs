//! What is said between Pannier and the process that listens: one JSON text a frame, and one frame for a recording.

use crate::domain::Passage;
use serde::{Deserialize, Serialize};

/// What is asked of the process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Once, before anything else.
    Begin(Limits),
    /// Open the recording that the next frame is.
    Open,
    /// Write down what is said in the recording that was opened last.
    Write(Task),
}

/// What holds for the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The weights.
    pub model: String,
    /// Of five bits, they are to lie in memory as such of eight.
    pub unpack: bool,
    /// Bytes that it may take.
    pub memory: u64,
    /// Milliseconds of the longest recording.
    pub max_duration: u64,
    pub threads: usize,
}

/// How it is to be written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Into English.
    pub translate: bool,
    /// `de`, or `german`; found out where it is not said.
    pub language: Option<String>,
    pub prompt: Option<String>,
    pub temperature: f32,
    /// What is no speech is left out.
    pub vad: bool,
}

/// What the process says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Say {
    Ready,
    Heard(Heard),
    Refused(Flaw),
    Passage(Passage),
    /// It cannot go on with what it was asked, for a reason that has nothing to do with the recording.
    Failed(String),
}

/// What is known of a recording that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Of the samples that are listened to.
    pub hash: [u8; 32],
    /// Nanoseconds.
    pub duration: u64,
}

/// Why a recording is not listened to. What it says is for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Flaw {
    #[error("the recording is empty")]
    Empty,
    #[error("{0} cannot be listened to: send WAV, MP3, M4A, FLAC, OGG or WebM")]
    Format(String),
    #[error("the recording cannot be read: {0}")]
    Broken(String),
    #[error("the recording is too long: at most {0} s are listened to")]
    TooLong(u64),
    #[error("no such language: {0}")]
    Language(String),
    #[error("the model knows English only: ask one without `.en` in its name")]
    EnglishOnly,
}

impl Flaw {
    /// Breaks off the words of those who read formats: of more nobody learns anything.
    pub fn broken(why: impl ToString) -> Self {
        Flaw::Broken(shortened(why))
    }
}

/// Fit for a message.
pub fn shortened(why: impl ToString) -> String {
    const LONGEST: usize = 120;
    why.to_string().replace(char::is_control, " ").chars().take(LONGEST).collect()
}
