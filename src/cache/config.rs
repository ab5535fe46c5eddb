//! What is remembered, how much of it, and for how long.

use crate::domain::{Operation, units};
use serde::{Deserialize, Deserializer, de};
use std::time::Duration;

/// `[memory]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryConfig {
    /// Bytes of all remembered answers together.
    #[serde(deserialize_with = "units::size")]
    pub capacity: usize,
    /// Bytes of all remembered vectors together.
    #[serde(deserialize_with = "units::size")]
    pub vectors: usize,
}

/// `[cache]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub enabled: bool,
    /// Bytes.
    #[serde(deserialize_with = "units::size")]
    pub max_entry: usize,
    pub completions: Completions,
    /// Zero means that embeddings are not kept.
    #[serde(deserialize_with = "units::duration")]
    pub embedding_ttl: Duration,
    /// Zero means that completions are not kept.
    #[serde(deserialize_with = "units::duration")]
    pub completion_ttl: Duration,
    pub epoch: String,
    /// The first that matches wins.
    pub rules: Vec<Rule>,
}

/// Which completions are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Completions {
    All,
    /// Those whose request asks for temperature 0, `top_k` 1 or a seed.
    Deterministic,
    Off,
}

/// An exception. What is left out matches everything, or changes nothing.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A model's name, in which `*` stands for any text and `?` for any one character.
    pub model: Option<String>,
    #[serde(default, deserialize_with = "operation")]
    pub operation: Option<Operation>,
    #[serde(default, deserialize_with = "units::some_duration")]
    pub ttl: Option<Duration>,
    pub completions: Option<Completions>,
}

/// An operation by its label.
fn operation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Operation>, D::Error> {
    const LABELS: &[&str] = &["chat", "text_completion", "embeddings"];
    let label = String::deserialize(deserializer)?;
    match Operation::ALL.into_iter().find(|operation| operation.label() == label) {
        Some(operation) => Ok(Some(operation)),
        None => Err(de::Error::unknown_variant(&label, LABELS)),
    }
}
