//! The last tier: a SQLite file of this process, or a PostgreSQL server that several share.
//!
//! Until it is open, and while it is not, every call fails at once. What it learns of an entry's use is
//! kept in memory and written down every few seconds: a hit writes nothing.

mod absent;
mod board;
mod locks;
mod rows;
mod upkeep;
mod uses;

use super::tier::unhurried;
use super::{Board, CacheKey, Fault, Listing, Parcel, Selection, Tally, Tier, TierName};
use crate::store::entries::{Amount, Entries, Key};
use crate::store::{self, Damaged, Options, Place, Start, Table, Trouble};
use crate::telemetry::Metrics;
use absent::Absent;
use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, SetOnce, mpsc};
use tokio::time::Instant;
use uses::Uses;

/// Entries in a database. Opened, and kept in order, by [`Database::run`].
pub struct Database {
    config: DatabaseOptions,
    metrics: Arc<Metrics>,
    entries: ArcSwapOption<Entries>,
    /// What was open and proved unusable, to be closed before another is opened.
    retired: Mutex<Retired>,
    /// One opens at a time; holds what the last attempt failed of, to say it once.
    opening: tokio::sync::Mutex<Option<Trouble>>,
    uses: Uses,
    held: Held,
    /// What a file has not; of a server nobody knows that, others write there as well.
    absent: ArcSwap<Absent>,
    /// Since when there has been no room on the disk, where that is so.
    full: Mutex<Option<Instant>>,
    /// Upkeep is wanted now.
    wake: Notify,
    /// Set once opening it has been tried.
    tried: SetOnce<()>,
}

#[derive(Debug, Clone)]
pub struct DatabaseOptions {
    pub place: Place,
    pub table: Table,
    /// Bytes of all entries together, with what each costs beside its own.
    pub capacity: u64,
    /// The longest that a request waits.
    pub timeout: Duration,
}

#[derive(Default)]
struct Retired {
    entries: Option<Arc<Entries>>,
    /// What is to become of its file.
    start: Start,
}

/// How much there is, as last read, and what was kept here since.
#[derive(Debug, Default)]
struct Held {
    entries: AtomicU64,
    bytes: AtomicU64,
}

/// Bytes that an entry takes beside its own: its row, and its place in four indexes.
const OVERHEAD: u64 = 256;
/// Entries that one step of removing takes away.
const STEP: usize = 500;
/// Entries that are listed at once.
const PAGE: usize = 200;
/// What a file may take besides twice its capacity, with all that is free or half full in it.
const SLACK: u64 = 64 << 20;
/// How many look up at the same time.
const READERS: u32 = 8;
/// How long whoever still works on a damaged database gets to end that.
const LEAVE: Duration = Duration::from_secs(2);

impl Database {
    /// Touches nothing: the database is opened later.
    pub fn new(config: DatabaseOptions, metrics: Arc<Metrics>) -> Self {
        Database {
            config,
            metrics,
            entries: ArcSwapOption::empty(),
            retired: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            uses: Uses::default(),
            held: Held::default(),
            absent: ArcSwap::from_pointee(Absent::default()),
            full: Mutex::default(),
            wake: Notify::new(),
            tried: SetOnce::new(),
        }
    }

    /// Whether other processes may use it as well: a file belongs to one.
    pub fn is_shared(&self) -> bool {
        matches!(self.config.place, Place::Postgres(_))
    }

    /// How many entries and bytes of them there are, about: as read a moment ago.
    pub fn held(&self) -> Amount {
        Amount {
            entries: self.held.entries.load(Ordering::Relaxed),
            bytes: self.held.bytes.load(Ordering::Relaxed),
        }
    }

    /// Opens the database, unless it is open. A damaged file is put aside for a new one.
    pub async fn open(&self) -> Result<(), Fault> {
        let mut last = self.opening.lock().await;
        if self.entries.load().is_some() {
            return Ok(());
        }
        let told = match self.open_now().await {
            Ok(entries) => {
                if let Some(aside) = entries.store().put_aside() {
                    self.metrics.put_aside();
                    tracing::warn!(place = %self.config.place, aside = %aside.display(),
                        "the cache's file was damaged: it is put aside and a new one begun");
                }
                if last.take().is_some() {
                    tracing::info!(place = %self.config.place, "the cache's database is back");
                }
                self.absent.store(Arc::default());
                self.entries.store(Some(Arc::new(entries)));
                Ok(())
            }
            Err(error) => {
                if last.replace(error.trouble) != Some(error.trouble) {
                    tracing::warn!(place = %self.config.place, %error,
                        "the cache's database cannot be used; trying again until it can");
                }
                Err(fault(error.trouble))
            }
        };
        let _ = self.tried.set(());
        told
    }

