//! Which keys have changed since when: a line for each change, so that nobody has to read all keys to find one.

use super::super::{Error, Statement, Store, Work};
use super::{COLUMNS, KeyRow, PAGE, key_row};
use std::collections::BTreeSet;

/// Changes that are read one by one; what lies further back is read with all keys.
const MOST: i64 = 500;
/// Changes that are remembered.
const KEPT: i64 = 2 * MOST;

/// What has changed between two versions.
#[derive(Debug)]
pub struct Changed {
    /// The later one.
    pub version: i64,
    /// Of the keys, each once.
    pub ids: BTreeSet<String>,
    /// Those that are still there.
    pub rows: Vec<KeyRow>,
}

/// Notes that the key of this `id` has changed, in the transaction in which it has: its version is that which the
/// book has now.
pub(super) async fn note(work: &mut Work, id: &str) -> Result<(), Error> {
    let note = Statement::new("INSERT INTO pannier_key_change (version, key_id) SELECT version, ").value(id);
    work.change(note.text(" FROM pannier_key_book WHERE one = 1")).await?;
    let last = "DELETE FROM pannier_key_change WHERE version <= (SELECT version FROM pannier_key_book WHERE one = 1) - ";
    work.change(Statement::new(last).value(KEPT)).await?;
    Ok(())
}

/// `None` where it is not known: too much has changed, or something that changed nobody has noted, as a Pannier of
/// an older version does.
pub(super) async fn since(store: &Store, then: i64) -> Result<Option<Changed>, Error> {
    let version = super::version(store).await?;
    if then <= 0 || !(0..=MOST).contains(&(version - then)) {
        return Ok(None);
    }
    let mut work = store.read().await?;
    let noted = Statement::new("SELECT key_id FROM pannier_key_change WHERE version > ").value(then);
    let noted = work.rows(noted.text(" AND version <= ").value(version)).await?;
    let ids = noted.iter().map(|row| row.text(0)).collect::<Result<BTreeSet<String>, Error>>()?;
    let mut rows = Vec::with_capacity(ids.len());
    let all: Vec<&str> = ids.iter().map(String::as_str).collect();
    for some in all.chunks(PAGE as usize) {
        let select = Statement::new(format!("SELECT {COLUMNS} FROM pannier_key WHERE id IN "));
        let found = work.rows(select.list(some.iter().copied())).await?;
        rows.extend(found.iter().map(key_row).collect::<Result<Vec<_>, Error>>()?);
    }
    work.done().await?;
    let is_all = noted.len() as i64 == version - then;
    Ok(is_all.then_some(Changed { version, ids, rows }))
}
