//! The face towards the clients: connections, deadlines, the fast lane, and the ordinary road through
//! Pingora. Knows no model, no cache and no money.

mod config;
mod connection;
mod date;
mod door;
mod downstream;
mod edge;
mod head;
mod hosts;
mod lane;
mod road;
mod wire;

pub use config::{Access, Config};
pub use connection::{Front, serve};
pub use door::{Door, HeadPatience};
pub use head::Limits;
pub use hosts::Hosts;
pub use lane::Lane;
pub use road::Road;
pub use wire::Patience;
