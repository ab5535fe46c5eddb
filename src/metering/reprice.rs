//! Requests of the past under other prices: what that would come to, and the change of it.
//!
//! What is billed under the very same price stays as it is, to the last billionth; so a repricing that is done again
//! changes nothing, and one that was cut short is simply done again.

use super::batch::{UNBILLED, UNPRICED};
use super::bill::{Cost, Matter};
use super::price::{Rates, Shares, Used};
use super::prices::Prices;
use crate::domain::{CacheOutcome, Durations, Money, Observed, Operation, Usage};
use crate::store::ledger::{Anew, Bill, Billed, Judged, NARROW, PriceNumbers, Span, look, rebill};
use crate::store::{Error, Shared, Trouble};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One that is under way.
pub struct Repricing {
    database: Arc<Shared>,
    prices: Arc<Prices>,
    span: Span,
    numbers: PriceNumbers,
    /// Nothing is changed.
    only_look: bool,
    /// The second up to which it has come.
    pub at: u64,
    pub models: BTreeMap<String, Difference>,
}

/// What it comes to for one model. Amounts are billionths: what was billed, and what is under the other prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Difference {
    /// All that were looked at.
    pub requests: u64,
    /// Of these, those that are billed otherwise.
    pub changed: u64,
    /// Of these, those whose figures do not fit into a row, and that stay as they are.
    pub left: u64,
    pub cost: [i64; 2],
    pub saved: [i64; 2],
    /// Trips without a price, and those whose figures come to no amount.
    pub unpriced: [i64; 2],
    pub unbilled: [i64; 2],
}

/// What one request comes to anew.
enum Verdict {
    /// As it is.
    Same,
    /// Nobody can tell from its row.
    Left,
    Other(Anew),
}

/// How often it is tried again where others were in the way, and after how long.
const TRIES: u32 = 5;
const BREATH: Duration = Duration::from_millis(200);

impl Repricing {
    /// Of requests that came from the second `from` until before `until`.
    pub fn new(
        database: Arc<Shared>,
        prices: Arc<Prices>,
        (from, until): (u64, u64),
        only_look: bool,
    ) -> Self {
        Repricing {
            database,
            prices,
            span: Span::of(from, until),
            numbers: PriceNumbers::default(),
            only_look,
            at: from,
            models: BTreeMap::new(),
        }
    }

    /// The next requests: whether there may be more. What was done is done, whatever becomes of the rest.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn step(&mut self) -> Result<bool, Error> {
        let mut tries = 0;
        let judged = loop {
            match self.next().await {
                Err(error) if error.trouble == Trouble::Busy && tries < TRIES => tries += 1,
                other => break other?,
            }
            tokio::time::sleep(BREATH).await;
        };
        for (row, anew) in &judged {
            let new = anew.as_ref().map(|anew| &anew.bill);
            self.models.entry(row.model.clone()).or_default().add(row, new);
        }
        let Some((last, _)) = judged.last() else { return Ok(false) };
        self.span.after = last.id;
        self.at = last.second().unsigned_abs();
        Ok(true)
    }

    async fn next(&mut self) -> Result<Vec<Judged>, Error> {
        let Repricing { database, prices, span, numbers, only_look, .. } = self;
        let judge = |row: &Billed| match verdict(prices, row) {
            Verdict::Other(anew) => Some(anew),
            Verdict::Same | Verdict::Left => None,
        };
        let store = database.store().await?;
        let judged = match only_look {
            true => look(&store, *span, judge).await,
            false => rebill(&store, *span, numbers, judge).await,
        };
        judged.inspect_err(|error| database.heed(&store, error))
    }
}

impl Difference {
    /// Both together.
    pub fn and(self, other: Difference) -> Difference {
        let sum = |one: [i64; 2], other: [i64; 2]| [0, 1].map(|at| one[at].saturating_add(other[at]));
        Difference {
            requests: self.requests + other.requests,
            changed: self.changed + other.changed,
            left: self.left + other.left,
            cost: sum(self.cost, other.cost),
            saved: sum(self.saved, other.saved),
            unpriced: sum(self.unpriced, other.unpriced),
            unbilled: sum(self.unbilled, other.unbilled),
        }
    }

    fn add(&mut self, row: &Billed, new: Option<&Bill>) {
        let bills = [&row.bill, new.unwrap_or(&row.bill)];
        let both = |figure: fn(&Bill) -> Option<i64>| bills.map(|bill| figure(bill).unwrap_or_default());
        *self = self.and(Difference {
            requests: 1,
            changed: new.is_some().into(),
            left: (new.is_none() && is_cut(row)).into(),
            cost: both(|bill| bill.cost),
            saved: both(|bill| bill.saved_cost),
            unpriced: both(|bill| bill.unpriced),
            unbilled: both(|bill| bill.unbilled),
        });
    }
}

