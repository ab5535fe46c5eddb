//! From entries of the spool to rows and sums, priced. Pure: the same entries under the same prices are always
//! the same batch.

use super::bill::{Charge, Cost, Matter, Settlement};
use super::hit_rows::HitRows;
use super::names::{Names, clean};
use super::prices::Prices;
use super::settlements::Settlements;
use super::spool::{AnswerEntry, Entry, Tally, TripEntry};
use crate::domain::{CacheOutcome, Complaint, Ended, Kind, Money, Observed, Operation, RequestId};
use crate::store::ledger::{self, Bucket, Column, Figure, Merge, NARROW, Period, Row, Sums};
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A batch in the making.
pub(super) struct Making<'a> {
    names: &'a mut Names,
    prices: &'a Prices,
    settlements: Settlements<'a>,
    hits: &'a HitRows,
    /// Where the numbers of the file's accounts and subjects lead to below.
    places: HashMap<(u64, u64), (usize, usize)>,
    accounts: Numbers<ledger::Account>,
    subjects: Numbers<ledger::Subject>,
    versions: Numbers<[String; 1]>,
    failures: Numbers<ledger::Failure>,
    rows: BTreeMap<[u8; 16], Row>,
    /// What was said of these before holds no more.
    void: Vec<ledger::Void>,
    /// By the minute; those of longer periods are their sums.
    sums: HashMap<Bucket, Sums>,
}

/// Each name once, in the order in which they came.
#[derive(Debug)]
struct Numbers<T> {
    names: Vec<T>,
    places: HashMap<T, usize>,
}

/// What stands in place of a price where there is none.
pub(super) const UNPRICED: &str = "unpriced";
/// ... and where the figures come to no amount.
pub(super) const UNBILLED: &str = "no amount";
/// The code of an error that is the upstream's own.
const UPSTREAM: &str = "upstream_error";

impl<'a> Making<'a> {
    pub fn new(names: &'a mut Names, prices: &'a Prices, hits: &'a HitRows) -> Self {
        Making {
            names,
            prices,
            settlements: Settlements::new(prices),
            hits,
            places: HashMap::new(),
            accounts: Numbers::default(),
            subjects: Numbers::default(),
            versions: Numbers::default(),
            failures: Numbers::default(),
            rows: BTreeMap::new(),
            void: Vec::new(),
            sums: HashMap::new(),
        }
    }

    pub fn take(&mut self, entry: &Entry<'_>) {
        match entry {
            Entry::Trip(trip) => self.trip(trip),
            Entry::Answer(answer) => self.answer(answer),
            Entry::Hits { tally, one } => self.hits(tally, one),
            Entry::Account { .. } | Entry::Subject { .. } => {
                self.names.learn(entry);
                self.places.clear();
            }
        }
    }

    /// Of the stretch of a file from `from` to `to`.
    pub fn done(self, spool: [u8; 16], from: u64, to: u64) -> ledger::Batch {
        ledger::Batch {
            spool,
            from: from as i64,
            to: to as i64,
            accounts: self.accounts.names,
            subjects: self.subjects.names,
            prices: self.versions.names,
            failures: self.failures.names,
            void: self.void,
            rows: self.rows.into_values().collect(),
            sums: by_period(self.sums).into_iter().collect(),
        }
    }

    fn trip(&mut self, trip: &TripEntry<'_>) {
        let Some((account, subject)) = self.whose(trip.account, trip.subject) else { return };
        let at = trip.request.moment();
        let [model, _, _, _, operation, _] = &self.subjects.names[subject];
        let matter = Matter { operation: self::operation(operation), model, at };
        let charge = self.prices.trip(matter, &trip.observed);
        let mut row = Part::of(trip.request, account, subject);
        row.figures(&trip.observed);
        row.set(Column::FirstToken, trip.first_token.map(|time| narrow(micros(time))));
        row.charge(&charge, &mut self.versions);
        row.set(Column::Unpriced, (charge.cost == Cost::Unpriced).then_some(1));
        row.set(Column::Unbilled, (charge.cost == Cost::TooMuch).then_some(1));
        self.keep(row.0);

        let taken = &trip.observed;
        let mut sums = [0; Figure::COUNT];
        for (figure, amount) in [
            (Figure::Trips, 1),
            (Figure::Prompt, narrow(taken.usage.prompt)),
            (Figure::CachedPrompt, narrow(taken.usage.cached_prompt)),
            (Figure::Completion, narrow(taken.usage.completion)),
            (Figure::Reasoning, narrow(taken.usage.reasoning)),
            (Figure::Gpu, gpu(taken)),
            (Figure::Audio, narrow(millis(taken.usage.audio))),
            (Figure::Images, narrow(taken.usage.images)),
            (Figure::CompletionTime, narrow(micros(taken.durations.eval))),
            (Figure::Cost, charge.cost.known().unwrap_or_default().nanos()),
            (Figure::PromptCost, charge.shares.prompt.nanos()),
            (Figure::CompletionCost, charge.shares.completion.nanos()),
            (Figure::GpuCost, charge.shares.gpu.nanos()),
            (Figure::Unpriced, (charge.cost == Cost::Unpriced).into()),
            (Figure::Unbilled, (charge.cost == Cost::TooMuch).into()),
        ] {
            sums[figure as usize] = amount;
        }
        self.add(at, account, subject, &sums, 1);
    }

