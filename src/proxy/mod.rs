//! The face towards the clients: connections, deadlines, and the four ways of a request: the fast lane, the
//! desk where answers are given, the relay that passes small ones on, and the road on which Pingora forwards the
//! rest. Knows no model, no cache and no money.

mod config;
mod connection;
mod crowd;
mod date;
mod desk;
mod door;
mod downstream;
mod edge;
mod head;
mod hosts;
mod lane;
mod lent;
mod network;
mod passing;
mod raw;
mod relay;
mod road;
mod trouble;
mod upload;
mod vigil;
mod visit;
mod wire;

pub use config::{Access, Config};
pub use connection::{Front, serve, turn_away};
pub use crowd::{Crowd, Presence, TooMany};
pub use desk::Desk;
pub use door::{Door, HeadPatience};
pub use head::Limits;
pub use hosts::Hosts;
pub use lane::Lane;
pub use network::Network;
pub use relay::Relay;
pub use road::Road;
pub use wire::Patience;
