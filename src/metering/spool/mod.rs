//! The spool: what happened, safe from the death of the process before the client knows of it, until the
//! database has it.
//!
//! Files in one folder, each claimed by the process that writes it. Appending takes no lock, asks the system
//! nothing, and allocates nothing, but where a file is full and another begins. What a dead process left is
//! adopted by the next that looks.

mod code;
mod entry;
mod read;
mod recurring;
mod reel;
mod room;
mod segment;
mod symbols;
mod tally;
#[cfg(test)]
pub(crate) mod tests;
mod writing;

pub use entry::{AnswerEntry, Entry, Subject, Told, TripEntry};
pub use read::Stretch;
pub use recurring::Recurring;
pub use reel::Reel;
pub use segment::Name;
pub use symbols::{Symbol, Symbols};
pub use tally::{LONGEST as LONGEST_TALLIED, Tally};

use super::config::Sync;
use arc_swap::ArcSwapOption;
use room::Rooms;
use segment::Segment;
use std::collections::VecDeque;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tally::Places;

/// Where things are written down at once.
pub struct Spool {
    folder: PathBuf,
    bounds: Bounds,
    sync: Sync,
    /// None until there is a place for it.
    current: ArcSwapOption<Turn>,
    files: Mutex<Files>,
    /// Held by whoever makes a file: the room that others do not find may have been taken for the one they want.
    making: Mutex<()>,
    rooms: Rooms,
    /// When the disk has last refused a file.
    refused: Mutex<Option<Instant>>,
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
    tallies: Places,
}

/// What is not written to any more, or not yet.
#[derive(Default)]
struct Files {
    /// Oldest first.
    past: VecDeque<Arc<Turn>>,
    next: Option<Segment>,
}

/// What stands in the folder that no living process has claimed.
#[derive(Default)]
pub struct Found {
    /// Claimed now, oldest first.
    pub orphans: Vec<Reel>,
    /// What cannot be claimed, and why.
    pub unreadable: Vec<(PathBuf, io::Error)>,
    /// How many entries were put aside.
    pub aside: u64,
}

