//! The tables, brought to the shape that this version wants.
//!
//! All that is missing is made in one transaction: whoever is killed midway has changed nothing. Only
//! forward: a database that a newer version has shaped is taken as it is.

use super::error::Trouble;
use super::{Error, Statement, Store};
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

/// The steps to one part's tables, each made once and never changed afterwards.
#[derive(Debug, Clone)]
pub struct Migrations {
    /// Whose tables they are; several parts may share a database.
    pub part: String,
    /// Version 1, 2, …
    pub steps: Vec<Migration>,
}

/// One step, in either database's words.
#[derive(Debug, Clone)]
pub struct Migration {
    pub name: &'static str,
    pub sqlite: String,
    pub postgres: String,
}

const BOOK: &str = "CREATE TABLE IF NOT EXISTS pannier_schema (part TEXT NOT NULL, version BIGINT NOT NULL, \
                    name TEXT NOT NULL, applied BIGINT NOT NULL, PRIMARY KEY (part, version))";

/// Several processes may start at once on one server. Held until the transaction's end.
const ONE_AT_A_TIME: &str = "SELECT pg_advisory_xact_lock(8097881037391884914)";

impl Migrations {
    /// Makes what is missing in `store`. Asks before it writes: where nothing is missing, neither a lock
    /// nor the right to make tables is needed.
    pub(super) async fn apply(&self, store: &Store) -> Result<(), Error> {
        let applied = match self.applied(store).await {
            Err(error) if error.trouble == Trouble::Missing => BTreeSet::new(),
            other => other?,
        };
        if self.missing(&applied).next().is_none() {
            return Ok(());
        }
        let mut work = store.write().await?;
        if store.is_postgres() {
            work.script(ONE_AT_A_TIME).await?;
        }
        work.script(BOOK).await?;
        // Another may have been faster.
        let applied = versions(work.rows(self.book()).await?)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
        for (version, step) in self.missing(&applied) {
            let text = if store.is_postgres() { &step.postgres } else { &step.sqlite };
            work.script(text.as_str()).await?;
            let note = Statement::new("INSERT INTO pannier_schema (part, version, name, applied) VALUES ");
            let note = note.list([self.part.as_str().into(), version.into(), step.name.into(), now.into()]
                as [super::Value<'_>; 4]);
            work.change(note).await?;
        }
        work.done().await
    }

    fn missing(&self, applied: &BTreeSet<i64>) -> impl Iterator<Item = (i64, &Migration)> {
        (1..).zip(&self.steps).filter(|(version, _)| !applied.contains(version))
    }

    async fn applied(&self, store: &Store) -> Result<BTreeSet<i64>, Error> {
        let mut work = store.read().await?;
        let rows = work.rows(self.book()).await?;
        work.done().await?;
        versions(rows)
    }

    fn book(&self) -> Statement<'_> {
        Statement::new("SELECT version FROM pannier_schema WHERE part = ").value(self.part.as_str())
    }
}

fn versions(rows: Vec<super::Row>) -> Result<BTreeSet<i64>, Error> {
    rows.iter().map(|row| row.number(0)).collect()
}
