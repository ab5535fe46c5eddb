//! How long the books are kept: rows by age and by number, sums for longer.

use super::config::RetentionConfig;
use super::reports::{Reports, now};
use crate::store::ledger::{self, Period, Row};
use crate::store::{Error, Shared, Store};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, watch};

/// What sees to it.
pub struct Retention {
    database: Arc<Shared>,
    reports: Arc<Reports>,
    config: ArcSwap<RetentionConfig>,
    clock: Box<dyn Fn() -> i64 + Send + Sync>,
    tally: Mutex<Tally>,
    /// Rows, when they were counted last.
    rows: AtomicI64,
    is_nearly_full: AtomicBool,
    fails: AtomicBool,
}

/// Rows that are counted once, and not again for a while.
#[derive(Default)]
struct Tally {
    /// Of requests that came before this second.
    before: i64,
    rows: i64,
    begun: Option<Instant>,
}

/// How often it is looked after, at the most ...
const PAUSE: Duration = Duration::from_secs(60);
/// ... and how much of the time that may take: one part of so many.
const SHARE: u32 = 50;
/// Rows that go in one transaction.
const STEP: i64 = 500;
/// Rows that go before it is looked anew which ones.
const STRIDE: i64 = 20_000;
/// After each step others get this long to write.
const BREATH: Duration = Duration::from_millis(2);
/// Of the rows that may be, beyond which a warning is given.
const NEARLY_FULL: f64 = 0.8;
/// How long a clock that was set forward by mistake has to be set right, in seconds.
const DOUBT: i64 = 2 * 86_400;
/// The rows of requests that came longer ago are there, in seconds ...
const SETTLED: i64 = 3_600;
/// ... mostly: what came late is counted when all are counted anew.
const ANEW: Duration = Duration::from_secs(86_400);

impl Retention {
    pub fn new(database: Arc<Shared>, reports: Arc<Reports>, config: RetentionConfig) -> Self {
        Retention {
            database,
            reports,
            config: ArcSwap::from_pointee(config),
            clock: Box::new(now),
            tally: Mutex::default(),
            rows: AtomicI64::new(0),
            is_nearly_full: AtomicBool::new(false),
            fails: AtomicBool::new(false),
        }
    }

    /// By another clock, which tells seconds since 1970.
    pub fn by(self, clock: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Retention { clock: Box::new(clock), ..self }
    }

    /// The settings are others now.
    pub fn heed(&self, config: RetentionConfig) {
        self.config.store(Arc::new(config));
    }

