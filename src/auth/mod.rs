//! API keys and who they belong to.

mod config;

pub use config::*;
