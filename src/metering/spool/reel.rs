//! A segment in the hands of whoever drains it.

use super::Turn;
use super::read::{self, Stretch};
use super::room::Room;
use super::segment::{self, Name};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One to be read: this process's own, or one that a dead process left.
pub struct Reel(Whose);

enum Whose {
    Own(Arc<Turn>),
    Orphan {
        name: Name,
        path: PathBuf,
        /// Holds the claim on it.
        file: File,
        /// Counts it as held.
        _room: Room,
    },
}

impl Reel {
    pub(super) fn own(turn: Arc<Turn>) -> Self {
        Reel(Whose::Own(turn))
    }

    pub(super) fn orphan(name: Name, path: PathBuf, file: File, room: Room) -> Self {
        Reel(Whose::Orphan { name, path, file, _room: room })
    }

    #[cfg(test)]
    pub(in crate::metering) fn unreadable(name: Name, path: PathBuf, file: File) -> Self {
        Reel::orphan(name, path, file, super::room::Rooms::new(0).count(0))
    }

    pub fn name(&self) -> &Name {
        match &self.0 {
            Whose::Own(turn) => &turn.segment.name,
            Whose::Orphan { name, .. } => name,
        }
    }

    pub fn path(&self) -> &Path {
        match &self.0 {
            Whose::Own(turn) => &turn.segment.path,
            Whose::Orphan { path, .. } => path,
        }
    }

    /// Whether nothing will come that is not there.
    pub fn is_over(&self) -> bool {
        match &self.0 {
            Whose::Own(turn) => turn.segment.is_over(),
            Whose::Orphan { .. } => true,
        }
    }

    /// Where what is written by now ends, where anybody still writes.
    pub fn end(&self) -> u64 {
        match &self.0 {
            Whose::Own(turn) => turn.segment.len(),
            Whose::Orphan { .. } => u64::MAX,
        }
    }

    /// What stands from `from` on, as far as it is there, read into `buffer`. An empty stretch of one that was over
    /// before it was read, and ends where it began, is the end of it.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn read(&self, from: u64, buffer: Vec<u8>) -> io::Result<(Stretch, bool)> {
        // Asked before: what comes meanwhile is not missed.
        let is_over = self.is_over();
        let (file, until, is_dead) = match &self.0 {
            Whose::Own(turn) => (turn.segment.file(), turn.segment.len(), false),
            Whose::Orphan { file, .. } => (file, u64::MAX, true),
        };
        if !is_over && until <= from {
            return Ok((Stretch::nothing(from), false));
        }
        let mut stretch = read::read(file, self.name(), (from, until), is_dead, buffer)?;
        if let Whose::Own(turn) = &self.0 {
            stretch.close(|begins| turn.segment.close_tally(begins));
        }
        let is_end = is_over && stretch.is_empty() && stretch.end <= from.max(segment::HEAD);
        Ok((stretch, is_end))
    }

    /// Puts the entry at `place` aside, which is `body`, with those that say what its numbers mean: in a file that
    /// is taken over like any other once it is called `.spool` again.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn put_aside(&self, place: u64, meanings: &[Vec<u8>], body: &[u8]) -> io::Result<PathBuf> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.name()).update(&place.to_le_bytes());
        let mut name = Name::default();
        name.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        let bodies: Vec<&[u8]> = meanings.iter().map(|body| &body[..]).chain([body]).collect();
        segment::keep(self.path().parent().unwrap_or(self.path()), &name, &bodies)
    }
}
