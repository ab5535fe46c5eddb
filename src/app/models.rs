//! The models that Pannier itself listens with, for the command line.

use super::build::models_dir;
use crate::config::Config;
use crate::media::voice::Shelf;

pub use crate::gateway::pull;

/// Where they lie with these settings.
pub fn shelf(config: &Config) -> Shelf {
    Shelf::new(&config.audio, models_dir(config))
}
