//! How entries go: by name, by their time, for want of room. In small steps, each a transaction of its own,
//! so that nobody who writes waits long.

use super::{Entries, Filter};
use crate::store::{Error, Statement, shrink};

/// Which of the entries go first.
enum Order {
    /// Whichever nobody else is just writing.
    Free,
    /// Whatever it takes, in the order in which others lock what they keep.
    Key,
    /// The longest unused, of those that nobody else is just writing.
    Use,
}

/// One process at a time makes room on a server: two would throw out twice as much.
const MAKING_ROOM: i64 = 8097881037391884915;
/// Rows of changes to a kind's sum that a server bears before they are added up.
const CHANGES: i64 = 64;

impl Entries {
    /// Removes at most `most` of those that are meant; returns how many went. Entries that another is just
    /// writing are passed over, unless `thorough`.
    pub async fn remove(&self, filter: &Filter<'_>, most: usize, thorough: bool) -> Result<u64, Error> {
        let mut work = self.store.write().await?;
        let order = if thorough { Order::Key } else { Order::Free };
        let went = work.change(self.remove_statement(filter, most, order)).await?;
        work.done().await?;
        Ok(went)
    }

    /// Removes all entries of a server at once; returns how many there were. `None` for a file: there it is
    /// quicker to discard that ([`Start::Discard`](crate::store::Start)).
    pub async fn clear(&self) -> Result<Option<u64>, Error> {
        if !self.store.is_postgres() {
            return Ok(None);
        }
        let Entries { table, .. } = self;
        let mut work = self.store.write().await?;
        work.script(format!("LOCK TABLE \"{table}\" IN ACCESS EXCLUSIVE MODE")).await?;
        let gone = self.sum(&mut work).await?.entries;
        work.script(format!("TRUNCATE \"{table}\"")).await?;
        work.done().await?;
        Ok(Some(gone))
    }

    /// Removes the `most` entries that nobody has used for longest; returns how many went: none while
    /// another process is at it.
    pub async fn make_room(&self, most: usize) -> Result<u64, Error> {
        let mut work = self.store.write().await?;
        if self.store.is_postgres() {
            let claim = Statement::new("SELECT CASE WHEN pg_try_advisory_xact_lock(").value(MAKING_ROOM);
            let rows = work.rows(claim.text(") THEN 1::BIGINT ELSE 0::BIGINT END")).await?;
            if rows.first().map(|row| row.number(0)).transpose()? != Some(1) {
                return work.done().await.map(|()| 0);
            }
        }
        let went = work.change(self.remove_statement(&Filter::default(), most, Order::Use)).await?;
        work.done().await?;
        Ok(went)
    }

    fn remove_statement<'a>(&self, filter: &Filter<'a>, most: usize, order: Order) -> Statement<'a> {
        let Entries { table, .. } = self;
        // Chosen once, before any goes: a server might otherwise choose anew for each row.
        let chosen = Statement::new(format!("WITH going AS MATERIALIZED (SELECT id FROM \"{table}\""));
        let (order, lock) = match order {
            Order::Free => (" LIMIT ", " FOR UPDATE SKIP LOCKED"),
            Order::Key => (" ORDER BY key LIMIT ", " FOR UPDATE"),
            Order::Use => (" ORDER BY used LIMIT ", " FOR UPDATE SKIP LOCKED"),
        };
        // To a file one writes at a time: nothing in it is ever locked.
        let lock = if self.store.is_postgres() { lock } else { "" };
        self.matching(chosen, filter)
            .text(order)
            .value(i64::try_from(most).unwrap_or(i64::MAX))
            .text(lock)
            .text(&format!(") DELETE FROM \"{table}\" WHERE id IN (SELECT id FROM going)"))
    }

    /// A little of what keeps the database small and quick: a server adds up how its sums have changed, a
    /// file gives pages back while an eighth of it is free.
    pub async fn tidy(&self) -> Result<(), Error> {
        match self.store.maintain().await? {
            None => self.add_up().await,
            Some(work) => shrink::give_back(work).await,
        }
    }

    async fn add_up(&self) -> Result<(), Error> {
        let Entries { table, .. } = self;
        let mut work = self.store.write().await?;
        // One statement: nobody ever sees a sum that is half moved. Rows that another adds up stay his.
        let statement = Statement::new(format!(
            "WITH busy AS (SELECT kind FROM \"{table}_change\" GROUP BY kind HAVING count(*) > "
        ))
        .value(CHANGES)
        .text(&format!(
            "), chosen AS MATERIALIZED (SELECT ctid AS place FROM \"{table}_change\" \
                 WHERE kind IN (SELECT kind FROM busy) FOR UPDATE SKIP LOCKED), \
             gone AS (DELETE FROM \"{table}_change\" WHERE ctid IN (SELECT place FROM chosen) \
                 RETURNING kind, entries, bytes) \
             INSERT INTO \"{table}_change\" SELECT kind, sum(entries), sum(bytes) FROM gone GROUP BY kind"
        ));
        work.change(statement).await?;
        work.done().await
    }
}
