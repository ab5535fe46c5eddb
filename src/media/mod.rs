//! Bytes that are not text: pictures, judged by their heads before anything is made of them, and speech, which a
//! process of its own listens to.
//!
//! Fetches nothing, and writes nothing to any disk.

mod config;
mod darkroom;
mod flaw;
mod jpeg;
mod opened;
mod picture;
#[cfg(feature = "audio")]
pub mod transcriber;
pub mod voice;
mod webp;

pub use config::Config;
pub use darkroom::{Darkroom, Picture};
pub use flaw::Flaw;
pub use opened::open;
