//! The books, asked: lines over stretches of time, and rows.

use super::config::KeyMetrics;
use super::tellable::Tellable;
use super::time::{Grain, Stay, Zone};
use super::turns::{Errand, Turns};
use crate::domain::{Error, Kind, RequestId};
use crate::store::ledger::{self, By, Figure, Filter, Line, Performance, Row, RowLine, Sums};
use crate::store::{self, Shared, Store};
use crate::telemetry::Metrics;
use arc_swap::ArcSwap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Whoever is asked about the books.
pub struct Reports {
    database: Arc<Shared>,
    /// As the settings say now.
    terms: ArcSwap<Terms>,
    turns: Turns,
    metrics: Arc<Metrics>,
}

/// How the books are told of.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    pub zone: Zone,
    pub currency: Arc<str>,
    pub key_metrics: KeyMetrics,
}

/// What is wanted of the books.
#[derive(Debug, Clone)]
pub struct Question {
    pub stay: Stay,
    pub zone: Zone,
    pub grain: Option<Grain>,
    pub by: Vec<By>,
    pub filter: Filter,
}

/// The lines of a question, in handfuls: there can be any number of them.
pub(super) struct Lines<'a> {
    reports: &'a Reports,
    told: &'a Tellable,
    /// The stretch that is told.
    stretch: usize,
    /// The last line of it, where there may be more.
    after: Option<Line>,
}

/// How long the database may take over one answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lines that are read at once.
const LINES: usize = 4_000;
/// When it is worth while to ask again.
const SOON: Duration = Duration::from_secs(1);

impl Reports {
    pub fn new(database: Arc<Shared>, terms: Terms, metrics: Arc<Metrics>) -> Self {
        Reports { database, terms: ArcSwap::from_pointee(terms), turns: Turns::new(), metrics }
    }

    pub fn terms(&self) -> Arc<Terms> {
        self.terms.load_full()
    }

    /// The settings are others now.
    pub fn heed(&self, terms: Terms) {
        self.terms.store(Arc::new(terms));
    }

    /// How many wait for their turn to ask the database.
    pub fn waiting(&self) -> usize {
        self.turns.waiting()
    }

    /// What can be told of `question`.
    ///
    /// # Errors
    /// `Overloaded` while the database is away, or others ask too much of it.
    pub async fn tellable(&self, question: Question) -> Result<Tellable, Error> {
        let kept = self.ask(Errand::Begin, |store| async move { ledger::kept(&store).await }).await?;
        Ok(Tellable::of(question, &kept))
    }

    pub(super) fn lines<'a>(&'a self, told: &'a Tellable) -> Lines<'a> {
        Lines { reports: self, told, stretch: 0, after: None }
    }

    /// What can be told of `question`, and all lines, where there cannot be many.
    ///
    /// # Errors
    /// `Overloaded` while the database is away, or others ask too much of it.
    pub async fn all(&self, question: Question) -> Result<(Tellable, Vec<Line>), Error> {
        let told = self.tellable(question).await?;
        let (mut lines, mut all) = (self.lines(&told), Vec::new());
        while let Some(some) = lines.next().await? {
            all.extend(some);
        }
        Ok((told, all))
    }

    /// The next `most` rows behind the request `after`.
    ///
    /// # Errors
    /// `Overloaded` while the database is away.
    pub async fn page(
        &self,
        stay: Stay,
        after: Option<[u8; 16]>,
        filter: &Filter,
        most: usize,
    ) -> Result<Vec<RowLine>, Error> {
        let Stay { from, until } = stay;
        let errand = if after.is_none() { Errand::Begin } else { Errand::GoOn };
        let page = |store: Arc<Store>| async move {
            ledger::page(&store, (from, until), after.as_ref(), filter, most).await
        };
        self.ask(errand, page).await
    }

    /// How quick the requests were whose rows are there, where `threshold` is too long.
    ///
    /// # Errors
    /// `Overloaded` while the database is away.
    pub async fn performance(&self, threshold: Duration) -> Result<Performance, Error> {
        let micros = i64::try_from(threshold.as_micros()).unwrap_or(i64::MAX);
        self.ask(Errand::Begin, |store| async move { ledger::performance(&store, micros).await }).await
    }

    /// How many rows there are.
    ///
    /// # Errors
    /// `Overloaded` while the database is away.
    pub async fn rows(&self) -> Result<i64, Error> {
        self.ask(Errand::GoOn, |store| async move { ledger::count(&store).await }).await
    }

    /// When the oldest request came whose row is there.
    ///
    /// # Errors
    /// `Overloaded` while the database is away.
    pub async fn oldest_row(&self) -> Result<Option<i64>, Error> {
        let oldest = |store: Arc<Store>| async move { ledger::first_kept(&store, 0).await };
        let oldest = self.ask(Errand::GoOn, oldest).await?;
        Ok(oldest.map(|id| Row::second(Row::halves(&id)[0])))
    }

    /// Keeps what the owner of a request thinks of its answer; whoever has no name may do so for everybody.
    ///
    /// # Errors
    /// `NotFound` for what is not in the books, or is another's; `Overloaded` while the database is away.
    pub async fn rate(&self, id: RequestId, owner: Option<&str>, rating: i64) -> Result<(), Error> {
        let rated = self.answer(|store| async move { ledger::rate(&store, &id.0, owner, rating).await });
        match rated.await? {
            true => Ok(()),
            false => Err(Error::new(Kind::NotFound, "there is no such request of yours in the books")),
        }
    }

    /// What the database says to one question of a report.
    async fn ask<T, F>(&self, errand: Errand, asking: impl FnOnce(Arc<Store>) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, store::Error>>,
    {
        let _turn = self.turns.take(errand).await.inspect_err(|_| self.metrics.report_refused())?;
        self.answer(asking).await
    }

    async fn answer<T, F>(&self, asking: impl FnOnce(Arc<Store>) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, store::Error>>,
    {
        let answer = async {
            let store = self.database.store().await?;
            asking(store.clone()).await.inspect_err(|error| self.database.heed(&store, error))
        };
        store::in_time("books", PATIENCE, answer).await
    }
}

impl Lines<'_> {
    /// The next of them; `None` when all have been told.
    ///
    /// # Errors
    /// `Overloaded` while the database is away, or where sums have gone meanwhile that belong to them.
    pub async fn next(&mut self) -> Result<Option<Vec<Line>>, Error> {
        while let Some(stretch) = self.told.stretches.get(self.stretch) {
            let (Question { by, filter, .. }, after) = (&self.told.question, self.after.as_ref());
            let lines = |store: Arc<Store>| async move {
                ledger::lines(&store, stretch, by, filter, after, LINES).await
            };
            let lines = self.reports.ask(Errand::GoOn, lines).await?;
            self.after = lines.last().filter(|_| lines.len() == LINES).cloned();
            self.stretch += usize::from(self.after.is_none());
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
        }
        let kept = self.reports.ask(Errand::GoOn, |store| async move { ledger::kept(&store).await }).await?;
        match self.told.is_there(&kept) {
            true => Ok(None),
            false => {
                let why = "some of it was too old to be kept, and has gone meanwhile";
                Err(Error::new(Kind::Overloaded, why).retry_after(SOON))
            }
        }
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// All of `lines` together.
pub fn total<'a>(lines: impl IntoIterator<Item = &'a Line>) -> Sums {
    let mut sums = [0; Figure::COUNT];
    lines.into_iter().for_each(|line| add(&mut sums, &line.sums));
    sums
}

pub fn add(all: &mut Sums, one: &Sums) {
    all.iter_mut().zip(one).for_each(|(all, one)| *all = all.saturating_add(*one));
}
