//! Whether rows and sums say the same. They are written together, in one transaction: where they differ, somebody else
//! had a hand in them, or the database has lost something.

use super::retention::first_kept;
use super::{Figure, Period, Row};
use crate::store::{Error, Statement, Store};

/// What trips took, and what that comes to of rows. Hits that have no row of their own change none of these.
const OF_TRIPS: [(Figure, &str); 5] = [
    (Figure::Prompt, "prompt"),
    (Figure::CachedPrompt, "cached_prompt"),
    (Figure::Completion, "completion"),
    (Figure::CompletionTime, "completion_us"),
    (Figure::Gpu, "COALESCE(load_us, 0) + COALESCE(prompt_us, 0) + COALESCE(completion_us, 0)"),
];
/// What all requests come to: can be told of rows where each has one.
const OF_ALL: [(Figure, &str); 3] =
    [(Figure::Total, "total_us"), (Figure::Cost, "cost"), (Figure::SavedCost, "saved_cost")];
/// Neither the cache nor another's trip has given the answer.
const IS_OWN: &str = "(cache IS NULL OR cache NOT IN (1, 2, 4))";

/// A figure of which rows and sums say something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Odd {
    pub figure: Figure,
    pub rows: i64,
    pub sums: i64,
}

/// When the first hour began whose rows are all there.
///
/// # Errors
/// When the database cannot tell.
pub async fn first_whole_hour(store: &Store) -> Result<Option<i64>, Error> {
    let first = first_kept(store, 0).await?;
    let hour = Period::Hour.seconds();
    // Of the one in which the first row came, others may have gone.
    Ok(first.map(|id| (Row::second(Row::halves(&id)[0]) / hour + 1) * hour))
}

/// What rows and sums say differently of the hour that begins at the second `hour`.
///
/// # Errors
/// When the database cannot tell.
pub async fn odd(store: &Store, hour: i64) -> Result<Vec<Odd>, Error> {
    let until = hour + Period::Hour.seconds();
    let sum = |what: &str| format!(", CAST(COALESCE(SUM({what}), 0) AS BIGINT)");
    let of_trips = OF_TRIPS.map(|(_, rows)| sum(&format!("CASE WHEN {IS_OWN} THEN {rows} END")));
    let rows = of_trips.into_iter().chain(OF_ALL.map(|(_, rows)| sum(rows)));
    let figures = OF_TRIPS.iter().chain(&OF_ALL);
    let sums = figures.clone().map(|(figure, _)| sum(figure.name()));
    // In one statement, so that both are of one moment.
    let statement = Statement::new("SELECT * FROM (SELECT COUNT(ending)")
        .text(&numbered(rows, "r"))
        .text(" FROM ledger_row WHERE id_head >= ")
        .value(Row::first_head(hour))
        .text(" AND id_head < ")
        .value(Row::first_head(until))
        .text(") AS of_rows, (SELECT CAST(COALESCE(SUM(requests), 0) AS BIGINT)")
        .text(&numbered(sums, "s"))
        .text(" FROM ledger_hour WHERE start = ")
        .value(hour)
        .text(") AS of_sums");
    let mut work = store.read().await?;
    let found = work.rows(statement).await?;
    work.done().await?;
    let Some(found) = found.first() else { return Ok(Vec::new()) };
    let count = OF_TRIPS.len() + OF_ALL.len();
    let pair = |at: usize| Ok::<_, Error>((found.number(at)?, found.number(1 + count + at)?));
    let (rows, requests) = pair(0)?;
    // More rows than requests there cannot be.
    let mut odd =
        Vec::from_iter((rows > requests).then_some(Odd { figure: Figure::Requests, rows, sums: requests }));
    let told = if rows == requests { count } else { OF_TRIPS.len() };
    for (at, (figure, _)) in figures.take(told).enumerate() {
        let (rows, sums) = pair(1 + at)?;
        odd.extend((rows != sums).then_some(Odd { figure: *figure, rows, sums }));
    }
    Ok(odd)
}

/// Each under a name of its own.
fn numbered(columns: impl Iterator<Item = String>, name: &str) -> String {
    columns.enumerate().map(|(number, column)| format!("{column} AS {name}{number}")).collect()
}
