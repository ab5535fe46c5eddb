//! Pannier: a sidecar in front of Ollama that remembers, counts and watches what passes.

pub mod app;
pub mod auth;
pub mod cache;
pub mod cli;
pub mod config;
pub mod dialect;
pub mod domain;
pub mod flight;
pub mod proxy;
pub mod telemetry;
pub mod upstream;
