//! The spool: what happened, safe from the death of the process before the client knows of it, until the
//! database has it.
//!
//! Files in one folder, each claimed by the process that writes it. Appending takes no lock, asks the system
//! nothing, and allocates nothing, but where a file is full and another begins. What a dead process left is
//! adopted by the next that looks.

mod code;
mod entry;
mod read;
mod reel;
mod segment;
mod symbols;
#[cfg(test)]
mod tests;

pub use entry::{AnswerEntry, Ended, Entry, Subject, Told, TripEntry, cache_number, source_number};
pub use read::Stretch;
pub use reel::Reel;
pub use segment::Name;
pub use symbols::{Symbol, Symbols};

use super::config::Sync;
use crate::domain::{Consumer, Trip};
use arc_swap::ArcSwap;
use segment::Segment;
use std::collections::VecDeque;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where things are written down at once.
pub struct Spool {
    folder: PathBuf,
    bounds: Bounds,
    sync: Sync,
    current: ArcSwap<Turn>,
    files: Mutex<Files>,
    /// Bytes of all files that are held here.
    held: AtomicU64,
    lost: AtomicU64,
    is_full: AtomicBool,
    symbols: Symbols,
    /// Tells this spool from others in one process.
    number: u64,
}

/// How much there may be.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Of one file.
    pub segment: u64,
    /// Of all of them.
    pub most: u64,
}

/// A segment, and the how manieth of this process it is.
pub(super) struct Turn {
    number: u64,
    segment: Segment,
}

/// What is not written to any more, or not yet.
#[derive(Default)]
struct Files {
    /// Oldest first.
    past: VecDeque<Arc<Turn>>,
    next: Option<Segment>,
}

/// What no process claimed that lives.
pub struct Orphans(pub Vec<Reel>);

const LARGEST_SEGMENT: u64 = 4 << 20;
const SMALLEST_SEGMENT: u64 = 64 << 10;

static SPOOLS: AtomicU64 = AtomicU64::new(1);
static TURNS: AtomicU64 = AtomicU64::new(1);

impl Bounds {
    /// Of at most `bytes` in all.
    pub fn of(bytes: u64) -> Self {
        let segment = (bytes / 8).clamp(SMALLEST_SEGMENT, LARGEST_SEGMENT) & !0xfff;
        Bounds { segment, most: bytes.max(2 * segment) }
    }
}

