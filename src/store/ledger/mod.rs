//! The ledger's tables: a row for each request, and sums by minute, hour and day that are kept in step with
//! them. What a spool holds comes in exactly once: how far it was read is written in the same transaction.

#![cfg_attr(not(test), deny(clippy::float_arithmetic, clippy::panic, clippy::unwrap_used))]

pub(super) mod accounts;
mod audit;
mod columns;
mod kept;
mod names;
mod rating;
mod rebill;
mod report;
mod retention;
mod rows;
mod shift;
mod write;

pub use audit::{Odd, first_whole_hour, odd};
pub use columns::{Column, Figure, MOST, Merge, NARROW};
pub use kept::{Gone, Kept, kept, last_day};
pub use rating::rate;
pub use rebill::{Anew, Bill, Billed, Judged, PriceNumbers, Span, look, rebill};
pub use report::{By, Cut, Filter, Line, Piece, Stretch, lines};
pub use retention::{count, count_between, first_kept, first_of_last, give_back, remove_rows, remove_sums};
pub use rows::{Performance, RowLine, page, performance};
pub use shift::Shifts;

use super::{Error, Migration, Migrations, Statement, Store};

/// A part of what is known of one request. Parts of one request add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub id: [u8; 16],
    pub values: [Option<i64>; Column::COUNT],
}

impl Row {
    /// The id as two numbers, in the order of the bytes.
    pub fn halves(id: &[u8; 16]) -> [i64; 2] {
        let whole = u128::from_be_bytes(*id);
        [(whole >> 64) as i64, whole as i64]
    }

    /// The second in which the request came whose id begins with `head`.
    pub fn second(head: i64) -> i64 {
        (head >> 16) / 1_000
    }

    /// With what the ids of requests begin at the earliest that came in `second` or later.
    pub fn first_head(second: i64) -> i64 {
        second.clamp(0, LAST_SECOND).saturating_mul(1_000) << 16
    }
}

/// The last second that ids can tell, as numbers that are not below zero.
const LAST_SECOND: i64 = (1 << 47) / 1_000 - 1;

/// What adds up over requests.
pub type Sums = [i64; Figure::COUNT];

/// Over which requests sums go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bucket {
    pub period: Period,
    /// The first second of it.
    pub start: i64,
    /// Numbers within a batch.
    pub account: usize,
    pub subject: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Period {
    Minute,
    Hour,
    Day,
}

/// A key's name and its team.
pub type Account = [String; 2];
/// Model, digest, endpoint, dialect, operation, and `stream` or `whole`.
pub type Subject = [String; 6];
/// A code, and what was said.
pub type Failure = [String; 2];

/// A request of which all goes that was said before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Void {
    pub id: [u8; 16],
    /// What the sums of its batch take back of what was said. Where its row says otherwise, since prices were others
    /// then, the sums lose what the row says.
    pub cost: i64,
    pub saved_cost: i64,
}

/// What comes in at once, or not at all. Rows refer to names by their place here, until they are written.
#[derive(Debug, Default)]
pub struct Batch {
    /// The file of a spool that it is from, and which part of that.
    pub spool: [u8; 16],
    pub from: i64,
    pub to: i64,
    pub accounts: Vec<Account>,
    pub subjects: Vec<Subject>,
    pub prices: Vec<[String; 1]>,
    pub failures: Vec<Failure>,
    /// Requests of which all goes that was said before; their rows below are all that there is.
    pub void: Vec<Void>,
    pub rows: Vec<Row>,
    pub sums: Vec<(Bucket, Sums)>,
}

impl Bucket {
    /// The one of its kind that this second since 1970 falls into.
    pub fn around(second: i64, period: Period, account: usize, subject: usize) -> Self {
        Bucket { period, start: second - second.rem_euclid(period.seconds()), account, subject }
    }
}

impl Period {
    pub const ALL: [Period; 3] = [Period::Minute, Period::Hour, Period::Day];