    /// Looks after the books until `stop`.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        loop {
            let begun = Instant::now();
            tokio::select! {
                done = self.tidy() => match done {
                    Ok(()) => self.fails.store(false, Ordering::Relaxed),
                    Err(error) => if !self.fails.swap(true, Ordering::Relaxed) {
                        tracing::warn!(%error, "old rows of the ledger stay for now");
                    }
                },
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let pause = PAUSE.max(begun.elapsed() * SHARE);
            if tokio::time::timeout(pause, stop.wait_for(|stop| *stop)).await.is_ok() {
                return;
            }
        }
    }

    /// Removes what is too old or too much, in small steps.
    ///
    /// # Errors
    /// When the database fails; what has gone by then has gone.
    pub async fn tidy(&self) -> Result<(), Error> {
        let store = self.database.store().await?;
        self.tidy_store(&store).await.inspect_err(|error| self.database.heed(&store, error))
    }

    async fn tidy_store(&self, store: &Store) -> Result<(), Error> {
        let (config, now) = (self.config.load_full(), (self.clock)());
        let mut tally = self.tally.lock().await;
        if tally.begun.is_none() {
            // All that is too old may take long to go.
            self.rows.store(tally.count(store, now).await?, Ordering::Relaxed);
        }
        // Ages are counted back from the last day of which the books have told for a while: whatever a clock says,
        // nothing goes that is younger than the rest by less than its age.
        if let Some(today) = ledger::last_day(store, now.saturating_sub(DOUBT)).await? {
            self.remove_old(store, &config, today, &mut tally).await?;
        }
        let count = tally.count(store, now).await?;
        self.rows.store(count, Ordering::Relaxed);
        self.warn(count);
        let most = i64::try_from(config.max_rows).unwrap_or(i64::MAX);
        if most > 0 && count > most {
            remove_surplus(store, most, count, &mut tally).await?;
            self.rows.store(most, Ordering::Relaxed);
        }
        ledger::give_back(store).await
    }

    async fn remove_old(
        &self,
        store: &Store,
        config: &RetentionConfig,
        today: i64,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        if let Some(age) = some(config.rows) {
            let mut first_kept = [0; 16];
            first_kept[..8].copy_from_slice(&Row::first_head(before(today, age)).to_be_bytes());
            remove_rows(store, &first_kept, tally).await?;
        }
        // Where days do not begin on a whole hour, they are told from minutes.
        let first = ledger::kept(store).await?.extent.map_or(today, |(first, _)| first);
        let first = some(config.hours).map_or(first, |age| before(today, age).max(first));
        let minutes = match self.reports.terms().zone.keeps_whole_hours(first, today) {
            true => config.minutes,
            false => config.hours,
        };
        for (period, age) in
            [(Period::Minute, minutes), (Period::Hour, config.hours), (Period::Day, config.days)]
        {
            let Some(age) = some(age) else { continue };
            while ledger::remove_sums(store, period, before(today, age), STEP).await? == STEP as u64 {
                tokio::time::sleep(BREATH).await;
            }
        }
        Ok(())
    }

    fn warn(&self, rows: i64) {
        let is_nearly_full = self.utilisation(rows) > NEARLY_FULL;
        if is_nearly_full && !self.is_nearly_full.load(Ordering::Relaxed) {
            tracing::warn!(
                rows,
                max_rows = self.max_rows(),
                "the ledger has more than 80 % of the rows that are kept: soon the oldest will go"
            );
        }
        self.is_nearly_full.store(is_nearly_full, Ordering::Relaxed);
    }

    /// Rows there were when they were counted last.
    pub fn counted(&self) -> i64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// How many rows there may be.
    pub fn max_rows(&self) -> Option<u64> {
        Some(self.config.load().max_rows).filter(|most| *most > 0)
    }

    /// How long a row is kept.
    pub fn rows(&self) -> Option<Duration> {
        some(self.config.load().rows)
    }

    /// How much of what may be there is, as a part of one; 0 where there is no bound.
    pub fn utilisation(&self, rows: i64) -> f64 {
        self.max_rows().map_or(0.0, |most| rows as f64 / most as f64)
    }
}

impl Tally {
    /// How many rows there are.
    async fn count(&mut self, store: &Store, now: i64) -> Result<i64, Error> {
        if self.before > now || self.begun.is_none_or(|begun| begun.elapsed() > ANEW) {
            *self = Tally { begun: Some(Instant::now()), ..Tally::default() };
        }
        let settled = now.saturating_sub(SETTLED).max(self.before);
        self.rows += ledger::count_between(store, self.before, settled).await?;
        self.before = settled;
        Ok(self.rows + ledger::count_between(store, settled, i64::MAX).await?)
    }

    /// So many of the oldest rows have gone.
    fn forget(&mut self, rows: u64) {
        self.rows -= i64::try_from(rows).unwrap_or(i64::MAX);
        if self.rows < 0 {
            *self = Tally::default();
        }
    }
}

async fn remove_rows(store: &Store, first_kept: &[u8; 16], tally: &mut Tally) -> Result<(), Error> {
    loop {
        let went = ledger::remove_rows(store, first_kept, STEP).await?;
        tally.forget(went);
        if went < STEP as u64 {
            return Ok(());
        }
        tokio::time::sleep(BREATH).await;
    }
}

/// Removes the oldest rows.
async fn remove_surplus(store: &Store, most: i64, count: i64, tally: &mut Tally) -> Result<(), Error> {
    if store.is_postgres() {
        // Others remove as well, and may have done so since they were counted: those that stay are the same for all.
        if let Some(first_kept) = ledger::first_of_last(store, most).await? {
            remove_rows(store, &first_kept, tally).await?;
        }
        *tally = Tally::default();
        return Ok(());
    }
    // A file is this process's alone: what was counted is there. To pass over what goes, a stride at a time, is far less
    // to read than to pass over all that stays.
    let mut surplus = count - most;
    while surplus > 0 {
        let going = surplus.min(STRIDE);
        if let Some(first_kept) = ledger::first_kept(store, going).await? {
            remove_rows(store, &first_kept, tally).await?;
        }
        surplus -= going;
    }
    Ok(())
}

/// Zero is for ever.
fn some(age: Duration) -> Option<Duration> {
    Some(age).filter(|age| !age.is_zero())
}

fn before(now: i64, age: Duration) -> i64 {
    now.saturating_sub(i64::try_from(age.as_secs()).unwrap_or(i64::MAX))
}
