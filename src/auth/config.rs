//! API keys that are known by name, who needs one, and who shares answers.

use crate::domain::{Hidden, Limits};
use serde::Deserialize;

/// `[auth]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub mode: Mode,
    pub scope: Sharing,
    pub keys: Vec<Key>,
    pub teams: Vec<Team>,
    /// Names of the keys that may manage models; all, where there are none.
    pub management: Vec<String>,
    /// Empty for the one in the data directory.
    pub admin_key: Hidden,
}

/// Who needs a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nobody: whoever has none is anonymous.
    Open,
    /// Everybody.
    Required,
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
    /// Patterns; none for all.
    #[serde(default)]
    pub models: Vec<String>,
    #[serde(default)]
    pub routes: Vec<String>,
}

/// What all of a team may use.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Team {
    pub name: String,
    /// Patterns; none for all.
    #[serde(default)]
    pub models: Vec<String>,
    #[serde(default)]
    pub routes: Vec<String>,
}

impl Key {
    pub fn limits(&self) -> Limits {
        Limits { models: self.models.clone(), routes: self.routes.clone() }
    }
}

impl Team {
    pub fn limits(&self) -> Limits {
        Limits { models: self.models.clone(), routes: self.routes.clone() }
    }
}
