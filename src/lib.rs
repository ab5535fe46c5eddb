//! Pannier: a sidecar in front of Ollama that remembers, counts and watches what passes.
//!
//! ```text
//!                      main ─▶ cli ─▶ app ─▶ config                          assembly: knows everybody
//!                                      │
//!                  ┌───────────────────┴───────────────────┐
//!    clients ═▶  proxy (Pingora) ═ house routes ═════▶  admin (axum)         faces: each knows a framework
//!                  │                                       │
//!               gateway  ── the life of a request ──       │                 the conductor
//!                  │                                       │
//!      ┌───────┬───────┬───────┼───────┬────────┬───────┐  ├──────── analytics
//!     auth metering  cache  flight  batch  upstream  media │                 capabilities: strangers to each other
//!      └───────┴───────┴───┬───┴───────┴────────┴───────┘  │
//!               dialect   store   telemetry ───────────────┘                 formats, tables, instruments
//!                  └────────┴───────┘
//!                       domain                                               the nouns
//! ```
//!
//! Data flows down one road and comes back up it. A module imports only from floors below its own; modules
//! on one floor do not know each other. `tests/floors.rs` holds the table.

pub mod domain;

pub mod dialect;
pub mod store;
pub mod telemetry;

pub mod analytics;
pub mod auth;
pub mod batch;
pub mod cache;
pub mod flight;
pub mod media;
pub mod metering;
pub mod upstream;

pub mod gateway;

pub mod admin;
pub mod proxy;

pub mod app;
pub mod cli;
pub mod config;
