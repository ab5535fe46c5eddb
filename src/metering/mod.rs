//! What requests cost, and the books that are kept of them.
//!
//! Money is whole billionths, and never a float. Knows neither sockets nor dialects.

#![cfg_attr(not(test), deny(clippy::float_arithmetic, clippy::panic, clippy::unwrap_used))]

mod batch;
mod bill;
mod card;
mod config;
mod drain;
mod hit_rows;
mod ledger;
mod names;
mod pile;
mod price;
mod prices;
mod reading;
mod reprice;
mod settlements;
pub mod spool;
mod unlisted;
mod unpriced;

pub use bill::{Charge, Cost, Matter, Saved, Settlement};
pub use card::RateCard;
pub use config::{LedgerConfig, Per, PriceConfig, PriceEntry, Sync, Unknown, WhenFull, instant};
pub use drain::{Drain, State};
pub use ledger::{Ledger, Priced};
pub use price::{Rates, Shares, Used};
pub use prices::{InvalidPrices, Origin, Price, Prices};
pub use reprice::{Difference, Repricing};
pub use unpriced::Unpriced;
