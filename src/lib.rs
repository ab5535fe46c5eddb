//! Pannier: a sidecar in front of Ollama that remembers, counts and watches what passes.

pub mod dialect;
pub mod domain;
pub mod flight;
