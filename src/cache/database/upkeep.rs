//! What a database needs besides being asked: opened, within its bounds, rid of what has ended, and told
//! what was of use.

use super::absent::Absent;
use super::{Database, STEP, room, rows};
use crate::cache::guard::unbroken;
use crate::cache::{CacheKey, Fault, Parcel, TierName};
use crate::store::entries::{Entries, Filter};
use crate::store::{Error, Start, Trouble};
use crate::telemetry::Eviction;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// How often it is looked after, and tried again while it cannot be used.
const TICK: Duration = Duration::from_secs(1);
/// How often what was of use is written down.
const WRITE_DOWN: Duration = Duration::from_secs(5);
/// How long that may go on at a time.
const WRITING: Duration = Duration::from_secs(2);
/// Entries whose uses one transaction writes down.
const USES: usize = 128;
/// Keys that are read at once.
const KEYS: usize = 4_096;
/// After each step others get this long to write.
const BREATH: Duration = Duration::from_millis(2);
/// Steps that removing what has ended takes in one go: nobody is waiting for it.
const ENDED_STEPS: usize = 8;
/// How long it is remembered who made an entry: far longer than anybody works on who has lost its lease.
const LEASES: Duration = Duration::from_secs(10 * 60);
/// Steps that make room after the disk was full.
const RELIEF: usize = 4;
/// How long nothing may be removed from a full disk before the file is given up.
const STUCK: Duration = Duration::from_secs(10);
/// One round of upkeep; what is not done by then is left to the next.
const ROUND: Duration = Duration::from_secs(10);
/// What writing down may take at the very end.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Database {
    /// Opens the database, whenever it is not, and looks after it. At the end what was of use is written
    /// down; the database stays open for whoever still asks.
    pub async fn run(&self, mut shutdown: tokio::sync::watch::Receiver<bool>) {
        let mut written = Instant::now();
        loop {
            let round = async {
                if self.open().await.is_ok() {
                    let due = written.elapsed() >= WRITE_DOWN;
                    self.look_after(due).await;
                    if due {
                        written = Instant::now();
                    }
                }
                Ok(())
            };
            tokio::select! {
                _ = tokio::time::timeout(ROUND, unbroken(round)) => {}
                _ = shutdown.wait_for(|stop| *stop) => break,
            }
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = self.wake.notified() => {}
                _ = shutdown.wait_for(|stop| *stop) => break,
            }
        }
        let _ = tokio::time::timeout(LAST_WORDS, unbroken(self.write_down())).await;
    }

    /// Writes down now what was of use; else that is done every few seconds.
    pub async fn write_down(&self) -> Result<(), Fault> {
        let entries = self.opened()?;
        self.note(&entries, None).await.map_err(|error| self.heed(&entries, error))
    }

    /// Until all is written down, or the time is over: the rest has its turn later.
    async fn note(&self, entries: &Entries, until: Option<Instant>) -> Result<(), Error> {
        loop {
            let uses = self.uses.take(USES);
            if uses.is_empty() || until.is_some_and(|until| Instant::now() >= until) {
                self.uses.put_back(uses);
                return Ok(());
            }
            if let Err(error) = entries.note(&uses).await {
                self.uses.put_back(uses);
                return Err(error);
            }
            if until.is_some() {
                tokio::time::sleep(BREATH).await;
            }
        }
    }

    async fn look_after(&self, write_down: bool) {
        let Ok(entries) = self.opened() else { return };
        let work = async {
            if entries.store().log_is_full() {
                entries.store().take_up_log().await?;
            }
            if entries.store().log_is_full() {
                // Nothing of the rest goes without writing.
                return entries.store().probe().await;
            }
            if write_down {
                self.note(&entries, Some(Instant::now() + WRITING)).await?;
            }
            self.keep_order(&entries).await
        };
        if let Err(error) = work.await {
            self.heed(&entries, error);
        }
    }

    async fn keep_order(&self, entries: &Arc<Entries>) -> Result<(), Error> {
        let full_since = *self.full();
        if let Some(since) = full_since {
            self.relieve(entries, since).await?;
        }
        self.sweep(entries).await?;
        while self.measure(entries).await? {
            let gone = entries.make_room(STEP).await?;
            self.count(Eviction::Size, gone);
            if gone == 0 {
                break;
            }
            tokio::time::sleep(BREATH).await;
        }
        while entries.forget_leases(LEASES, STEP).await? == STEP as u64 {
            tokio::time::sleep(BREATH).await;
        }
        entries.tidy().await?;
        self.read_keys(entries).await?;
        entries.store().probe().await
    }

    /// Bytes of what is remembered of what is not there.
    pub fn remembered(&self) -> usize {
        self.absent.load().size()
    }

    /// From now on they may be there.
    pub(super) fn mark(&self, parcels: &[Parcel]) -> Arc<Absent> {
        let absent = self.absent.load_full();
        if !self.is_shared() {
            parcels.iter().for_each(|parcel| absent.mark(&parcel.key));
        }
        absent
    }

    /// Reads which keys a file has, where that is not known, or is known badly; goes on where it was cut off.
    async fn read_keys(&self, entries: &Entries) -> Result<(), Error> {
        let number = self.held().entries;
        let mut absent = self.absent.load_full();
        if self.is_shared() || (absent.is_complete() && !absent.is_stale(number)) {
            return Ok(());
        }
        if absent.is_stale(number) {
            absent = Arc::new(Absent::new(number));
            self.absent.store(absent.clone());
        }
        while !absent.is_complete() {
            let keys = entries.keys(absent.read_up_to().as_ref().map(|key| &key.0), KEYS).await?;
            absent.read(&keys.into_iter().map(CacheKey).collect::<Vec<_>>());
            tokio::time::sleep(BREATH).await;
        }
        Ok(())
    }

    /// Reads how much there is; tells whether that is too much.
    async fn measure(&self, entries: &Entries) -> Result<bool, Error> {
        let total = entries.total().await?;
        self.held.entries.store(total.entries, Ordering::Relaxed);
        self.held.bytes.store(total.bytes, Ordering::Relaxed);
        Ok(room(total) > self.config.capacity)
    }

    /// Removes some of what has ended.
    async fn sweep(&self, entries: &Entries) -> Result<(), Error> {
        let ended = Filter { ended: Some(rows::milliseconds(SystemTime::now())), ..Filter::default() };
        for _ in 0..ENDED_STEPS {
            let gone = entries.remove(&ended, STEP, false).await?;
            self.count(Eviction::Expired, gone);
            if gone < STEP as u64 {
                break;
            }
            tokio::time::sleep(BREATH).await;
        }
        Ok(())
    }

    /// The disk was full. What a cache holds is the first that others may have the room of: some of it; or
    /// the whole file, once the disk has been so full for long that nothing can even be removed from it.
    async fn relieve(&self, entries: &Arc<Entries>, since: Instant) -> Result<(), Error> {
        for _ in 0..RELIEF {
            match entries.make_room(STEP).await {
                Ok(gone) => self.count(Eviction::Size, gone),
                Err(error) if error.trouble == Trouble::Full && since.elapsed() > STUCK => {
                    tracing::warn!(
                        "the cache's file is given up: the disk is full, and it cannot be made smaller"
                    );
                    self.retire(entries, Start::Discard);
                    *self.full() = None;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        *self.full() = None;
        Ok(())
    }

    fn count(&self, cause: Eviction, gone: u64) {
        self.metrics.evicted_from(TierName::Database.label(), cause, gone);
    }
}
