//! The files of the spool that are to be taken over: first what dead processes left, then this one's own. What
//! gives trouble is laid aside, and nothing waits for it.

use super::reading::Reading;
use super::spool::Spool;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Files that are to be taken over.
#[derive(Default)]
pub(super) struct Pile {
    /// What dead processes left, oldest first.
    left: VecDeque<Reading>,
    own: Option<Reading>,
    /// What could not be read, or not be removed: tried again after the next look.
    aside: Vec<Reading>,
    /// What could not even be claimed at the last look.
    unclaimed: usize,
    /// Of which the log says what is wrong.
    told: BTreeSet<PathBuf>,
    /// When there was last a look.
    looked: Option<Instant>,
}

/// How often there is a look for what dead processes left.
const LOOK: Duration = Duration::from_secs(10);
const CANNOT_READ: &str = "a file of the ledger's spool cannot be read: it is left as it is, and tried again";

impl Pile {
    /// Looks for more, where it is time. How many entries were put aside, where there was a look.
    pub fn look(&mut self, spool: &Spool) -> Option<u64> {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK) {
            return None;
        }
        self.looked = Some(Instant::now());
        let found = match spool.adopt() {
            Ok(found) => found,
            Err(error) => {
                self.tell(spool.folder(), &error, "nobody can look for what dead processes left");
                return None;
            }
        };
        let mut troubled: BTreeSet<PathBuf> = found.unreadable.iter().map(|(path, _)| path.clone()).collect();
        troubled.extend(self.aside.iter().map(|reading| reading.reel.path().to_owned()));
        self.told.retain(|path| troubled.contains(path));
        for (path, error) in &found.unreadable {
            self.tell(path, error, CANNOT_READ);
        }
        self.unclaimed = found.unreadable.len();
        self.left.extend(found.orphans.into_iter().map(Reading::new).chain(self.aside.drain(..)));
        Some(found.aside)
    }

    /// The next to be read; none where nothing has been written down yet.
    pub fn next(&mut self, spool: &Spool) -> Option<&mut Reading> {
        match self.left.front_mut() {
            Some(left) => Some(left),
            None => {
                self.own = self.own.take().or_else(|| spool.oldest().map(Reading::new));
                self.own.as_mut()
            }
        }
    }

    /// The same, off the pile.
    pub fn take(&mut self) -> Option<Reading> {
        self.left.pop_front().or_else(|| self.own.take())
    }

    /// What the database has of each is to be asked again.
    pub fn doubt(&mut self) {
        self.left.iter_mut().chain(&mut self.own).for_each(|reading| reading.place = None);
    }

    /// The next cannot be read now.
    pub fn cannot_read(&mut self, spool: &Spool, error: &io::Error) {
        let Some(mut reading) = self.take() else { return };
        spool.release(&reading.reel);
        self.tell(reading.reel.path(), error, CANNOT_READ);
        reading.place = None;
        self.aside.push(reading);
    }

    /// All of `reading` is in the database, and yet its file stays.
    pub fn cannot_remove(&mut self, reading: Reading, error: &io::Error) {
        self.tell(
            reading.reel.path(),
            error,
            "a file of the ledger's spool that was taken over cannot be removed",
        );
        self.aside.push(reading);
    }

    /// How many files give trouble.
    pub fn troubled(&self) -> u64 {
        (self.aside.len() + self.unclaimed) as u64
    }

    fn tell(&mut self, path: &Path, error: &io::Error, what: &str) {
        if self.told.insert(path.to_owned()) {
            tracing::error!(path = %path.display(), %error, "{what}");
        }
    }

    #[cfg(test)]
    pub fn look_soon(&mut self) {
        self.looked = None;
    }

    #[cfg(test)]
    pub fn find(&mut self, reel: super::spool::Reel) {
        self.left.push_front(Reading::new(reel));
    }
}