impl Spool {
    /// Opens a spool in `folder`, beside whatever others have there.
    ///
    /// # Errors
    /// When not even the first file can be made.
    pub fn open(folder: &Path, bounds: Bounds, sync: Sync) -> io::Result<Spool> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let first = Turn::new(Segment::create(folder, bounds.segment)?);
        Ok(Spool {
            folder: folder.into(),
            bounds,
            sync,
            current: ArcSwap::from_pointee(first),
            files: Mutex::default(),
            held: AtomicU64::new(bounds.segment),
            lost: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
            symbols: Symbols::default(),
            number: SPOOLS.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// Writes down a trip.
    pub fn trip(&self, trip: &Trip) {
        let subject = self.symbols.subject(trip.route, Some(&trip.call));
        let account = self.symbols.account(&trip.payer.consumer, self.number);
        let entry = entry::trip(trip, &account, &subject);
        self.put([&account, &subject], entry.bytes());
    }

    /// Writes down how `consumer`'s request for `subject` was answered.
    pub fn answer(&self, told: &Told<'_>, consumer: &Arc<Consumer>, subject: &Symbol) {
        let account = self.symbols.account(consumer, self.number);
        self.put([&account, subject], entry::answer(told, &account, subject).bytes());
    }

    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    fn put(&self, symbols: [&Symbol; 2], body: &[u8]) {
        loop {
            let turn = self.current.load();
            let [one, other] = symbols;
            let new = |symbol: &Symbol| symbol.said.load(Ordering::Acquire) != turn.number;
            let put = match (new(one), new(other)) {
                (false, false) => turn.segment.append(&[body]),
                (true, false) => turn.segment.append(&[&one.meaning, body]),
                (false, true) => turn.segment.append(&[&other.meaning, body]),
                (true, true) => turn.segment.append(&[&one.meaning, &other.meaning, body]),
            };
            if put.is_ok() {
                symbols.iter().for_each(|symbol| symbol.said.store(turn.number, Ordering::Release));
                if self.sync == Sync::Each {
                    self.heed(turn.segment.sync());
                }
                return;
            }
            let full = turn.number;
            drop(turn);
            if self.turn_over(full).is_err() {
                self.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Begins the next file when `full` is still the current one.
    fn turn_over(&self, full: u64) -> Result<(), segment::Full> {
        let mut files = self.files();
        let current = self.current.load_full();
        if current.number != full {
            return Ok(());
        }
        let next = match files.next.take() {
            Some(next) => next,
            None => self.make_next()?,
        };
        current.segment.close();
        files.past.push_back(current);
        self.current.store(Arc::new(Turn::new(next)));
        Ok(())
    }

    fn make_next(&self) -> Result<Segment, segment::Full> {
        let had = self.held.load(Ordering::Relaxed);
        let made = match had + self.bounds.segment <= self.bounds.most {
            true => Segment::create(&self.folder, self.bounds.segment),
            false => Err(io::ErrorKind::QuotaExceeded.into()),
        };
        match made {
            Ok(segment) => {
                self.held.fetch_add(self.bounds.segment, Ordering::Relaxed);
                if self.is_full.swap(false, Ordering::Relaxed) {
                    tracing::info!("the ledger's spool has room again");
                }
                Ok(segment)
            }
            Err(error) => {
                if !self.is_full.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, bytes = had, "the ledger's spool is full: nothing more is written down");
                }
                Err(segment::Full)
            }
        }
    }

    /// What is done beside: makes safe from a power cut what has come, and the next file ready. Waits for the
    /// disk.
    pub fn tend(&self) {
        let (past, current) = {
            let files = self.files();
            (files.past.iter().cloned().collect::<Vec<_>>(), self.current.load_full())
        };
        past.iter().chain([&current]).for_each(|turn| self.heed(turn.segment.sync()));
        let is_late = current.segment.len() > self.bounds.segment / 2 || self.is_full();
        if is_late && self.files().next.is_none() {
            // Made without holding up whoever may need it now.
            if let Ok(made) = self.make_next() {
                let spare = self.files().next.replace(made);
                spare.into_iter().for_each(|spare| {
                    self.discard(&spare.path);
                });
            }
        }
    }

    fn heed(&self, synced: io::Result<()>) {
        if let Err(error) = synced {
            tracing::error!(%error, "the ledger's spool is not safe from a power cut");
        }
    }

    /// Whether nothing more can be written down.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// How many entries there was no room for.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Bytes of all files on disk.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// The oldest that may have something to read.
    pub fn oldest(&self) -> Reel {
        let files = self.files();
        let turn = files.past.front().cloned().unwrap_or_else(|| self.current.load_full());
        Reel::own(turn)
    }

    /// What dead processes left in the folder, claimed now.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn adopt(&self) -> io::Result<Orphans> {
        let mut orphans = Vec::new();
        for file in std::fs::read_dir(&self.folder)? {
            let path = file?.path();
            segment::discard_unready(&path);
            if path.extension().is_none_or(|extension| extension != segment::SUFFIX) || self.is_ours(&path) {
                continue;
            }
            match segment::adopt(&path) {
                Ok(Some((name, file))) => {
                    self.held.fetch_add(file.metadata()?.len(), Ordering::Relaxed);
                    orphans.push(Reel::orphan(name, path, file));
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "a file of the ledger's spool cannot be read");
                }
            }
        }
        orphans.sort_by(|one, other| one.path().cmp(other.path()));
        Ok(Orphans(orphans))
    }

    fn is_ours(&self, path: &Path) -> bool {
        let files = self.files();
        let is = |segment: &Segment| segment.path == path;
        is(&self.current.load().segment)
            || files.past.iter().any(|turn| is(&turn.segment))
            || files.next.as_ref().is_some_and(is)
    }

    /// All of `reel` is in the database. Whether its file is gone, and stays so through a power cut. Waits for the
    /// disk.
    pub fn remove(&self, reel: Reel) -> bool {
        self.files().past.retain(|turn| turn.segment.path != reel.path());
        self.discard(reel.path()) && File::open(&self.folder).and_then(|folder| folder.sync_all()).is_ok()
    }

    fn discard(&self, path: &Path) -> bool {
        let len = std::fs::metadata(path).map_or(0, |file| file.len());
        match std::fs::remove_file(path) {
            Ok(()) => {
                self.held.fetch_sub(len, Ordering::Relaxed);
                true
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "a drained file cannot be removed");
                false
            }
        }
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    fn new(segment: Segment) -> Self {
        Turn { number: TURNS.fetch_add(1, Ordering::Relaxed), segment }
    }
}
