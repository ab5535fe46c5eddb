//! How Ollama is reached, and how long it may take.

use super::Address;
use crate::domain::units;
use serde::Deserialize;
use std::time::Duration;

/// `[upstream]`. A timeout of zero means none.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub url: Address,
    /// Further ones that embed. At most 63.
    pub embedding_urls: Vec<Address>,
    #[serde(deserialize_with = "units::duration")]
    pub connect_timeout: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub first_byte_timeout: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub between_bytes_timeout: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub write_timeout: Duration,
    pub idle_connections: usize,
    #[serde(deserialize_with = "units::duration")]
    pub idle_timeout: Duration,
    /// Never zero.
    #[serde(deserialize_with = "units::duration")]
    pub inventory_refresh: Duration,
}
