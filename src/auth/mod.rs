//! Who asks, and what opens what is locked.
//!
//! Keys stand in the settings, or were made over the admin API and stand in a database; either are known by their
//! digests alone.

mod admin;
mod config;
mod directory;
mod form;
mod pepper;
mod register;
mod table;
mod terms;
mod upkeep;

pub use admin::{AdminKey, AdminKeyError, admin_key};
pub use config::{Config, Key, Mode, Sharing, Team};
pub use directory::{ANONYMOUS, Caller, DEFAULT_TEAM, Directory, Lock};
pub use form::is_in as holds_key;
pub use pepper::{Pepper, PepperError};
pub use register::{Draft, Edit, Listed, Register, is_pattern};
pub use table::Table;
pub use terms::Terms;
