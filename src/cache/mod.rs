//! The memory: finished answers by what was asked, of which model, in whose scope.
//!
//! A cache may fail but cannot hurt: whatever is not certain is a miss.

mod config;
mod directives;
mod entry;
mod key;
mod memory;
mod policy;
mod shelf;
mod tier;
mod vectors;

pub use config::{Completions, Config, MemoryConfig, Rule};
pub use directives::Directives;
pub use entry::Entry;
pub use key::{CacheKey, Parts};
pub use memory::Memory;
pub use policy::{Policy, Terms};
pub use tier::{Fault, Label, Listing, Parcel, Prefix, Selection, Tally, Tier, TierName};
pub use vectors::{Kept, Vectors, pack, unpack};
