//! What is measured and written down.

mod config;

pub use config::*;
