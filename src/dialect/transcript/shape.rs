//! In what shape a transcript is wanted.

/// In whose words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As OpenAI's routes tell it.
    OpenAi,
    /// Text, language, duration and segments, as the predecessors' routes did.
    Native,
}

/// `response_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    #[default]
    Json,
    Text,
    Srt,
    Vtt,
    Verbose,
}

/// `timestamp_granularities`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grain {
    pub segments: bool,
    pub words: bool,
}

impl Shape {
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Shape::Json),
            "text" => Some(Shape::Text),
            "srt" => Some(Shape::Srt),
            "vtt" => Some(Shape::Vtt),
            "verbose_json" => Some(Shape::Verbose),
            _ => None,
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Shape::Json | Shape::Verbose => "application/json",
            Shape::Text | Shape::Srt => "text/plain; charset=utf-8",
            Shape::Vtt => "text/vtt; charset=utf-8",
        }
    }
}

impl Default for Grain {
    fn default() -> Self {
        Grain { segments: true, words: false }
    }
}
