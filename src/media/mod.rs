//! Bytes that are not text: pictures, judged by their heads before anything is made of them.
//!
//! Fetches nothing, and writes nothing to any disk.

mod config;
mod darkroom;
mod flaw;
mod jpeg;
mod opened;
mod picture;
mod webp;

pub use config::Config;
pub use darkroom::{Darkroom, Picture};
pub use flaw::Flaw;
