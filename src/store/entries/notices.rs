//! What was removed, for others who share a server to read: numbered in the order in which it can be seen. A file
//! belongs to one process, and has none of this.

use super::Entries;
use crate::store::{Error, Statement};
use std::time::Duration;

impl Entries {
    /// Puts up `notice`, and takes down those that are older than `kept`.
    pub async fn post(&self, notice: &str, kept: Duration) -> Result<(), Error> {
        let Entries { table, .. } = self;
        let mut work = self.store.write().await?;
        // One after the other: a number that is seen is larger than all that were seen before.
        work.script(format!("LOCK TABLE \"{table}_notice\" IN EXCLUSIVE MODE")).await?;
        let statement = Statement::new(format!(
            "INSERT INTO \"{table}_notice\" (id, notice) SELECT GREATEST(\
             CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT), COALESCE(max(id), 0) + 1), "
        ));
        // Without its type the value would be of none that the server knows.
        let statement =
            statement.text("CAST(").value(notice).text(&format!(" AS TEXT) FROM \"{table}_notice\""));
        work.change(statement).await?;
        let old = Statement::new(format!(
            "DELETE FROM \"{table}_notice\" WHERE id < \
             CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) - "
        ));
        work.change(old.value(i64::try_from(kept.as_micros()).unwrap_or(i64::MAX))).await?;
        work.done().await
    }

    /// The first `most` after the number `last`, in order.
    pub async fn notices(&self, last: i64, most: usize) -> Result<Vec<(i64, String)>, Error> {
        let Entries { table, .. } = self;
        let statement = Statement::new(format!("SELECT id, notice FROM \"{table}_notice\" WHERE id > "));
        let statement = statement.value(last).text(" ORDER BY id LIMIT ");
        let statement = statement.value(i64::try_from(most).unwrap_or(i64::MAX));
        let mut work = self.store.read().await?;
        let rows = work.rows(statement).await?;
        work.done().await?;
        rows.iter().map(|row| Ok((row.number(0)?, row.text(1)?))).collect()
    }
}
