//! The memory of finished answers.

mod config;

pub use config::*;
