//! The database that outlives the process, and what is kept there.

use crate::auth::{Pepper, Register};
use crate::config::Config;
use crate::store::keys::{self, Keys};
use crate::store::{Damaged, Options, Place, Shared, Start};
use anyhow::Context;
use std::sync::Arc;
use std::time::Duration;

/// Its file, in the data directory.
const FILE: &str = "pannier.db";
/// How many read at the same time: seldom more than one, and each has a thread.
const READERS: u32 = 2;
/// How long to wait for another who writes, and for a connection.
const PATIENCE: Duration = Duration::from_secs(1);

/// The keys of the database; nothing is opened yet.
///
/// # Errors
/// When the address in the settings is none.
pub fn keys(config: &Config) -> anyhow::Result<Register> {
    let shared = Arc::new(database(config)?);
    let pepper = Pepper::kept(&config.store.pepper, &config.server.data_dir).map_err(anyhow::Error::from);
    let pepper = pepper.inspect_err(|error| {
        tracing::warn!(error = format!("{error:#}"), "no keys are kept but those of the settings");
    });
    Ok(Register::new(Keys::new(shared), pepper.ok(), &config.auth))
}

/// What is in it cannot be made again: it is never put aside for a new one.
fn database(config: &Config) -> anyhow::Result<Shared> {
    let place = match config.store.database.expose() {
        "" => Place::File(config.server.data_dir.join(FILE)),
        url => Place::parse(url).context("store.database")?,
    };
    let options = Options {
        readers: READERS,
        patience: PATIENCE,
        durable: true,
        largest_file: None,
        start: Start::AsItIs,
        damaged: Damaged::Refuse,
    };
    Ok(Shared::new(place, options, vec![keys::migrations()]))
}
