//! The real binary on free ports, between a client that sees every byte and a scripted Ollama.
//!
//! One module a theme; `stage` is what they all stand on. No test shares anything with another.

mod stage;

mod admin;
mod ask;
mod audio;
mod below;
mod bounds;
mod bulk;
mod cache;
mod cancel;
mod clear;
mod commands;
mod controls;
mod crowd;
mod disguises;
mod door;
mod embed;
mod figures;
mod flights;
mod forwarded;
mod host_origin;
mod keys;
mod lane;
mod ledger;
mod life;
mod odd_bodies;
mod prices;
mod reading;
mod records;
mod replay;
mod replicas;
mod reports;
mod roads;
mod settings;
mod slow;
mod texts;
mod tier_faults;
mod transparent;
mod upstream_faults;
mod upstream_framing;
mod vision;
mod walk;
mod why;