    fn answer(&mut self, answer: &AnswerEntry<'_>) {
        let Some((account, subject)) = self.whose(answer.account, answer.subject) else { return };
        let at = answer.request.moment();
        // What was said before is taken back: it was this very answer, to its clean end.
        let said = answer.amends.map(|(status, total)| {
            let ending = Ended::Complete;
            let said = AnswerEntry { status, total, ending, error: "", amends: None, ..answer.clone() };
            answer_sums(&said, self.settle(&said, subject, at))
        });
        said.iter().for_each(|said| self.add(at, account, subject, said, -1));
        let settlement = self.settle(answer, subject, at).clone();
        self.add(at, account, subject, &answer_sums(answer, &settlement), 1);
        if let Some(said) = said
            && answer.cache.is_given()
        {
            // It has begun no trips, whose figures must stay.
            let id = answer.request.0;
            self.rows.remove(&id);
            let [cost, saved_cost] = [Figure::Cost, Figure::SavedCost].map(|figure| said[figure as usize]);
            self.void.push(ledger::Void { id, cost, saved_cost });
        }
        if !answer.cache.is_hit() || answer.amends.is_some() || self.hits.take(at) {
            let row = self.answer_row(answer, account, subject, &settlement);
            self.keep(row);
        }
    }

    /// As if each had an entry of its own, and no row.
    fn hits(&mut self, tally: &Tally, one: &AnswerEntry<'_>) {
        let Some((account, subject)) = self.whose(one.account, one.subject) else { return };
        let at = one.request.moment();
        let mut sums = answer_sums(one, self.settle(one, subject, at));
        sums.iter_mut().for_each(|sum| *sum = sum.saturating_mul(tally.count.into()));
        sums[Figure::Total as usize] = micros(tally.total) as i64;
        self.add(at, account, subject, &sums, 1);
    }

    fn answer_row(
        &mut self,
        answer: &AnswerEntry<'_>,
        account: usize,
        subject: usize,
        settlement: &Settlement,
    ) -> Row {
        let mut row = Part::of(answer.request, account, subject);
        row.set(Column::Status, Some(answer.status.into()));
        row.set(Column::Ending, Some(answer.ending.number().into()));
        row.set(Column::Cache, Some(answer.cache.number().into()));
        row.set(Column::Total, Some(micros(answer.total) as i64));
        if let Some(failure) = failure(answer) {
            row.set(Column::Error, Some(self.failures.of(failure) as i64));
        }
        if let Some(saved) = settlement.saved {
            answer.observed.iter().for_each(|observed| row.figures(observed));
            row.set(Column::FirstToken, answer.first_byte.map(|time| narrow(micros(time))));
            row.set(Column::SavedCost, Some(saved.cost.nanos()));
            row.charge(&settlement.charge, &mut self.versions);
        }
        row.0
    }

    fn settle(&mut self, answer: &AnswerEntry<'_>, subject: usize, at: SystemTime) -> &Settlement {
        let [model, _, _, _, operation, _] = &self.subjects.names[subject];
        let matter = Matter { operation: self::operation(operation), model, at };
        self.settlements.of(answer, subject, matter)
    }

    /// Their places in this batch; `None` where the file does not say who they are.
    fn whose(&mut self, account: u64, subject: u64) -> Option<(usize, usize)> {
        if let Some(places) = self.places.get(&(account, subject)) {
            return Some(*places);
        }
        let names = (self.names.accounts.get(&account)?, self.names.subjects.get(&subject)?);
        let places = (self.accounts.of(names.0.clone()), self.subjects.of(names.1.clone()));
        self.places.insert((account, subject), places);
        Some(places)
    }

    fn keep(&mut self, part: Row) {
        match self.rows.get_mut(&part.id) {
            Some(row) => merge(row, &part),
            None => {
                self.rows.insert(part.id, part);
            }
        }
    }

