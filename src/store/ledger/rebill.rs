//! Rows that are priced anew: what they cost, and the sums with them, in one transaction a stretch.

use super::names::ids;
use super::write::powers_of_two;
use super::{Figure, Row, Shifts};
use crate::store::{Error, Statement, Store, Value, Work};
use std::collections::BTreeMap;

/// What a row says that bears on its price. Times are microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Billed {
    pub id: [i64; 2],
    account: i64,
    subject: i64,
    pub model: String,
    pub operation: String,
    pub cache: Option<i64>,
    pub prompt: i64,
    pub cached_prompt: i64,
    pub completion: i64,
    pub load: i64,
    pub prompt_time: i64,
    pub completion_time: i64,
    /// Milliseconds.
    pub audio: i64,
    pub images: i64,
    pub bill: Bill,
}

/// What a row costs, and has saved; billionths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bill {
    /// What it is billed under.
    pub price: Option<String>,
    pub cost: Option<i64>,
    pub saved_cost: Option<i64>,
    /// Trips for a model without a price.
    pub unpriced: Option<i64>,
    /// Trips whose figures come to no amount.
    pub unbilled: Option<i64>,
}

/// Rows in the order of their ids.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Behind this one.
    pub after: [i64; 2],
    /// Whose first half is less.
    pub before: i64,
}

/// The numbers of prices in a database, as far as they were needed.
#[derive(Debug, Default)]
pub struct PriceNumbers(BTreeMap<String, i64>);

/// What a row is billed anew.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Anew {
    pub bill: Bill,
    /// By how much that is more for the question, the answer, and the model's hardware.
    pub shares: [i64; 3],
}

/// A row, and what becomes of it.
pub type Judged = (Billed, Option<Anew>);

/// Rows in one transaction.
const AT_ONCE: usize = 512;

const COLUMNS: [&str; 14] = [
    "r.id_head",
    "r.id_tail",
    "r.account",
    "r.subject",
    "r.cache",
    "r.prompt",
    "r.cached_prompt",
    "r.completion",
    "r.load_us",
    "r.prompt_us",
    "r.completion_us",
    "r.cost",
    "r.saved_cost",
    "r.unpriced",
];

/// What changes in sums, beside [`SHARES`].
const FIGURES: [Figure; 4] = [Figure::Cost, Figure::SavedCost, Figure::Unpriced, Figure::Unbilled];
const SHARES: [Figure; 3] = [Figure::PromptCost, Figure::CompletionCost, Figure::GpuCost];

/// The first rows of `span`, and what `judge` makes of them; nothing is changed. None at its end.
///
/// # Errors
/// When the database cannot tell.
pub async fn look(
    store: &Store,
    span: Span,
    judge: impl Fn(&Billed) -> Option<Anew>,
) -> Result<Vec<Judged>, Error> {
    let mut work = store.read().await?;
    let rows = rows(&mut work, span, "").await?;
    work.done().await?;
    Ok(judged(rows, judge))
}

/// The same, and what it makes of them is what they are from then on, they and the sums.
///
/// # Errors
/// When the database fails; then nothing was changed, or all of it and nobody knows.
pub async fn rebill(
    store: &Store,
    span: Span,
    numbers: &mut PriceNumbers,
    judge: impl Fn(&Billed) -> Option<Anew>,
) -> Result<Vec<Judged>, Error> {
    // Others that write would change a row between a look at it and the change.
    let lock = if store.is_postgres() { " FOR UPDATE OF r" } else { "" };
    loop {
        let mut work = store.write().await?;
        let judged = judged(rows(&mut work, span, lock).await?, &judge);
        let unknown = numbers.unknown(&judged);
        if unknown.is_empty() {
            change_rows(&mut work, &judged, numbers).await?;
            change_sums(&mut work, &judged).await?;
            work.done().await?;
            return Ok(judged);
        }
        // In a transaction of their own: whoever writes a batch names its prices before it touches rows.
        work.done().await?;
        numbers.learn(store, unknown).await?;
    }
}

fn judged(rows: Vec<Billed>, judge: impl Fn(&Billed) -> Option<Anew>) -> Vec<Judged> {
    let judged = rows.into_iter().map(|billed| {
        let anew = judge(&billed);
        (billed, anew)
    });
    judged.collect()
}

async fn rows(work: &mut Work, span: Span, lock: &str) -> Result<Vec<Billed>, Error> {
    let columns = COLUMNS.map(|column| format!("CAST({column} AS BIGINT)")).join(", ");
    let select = Statement::new(format!(
        "SELECT {columns}, CAST(r.unbilled AS BIGINT), s.model, s.operation, COALESCE(p.version, ''), \
         CAST(r.audio_ms AS BIGINT), CAST(r.images AS BIGINT) \
         FROM ledger_row AS r JOIN ledger_subject AS s ON s.id = r.subject \
         LEFT JOIN ledger_price AS p ON p.id = r.price WHERE (r.id_head, r.id_tail) > "
    ));
    let select = select.list(span.after).text(" AND r.id_head < ").value(span.before);
    let select = select.text(" ORDER BY r.id_head, r.id_tail LIMIT ").value(AT_ONCE as i64).text(lock);
    work.rows(select).await?.iter().map(billed).collect()
}

