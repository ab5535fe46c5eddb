//! Sums that move after their rows were written: by a new price, or by what somebody thinks of an answer.

use super::columns::{sum_of, summand};
use super::{Figure, Period, Row, Sums};
use crate::store::{Error, Statement, Value, Work};
use std::collections::BTreeMap;

/// By how much the sums of requests are to move. What has been removed of them meanwhile stays removed.
#[derive(Debug, Default)]
pub struct Shifts(BTreeMap<[i64; 3], Sums>);

/// Buckets in one statement.
const AT_ONCE: usize = 256;

impl Shifts {
    /// Of a request whose id begins with `head`, by the numbers of its account and subject.
    pub fn add(&mut self, head: i64, account: i64, subject: i64, by: &Sums) {
        self.put([Row::second(head), account, subject], by);
    }

    /// Moves the sums of all periods, within the transaction in which the rows change.
    ///
    /// # Errors
    /// When the database fails; the transaction is not to be committed then.
    pub async fn apply(&self, work: &mut Work) -> Result<(), Error> {
        for period in Period::ALL {
            let mut shifts = Shifts::default();
            for ([second, account, subject], by) in &self.0 {
                shifts.put([second - second.rem_euclid(period.seconds()), *account, *subject], by);
            }
            // In their order: two who write at the same time must not lock rows crosswise.
            let shifts: Vec<_> = shifts.0.into_iter().collect();
            for shifts in shifts.chunks(AT_ONCE) {
                work.change(statement(period, shifts)).await?;
            }
        }
        Ok(())
    }

    fn put(&mut self, place: [i64; 3], by: &Sums) {
        let all = self.0.entry(place).or_insert([0; Figure::COUNT]);
        all.iter_mut().zip(by).for_each(|(all, one)| *all = all.saturating_add(*one));
    }
}

fn statement<'a>(period: Period, shifts: &[([i64; 3], Sums)]) -> Statement<'a> {
    // Both databases name the columns of values by their places.
    let moved = Figure::ALL.iter().enumerate().map(|(at, figure)| {
        let name = figure.name();
        format!("{name} = {}", sum_of(&format!("r.{name}"), &format!("v.column{}", at + 4)))
    });
    let moved: Vec<String> = moved.collect();
    let tuples = shifts.iter().map(|(place, by)| -> [Value<'a>; Figure::COUNT + 3] {
        std::array::from_fn(|at| Value::Number(if at < 3 { place[at] } else { summand(by[at - 3]) }))
    });
    Statement::new(format!("UPDATE {} AS r SET {} FROM (VALUES ", period.table(), moved.join(", ")))
        .tuples(tuples)
        .text(") AS v WHERE r.start = v.column1 AND r.account = v.column2 AND r.subject = v.column3")
}
