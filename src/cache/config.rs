//! What is remembered, how much of it, and for how long.

use super::Limits;
use crate::domain::{Hidden, Operation, units};
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
    /// Bytes; zero keeps none.
    #[serde(deserialize_with = "units::size")]
    pub max_question: usize,
    pub completions: Completions,
    /// Zero means that embeddings are not kept.
    #[serde(deserialize_with = "units::duration")]
    pub embedding_ttl: Duration,
    /// Zero means that completions are not kept.
    #[serde(deserialize_with = "units::duration")]
    pub completion_ttl: Duration,
    /// Zero means that transcripts are not kept.
    #[serde(deserialize_with = "units::duration")]
    pub transcript_ttl: Duration,
    /// Zero means that nothing is used when its time is over.
    #[serde(deserialize_with = "units::duration")]
    pub stale_if_error: Duration,
    /// Whether a hit keeps its model warm.
    pub touch_keep_alive: bool,
    pub epoch: String,
    /// The first that matches wins.
    pub rules: Vec<Rule>,
    pub tiers: TiersConfig,
    pub warm: WarmConfig,
    pub redis: RedisConfig,
    pub database: DatabaseConfig,
}

/// `[cache.warm]`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmConfig {
    /// Entries, the most used of all; zero for none.
    pub at_start: usize,
    /// Entries of a model that has changed; zero for none.
    pub after_pull: usize,
    /// Requests a second; zero for as many as may be.
    pub rate: f64,
}

/// `[cache.tiers]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TiersConfig {
    /// 64 hexadecimal digits; empty for the one in the data directory.
    pub secret: Hidden,
    /// Bytes that may wait to be written.
    #[serde(deserialize_with = "units::size")]
    pub queue: usize,
    pub share_flights: bool,
}

/// `[cache.redis]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    pub enabled: bool,
    /// Empty: there is none.
    pub url: Hidden,
    /// How the names of all its keys begin.
    pub prefix: String,
    #[serde(deserialize_with = "units::duration")]
    pub embedding_ttl: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub completion_ttl: Duration,
    /// Bytes, sealed.
    #[serde(deserialize_with = "units::size")]
    pub max_entry: usize,
    #[serde(deserialize_with = "units::duration")]
    pub timeout: Duration,
}

/// `[cache.database]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    pub enabled: bool,
    /// Empty: a file in the data directory.
    pub url: Hidden,
    pub table: String,
    #[serde(deserialize_with = "units::duration")]
    pub embedding_ttl: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub completion_ttl: Duration,
    /// Bytes of all entries together, sealed.
    #[serde(deserialize_with = "units::size")]
    pub max_bytes: usize,
    /// Bytes, sealed.
    #[serde(deserialize_with = "units::size")]
    pub max_entry: usize,
    #[serde(deserialize_with = "units::duration")]
    pub timeout: Duration,
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

impl Completions {
    /// As it is written in the settings.
    pub fn label(self) -> &'static str {
        match self {
            Completions::All => "all",
            Completions::Deterministic => "deterministic",
            Completions::Off => "off",
        }
    }
}

/// An exception. What is left out matches everything, or changes nothing. In the first four, `*` stands for any
/// text and `?` for any one character.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A model's canonical name, in any case.
    pub model: Option<String>,
    /// A path.
    pub route: Option<String>,
    /// The names of API keys, and of their teams.
    pub key: Option<String>,
    pub team: Option<String>,
    #[serde(default, deserialize_with = "operation")]
    pub operation: Option<Operation>,
    #[serde(default, deserialize_with = "units::some_duration")]
    pub ttl: Option<Duration>,
    pub completions: Option<Completions>,
    pub enabled: Option<bool>,
    /// Bytes.
    #[serde(default, deserialize_with = "units::some_size")]
    pub max_entry: Option<usize>,
}

impl RedisConfig {
    pub fn limits(&self) -> Limits {
        let &RedisConfig { embedding_ttl, completion_ttl, max_entry, timeout, .. } = self;
        Limits { embedding_ttl, completion_ttl, max_entry, timeout }
    }
}

impl DatabaseConfig {
    pub fn limits(&self) -> Limits {
        let &DatabaseConfig { embedding_ttl, completion_ttl, max_entry, timeout, .. } = self;
        Limits { embedding_ttl, completion_ttl, max_entry, timeout }
    }
}

/// An operation by its label.
fn operation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Operation>, D::Error> {
    const LABELS: &[&str] = &["chat", "text_completion", "embeddings"];
    let label = String::deserialize(deserializer)?;
    match Operation::named(&label) {
        Some(operation) => Ok(Some(operation)),
        None => Err(de::Error::unknown_variant(&label, LABELS)),
    }
}
