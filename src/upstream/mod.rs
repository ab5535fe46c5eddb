//! The way to Ollama.

mod address;
mod config;

pub use address::{Address, AddressError, Scheme};
pub use config::*;
