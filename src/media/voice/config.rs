//! How speech is listened to.

use crate::domain::units;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// `[audio]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The model that is asked where a request names none.
    pub model: String,
    /// Where `ggml-<name>.bin` are; empty for a folder in `server.data_dir`.
    pub models_dir: PathBuf,
    /// Models that are elsewhere.
    pub models: Vec<Own>,
    /// Whether a model that is not there is fetched when it is asked for first.
    pub download: bool,
    /// From where: an address, or a folder.
    pub mirror: String,
    /// Recordings that are listened to at a time. Never zero.
    pub workers: usize,
    /// Of each; zero means as many as there are cores, up to four.
    pub threads: usize,
    /// Requests that may wait for their turn. Never zero.
    pub max_waiting: usize,
    #[serde(deserialize_with = "units::duration")]
    pub keep_alive: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub timeout: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub max_duration: Duration,
    /// Whether weights of five bits lie in memory as such of eight: more room for less time.
    pub unpack: bool,
    /// Bytes of all processes together.
    #[serde(deserialize_with = "units::size")]
    pub max_memory: usize,
    /// Whether what is no speech is left out.
    pub vad: bool,
}

/// A model of the operator's own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Own {
    pub name: String,
    pub path: PathBuf,
}
