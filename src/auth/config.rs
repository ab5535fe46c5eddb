//! API keys that are known by name, and who shares answers.

use crate::domain::Hidden;
use serde::Deserialize;

/// `[auth]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub scope: Sharing,
    pub keys: Vec<Key>,
    /// Empty for the one in the data directory.
    pub admin_key: Hidden,
}

/// Who shares answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// Everybody in one team.
    Team,
    /// Only requests with the same key.
    Key,
    /// Everybody.
    Shared,
}

/// One known key.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The operator's own name for it; safe to show.
    pub name: String,
    /// Without one: `default`.
    pub team: Option<String>,
    pub key: Hidden,
}
