//! The data-plane face: where clients connect.

mod config;

pub use config::*;
