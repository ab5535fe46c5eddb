//! Every setting at once: read from its layers, checked, and watched for changes.
//!
//! The layers are `config/default.toml` (compiled in), the file, the environment, the command line; each
//! wins over the one before. What a section holds belongs to the module it configures: this one stands
//! above them all, and none of them knows it. Reads no global state: the environment is handed in.

mod check;
mod defaults;
mod difference;
mod docs;
mod layers;
mod nearest;
mod problem;
mod show;
mod watch;
mod written;

pub use defaults::{Key, Mark, Section, TEXT as DEFAULT, sections};
pub use difference::{Difference, difference};
pub use docs::document;
pub use layers::{ALIASES, FILE_VARIABLE, Flag, Setting, Sources};
pub use problem::{Origin, Problem, Problems};
pub use watch::{Cause, Watch};

use crate::{
    analytics, auth, batch, cache, flight, gateway, media, metering, proxy, store, telemetry, upstream,
};
use serde::Deserialize;

/// One field a section of `config/default.toml`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: proxy::Config,
    pub access: proxy::Access,
    pub auth: auth::Config,
    pub store: store::Config,
    pub upstream: upstream::Config,
    pub memory: cache::MemoryConfig,
    pub cache: cache::Config,
    pub replay: gateway::ReplayConfig,
    pub flight: flight::Config,
    pub prices: metering::PriceConfig,
    pub ledger: metering::LedgerConfig,
    pub retention: analytics::RetentionConfig,
    pub reports: analytics::ReportsConfig,
    pub embeddings: batch::Config,
    pub vision: media::Config,
    pub audio: media::voice::Config,
    pub log: telemetry::LogConfig,
}

/// Settings that were read and found good, with where they came from. Has no `Debug`: keys stand in it.
#[derive(Clone)]
pub struct Loaded {
    pub config: Config,
    /// One for each key of `config/default.toml`, in its order.
    pub settings: Vec<Setting>,
    /// What is odd but does no harm.
    pub warnings: Vec<Problem>,
    /// To load again from.
    pub sources: Sources,
}

#[cfg(test)]
mod tests;
