//! The way to Ollama: one client with a pool, what its model names mean today, and whom it lets in.
//!
//! Never reads a body.

mod client;
mod fleet;
mod inventory;
mod origins;
mod target;

pub use client::{
    CREDENTIALS, Client, Head, Incoming, UpstreamCall, end_to_end, explain_type, is_closed, is_ours,
    outgoing, strip_hop_by_hop,
};
pub use fleet::{Fleet, Vessel};
pub use inventory::{Identity, Inventory};
pub use origins::{Origins, Verdict, is_cors};
pub use target::Target;

mod address;
mod config;
pub use address::Address;
pub use config::Config;