fn billed(row: &crate::store::Row) -> Result<Billed, Error> {
    let figure = |column| row.number_or_none(column).map(Option::unwrap_or_default);
    let price = row.text(17)?;
    Ok(Billed {
        id: [row.number(0)?, row.number(1)?],
        account: row.number(2)?,
        subject: row.number(3)?,
        cache: row.number_or_none(4)?,
        prompt: figure(5)?,
        cached_prompt: figure(6)?,
        completion: figure(7)?,
        load: figure(8)?,
        prompt_time: figure(9)?,
        completion_time: figure(10)?,
        audio: figure(18)?,
        images: figure(19)?,
        bill: Bill {
            cost: row.number_or_none(11)?,
            saved_cost: row.number_or_none(12)?,
            unpriced: row.number_or_none(13)?,
            unbilled: row.number_or_none(14)?,
            price: (!price.is_empty()).then_some(price),
        },
        model: row.text(15)?,
        operation: row.text(16)?,
    })
}

async fn change_rows(work: &mut Work, judged: &[Judged], numbers: &PriceNumbers) -> Result<(), Error> {
    let changes: Vec<_> =
        judged.iter().filter_map(|(row, anew)| Some((row.id, &anew.as_ref()?.bill))).collect();
    let text = "UPDATE ledger_row SET price = v.column3, cost = v.column4, saved_cost = v.column5, \
                unpriced = v.column6, unbilled = v.column7 FROM (VALUES ";
    for changes in powers_of_two(&changes) {
        let number = |value: Option<i64>| value.map_or(Value::Nothing, Value::Number);
        let tuples = changes.iter().map(|([head, tail], new)| -> [Value<'_>; 7] {
            let price = new.price.as_ref().and_then(|price| numbers.0.get(price).copied());
            let [price, cost, saved, unpriced, unbilled] =
                [price, new.cost, new.saved_cost, new.unpriced, new.unbilled].map(number);
            [Value::Number(*head), Value::Number(*tail), price, cost, saved, unpriced, unbilled]
        });
        let here = ") AS v WHERE ledger_row.id_head = v.column1 AND ledger_row.id_tail = v.column2";
        work.change(Statement::new(text).tuples(tuples).text(here)).await?;
    }
    Ok(())
}

async fn change_sums(work: &mut Work, judged: &[Judged]) -> Result<(), Error> {
    let mut shifts = Shifts::default();
    for (row, anew) in judged.iter().filter_map(|(row, anew)| Some((row, anew.as_ref()?))) {
        let (old, new) = (row.bill.figures(), anew.bill.figures());
        let mut by = [0; Figure::COUNT];
        for (at, figure) in FIGURES.into_iter().enumerate() {
            by[figure as usize] = new[at].saturating_sub(old[at]);
        }
        for (figure, share) in SHARES.into_iter().zip(anew.shares) {
            by[figure as usize] = share;
        }
        shifts.add(row.id[0], row.account, row.subject, &by);
    }
    shifts.apply(work).await
}

impl Billed {
    /// Since 1970, in which it came.
    pub fn second(&self) -> i64 {
        Row::second(self.id[0])
    }

    /// Since 1970, at which it came: its id begins with that.
    pub fn milliseconds(&self) -> i64 {
        self.id[0] >> 16
    }
}

impl Bill {
    /// What it has added to sums; in the order of [`FIGURES`].
    fn figures(&self) -> [i64; FIGURES.len()] {
        [self.cost, self.saved_cost, self.unpriced, self.unbilled].map(Option::unwrap_or_default)
    }
}

impl Span {
    /// Of the requests that came from the second `from` until before `until`.
    pub fn of(from: u64, until: u64) -> Self {
        let head = |second: u64| Row::first_head(i64::try_from(second).unwrap_or(i64::MAX));
        Span { after: [head(from).saturating_sub(1), i64::MAX], before: head(until) }
    }
}

impl PriceNumbers {
    fn unknown(&self, judged: &[Judged]) -> Vec<[String; 1]> {
        let wanted = judged.iter().filter_map(|(_, anew)| anew.as_ref()?.bill.price.as_ref());
        let mut unknown: Vec<_> =
            wanted.filter(|price| !self.0.contains_key(*price)).map(|price| [price.clone()]).collect();
        unknown.sort();
        unknown.dedup();
        unknown
    }

    async fn learn(&mut self, store: &Store, names: Vec<[String; 1]>) -> Result<(), Error> {
        let mut work = store.write().await?;
        let numbers = ids(&mut work, "ledger_price", ["version"], &names).await?;
        work.done().await?;
        self.0.extend(names.into_iter().map(|[name]| name).zip(numbers));
        Ok(())
    }
}