    async fn open_now(&self) -> Result<Entries, store::Error> {
        let (old, start) = {
            let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
            (retired.entries.take(), retired.start)
        };
        if let Some(old) = old {
            // A file must not be moved while somebody still works on it.
            let _ = tokio::time::timeout(LEAVE, old.store().close()).await;
        }
        let options = Options {
            readers: READERS,
            // For the lock of another who writes, and for a connection.
            patience: unhurried(self.config.timeout),
            durable: false,
            largest_file: Some(self.config.capacity.saturating_mul(2).saturating_add(SLACK)),
            start,
            damaged: Damaged::PutAside,
        };
        let entries = Entries::open(&self.config.place, &options, self.config.table.clone()).await?;
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).start = Start::AsItIs;
        Ok(entries)
    }

    /// Writes down what was of use, and closes the database. Nothing opens it again by itself but
    /// [`Database::run`].
    pub async fn close(&self) {
        let _ = self.write_down().await;
        if let Some(entries) = self.entries.swap(None) {
            entries.store().close().await;
        }
    }

    /// What stands under `keys` and has not ended at `now`.
    async fn read(&self, keys: &[CacheKey], now: i64) -> Result<Vec<Option<Bytes>>, Fault> {
        let entries = self.opened()?;
        let wanted: Vec<&Key> = keys.iter().map(|key| &key.0).collect();
        let found = entries.find(&wanted, now).await.map_err(|error| self.heed(&entries, error))?;
        let found: HashMap<Key, Bytes> =
            found.into_iter().map(|(key, sealed)| (key, sealed.into())).collect();
        Ok(keys.iter().map(|key| found.get(&key.0).cloned()).collect())
    }

    /// Removes everything, whatever its number, and what was put aside with it. A file is begun anew.
    async fn clear(&self, entries: &Arc<Entries>) -> Result<u64, Fault> {
        let cleared = entries.clear().await.map_err(|error| self.heed(entries, error))?;
        let gone = match cleared {
            Some(gone) => gone,
            None => {
                let gone = entries.total().await.map_err(|error| self.heed(entries, error))?.entries;
                self.retire(entries, Start::Discard);
                self.open().await?;
                gone
            }
        };
        self.held.entries.store(0, Ordering::Relaxed);
        self.held.bytes.store(0, Ordering::Relaxed);
        self.wake.notify_one();
        Ok(gone)
    }

    fn opened(&self) -> Result<Arc<Entries>, Fault> {
        self.entries.load_full().ok_or(Fault::Unreachable)
    }

    /// What went wrong, as a fault. What does not pass by itself is taken care of.
    fn heed(&self, entries: &Arc<Entries>, error: store::Error) -> Fault {
        match error.trouble {
            Trouble::Damaged => {
                self.retire(entries, Start::PutAside);
                self.wake.notify_one();
            }
            // The server may be another by now; without haste, for it may also be the same.
            Trouble::Missing | Trouble::Replaced => self.retire(entries, Start::AsItIs),
            Trouble::Full => {
                self.full().get_or_insert_with(Instant::now);
            }
            _ => {}
        }
        tracing::debug!(place = %self.config.place, %error, "the cache's database failed");
        fault(error.trouble)
    }

    fn full(&self) -> MutexGuard<'_, Option<Instant>> {
        self.full.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets nobody use `entries` any more; upkeep opens anew. Once, whoever finds out first.
    fn retire(&self, entries: &Arc<Entries>, start: Start) {
        let before = self.entries.compare_and_swap(entries, None);
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, entries)) {
            let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
            *retired = Retired { entries: Some(entries.clone()), start };
        }
    }

    /// Whether `more` bytes in `count` entries would be beyond what upkeep can soon make room for.
    fn overflows(&self, count: usize, more: u64) -> bool {
        let Amount { entries, bytes } = self.held();
        let all = Amount { entries: entries.saturating_add(count as u64), bytes: bytes.saturating_add(more) };
        room(all) > self.config.capacity.saturating_add(self.config.capacity / 10)
    }

    fn is_over(&self) -> bool {
        room(self.held()) > self.config.capacity
    }
}

#[async_trait]
impl Tier for Database {
    fn name(&self) -> TierName {
        TierName::Database
    }

    fn lacks(&self, key: &CacheKey) -> bool {
        self.absent.load().lacks(key)
    }

    async fn find(&self, keys: &[CacheKey]) -> Result<Vec<Option<Bytes>>, Fault> {
        let now = rows::milliseconds(SystemTime::now());
        let found = self.read(keys, now).await?;
        let used = keys.iter().zip(&found).filter(|(_, found)| found.is_some());
        self.uses.note(used.map(|(key, _)| (&key.0, 1)), now);
        Ok(found)
    }

