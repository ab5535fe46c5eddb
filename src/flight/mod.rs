//! One trip upstream, many readers.

mod config;

pub use config::*;
