//! How the books are told of, and how long they are kept, as it is written in the settings.

use crate::domain::units;
use serde::Deserialize;
use std::time::Duration;

/// `[reports]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportsConfig {
    /// Empty for the system's own.
    pub time_zone: String,
    pub key_metrics: KeyMetrics,
}

/// Who sees in the metrics what single keys use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyMetrics {
    /// Whoever presents the admin key.
    Admin,
    /// Everybody.
    Open,
}

/// `[retention]`. What is zero is for ever, or without end.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    #[serde(deserialize_with = "units::duration")]
    pub rows: Duration,
    pub max_rows: u64,
    #[serde(deserialize_with = "units::duration")]
    pub minutes: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub hours: Duration,
    #[serde(deserialize_with = "units::duration")]
    pub days: Duration,
}
