//! The database tier, on SQLite and on a real PostgreSQL: one story over every query, and what goes wrong.

mod bounds;
mod cancelled;
// What is not used here is used by the tests of the whole.
#[allow(dead_code)]
#[path = "../servers/disk.rs"]
mod disk;
mod file;
mod ledger;
#[allow(dead_code)]
#[path = "../postgres/mod.rs"]
mod postgres;
mod processes;
mod server;
mod stage;
mod story;