const LARGEST_SEGMENT: u64 = 4 << 20;
const SMALLEST_SEGMENT: u64 = 64 << 10;
/// A disk that has refused a file is not asked again for so long.
const AGAIN: Duration = Duration::from_secs(1);

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
    /// A spool in `folder`, beside whatever others have there. Takes nothing before it [begins](Self::begin), or
    /// [tending](Self::tend) it has made it begin.
    pub fn new(folder: &Path, bounds: Bounds, sync: Sync) -> Spool {
        Spool {
            folder: folder.into(),
            bounds,
            sync,
            current: ArcSwapOption::empty(),
            files: Mutex::default(),
            making: Mutex::default(),
            rooms: Rooms::new(bounds.most),
            refused: Mutex::default(),
            lost: AtomicU64::new(0),
            is_full: AtomicBool::new(false),
            symbols: Symbols::default(),
            number: SPOOLS.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The same, and it has begun.
    ///
    /// # Errors
    /// When not even the first file can be made.
    pub fn open(folder: &Path, bounds: Bounds, sync: Sync) -> io::Result<Spool> {
        let spool = Spool::new(folder, bounds, sync);
        spool.begin().map(|()| spool)
    }

    /// Makes the first file.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin(&self) -> io::Result<()> {
        self.turn_over(0)
    }

    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// Sees to it that `full`, or 0 for none, is not the current file any more. Where the next is not ready, waits
    /// until it is made, here or by whoever is at it.
    fn turn_over(&self, full: u64) -> io::Result<()> {
        if self.begin_next(full) {
            return Ok(());
        }
        let _making = self.making();
        if !self.begin_next(full) {
            let made = self.make_next()?;
            self.files().next = Some(made);
            self.begin_next(full);
        }
        Ok(())
    }

    /// Whether another than `full` is the current file now; the next becomes that, where there is one.
    fn begin_next(&self, full: u64) -> bool {
        let mut files = self.files();
        let current = self.current.load_full();
        if current.as_ref().map_or(0, |turn| turn.number) != full {
            return true;
        }
        let Some(next) = files.next.take() else { return false };
        files.past.extend(current.inspect(|turn| turn.segment.close()));
        self.current.store(Some(Arc::new(Turn::new(next))));
        true
    }

    fn make_next(&self) -> io::Result<Segment> {
        let made = self.make();
        match &made {
            Ok(_) => {
                if self.is_full.swap(false, Ordering::Relaxed) {
                    tracing::info!("the ledger's spool has room again");
                }
            }
            Err(error) => {
                if !self.is_full.swap(true, Ordering::Relaxed) {
                    let (folder, bytes) = (self.folder.display(), self.held());
                    tracing::error!(%folder, bytes, %error, "the ledger's spool is full: nothing more is written down");
                }
            }
        }
        made
    }

    fn make(&self) -> io::Result<Segment> {
        let room = self.rooms.take(self.bounds.segment).ok_or(io::ErrorKind::QuotaExceeded)?;
        let refused = || self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused().is_some_and(|at| at.elapsed() < AGAIN) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let folder = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        let made = folder.and_then(|()| Segment::create(&self.folder, room));
        *refused() = made.is_err().then(Instant::now);
        made
    }

    /// What is done beside: makes safe from a power cut what has come, and the next file ready. Waits for the
    /// disk.
    pub fn tend(&self) {
        let past = self.files().past.clone();
        let Some(current) = self.current.load_full() else {
            // There was no place for it. What keeps that from being so stands in the log.
            let _ = self.begin();
            return;
        };
        past.iter().chain([&current]).for_each(|turn| self.heed(turn.segment.sync()));
        let is_late = current.segment.len() > self.bounds.segment / 2 || self.is_full();
        if is_late {
            // Nobody else is held up by this, but for those who find the current file full meanwhile.
            let _making = self.making();
            let is_missing = self.files().next.is_none();
            if is_missing && let Ok(made) = self.make_next() {
                self.files().next = Some(made);
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

    /// How much there may be.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many entries there was no room for.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Bytes on disk of all files that this process has claimed.
    pub fn held(&self) -> u64 {
        self.rooms.held()
    }

    /// Bytes that its files may take yet.
    pub fn room(&self) -> u64 {
        self.rooms.left()
    }

    /// The oldest that may have something to read.
    pub fn oldest(&self) -> Option<Reel> {
        let files = self.files();
        files.past.front().cloned().or_else(|| self.current.load_full()).map(Reel::own)
    }

    /// Claims what dead processes left in the folder.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn adopt(&self) -> io::Result<Found> {
        let mut found = Found::default();
        let files = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            files => files?,
        };
        for file in files {
            let path = file?.path();
            segment::discard_unready(&path);
            let is = |suffix: &str| path.extension().is_some_and(|extension| extension == suffix);
            found.aside += u64::from(is(segment::ASIDE));
            if !is(segment::SUFFIX) || self.is_ours(&path) {
                continue;
            }
            match segment::adopt(&path).and_then(|claim| self.orphan(&path, claim)) {
                Ok(orphan) => found.orphans.extend(orphan),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => found.unreadable.push((path, error)),
            }
        }
        found.orphans.sort_by(|one, other| one.path().cmp(other.path()));
        Ok(found)
    }

    fn orphan(&self, path: &Path, claim: Option<(Name, File)>) -> io::Result<Option<Reel>> {
        let Some((name, file)) = claim else { return Ok(None) };
        let room = self.rooms.count(file.metadata()?.len());
        Ok(Some(Reel::orphan(name, path.into(), file, room)))
    }

    fn is_ours(&self, path: &Path) -> bool {
        let files = self.files();
        let is = |segment: &Segment| segment.path == path;
        self.current.load().as_ref().is_some_and(|turn| is(&turn.segment))
            || files.past.iter().any(|turn| is(&turn.segment))
            || files.next.as_ref().is_some_and(is)
    }

    /// From now on `reel` is in its reader's hands alone: it is not the [oldest](Self::oldest) any more.
    pub fn release(&self, reel: &Reel) {
        self.files().past.retain(|turn| turn.segment.path != reel.path());
    }

    /// Removes the file of `reel`, all of which is in the database; it stays claimed, and held, as long as there is
    /// `reel`. Waits for the disk.
    ///
    /// # Errors
    /// When it is not certain that the file is gone, also after a power cut.
    pub fn remove(&self, reel: &Reel) -> io::Result<()> {
        self.release(reel);
        match std::fs::remove_file(reel.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => segment::sync_folder(reel.path()),
        }
    }

    fn making(&self) -> MutexGuard<'_, ()> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    fn new(segment: Segment) -> Self {
        Turn { number: TURNS.fetch_add(1, Ordering::Relaxed), segment, tallies: Places::default() }
    }
}
