//! Where the database is that outlives the process.

use crate::domain::Hidden;
use serde::Deserialize;

/// `[store]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Empty for a file in the data directory.
    pub database: Hidden,
    /// What digests are made with. Empty for the one in the data directory.
    pub pepper: Hidden,
}
