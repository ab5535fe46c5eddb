//! How a batch comes in.

use super::columns::{sum_of, summand};
use super::names::ids;
use super::{Batch, Bucket, Column, Figure, Merge, NARROW, Period, Row, Shifts, Sums, Void};
use crate::store::{Error, Statement, Store, Value, Work};
use std::collections::BTreeMap;

/// Rows in one statement. Always a power of two: eight statements are prepared for any number of them. More would not
/// be faster, and what they take would be fresh memory each time.
const ROWS_AT_ONCE: usize = 128;

impl Batch {
    /// Writes all of it, or nothing. `false` where it is in already, or the file was taken over up to
    /// another place than `from`: then nothing is written.
    ///
    /// # Errors
    /// When the database fails. Whether it is in then, only [`position`](super::position) can tell.
    pub async fn write(&self, store: &Store) -> Result<bool, Error> {
        let mut work = store.write().await?;
        if !self.advance(&mut work).await? {
            return work.done().await.map(|()| false);
        }
        let accounts = ids(&mut work, "ledger_account", ["name", "team"], &self.accounts).await?;
        let columns = ["model", "digest", "endpoint", "dialect", "operation", "mode"];
        let subjects = ids(&mut work, "ledger_subject", columns, &self.subjects).await?;
        let prices = ids(&mut work, "ledger_price", ["version"], &self.prices).await?;
        let failures = ids(&mut work, "ledger_failure", ["code", "message"], &self.failures).await?;
        let named = |row: &Row| {
            let mut row = row.clone();
            for (column, ids) in [
                (Column::Account, &accounts),
                (Column::Subject, &subjects),
                (Column::Price, &prices),
                (Column::Error, &failures),
            ] {
                let value = &mut row.values[column as usize];
                *value = value.and_then(|place| ids.get(place as usize).copied());
            }
            row
        };
        // By id: two who write at the same time must not lock rows crosswise.
        let mut rows: Vec<Row> = self.rows.iter().map(named).collect();
        rows.sort_by_key(|row| Row::halves(&row.id));
        let mut shifts = Shifts::default();
        for void in powers_of_two(&self.void) {
            remove(&mut work, void, &mut shifts).await?;
        }
        for rows in powers_of_two(&rows) {
            work.change(keep_rows(rows)).await?;
        }
        for period in Period::ALL {
            let of_period = self.sums.iter().filter(|(bucket, _)| bucket.period == period);
            let place = |Bucket { start, account, subject, .. }: &Bucket| {
                Some([*start, *accounts.get(*account)?, *subjects.get(*subject)?])
            };
            let mut sums: Vec<([i64; 3], &Sums)> =
                of_period.filter_map(|(bucket, sums)| Some((place(bucket)?, sums))).collect();
            sums.sort_by_key(|(place, _)| *place);
            for sums in powers_of_two(&sums) {
                work.change(keep_sums(period, sums)).await?;
            }
        }
        shifts.apply(&mut work).await?;
        work.done().await.map(|()| true)
    }