    fn add(&mut self, at: SystemTime, account: usize, subject: usize, sums: &Sums, times: i64) {
        let second = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
        let bucket = Bucket::around(second, Period::Minute, account, subject);
        let all = self.sums.entry(bucket).or_insert([0; Figure::COUNT]);
        all.iter_mut().zip(sums).for_each(|(all, one)| *all = all.saturating_add(one * times));
    }
}

/// The sums of minutes, and what they come to by longer periods.
fn by_period(minutes: HashMap<Bucket, Sums>) -> BTreeMap<Bucket, Sums> {
    let mut all: BTreeMap<Bucket, Sums> = BTreeMap::new();
    for (Bucket { start, account, subject, .. }, sums) in minutes {
        for period in Period::ALL {
            let bucket = Bucket::around(start, period, account, subject);
            let had = all.entry(bucket).or_insert([0; Figure::COUNT]);
            had.iter_mut().zip(&sums).for_each(|(had, one)| *had = had.saturating_add(*one));
        }
    }
    all
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Numbers { names: Vec::new(), places: HashMap::new() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Numbers<T> {
    fn of(&mut self, name: T) -> usize {
        if let Some(place) = self.places.get(&name) {
            return *place;
        }
        self.names.push(name.clone());
        self.places.insert(name, self.names.len() - 1);
        self.names.len() - 1
    }
}

/// One part of a row.
struct Part(Row);

impl Part {
    fn of(request: RequestId, account: usize, subject: usize) -> Self {
        let mut part = Part(Row { id: request.0, values: [None; Column::COUNT] });
        part.set(Column::Account, Some(account as i64));
        part.set(Column::Subject, Some(subject as i64));
        part
    }

    fn set(&mut self, column: Column, value: Option<i64>) {
        self.0.values[column as usize] = value;
    }

    /// What an answer took. Zeros take no room.
    fn figures(&mut self, observed: &Observed) {
        let (usage, durations) = (observed.usage, observed.durations);
        for (column, amount) in [
            (Column::Source, usage.source.number().into()),
            (Column::Prompt, usage.prompt),
            (Column::CachedPrompt, usage.cached_prompt),
            (Column::Completion, usage.completion),
            (Column::Reasoning, usage.reasoning),
            (Column::Queue, micros(durations.queue())),
            (Column::Load, micros(durations.load)),
            (Column::PromptTime, micros(durations.prompt_eval)),
            (Column::CompletionTime, micros(durations.eval)),
            (Column::Audio, millis(usage.audio)),
            (Column::Images, usage.images),
        ] {
            self.set(column, (amount > 0).then(|| narrow(amount)));
        }
    }

    fn charge(&mut self, charge: &Charge, versions: &mut Numbers<[String; 1]>) {
        let version = match (charge.cost, &charge.price) {
            (Cost::Unpriced, _) => Some(UNPRICED),
            (Cost::TooMuch, _) => Some(UNBILLED),
            (Cost::Known(_), price) => price.as_deref(),
        };
        self.set(Column::Price, version.map(|version| versions.of([version.to_owned()]) as i64));
        let cost = charge.cost.known().filter(|cost| *cost != Money::ZERO);
        self.set(Column::Cost, cost.map(Money::nanos));
    }
}

fn sum(had: Option<i64>, new: Option<i64>) -> Option<i64> {
    match (had, new) {
        (Some(had), Some(new)) => Some(had.saturating_add(new)),
        (had, new) => had.or(new),
    }
}

/// As the database does it where the parts come in different batches.
fn merge(row: &mut Row, part: &Row) {
    for column in Column::ALL {
        let (had, new) = (&mut row.values[column as usize], part.values[column as usize]);
        *had = match column.merge() {
            Merge::Sum => sum(*had, new),
            Merge::NarrowSum => sum(*had, new).map(|sum| sum.min(NARROW)),
            Merge::Later => new.or(*had),
            Merge::Earlier => had.or(new),
        };
    }
}

/// An error came to its clean end: by its status, or inside of an answer that had begun.
/// The code and the message of what went wrong.
fn failure(answer: &AnswerEntry<'_>) -> Option<ledger::Failure> {
    if !answer.error.is_empty() {
        return Some([clean(answer.error), clean(answer.message)]);
    }
    let complaint = answer.observed.map_or(Complaint::Unknown, |observed| observed.complaint);
    let message = || match complaint.message() {
        Some(message) => message.to_owned(),
        None if answer.status >= 400 => format!("it answered {}", answer.status),
        None => "an error stood in its answer".to_owned(),
    };
    is_refused(answer).then(|| [UPSTREAM.to_owned(), message()])
}

fn is_refused(answer: &AnswerEntry<'_>) -> bool {
    answer.status >= 400 || answer.observed.is_some_and(|observed| observed.failed)
}

fn answer_sums(answer: &AnswerEntry<'_>, settlement: &Settlement) -> Sums {
    let gone = answer.error == Kind::ClientGone.code();
    let failed = !gone && (is_refused(answer) || answer.ending != Ended::Complete);
    let saved = settlement.saved.unwrap_or_default();
    let mut sums = [0; Figure::COUNT];
    for (figure, amount) in [
        (Figure::Requests, 1),
        (Figure::Hits, answer.cache.is_hit().into()),
        (Figure::Joined, (answer.cache == CacheOutcome::Joined).into()),
        (Figure::Failed, failed.into()),
        (Figure::Cancelled, gone.into()),
        (Figure::Total, micros(answer.total) as i64),
        (Figure::Cost, settlement.charge.cost.known().unwrap_or_default().nanos()),
        (Figure::SavedPrompt, narrow(saved.prompt)),
        (Figure::SavedCompletion, narrow(saved.completion)),
        (Figure::SavedGpu, saved.gpu.as_micros().min(NARROW as u128) as i64),
        (Figure::SavedCost, saved.cost.nanos()),
    ] {
        sums[figure as usize] = amount;
    }
    sums
}

/// As its parts stand in the row.
fn gpu(observed: &Observed) -> i64 {
    let durations = observed.durations;
    [durations.load, durations.prompt_eval, durations.eval].map(|time| narrow(micros(time))).iter().sum()
}

/// What no column and no amount can hold is cut down to what they can; the price says that it was.
fn narrow(number: u64) -> i64 {
    number.min(NARROW as u64) as i64
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(i64::MAX as u64)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn operation(label: &str) -> Operation {
    Operation::named(label).unwrap_or(Operation::Chat)
}

#[cfg(test)]
mod tests {
    use super::super::config::{PriceConfig, PriceEntry, Unknown};
    use super::super::spool::Subject;
    use super::*;
    use crate::domain::{Durations, Source, Usage};

    fn prices() -> Prices {
        let text = "model = \"m\"\nprompt = \"1\"\ngpu_second = \"1\"";
        let models: Vec<PriceEntry> = vec![toml::from_str(text).unwrap()];
        let (unknown, hit) = (Unknown::Unpriced, Money::ZERO);
        Prices::new(&PriceConfig { currency: "USD".into(), builtin: false, unknown, hit, models }).unwrap()
    }

    fn observed() -> Observed {
        let durations = Durations { eval: Duration::from_micros(10), ..Durations::default() };
        let usage = Usage { source: Source::Upstream, prompt: 100, completion: 7, ..Usage::default() };
        Observed { usage, durations, ..Observed::default() }
    }

    fn id(second: u64) -> RequestId {
        RequestId::new(UNIX_EPOCH + Duration::from_secs(second))
    }

    fn trip(request: RequestId) -> Entry<'static> {
        Entry::Trip(TripEntry {
            request,
            account: 1,
            subject: 2,
            status: 200,
            total: Duration::ZERO,
            first_token: None,
            observed: observed(),
            error: "",
        })
    }

    fn answer(request: RequestId, cache: CacheOutcome) -> AnswerEntry<'static> {
        AnswerEntry {
            request,
            account: 1,
            subject: 2,
            amends: None,
            status: 200,
            ending: Ended::Complete,
            cache,
            total: Duration::from_micros(50),
            first_byte: None,
            observed: Some(observed()),
            error: "",
            message: "",
        }
    }

    fn batch(names: &mut Names, hits: u32, entries: &[Entry<'_>]) -> ledger::Batch {
        let (prices, hits) = (prices(), HitRows::new(hits));
        let mut making = Making::new(names, &prices, &hits);
        let subject = Subject {
            model: "m",
            digest: "d",
            endpoint: "/api/chat",
            dialect: "ollama",
            operation: "chat",
            streamed: true,
        };
        making.take(&Entry::Account { id: 1, key: "alice", team: "lab" });
        making.take(&Entry::Subject { id: 2, subject });
        entries.iter().for_each(|entry| making.take(entry));
        making.done([0; 16], 0, 1)
    }

    fn sum(batch: &ledger::Batch, figure: Figure) -> i64 {
        let of_day = batch.sums.iter().filter(|(bucket, _)| bucket.period == Period::Day);
        of_day.map(|(_, sums)| sums[figure as usize]).sum()
    }

    fn value(row: &Row, column: Column) -> Option<i64> {
        row.values[column as usize]
    }

    #[test]
    fn a_trip_and_its_answer_are_one_row() {
        let request = id(5);
        let entries = [trip(request), Entry::Answer(answer(request, CacheOutcome::Miss))];
        let batch = batch(&mut Names::default(), 9, &entries);
        let [row] = &batch.rows[..] else { panic!("{:?}", batch.rows) };
        // 100 millionths, and 10 microseconds.
        assert_eq!(value(row, Column::Cost), Some(110_000));
        assert_eq!((value(row, Column::Prompt), value(row, Column::Cache)), (Some(100), Some(3)));
        assert_eq!((sum(&batch, Figure::Requests), sum(&batch, Figure::Trips)), (1, 1));
        assert_eq!((sum(&batch, Figure::Cost), sum(&batch, Figure::SavedCost)), (110_000, 0));
        assert_eq!(batch.prices, [["m from 0 prompt=1.00 gpu_second=1.00 USD".to_owned()]]);
    }

    #[test]
    fn hits_beyond_their_rows_are_in_the_sums() {
        let hits: Vec<_> = [5, 5, 5, 6].map(|second| answer(id(second), CacheOutcome::Hit)).to_vec();
        let entries: Vec<_> = hits.into_iter().map(Entry::Answer).collect();
        let batch = batch(&mut Names::default(), 2, &entries);
        assert_eq!((batch.rows.len(), sum(&batch, Figure::Hits)), (3, 4));
        assert_eq!(sum(&batch, Figure::SavedCost), 4 * 110_000);
    }

    #[test]
    fn hits_that_were_counted_together_are_in_the_sums_like_any_others() {
        let apart: Vec<_> = [5_u64, 5, 5].map(|second| answer(id(second), CacheOutcome::Hit)).to_vec();
        let one = AnswerEntry { total: Duration::ZERO, ..answer(RequestId::first_of(5), CacheOutcome::Hit) };
        let tally = Tally { count: 3, total: Duration::from_micros(150) };
        let together = batch(&mut Names::default(), 0, &[Entry::Hits { tally, one }]);
        let apart: Vec<_> = apart.into_iter().map(Entry::Answer).collect();
        let apart = batch(&mut Names::default(), 0, &apart);
        assert_eq!((together.sums, together.rows), (apart.sums, apart.rows));
    }

    #[test]
    fn what_was_not_taken_to_its_end_is_taken_back() {
        for cache in [CacheOutcome::Hit, CacheOutcome::Joined, CacheOutcome::Miss] {
            let request = id(5);
            let left = AnswerEntry {
                amends: Some((200, Duration::from_micros(50))),
                status: 499,
                total: Duration::from_micros(90),
                ending: Ended::Broken,
                error: "client_gone",
                ..answer(request, cache)
            };
            let entries = [Entry::Answer(answer(request, cache)), Entry::Answer(left)];
            let batch = batch(&mut Names::default(), 9, &entries);
            let [row] = &batch.rows[..] else { panic!("{:?}", batch.rows) };
            assert_eq!((value(row, Column::Ending), value(row, Column::SavedCost)), (Some(3), None));
            assert_eq!((sum(&batch, Figure::Requests), sum(&batch, Figure::Cancelled)), (1, 1));
            assert_eq!((sum(&batch, Figure::Failed), sum(&batch, Figure::Total)), (0, 90));
            assert_eq!((sum(&batch, Figure::SavedCost), sum(&batch, Figure::SavedPrompt)), (0, 0));
            assert_eq!(batch.void.is_empty(), cache == CacheOutcome::Miss, "its trip's figures stay");
        }
    }

    #[test]
    fn figures_beyond_all_bounds_are_an_error_in_the_books() {
        let usage = Usage { prompt: u64::MAX, ..observed().usage };
        let Entry::Trip(mut trip) = trip(id(5)) else { unreachable!() };
        trip.observed.usage = usage;
        let batch = batch(&mut Names::default(), 9, &[Entry::Trip(trip)]);
        assert_eq!((sum(&batch, Figure::Unbilled), sum(&batch, Figure::Cost)), (1, 0));
        assert_eq!(batch.prices, [[UNBILLED.to_owned()]]);
        assert_eq!(value(&batch.rows[0], Column::Prompt), Some(i64::from(i32::MAX)));
    }

    #[test]
    fn what_nobody_says_who_it_is_of_is_left_out() {
        let mut stranger = answer(id(5), CacheOutcome::Miss);
        stranger.account = 77;
        assert!(batch(&mut Names::default(), 9, &[Entry::Answer(stranger)]).rows.is_empty());
    }
}
