//! Speech: models on a shelf, and processes that listen.
//!
//! Nothing that comes from outside is ever parsed here. It goes, as it came, to a process of its own, which is bounded
//! in memory and time, and is ended when it does not behave.

mod cast;
mod catalogue;
mod config;
mod delivery;
mod frames;
mod message;
mod models;
mod pool;
mod seats;
mod worker;

pub use cast::Cast;
pub use catalogue::Weights;
pub use config::{Config, Own};
pub use delivery::{Delivery, Trouble, forget_part, kept_of, part_of};
pub use frames::{read_frame, write_frame};
pub use message::{Ask, Flaw, Heard, Limits, Say, Task};
pub use models::{Missing, Model, Shelf};
pub use pool::{Fault, Sitting, Transcribers};

/// What listens: another version of it may hear something else.
pub fn engine() -> &'static str {
    #[cfg(feature = "audio")]
    return super::transcriber::engine();
    #[cfg(not(feature = "audio"))]
    return "none";
}