    /// Moves the place up to which the file has been taken over, if that was `from`.
    async fn advance(&self, work: &mut Work) -> Result<bool, Error> {
        let new: [Value<'_>; 2] = [self.spool[..].into(), self.to.into()];
        let statement = Statement::new("INSERT INTO ledger_spool AS s (name, place) VALUES ").list(new);
        let statement = statement
            .text(" ON CONFLICT (name) DO UPDATE SET place = excluded.place WHERE s.place = ")
            .value(self.from);
        Ok(work.change(statement).await? == 1)
    }
}

/// Removes the rows of these, and notes where they said something else than the sums take back.
async fn remove(work: &mut Work, void: &[Void], shifts: &mut Shifts) -> Result<(), Error> {
    let statement = Statement::new("DELETE FROM ledger_row WHERE (id_head, id_tail) IN (VALUES ");
    let halves = void.iter().map(|void| Row::halves(&void.id).map(Value::Number));
    let told = ["id_head", "id_tail", "account", "subject", "COALESCE(cost, 0)", "COALESCE(saved_cost, 0)"]
        .map(|column| format!("CAST({column} AS BIGINT)"))
        .join(", ");
    let gone = work.rows(statement.tuples(halves).text(&format!(") RETURNING {told}"))).await?;
    let taken: BTreeMap<[i64; 2], &Void> = void.iter().map(|void| (Row::halves(&void.id), void)).collect();
    for row in gone {
        let Some(void) = taken.get(&[row.number(0)?, row.number(1)?]) else { continue };
        let mut by = [0; Figure::COUNT];
        by[Figure::Cost as usize] = void.cost.saturating_sub(row.number(4)?);
        by[Figure::SavedCost as usize] = void.saved_cost.saturating_sub(row.number(5)?);
        if by.iter().any(|by| *by != 0) {
            shifts.add(row.number(0)?, row.number(2)?, row.number(3)?, &by);
        }
    }
    Ok(())
}

fn keep_rows(rows: &[Row]) -> Statement<'_> {
    let names = Column::ALL.map(Column::name).join(", ");
    let tuples = rows.iter().map(|row| -> [Value<'_>; Column::COUNT + 2] {
        let halves = Row::halves(&row.id);
        std::array::from_fn(|at| match at.checked_sub(2) {
            None => Value::Number(halves[at]),
            Some(at) => row.values[at].map_or(Value::Nothing, |value| Value::Number(summand(value))),
        })
    });
    let either = |sum: &str, name: &str| format!("COALESCE({sum}, r.{name}, excluded.{name})");
    let merged = Column::ALL.map(|column| {
        let name = column.name();
        match column.merge() {
            Merge::Sum => {
                let sum = sum_of(&format!("r.{name}"), &format!("excluded.{name}"));
                format!("{name} = {}", either(&sum, name))
            }
            Merge::NarrowSum => format!(
                "{name} = CASE WHEN CAST(r.{name} AS BIGINT) + excluded.{name} > {NARROW} THEN {NARROW} \
                 ELSE {} END",
                either(&format!("r.{name} + excluded.{name}"), name)
            ),
            Merge::Later => format!("{name} = COALESCE(excluded.{name}, r.{name})"),
            Merge::Earlier => format!("{name} = COALESCE(r.{name}, excluded.{name})"),
        }
    });
    Statement::new(format!("INSERT INTO ledger_row AS r (id_head, id_tail, {names}) VALUES "))
        .tuples(tuples)
        .text(&format!(" ON CONFLICT (id_head, id_tail) DO UPDATE SET {}", merged.join(", ")))
}

fn keep_sums<'a>(period: Period, sums: &[([i64; 3], &Sums)]) -> Statement<'a> {
    let names = Figure::ALL.map(Figure::name).join(", ");
    let tuples = sums.iter().map(|(place, sums)| -> [Value<'a>; Figure::COUNT + 3] {
        std::array::from_fn(|at| Value::Number(if at < 3 { place[at] } else { summand(sums[at - 3]) }))
    });
    let added = Figure::ALL.map(|figure| {
        let name = figure.name();
        format!("{name} = {}", sum_of(&format!("r.{name}"), &format!("excluded.{name}")))
    });
    let added = added.join(", ");
    Statement::new(format!("INSERT INTO {} AS r (start, account, subject, {names}) VALUES ", period.table()))
        .tuples(tuples)
        .text(&format!(" ON CONFLICT (start, account, subject) DO UPDATE SET {added}"))
}

/// All of `items`, in stretches of lengths that are powers of two.
pub(super) fn powers_of_two<T>(mut items: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let most = items.len().min(ROWS_AT_ONCE);
        let len = most.checked_ilog2().map(|log| 1 << log)?;
        let (now, later) = items.split_at(len);
        items = later;
        Some(now)
    })
}
