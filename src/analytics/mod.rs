//! The books, told: who used how much, what it cost and what was saved, over any time, from sums that stay when the
//! rows have gone. Also in the shapes that the predecessors' users know.
//!
//! Knows neither who asks nor by which route.

mod amount;
mod audit;
mod bill;
mod columns;
mod config;
mod csv;
mod dashboard;
mod export;
mod reports;
mod requests;
mod table;
mod tellable;
mod time;
mod told;
mod turns;
mod upkeep;

pub use crate::store::ledger::{By, Filter};
pub use amount::Amount;
pub use audit::Audit;
pub use bill::{Overview, Period, Projection, Summary};
pub use columns::{COSTS, Column, USAGE};
pub use config::{KeyMetrics, ReportsConfig, RetentionConfig};
pub use dashboard::{Dashboard, Endpoints, Series};
pub use export::Export;
pub use reports::{Question, Reports, Terms, now};
pub use table::{Columns, Lean, plain};
pub use tellable::{Span, Tellable};
pub use time::{Grain, Stay, Zone};
pub use told::Format;
pub use turns::AT_ONCE;
pub use upkeep::Retention;
