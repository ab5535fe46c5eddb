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
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

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
        let filter = filter.clone();
        let page = move |store: Arc<Store>| async move {
            ledger::page(&store, (from, until), after.as_ref(), &filter, most).await
        };
        self.ask(errand, page).await
    }

    /// How quick the requests were whose rows are there, where `threshold` is too long.
    ///
    /// # Errors
    /// `Overloaded` while the database is away.
    pub async fn performance(&self, threshold: Duration) -> Result<Performance, Error> {
        let micros = i64::try_from(threshold.as_micros()).unwrap_or(i64::MAX);
        self.ask(Errand::Begin, move |store| async move { ledger::performance(&store, micros).await }).await
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
        let rate = |store: Arc<Store>| async move { ledger::rate(&store, &id.0, owner, rating).await };
        let rated = store::in_time("books", PATIENCE, answer(&self.database, rate));
        match rated.await? {
            true => Ok(()),
            false => Err(Error::new(Kind::NotFound, "there is no such request of yours in the books")),
        }
    }

    /// What the database says to one question of a report. Whoever asks may leave before: a file that was asked
    /// reads on all the same, and only then is the turn over.
    async fn ask<T, F>(
        &self,
        errand: Errand,
        asking: impl FnOnce(Arc<Store>) -> F + Send + 'static,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, store::Error>> + Send + 'static,
        T: Send + 'static,
    {
        let turn = self.turns.take(errand).await.inspect_err(|_| self.metrics.report_refused())?;
        let database = self.database.clone();
        let question = tokio::spawn(async move {
            let _turn = turn;
            answer(&database, asking).await
        });
        store::in_time("books", PATIENCE, async { question.await.map_err(io::Error::from)? }).await
    }
}

/// What the database says. A server may say nothing for ever, and is given up; a file comes to an end.
async fn answer<T, F>(database: &Shared, asking: impl FnOnce(Arc<Store>) -> F) -> Result<T, store::Error>
where
    F: Future<Output = Result<T, store::Error>>,
{
    let store = timeout(PATIENCE, database.store()).await.map_err(io::Error::from)??;
    let answer = asking(store.clone());
    let answer = match store.is_postgres() {
        true => timeout(PATIENCE, answer).await.map_err(io::Error::from)?,
        false => answer.await,
    };
    answer.inspect_err(|error| database.heed(&store, error))
}

impl Lines<'_> {
    /// The next of them; `None` when all have been told.
    ///
    /// # Errors
    /// `Overloaded` while the database is away, or where sums have gone meanwhile that belong to them.
    pub async fn next(&mut self) -> Result<Option<Vec<Line>>, Error> {
        while let Some(stretch) = self.told.stretches.get(self.stretch) {
            let (Question { by, filter, .. }, after) = (self.told.question.clone(), self.after.clone());
            let stretch = stretch.clone();
            let lines = move |store: Arc<Store>| async move {
                ledger::lines(&store, &stretch, &by, &filter, after.as_ref(), LINES).await
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::AT_ONCE;
    use crate::store::{Damaged, Options, Place, Start};
    use std::pin::pin;
    use std::task::{Context, Waker};
    use tokio::sync::Semaphore;

    fn reports(folder: &std::path::Path) -> Reports {
        let options = Options {
            readers: AT_ONCE,
            patience: Duration::from_secs(10),
            durable: false,
            largest_file: None,
            start: Start::AsItIs,
            damaged: Damaged::Refuse,
        };
        let place = Place::File(folder.join("books.db"));
        let database = Arc::new(Shared::new(place, options, vec![ledger::migrations()]));
        let (zone, currency) = (Zone::named("UTC").unwrap(), "USD".into());
        let terms = Terms { zone, currency, key_metrics: KeyMetrics::Admin };
        Reports::new(database, terms, Arc::new(Metrics::new()))
    }

    #[tokio::test]
    async fn a_turn_is_over_when_the_database_is_done_whoever_has_left() {
        let folder = tempfile::tempdir().unwrap();
        let reports = reports(folder.path());
        let (begun, done) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        for _ in 0..AT_ONCE {
            let (told, wait) = (begun.clone(), done.clone());
            let question = move |_| async move {
                told.add_permits(1);
                wait.acquire().await.unwrap().forget();
                Ok(())
            };
            let mut asked = Box::pin(reports.ask(Errand::Begin, question));
            tokio::select! {
                _ = &mut asked => panic!("nobody has answered"),
                begun = begun.acquire() => begun.unwrap().forget(),
            }
        }
        let mut next = pin!(reports.rows());
        assert!(next.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(reports.waiting(), 1, "those who asked have left, and their questions are asked yet");
        done.add_permits(1);
        assert_eq!(next.await.unwrap(), 0);
        done.add_permits(1);
        reports.database.close().await;
    }
}
