//! The real binary on free ports, between a client that sees every byte and a scripted Ollama.
//!
//! One module a theme; `stage` is what they all stand on. No test shares anything with another.

mod stage;

mod cache;
mod cancel;
mod door;
mod flights;
mod host_origin;
mod lane;
mod life;
mod reading;
mod records;
mod texts;
mod transparent;
mod upstream_faults;
mod walk;
