//! How large a recording may grow, and how many are made at once.

use crate::domain::units;
use serde::Deserialize;

/// `[flight]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Bytes of one answer that are kept whole while it is under way.
    #[serde(deserialize_with = "units::size")]
    pub max_recording: usize,
    /// Bytes by which the slowest reader of a larger answer may be behind.
    #[serde(deserialize_with = "units::size")]
    pub window: usize,
    /// Bytes of all answers together that are kept whole while they are under way.
    #[serde(deserialize_with = "units::size")]
    pub max_recorded: usize,
    pub max_flights: usize,
}
