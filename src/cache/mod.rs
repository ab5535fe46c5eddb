//! The memory: finished answers by what was asked, of which model, in whose scope.
//!
//! A cache may fail but cannot hurt: whatever is not certain is a miss. The first tier is in this process; those
//! behind it get nothing that is not sealed, are written to behind the answers, and are never waited for long.

mod board;
mod breaker;
mod config;
mod database;
mod directives;
mod entry;
mod eras;
mod guard;
mod join;
mod key;
mod labels;
mod layout;
mod lease;
mod memory;
mod payload;
mod policy;
mod question;
mod redis;
#[cfg(test)]
mod samples;
mod seal;
mod secret;
mod settling;
mod sharing;
mod shelf;
mod spot;
mod stock;
mod stop;
mod telling;
mod tier;
mod tiers;
mod turn;
mod vectors;

pub use board::{Board, Notice};
pub use breaker::{Breaker, Pass, Standing};
pub use config::{
    Completions, Config, DatabaseConfig, MemoryConfig, RedisConfig, Rule, TiersConfig, WarmConfig,
};
pub use database::{Database, DatabaseOptions};
pub use directives::Directives;
pub use entry::{Entry, Hits};
pub use eras::{Era, Eras};
pub use key::{CacheKey, Parts};
pub use labels::Tag;
pub use lease::{Ended, Holding, Lease, Leases, Locks, Taken, Token, Waiting};
pub use memory::{Found, Memory};
pub use payload::{Moment, Payload, Vector};
pub use policy::{Policy, Subject, Terms};
pub use question::Question;
pub use redis::{AddressError, Redis};
pub use seal::{LARGEST, Seal};
pub use secret::{Secret, SecretError};
pub use settling::Settling;
pub use spot::Spot;
pub use stock::{Counts, Held, Since, Stock};
pub use tier::{Fault, Label, Listing, Parcel, Prefix, Selection, Tally, Tier, TierName};
pub use tiers::{Limits, Look, Sight, Sought, TierState, Tiers, Told};
pub use turn::{Ticket, Turn, Turns};
pub use vectors::{Kept, Vectors};
