//! The way to Ollama: one client with a pool, what its model names mean today, and whom it lets in.
//!
//! Never reads a body.

mod abilities;
mod client;
mod download;
mod fields;
mod fleet;
mod inventory;
mod line;
mod link;
mod listing;
mod loaded;
mod opening;
mod origins;
mod pool;
mod presence;
mod target;

pub use abilities::Abilities;
pub use client::{Client, Head, Incoming, UpstreamCall, limited};
pub use download::Download;
pub use fields::{
    CREDENTIALS, HOP_BY_HOP, end_to_end, is_framed_plainly, is_ours, named_by_connection, outgoing,
};
pub use fleet::{Fleet, Vessel};
pub use inventory::Inventory;
pub use line::Line;
pub use listing::{Identity, canonical};
pub use origins::{Origins, Verdict, is_cors};
pub use target::Target;

mod address;
mod config;
pub use address::Address;
pub use config::Config;
