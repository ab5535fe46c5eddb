//! The keys, of the settings and of the database.

use crate::auth::{Pepper, Register};
use crate::config::Config;
use crate::dialect;
use crate::store::Shared;
use crate::store::keys::Keys;
use std::sync::Arc;

/// Those of `database`, which nobody asks yet.
pub fn register(config: &Config, database: &Arc<Shared>) -> Register {
    let pepper = Pepper::kept(&config.store.pepper, &config.server.data_dir).map_err(anyhow::Error::from);
    let pepper = pepper.inspect_err(|error| {
        tracing::warn!(error = format!("{error:#}"), "no keys are kept but those of the settings");
    });
    Register::new(Keys::new(database.clone()), pepper.ok(), &config.auth).with_routes(dialect::templates())
}
