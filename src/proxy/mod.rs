//! The face towards the clients: connections, deadlines, the fast lane, and the ordinary road through
//! Pingora. Knows no model, no cache and no money.

mod config;
mod connection;
mod crowd;
mod date;
mod door;
mod downstream;
mod edge;
mod head;
mod hold;
mod hosts;
mod lane;
mod network;
mod road;
mod wire;

pub use config::{Access, Config};
pub use connection::{Front, serve, turn_away};
pub use crowd::{Crowd, TooMany, Visit};
pub use door::{Door, HeadPatience};
pub use head::Limits;
pub use hold::{Budget, Share};
pub use hosts::Hosts;
pub use lane::Lane;
pub use network::Network;
pub use road::Road;
pub use wire::Patience;
