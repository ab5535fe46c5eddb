//! The rows themselves, a page at a time: nobody who reads slowly holds the database up.

use super::{Column, Filter, Row};
use crate::store::{self, Error, Statement, Store};

/// A request's row, with its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowLine {
    pub id: [u8; 16],
    /// Key, team, model, digest, endpoint, dialect, operation, `stream` or `whole`.
    pub names: [String; 8],
    /// Empty where there is none.
    pub price: String,
    /// A code, and what was said; empty where there is none.
    pub failure: [String; 2],
    pub values: [Option<i64>; Column::COUNT],
}

/// How quick the requests were whose rows are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Performance {
    pub requests: i64,
    /// Microseconds, of the slowest and of all together.
    pub slowest: i64,
    pub total: i64,
    /// How many took longer than they should.
    pub slow: i64,
}

/// What no column holds.
const NONE: i64 = i64::MIN;

/// The next `most` rows behind the id `after`, of requests that came from the second `from` until before `until`,
/// in the order in which they came.
///
/// # Errors
/// When the database cannot tell.
pub async fn page(
    store: &Store,
    (from, until): (i64, i64),
    after: Option<&[u8; 16]>,
    filter: &Filter,
    most: usize,
) -> Result<Vec<RowLine>, Error> {
    let values = Column::ALL.map(|column| format!("COALESCE(CAST(r.{} AS BIGINT), {NONE})", column.name()));
    // The page is cut first: whatever the database thinks of the names, it reads no more than that.
    let statement = Statement::new(format!(
        "SELECT r.id_head, r.id_tail, a.name, a.team, s.model, s.digest, s.endpoint, s.dialect, s.operation, \
         s.mode, COALESCE(p.version, ''), COALESCE(f.code, ''), COALESCE(f.message, ''), {} \
         FROM (SELECT * FROM ledger_row WHERE ",
        values.join(", ")
    ));
    let statement = match after {
        Some(after) => statement.text("(id_head, id_tail) > ").list(Row::halves(after)),
        None => statement.text("id_head >= ").value(Row::first_head(from)),
    };
    let statement = statement.text(" AND id_head < ").value(Row::first_head(until));
    let statement = filter.conditions(statement).text(" ORDER BY id_head, id_tail LIMIT ");
    let statement = statement.value(i64::try_from(most).unwrap_or(i64::MAX)).text(
        ") AS r JOIN ledger_account AS a ON a.id = r.account JOIN ledger_subject AS s ON s.id = r.subject \
         LEFT JOIN ledger_price AS p ON p.id = r.price LEFT JOIN ledger_failure AS f ON f.id = r.error \
         ORDER BY 1, 2",
    );
    let mut work = store.read().await?;
    let rows = work.rows(statement).await?;
    work.done().await?;
    rows.iter().map(line).collect()
}

/// Of all rows that are there; `threshold`, in microseconds, is what is too long.
///
/// # Errors
/// When the database cannot tell.
pub async fn performance(store: &Store, threshold: i64) -> Result<Performance, Error> {
    let statement = Statement::new(
        "SELECT COUNT(total_us), COALESCE(MAX(total_us), 0), CAST(COALESCE(SUM(total_us), 0) AS BIGINT), \
         CAST(COALESCE(SUM(CASE WHEN total_us > ",
    );
    let statement = statement.value(threshold).text(" THEN 1 ELSE 0 END), 0) AS BIGINT) FROM ledger_row");
    let mut work = store.read().await?;
    let rows = work.rows(statement).await?;
    work.done().await?;
    let Some(row) = rows.first() else { return Ok(Performance::default()) };
    let [requests, slowest, total, slow] = [0, 1, 2, 3].map(|column| row.number(column));
    Ok(Performance { requests: requests?, slowest: slowest?, total: total?, slow: slow? })
}

fn line(row: &store::Row) -> Result<RowLine, Error> {
    let (head, tail) = (row.number(0)? as u64, row.number(1)? as u64);
    let id = ((u128::from(head) << 64) | u128::from(tail)).to_be_bytes();
    let mut names: [String; 8] = Default::default();
    for (at, name) in names.iter_mut().enumerate() {
        *name = row.text(2 + at)?;
    }
    let mut values = [None; Column::COUNT];
    for (at, value) in values.iter_mut().enumerate() {
        *value = Some(row.number(13 + at)?).filter(|value| *value != NONE);
    }
    Ok(RowLine { id, names, price: row.text(10)?, failure: [row.text(11)?, row.text(12)?], values })
}
