//! The database: a SQLite file or a PostgreSQL server, every query written once for both.
//!
//! Knows rows and bytes. Knows neither what an answer is, nor who asks, nor when.

pub mod entries;
mod error;
mod file;
mod migrate;
mod open;
mod place;
mod private;
mod statement;
mod table;
mod work;

pub use error::{Error, Trouble};
pub use migrate::{Migration, Migrations};
pub use open::{Damaged, Options, Start, Store};
pub use place::{InvalidPlace, Place, Server};
pub use private::{Private, PrivateError};
pub use statement::{Row, Statement, Value};
pub use table::{InvalidTable, Table};
pub use work::Work;
