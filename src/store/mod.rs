//! The database: a SQLite file or a PostgreSQL server, every query written once for both.
//!
//! Knows rows and bytes. Knows neither what an answer is, nor who asks, nor when.

mod config;
pub mod entries;
mod error;
mod file;
pub mod keys;
pub mod ledger;
mod migrate;
mod open;
mod patience;
mod place;
pub mod prices;
mod private;
mod shared;
mod shrink;
mod statement;
mod table;
mod work;

pub use config::Config;
pub use error::{Error, Trouble};
pub use migrate::{Migration, Migrations};
pub use open::{Damaged, Options, Start, Store};
pub use patience::in_time;
pub use place::{InvalidPlace, Place, Server};
pub use private::{Private, PrivateError};
pub use shared::Shared;
pub use statement::{Row, Statement, Value};
pub use table::{InvalidTable, Table};
pub use work::Work;