    pub fn seconds(self) -> i64 {
        match self {
            Period::Minute => 60,
            Period::Hour => 3_600,
            Period::Day => 86_400,
        }
    }

    pub fn table(self) -> &'static str {
        match self {
            Period::Minute => "ledger_minute",
            Period::Hour => "ledger_hour",
            Period::Day => "ledger_day",
        }
    }
}

/// The ledger's own tables.
pub fn migrations() -> Migrations {
    let sums = |number: &str| {
        let first = Figure::ALL.iter().filter(|figure| !LATER.iter().any(|(later, _)| later == *figure));
        let figures: Vec<String> =
            first.map(|figure| format!("{} {number} NOT NULL", figure.name())).collect();
        let table = |period: Period| {
            format!(
                "CREATE TABLE {} (start {number} NOT NULL, account {number} NOT NULL, \
                 subject {number} NOT NULL, {}, PRIMARY KEY (start, account, subject));\n",
                period.table(),
                figures.join(", ")
            )
        };
        Period::ALL.map(table).concat()
    };
    let first = Migration {
        name: "ledger",
        sqlite: [include_str!("sqlite.sql"), &sums("INTEGER")].concat(),
        postgres: [include_str!("postgres.sql"), &sums("BIGINT")].concat(),
    };
    let columns = ["unpriced", "unbilled"]
        .map(|column| format!("ALTER TABLE ledger_row ADD COLUMN {column} INTEGER;\n"));
    let counted = [("unpriced", "unpriced"), ("unbilled", "no amount")].map(|(column, price)| {
        format!(
            "UPDATE ledger_row SET {column} = 1 \
             WHERE price = (SELECT id FROM ledger_price WHERE version = '{price}');\n"
        )
    });
    let counts = [columns, counted].concat().concat();
    let second = Migration { name: "trips without an amount", sqlite: counts.clone(), postgres: counts };
    let gone = |number: &str| {
        format!("CREATE TABLE ledger_gone (period TEXT PRIMARY KEY, start {number} NOT NULL);\n")
    };
    let third = Migration { name: "sums that have gone", sqlite: gone("INTEGER"), postgres: gone("BIGINT") };
    let later = LATER.map(|(figure, name)| one_more(name, figure.name()));
    Migrations { part: "ledger".into(), steps: [first, second, third].into_iter().chain(later).collect() }
}

/// What rows and sums have had since, in the order in which it came, and what the step is called.
const LATER: [(Figure, &str); 2] = [(Figure::Audio, "recordings"), (Figure::Images, "pictures")];

/// What rows and sums have besides.
fn one_more(name: &'static str, column: &str) -> Migration {
    let add = |number: &str| {
        let sums = Period::ALL.map(|period| {
            format!("ALTER TABLE {} ADD COLUMN {column} {number} NOT NULL DEFAULT 0;\n", period.table())
        });
        format!("ALTER TABLE ledger_row ADD COLUMN {column} INTEGER;\n{}", sums.concat())
    };
    Migration { name, sqlite: add("INTEGER"), postgres: add("BIGINT") }
}

/// How far the file `spool` has been taken over; 0 for not at all.
///
/// # Errors
/// When the database cannot tell.
pub async fn position(store: &Store, spool: &[u8; 16]) -> Result<i64, Error> {
    let mut work = store.read().await?;
    let rows =
        work.rows(Statement::new("SELECT place FROM ledger_spool WHERE name = ").value(&spool[..])).await?;
    work.done().await?;
    rows.first().map_or(Ok(0), |row| row.number(0))
}

/// Forgets how far the file `spool` was taken over. It must be gone for ever: whatever came of it would come in again.
///
/// # Errors
/// When the database fails.
pub async fn forget(store: &Store, spool: &[u8; 16]) -> Result<(), Error> {
    let mut work = store.write().await?;
    work.change(Statement::new("DELETE FROM ledger_spool WHERE name = ").value(&spool[..])).await?;
    work.done().await
}
