//! The books, asked: lines over stretches of time, and rows.

use super::config::KeyMetrics;
use super::time::{Grain, Stay, Zone};
use crate::domain::{Error, Kind, RequestId};
use crate::store::ledger::{self, By, Figure, Filter, Line, Performance, Row, RowLine, Sums};
use crate::store::{self, Shared, Store};
use arc_swap::ArcSwap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// Whoever is asked about the books.
pub struct Reports {
    database: Arc<Shared>,
    /// As the settings say now.
    terms: ArcSwap<Terms>,
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

/// How long the database may take over one answer.
const PATIENCE: Duration = Duration::from_secs(60);

impl Reports {
    pub fn new(database: Arc<Shared>, terms: Terms) -> Self {
        Reports { database, terms: ArcSwap::from_pointee(terms) }
    }

    pub fn terms(&self) -> Arc<Terms> {
        self.terms.load_full()
    }

    /// The settings are others now.
    pub fn heed(&self, terms: Terms) {
        self.terms.store(Arc::new(terms));
    }

    /// The stretches of `question`, as far as there is anything in the books.
    ///
    /// # Errors
    /// `Overloaded` while the database is away.
    pub async fn stretches(&self, question: &Question) -> Result<Vec<ledger::Stretch>, Error> {
        let kept = self.ask(|store| async move { ledger::extent(&store).await }).await?;
        let kept = kept.and_then(|(from, until)| question.stay.within(Stay { from, until }));
        Ok(kept.map_or_else(Vec::new, |stay| question.zone.stretches(stay, question.grain)))
    }

    /// The lines of one of them.
    ///
    /// # Errors
    /// `Overloaded` while the database is away.
    pub async fn lines(&self, stretch: &ledger::Stretch, question: &Question) -> Result<Vec<Line>, Error> {
        self.ask(|store| async move { ledger::lines(&store, stretch, &question.by, &question.filter).await })
            .await
    }

    /// All lines, where there cannot be many.
    ///
    /// # Errors
    /// `Overloaded` while the database is away.
    pub async fn all(&self, question: &Question) -> Result<Vec<Line>, Error> {
        let mut all = Vec::new();
        for stretch in self.stretches(question).await? {
            all.extend(self.lines(&stretch, question).await?);
        }
        Ok(all)
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
        self.ask(
            |store| async move { ledger::page(&store, (from, until), after.as_ref(), filter, most).await },
        )
        .await
    }

    /// How quick the requests were whose rows are there, where `threshold` is too long.
    ///
    /// # Errors
    /// `Overloaded` while the database is away.
    pub async fn performance(&self, threshold: Duration) -> Result<Performance, Error> {
        let micros = i64::try_from(threshold.as_micros()).unwrap_or(i64::MAX);
        self.ask(|store| async move { ledger::performance(&store, micros).await }).await
    }

    /// How many rows there are.
    ///
    /// # Errors
    /// `Overloaded` while the database is away.
    pub async fn rows(&self) -> Result<i64, Error> {
        self.ask(|store| async move { ledger::count(&store).await }).await
    }

    /// When the oldest request came whose row is there.
    ///
    /// # Errors
    /// `Overloaded` while the database is away.
    pub async fn oldest_row(&self) -> Result<Option<i64>, Error> {
        let oldest = self.ask(|store| async move { ledger::first_kept(&store, 0).await }).await?;
        Ok(oldest.map(|id| Row::second(Row::halves(&id)[0])))
    }

    /// Keeps what the owner of a request thinks of its answer; whoever has no name may do so for everybody.
    ///
    /// # Errors
    /// `NotFound` for what is not in the books, or is another's; `Overloaded` while the database is away.
    pub async fn rate(&self, id: RequestId, owner: Option<&str>, rating: i64) -> Result<(), Error> {
        match self.ask(|store| async move { ledger::rate(&store, &id.0, owner, rating).await }).await? {
            true => Ok(()),
            false => Err(Error::new(Kind::NotFound, "there is no such request of yours in the books")),
        }
    }

    async fn ask<T, F>(&self, asking: impl FnOnce(Arc<Store>) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, store::Error>>,
    {
        let asked = async {
            let store = self.database.store().await?;
            asking(store.clone()).await.inspect_err(|error| self.database.heed(&store, error))
        };
        in_time(asked).await
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, store::Error>>) -> Result<T, Error> {
    let why = match timeout(PATIENCE, asked).await {
        Ok(Ok(told)) => return Ok(told),
        Ok(Err(error)) => error.trouble.to_string(),
        Err(_) => "it does not answer".to_owned(),
    };
    Err(Error::new(Kind::Overloaded, format!("the database of the books cannot be used: {why}")))
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
