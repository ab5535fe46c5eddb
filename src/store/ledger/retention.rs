//! How rows and sums go, in small steps: each a transaction of its own, so that nobody who writes waits long. Rows
//! go without their sums: what those tell stays true.

use super::{Period, Row, kept};
use crate::store::{Error, Statement, Store, shrink};

/// How many rows there are.
///
/// # Errors
/// When the database cannot tell.
pub async fn count(store: &Store) -> Result<i64, Error> {
    let mut work = store.read().await?;
    let rows = work.rows(Statement::new("SELECT COUNT(*) FROM ledger_row")).await?;
    work.done().await?;
    rows.first().map_or(Ok(0), |row| row.number(0))
}

/// Rows that are counted at once: whoever else reads gets in between.
const STRIDE: i64 = 20_000;

/// How many rows there are of requests that came from the second `from` until before `until`. Counted in strides,
/// each for itself.
///
/// # Errors
/// When the database cannot tell.
pub async fn count_between(store: &Store, from: i64, until: i64) -> Result<i64, Error> {
    let (mut first, end) = ([Row::first_head(from), i64::MIN], Row::first_head(until));
    let mut count = 0;
    loop {
        let within = |what: &str| {
            let statement =
                Statement::new(format!("SELECT {what} FROM ledger_row WHERE (id_head, id_tail) >= "));
            statement.list(first).text(" AND id_head < ").value(end)
        };
        let mut work = store.read().await?;
        let next =
            within("id_head, id_tail").text(" ORDER BY id_head, id_tail LIMIT 1 OFFSET ").value(STRIDE);
        if let Some(row) = work.rows(next).await?.first() {
            (first, count) = ([row.number(0)?, row.number(1)?], count + STRIDE);
            work.done().await?;
            continue;
        }
        let rest = work.rows(within("COUNT(*)")).await?;
        work.done().await?;
        return Ok(count + rest.first().map_or(Ok(0), |row| row.number(0))?);
    }
}

/// The id of the first row that stays when the oldest `going` have gone; `None` where none would.
///
/// # Errors
/// When the database cannot tell.
pub async fn first_kept(store: &Store, going: i64) -> Result<Option<[u8; 16]>, Error> {
    let rows = "SELECT id_head, id_tail FROM ledger_row ORDER BY id_head, id_tail LIMIT 1 OFFSET ";
    id(store, Statement::new(rows).value(going)).await
}

/// The same where the newest `staying` are to stay, however many there are; `None` where there are fewer.
///
/// # Errors
/// When the database cannot tell.
pub async fn first_of_last(store: &Store, staying: i64) -> Result<Option<[u8; 16]>, Error> {
    let rows = "SELECT id_head, id_tail FROM ledger_row ORDER BY id_head DESC, id_tail DESC LIMIT 1 OFFSET ";
    id(store, Statement::new(rows).value(staying.saturating_sub(1))).await
}

async fn id(store: &Store, statement: Statement<'_>) -> Result<Option<[u8; 16]>, Error> {
    let mut work = store.read().await?;
    let rows = work.rows(statement).await?;
    work.done().await?;
    let id = |row: &crate::store::Row| -> Result<[u8; 16], Error> {
        let (head, tail) = (row.number(0)? as u64, row.number(1)? as u64);
        Ok(((u128::from(head) << 64) | u128::from(tail)).to_be_bytes())
    };
    rows.first().map(id).transpose()
}

/// Removes at most `most` of the rows before the id `first_kept`; returns how many went.
///
/// # Errors
/// When the database fails.
pub async fn remove_rows(store: &Store, first_kept: &[u8; 16], most: i64) -> Result<u64, Error> {
    // Chosen once, before any goes: a server might otherwise choose anew for each row.
    let statement = Statement::new(
        "WITH going AS MATERIALIZED (SELECT id_head, id_tail FROM ledger_row WHERE (id_head, id_tail) < ",
    );
    let statement = statement.list(Row::halves(first_kept));
    let statement = statement
        .text(" ORDER BY id_head, id_tail LIMIT ")
        .value(most)
        .text(") DELETE FROM ledger_row WHERE (id_head, id_tail) IN (SELECT id_head, id_tail FROM going)");
    let mut work = store.write().await?;
    let went = work.change(statement).await?;
    work.done().await.map(|()| went)
}

/// Removes at most `most` of the sums of periods that began before the second `before`, and notes that these go;
/// returns how many went.
///
/// # Errors
/// When the database fails.
pub async fn remove_sums(store: &Store, period: Period, before: i64, most: i64) -> Result<u64, Error> {
    let (table, columns) = (period.table(), "start, account, subject");
    let statement =
        Statement::new(format!("WITH going AS MATERIALIZED (SELECT {columns} FROM {table} WHERE start < "));
    let statement = statement.value(before).text(&format!(" ORDER BY {columns} LIMIT ")).value(most);
    let statement =
        statement.text(&format!(") DELETE FROM {table} WHERE ({columns}) IN (SELECT {columns} FROM going)"));
    let mut work = store.write().await?;
    let went = work.change(statement).await?;
    if went > 0 {
        kept::note(&mut work, period, before).await?;
    }
    work.done().await.map(|()| went)
}

/// Gives some of the room back that a file has and does not need.
///
/// # Errors
/// When the database fails.
pub async fn give_back(store: &Store) -> Result<(), Error> {
    match store.maintain().await? {
        Some(work) => shrink::give_back(work).await,
        None => Ok(()),
    }
}
