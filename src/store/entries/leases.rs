//! Who is making an entry just now: one row a key, on a server that several share. A file belongs to one
//! process, and has none of this.
//!
//! All moments are the server's own.

use super::{Entries, Key, key};
use crate::store::{Error, Statement};
use std::collections::HashSet;
use std::time::Duration;

impl Entries {
    /// Gives `key` to `owner` for `term`, if nobody has it. The number is one more than at its last taking; 1
    /// where that is long ago.
    pub async fn take(&self, key: &Key, owner: &str, term: Duration) -> Result<Option<u64>, Error> {
        let Entries { table, .. } = self;
        let statement =
            Statement::new(format!("INSERT INTO \"{table}_lease\" AS l (key, owner, fence, ends) VALUES ("));
        let statement = statement.value(&key[..]).text(", ").value(owner).text(", 1, ");
        let statement = in_future(statement, term).text(
            ") ON CONFLICT (key) DO UPDATE SET owner = excluded.owner, ends = excluded.ends, \
             fence = l.fence + 1 WHERE l.ends <= clock_timestamp() RETURNING fence",
        );
        let mut work = self.store.single().await?;
        let rows = work.rows(statement).await?;
        work.done().await?;
        rows.first().map(|row| row.count(0)).transpose()
    }

    /// Each of `held`, a key and its owner, is held for another `term` from now on; returns the keys of those
    /// that were still their owner's.
    pub async fn renew(&self, held: &[(&Key, &str)], term: Duration) -> Result<HashSet<Key>, Error> {
        let Entries { table, .. } = self;
        let statement = Statement::new(format!("UPDATE \"{table}_lease\" SET ends = "));
        let statement = owned(in_future(statement, term), held).text(" RETURNING key");
        let mut work = self.store.single().await?;
        let rows = work.rows(statement).await?;
        work.done().await?;
        rows.iter().map(|row| key(row, 0)).collect()
    }

    /// Gives those of `held` back that are still their owner's.
    pub async fn release(&self, held: &[(&Key, &str)]) -> Result<(), Error> {
        let Entries { table, .. } = self;
        let statement =
            Statement::new(format!("UPDATE \"{table}_lease\" SET owner = '', ends = clock_timestamp()"));
        let mut work = self.store.single().await?;
        work.change(owned(statement, held)).await?;
        work.done().await
    }

    /// Whether anybody has `key`.
    pub async fn is_taken(&self, key: &Key) -> Result<bool, Error> {
        let Entries { table, .. } = self;
        let statement = Statement::new(format!("SELECT fence FROM \"{table}_lease\" WHERE key = "));
        let mut work = self.store.read().await?;
        let rows = work.rows(statement.value(&key[..]).text(" AND ends > clock_timestamp()")).await?;
        work.done().await?;
        Ok(!rows.is_empty())
    }

    /// Removes at most `most` of those that ended longer than `age` ago; returns how many went.
    pub async fn forget_leases(&self, age: Duration, most: usize) -> Result<u64, Error> {
        if !self.store.is_postgres() {
            return Ok(0);
        }
        let Entries { table, .. } = self;
        let statement = Statement::new(format!(
            "WITH going AS MATERIALIZED (SELECT key FROM \"{table}_lease\" WHERE ends < clock_timestamp() - "
        ));
        let statement = milliseconds(statement, age).text(" LIMIT ");
        let statement = statement.value(i64::try_from(most).unwrap_or(i64::MAX)).text(&format!(
            " FOR UPDATE SKIP LOCKED) DELETE FROM \"{table}_lease\" WHERE key IN (SELECT key FROM going)"
        ));
        let mut work = self.store.single().await?;
        let went = work.change(statement).await?;
        work.done().await?;
        Ok(went)
    }
}

fn in_future(statement: Statement<'_>, term: Duration) -> Statement<'_> {
    milliseconds(statement.text("clock_timestamp() + "), term)
}

fn milliseconds(statement: Statement<'_>, time: Duration) -> Statement<'_> {
    statement.value(time.as_millis() as i64).text(" * INTERVAL '1 millisecond'")
}

fn owned<'a>(statement: Statement<'a>, held: &[(&'a Key, &'a str)]) -> Statement<'a> {
    let pairs = held.iter().map(|(key, owner)| [key[..].into(), (*owner).into()]);
    statement.text(" WHERE (key, owner) IN (VALUES ").tuples(pairs).text(")")
}