    async fn look(&self, keys: &[CacheKey]) -> Result<Vec<Option<Bytes>>, Fault> {
        self.read(keys, 0).await
    }

    async fn keep(&self, parcels: &[Parcel]) -> Result<(), Fault> {
        let entries = self.opened()?;
        let more = parcels.iter().map(|parcel| parcel.sealed.len() as u64).sum();
        if self.overflows(parcels.len(), more) || entries.store().log_is_full() {
            self.wake.notify_one();
            return Err(Fault::Refused);
        }
        let new: Vec<_> = parcels.iter().map(rows::new_entry).collect();
        let absent = self.mark(parcels);
        entries.keep(&new).await.map_err(|error| self.heed(&entries, error))?;
        if !Arc::ptr_eq(&absent, &self.absent.load()) {
            // All began to be read anew meanwhile.
            self.mark(parcels);
        }
        // Counted twice where one was replaced, until it is read again: rather too much than too little.
        self.held.entries.fetch_add(parcels.len() as u64, Ordering::Relaxed);
        self.held.bytes.fetch_add(more, Ordering::Relaxed);
        if self.is_over() {
            self.wake.notify_one();
        }
        Ok(())
    }

    async fn remove(&self, selection: &Selection) -> Result<u64, Fault> {
        let entries = self.opened()?;
        if *selection == Selection::default() {
            return self.clear(&entries).await;
        }
        let filter = rows::filter(selection, rows::milliseconds(SystemTime::now()));
        let mut gone = 0;
        // First what nobody else is writing, then what is left.
        let mut thorough = false;
        loop {
            let step = entries.remove(&filter, STEP, thorough).await;
            let went = step.map_err(|error| self.heed(&entries, error))?;
            gone += went;
            match (went, thorough) {
                (0, true) => break,
                (0, false) => thorough = true,
                _ => {}
            }
        }
        self.wake.notify_one();
        Ok(gone)
    }

    async fn tally(&self) -> Result<Vec<Tally>, Fault> {
        let entries = self.opened()?;
        let tally = entries.tally().await.map_err(|error| self.heed(&entries, error))?;
        Ok(tally.into_iter().filter_map(rows::tally).collect())
    }

    async fn top(&self, selection: &Selection, most: usize) -> Result<Vec<Listing>, Fault> {
        let entries = self.opened()?;
        let filter = rows::filter(selection, rows::milliseconds(SystemTime::now()));
        let top = entries.top(&filter, most).await.map_err(|error| self.heed(&entries, error))?;
        Ok(top.into_iter().filter_map(rows::listing).collect())
    }

    async fn list(&self, selection: &Selection, told: &mpsc::Sender<Vec<Listing>>) -> Result<(), Fault> {
        let mut filter = rows::filter(selection, rows::milliseconds(SystemTime::now()));
        loop {
            let entries = self.opened()?;
            let page = entries.page(&filter, PAGE).await;
            let (page, last) = page.map_err(|error| self.heed(&entries, error))?;
            let listed = page.into_iter().filter_map(rows::listing).collect();
            if last.is_none() || told.send(listed).await.is_err() {
                return Ok(());
            }
            filter.after = last;
        }
    }

    fn used_above(&self, used: &[(CacheKey, u32)]) {
        self.uses.note(used.iter().map(|(key, hits)| (&key.0, *hits)), rows::milliseconds(SystemTime::now()));
    }

    /// Asks as for an entry, so that a database that answers but gives nothing out is seen for what it is.
    async fn probe(&self) -> Result<(), Fault> {
        let entries = self.opened()?;
        let probing = async {
            entries.store().probe().await?;
            entries.find(&[&[0; 32]], 0).await.map(drop)
        };
        probing.await.map_err(|error| self.heed(&entries, error))
    }

    async fn settled(&self) {
        self.tried.wait().await;
    }

    fn board(&self) -> Option<&dyn Board> {
        self.is_shared().then_some(self as &dyn Board)
    }
}

/// What they take, about. A server may say anything of that.
fn room(of: Amount) -> u64 {
    of.entries.saturating_mul(OVERHEAD).saturating_add(of.bytes)
}

fn fault(trouble: Trouble) -> Fault {
    match trouble {
        Trouble::Unreachable => Fault::Unreachable,
        Trouble::Busy => Fault::TimedOut,
        Trouble::Full | Trouble::ReadOnly | Trouble::InUse => Fault::Refused,
        Trouble::Damaged
        | Trouble::Missing
        | Trouble::Replaced
        | Trouble::Refused
        | Trouble::Currency
        | Trouble::Nonsense => Fault::Corrupt,
    }
}
