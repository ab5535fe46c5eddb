//! The database that outlives the process.

use crate::analytics;
use crate::config::Config;
use crate::store::{Damaged, Options, Place, Shared, Start, keys, ledger, prices};
use anyhow::Context;
use std::sync::Arc;
use std::time::Duration;

/// Its file, in the data directory.
const FILE: &str = "pannier.db";
/// How many read at the same time: seldom more than one, and each has a thread. One more than reports may take.
const READERS: u32 = analytics::AT_ONCE + 1;
/// How long to wait for another who writes, and for a connection.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is in it cannot be made again: it is never put aside for a new one. Nothing is opened yet.
///
/// # Errors
/// When the address in the settings is none.
pub fn shared(config: &Config) -> anyhow::Result<Arc<Shared>> {
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
    Ok(Arc::new(Shared::new(
        place,
        options,
        vec![keys::migrations(), ledger::migrations(), prices::migrations()],
    )))
}
