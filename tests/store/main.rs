//! The database tier, on SQLite and on a real PostgreSQL: one story over every query, and what goes wrong.

mod bounds;
mod cancelled;
mod file;
mod ledger;
mod prices;
mod processes;
mod retention;
mod rollups;
mod server;
mod stage;
mod story;
