//! Single flight: equal questions that are under way share one trip upstream, and everybody reads its recording.
//!
//! A trip is a task of its own that writes a recording: whoever asked first holds a [`Seat`] like everybody
//! else, so nobody's hang-up harms the others. When the last seat is given up before the end, the trip's future is
//! dropped, and with it the upstream's socket. A late joiner gets everything from the first byte.
//!
//! ```text
//! Flights ─ join ─▶ Seat ── next ──▶ Recording ◀── push ── Recorder ◀─ the trip (a spawned future)
//! ```
//!
//! Locks are taken in one order, the map's before a recording's, and nobody is woken under either.
//! Knows no socket, no cache and no wire format: a key, a head and an error are whatever the caller says.

mod config;
mod flights;
mod recorder;
mod recording;
mod sync;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use flights::{Boarding, Flights, Full, Limits, Seat};
pub use recorder::Recorder;
pub use recording::Event;