/// What `row` comes to under `prices`: by the sums of its trips, rounded once.
fn verdict(prices: &Prices, row: &Billed) -> Verdict {
    if is_cut(row) {
        return Verdict::Left;
    }
    let at = UNIX_EPOCH + Duration::from_millis(row.milliseconds().unsigned_abs());
    let anew = if is_given(row) { given(prices, row, at) } else { taken(prices, row, at) };
    let (new, old) = (&anew.bill, &row.bill);
    let counted = |bill: &Bill| (bill.unpriced.is_some(), bill.unbilled.is_some());
    match new.price == old.price && counted(new) == counted(old) {
        true => Verdict::Same,
        false => Verdict::Other(anew),
    }
}

/// Trips that the request has begun.
fn taken(prices: &Prices, row: &Billed, at: SystemTime) -> Anew {
    let charge = prices.trip(matter(row, at), &observed(row));
    let nothing = Bill { saved_cost: row.bill.saved_cost, ..Bill::default() };
    let bill = match charge.cost {
        Cost::Known(cost) => Bill {
            price: charge.price.map(|price| price.to_string()),
            cost: Some(cost.nanos()).filter(|cost| *cost != 0),
            ..nothing
        },
        // How many trips it has begun nobody knows any more, if they had a price.
        Cost::Unpriced => {
            Bill { price: Some(UNPRICED.to_owned()), unpriced: row.bill.unpriced.or(Some(1)), ..nothing }
        }
        Cost::TooMuch => {
            Bill { price: Some(UNBILLED.to_owned()), unbilled: row.bill.unbilled.or(Some(1)), ..nothing }
        }
    };
    let (new, old) = (shares(charge.shares), old_shares(row));
    Anew { bill, shares: [0, 1, 2].map(|at| new[at].saturating_sub(old[at])) }
}

fn shares(shares: Shares) -> [i64; 3] {
    [shares.prompt, shares.completion, shares.gpu].map(Money::nanos)
}

/// What its cost was made of, under the price that it was billed under. Several trips were rounded one by one: what
/// that made of them together is for the question.
fn old_shares(row: &Billed) -> [i64; 3] {
    let price = row.bill.price.as_deref().and_then(Rates::of_version);
    let used = Used::of(operation(row), &observed(row));
    let (whole, split) = price.and_then(|rates| rates.split(&used)).unwrap_or_default();
    let [prompt, completion, gpu] = shares(split);
    // What recordings and pictures cost is no share.
    let rest =
        [prompt, completion, gpu].iter().fold(whole.nanos(), |rest, share| rest.saturating_sub(*share));
    let cost = row.bill.cost.unwrap_or_default();
    let others = [completion, gpu, rest];
    [others.iter().fold(cost, |cost, share| cost.saturating_sub(*share)), completion, gpu]
}

/// An answer that the cache gave, or another's trip: it keeps what it was charged, and is credited anew.
fn given(prices: &Prices, row: &Billed, at: SystemTime) -> Anew {
    let original = prices.trip(matter(row, at), &observed(row));
    let asked = row.bill.cost.unwrap_or_default();
    let worth = original.cost.known().map(|cost| cost.nanos());
    let bill = Bill {
        price: original.price.map(|price| price.to_string()),
        cost: row.bill.cost,
        saved_cost: Some(worth.and_then(|worth| worth.checked_sub(asked)).unwrap_or_default()),
        ..Bill::default()
    };
    Anew { bill, shares: [0; 3] }
}

/// It was answered by the cache or by another's trip, and to its end: that is where it was credited.
fn is_given(row: &Billed) -> bool {
    let outcome = row.cache.and_then(CacheOutcome::numbered);
    row.bill.saved_cost.is_some() && outcome.is_some_and(CacheOutcome::is_given)
}

/// What a row holds at the most is not all that there was.
fn is_cut(row: &Billed) -> bool {
    let figures = [row.prompt, row.cached_prompt, row.completion, row.images];
    let times = [row.load, row.prompt_time, row.completion_time, row.audio];
    figures.into_iter().chain(times).any(|figure| figure >= NARROW)
}

fn matter(row: &Billed, at: SystemTime) -> Matter<'_> {
    Matter { operation: operation(row), model: &row.model, at }
}

fn operation(row: &Billed) -> Operation {
    Operation::named(&row.operation).unwrap_or(Operation::Chat)
}

fn observed(row: &Billed) -> Observed {
    let tokens = i64::unsigned_abs;
    let time = |micros: i64| Duration::from_micros(micros.unsigned_abs());
    let (load, prompt_eval, eval) = (time(row.load), time(row.prompt_time), time(row.completion_time));
    Observed {
        usage: Usage {
            prompt: tokens(row.prompt),
            cached_prompt: tokens(row.cached_prompt),
            completion: tokens(row.completion),
            images: row.images.unsigned_abs(),
            audio: Duration::from_millis(row.audio.unsigned_abs()),
            ..Usage::default()
        },
        durations: Durations { total: load + prompt_eval + eval, load, prompt_eval, eval },
        ..Observed::default()
    }
}
