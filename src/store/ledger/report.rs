//! What the sums come to, over any stretch of time and by whatever they can be told apart by.

use super::{Figure, Period, Sums};
use crate::store::{self, Error, Statement, Store, Value};
use std::iter::once;

/// What lines are told apart by, beside their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    Key,
    Team,
    Model,
    Endpoint,
}

/// Which requests are meant; what is left out means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub key: Option<String>,
    pub team: Option<String>,
    pub model: Option<String>,
    pub endpoint: Option<String>,
}

/// A stretch of time, and which sums make it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    pub pieces: Vec<Piece>,
    pub cut: Cut,
}

/// The sums of one kind of period from the second `from` until before `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub period: Period,
    pub from: i64,
    pub until: i64,
}

/// How a stretch is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Not at all: all of it is of the moment `start`.
    Whole { start: i64 },
    /// Into hours or days, which begin so many seconds before those of UTC.
    Each { seconds: i64, offset: i64 },
}

/// What some of the requests come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When the part of the stretch begins that it is about.
    pub start: i64,
    /// As was asked for, in that order.
    pub names: Vec<String>,
    pub sums: Sums,
}

/// Billionths that are added up as one, beside the rest: no sum of amounts is too large then.
const UNIT: i64 = 1_000_000_000;

impl By {
    pub const ALL: [By; 4] = [By::Key, By::Team, By::Model, By::Endpoint];

    pub fn name(self) -> &'static str {
        match self {
            By::Key => "key",
            By::Team => "team",
            By::Model => "model",
            By::Endpoint => "endpoint",
        }
    }

    fn column(self) -> &'static str {
        match self {
            By::Key => "a.name",
            By::Team => "a.team",
            By::Model => "s.model",
            By::Endpoint => "s.endpoint",
        }
    }
}

impl Filter {
    /// As conditions on the columns `account` and `subject`.
    pub(super) fn conditions<'a>(&'a self, mut statement: Statement<'a>) -> Statement<'a> {
        for (number, table, columns) in [
            ("account", "ledger_account", [("name", &self.key), ("team", &self.team)]),
            ("subject", "ledger_subject", [("model", &self.model), ("endpoint", &self.endpoint)]),
        ] {
            let named: Vec<_> =
                columns.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
            if named.is_empty() {
                continue;
            }
            statement = statement.text(&format!(" AND {number} IN (SELECT id FROM {table} WHERE "));
            for (at, (name, value)) in named.into_iter().enumerate() {
                let and = if at > 0 { " AND " } else { "" };
                statement = statement.text(&format!("{and}{name} = ")).value(value);
            }
            statement = statement.text(")");
        }
        statement
    }
}

/// The next `most` lines of `stretch` behind the line `after`, in the order of their time and their names.
///
/// # Errors
/// When the database cannot tell.
pub async fn lines(
    store: &Store,
    stretch: &Stretch,
    by: &[By],
    filter: &Filter,
    after: Option<&Line>,
    most: usize,
) -> Result<Vec<Line>, Error> {
    let pieces: Vec<Piece> =
        stretch.pieces.iter().filter_map(|piece| left(piece, stretch.cut, after)).collect();
    if pieces.is_empty() {
        return Ok(Vec::new());
    }
    let statement = statement(&Stretch { pieces, cut: stretch.cut }, by, filter, after);
    let statement = statement.text(" LIMIT ").value(i64::try_from(most).unwrap_or(i64::MAX));
    let mut work = store.read().await?;
    let rows = work.rows(statement).await?;
    work.done().await?;
    rows.iter().map(|row| line(row, by.len())).collect()
}

/// What of `piece` can be in lines behind `after`: those come in the order of time.
fn left(piece: &Piece, cut: Cut, after: Option<&Line>) -> Option<Piece> {
    let from = match (cut, after) {
        (Cut::Each { .. }, Some(after)) => piece.from.max(after.start),
        _ => piece.from,
    };
    (from < piece.until).then_some(Piece { from, ..*piece })
}

fn statement<'a>(stretch: &Stretch, by: &[By], filter: &'a Filter, after: Option<&'a Line>) -> Statement<'a> {
    let columns = || once("t.bucket").chain(by.iter().map(|by| by.column())).collect::<Vec<_>>().join(", ");
    let rests = Figure::MONEY.map(|figure| format!("{}_rest", figure.name()));
    let all = Figure::ALL.iter().map(|figure| figure.name()).chain(rests.iter().map(String::as_str));
    let all: Vec<String> = all.map(|name| format!("CAST(SUM(t.{name}) AS BIGINT)")).collect();
    let all = all.join(", ");
    let mut statement = Statement::new(format!("SELECT {}, {all} FROM (", columns()));
    for (at, piece) in stretch.pieces.iter().enumerate() {
        statement = statement.text(if at > 0 { " UNION ALL " } else { "" });
        statement = part(statement, piece, stretch.cut, filter);
    }
    statement = statement.text(
        ") AS t JOIN ledger_account AS a ON a.id = t.account JOIN ledger_subject AS s ON s.id = t.subject",
    );
    if let Some(Line { start, names, .. }) = after {
        let last = once(Value::Number(*start)).chain(names.iter().map(|name| Value::Text(name)));
        statement = statement.text(&format!(" WHERE ({}) > ", columns())).list(last);
    }
    let order: Vec<String> = (1..=by.len() + 1).map(|at| at.to_string()).collect();
    statement.text(&format!(" GROUP BY {} ORDER BY {}", columns(), order.join(", ")))
}

/// Added up by numbers first: far fewer are left to be joined with their names.
fn part<'a>(statement: Statement<'a>, piece: &Piece, cut: Cut, filter: &'a Filter) -> Statement<'a> {
    let statement = statement.text("SELECT ");
    let statement = match cut {
        Cut::Whole { start } => statement.value(start),
        Cut::Each { seconds, offset } => {
            statement.text("start - (start + ").value(offset).text(") % ").value(seconds)
        }
    };
    let sums = Figure::ALL.map(|figure| {
        let name = figure.name();
        match Figure::MONEY.contains(&figure) {
            true => format!("SUM({name} / {UNIT}) AS {name}, SUM({name} % {UNIT}) AS {name}_rest"),
            false => format!("SUM({name}) AS {name}"),
        }
    });
    let sums = sums.join(", ");
    let statement = statement
        .text(&format!(" AS bucket, account, subject, {sums} FROM {} WHERE start >= ", piece.period.table()));
    let statement = statement.value(piece.from).text(" AND start < ").value(piece.until);
    filter.conditions(statement).text(" GROUP BY 1, 2, 3")
}

fn line(row: &store::Row, names: usize) -> Result<Line, Error> {
    let mut sums = [0; Figure::COUNT];
    for (at, sum) in sums.iter_mut().enumerate() {
        *sum = row.number(1 + names + at)?;
    }
    for (at, figure) in Figure::MONEY.into_iter().enumerate() {
        let (units, rest) = (sums[figure as usize], row.number(1 + names + Figure::COUNT + at)?);
        sums[figure as usize] = units.saturating_mul(UNIT).saturating_add(rest);
    }
    let names = (1..=names).map(|column| row.text(column)).collect::<Result<_, _>>()?;
    Ok(Line { start: row.number(0)?, names, sums })
}
