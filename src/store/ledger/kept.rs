//! What there is of the sums, and what there was.

use super::Period;
use crate::store::{Error, Statement, Store, Work};

/// What is left of the sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// From when until when there are sums of days; none where there are no sums.
    pub extent: Option<(i64, i64)>,
    pub gone: Gone,
}

/// Before which second sums have gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gone([i64; Period::ALL.len()]);

impl Gone {
    /// Of minutes, hours and days, in this order. Where larger periods have gone, smaller ones count as gone as well:
    /// without the middle nobody needs the edges.
    pub fn new(befores: [i64; Period::ALL.len()]) -> Self {
        let [minute, hour, day] = befores;
        Gone([minute.max(hour).max(day), hour.max(day), day])
    }

    /// Sums of this kind of period that began before are not all there.
    pub fn before(&self, period: Period) -> i64 {
        self.0[period as usize]
    }
}

/// What there is.
///
/// # Errors
/// When the database cannot tell.
pub async fn kept(store: &Store) -> Result<Kept, Error> {
    // Each end by itself is found at an end of the index.
    let gone = Period::ALL.map(|period| {
        format!("COALESCE((SELECT start FROM ledger_gone WHERE period = '{}'), 0)", period.table())
    });
    let found = Statement::new(format!(
        "SELECT COALESCE((SELECT MIN(start) FROM ledger_day), 0), \
         COALESCE((SELECT MAX(start) FROM ledger_day), -1), {}",
        gone.join(", ")
    ));
    let mut work = store.read().await?;
    let rows = work.rows(found).await?;
    work.done().await?;
    let row = rows.first().ok_or_else(|| Error::nonsense("no row where there is always one"))?;
    let (first, last) = (row.number(0)?, row.number(1)?);
    Ok(Kept {
        extent: (first <= last).then_some((first, last + Period::Day.seconds())),
        gone: Gone::new([row.number(2)?, row.number(3)?, row.number(4)?]),
    })
}

/// The last day in the books that began in the second `until` or before; `None` where there is none.
///
/// # Errors
/// When the database cannot tell.
pub async fn last_day(store: &Store, until: i64) -> Result<Option<i64>, Error> {
    let last = Statement::new("SELECT MAX(start) FROM ledger_day WHERE start <= ").value(until);
    let mut work = store.read().await?;
    let rows = work.rows(last).await?;
    work.done().await?;
    rows.first().map_or(Ok(None), |row| row.number_or_none(0))
}

/// Notes that sums that began before the second `before` go, in the transaction in which they do.
pub(super) async fn note(work: &mut Work, period: Period, before: i64) -> Result<(), Error> {
    let statement = Statement::new("INSERT INTO ledger_gone AS g (period, start) VALUES (")
        .value(period.table())
        .text(", ")
        .value(before)
        .text(") ON CONFLICT (period) DO UPDATE SET start = excluded.start WHERE g.start < excluded.start");
    work.change(statement).await.map(drop)
}
