//! One file of the spool: mapped into memory, and appended to by any thread without a lock or a system call.
//!
//! What is in a mapped file belongs to the system from the moment it is stored, and outlives the process. All
//! of the file is written before it is mapped, so that a full disk is met then, and not by a signal later.
//!
//! ```text
//! file     magic (8)  name (16)  nothing (8)  entry …  nothing
//! entry    length (4)  checksum (4)  body  nothing, up to a multiple of 8
//! ```
//!
//! An entry's first word is stored last: where it is, all of the entry is, and it never changes, but for the word of a
//! [tally]. The checksum covers the file's name and the place in it as well, so that nothing that a client sent can
//! pass for an entry.

use super::code::Tag;
use super::room::Room;
use super::tally::{Tally, WORD};
use crate::domain::RequestId;
use memmap2::MmapRaw;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// A segment that is written to.
pub(super) struct Segment {
    pub name: Name,
    pub path: PathBuf,
    map: MmapRaw,
    /// Holds the claim on it.
    file: File,
    /// Where the next entry goes; beyond [`CLOSED`] none does.
    tail: AtomicU64,
    /// Bytes of entries that are there, and the head.
    there: AtomicU64,
    /// What is safe from a power cut.
    synced: AtomicU64,
    /// Something was added to a tally since.
    is_added_to: AtomicBool,
    /// What it takes of the disk.
    room: Room,
}

/// Tells segments apart, for ever.
pub type Name = [u8; 16];

/// Nothing more fits in here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

const MAGIC: [u8; 8] = *b"PNRSPL1\n";
pub(super) const HEAD: u64 = 32;
/// Added to a tail by whoever closes the segment.
const CLOSED: u64 = 1 << 48;
/// Of an entry's body.
pub(super) const LONGEST: usize = 4 << 10;
pub(super) const SUFFIX: &str = "spool";
/// A file of what the database refuses.
pub(super) const ASIDE: &str = "refused";
/// A file that is not ready yet.
const UNREADY: &str = "new";
/// Making one takes no longer.
const LONGEST_MAKING: Duration = Duration::from_secs(600);

impl Segment {
    /// Makes a file in `folder` that takes all of `room`, claimed by this process.
    pub fn create(folder: &Path, room: Room) -> io::Result<Segment> {
        let name = RequestId::new(SystemTime::now()).0;
        let ready = folder.join(format!("{}.{SUFFIX}", Uuid::from_bytes(name).simple()));
        let path = ready.with_extension(UNREADY);
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        let filled =
            file.try_lock().map_err(io::Error::from).and_then(|()| fill(&mut file, &name, room.bytes));
        let mapped = filled.and_then(|()| MmapRaw::map_raw(&file));
        let map = match mapped.and_then(|map| std::fs::rename(&path, &ready).map(|()| map)) {
            Ok(map) => map,
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                return Err(error);
            }
        };
        let [tail, there, synced] = [HEAD, HEAD, HEAD].map(AtomicU64::new);
        let is_added_to = AtomicBool::new(false);
        Ok(Segment { name, path: ready, map, file, tail, there, synced, is_added_to, room })
    }

    /// Appends entries with these bodies, all next to each other or none, and returns where they end.
    pub fn append(&self, bodies: &[&[u8]]) -> Result<u64, Full> {
        let len: u64 = bodies.iter().map(|body| room(body.len())).sum();
        let take = |tail: u64| (tail + len <= self.size()).then_some(tail + len);
        let start = self.tail.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).map_err(|_| Full)?;
        let mut at = start;
        for body in bodies {
            self.put(at, body);
            at += room(body.len());
        }
        self.there.fetch_add(len, Ordering::Release);
        Ok(at)
    }

    #[allow(unsafe_code)]
    fn put(&self, at: u64, body: &[u8]) {
        let word = word(&self.name, at, body);
        // SAFETY: `append` has given this thread, and no other, the bytes from `at` to `at + room(body)`, which
        // lie within the map and begin at a multiple of 8. Nobody reads them through the map before the first word
        // is there.
        unsafe {
            let place = self.map.as_mut_ptr().add(at as usize);
            std::ptr::copy_nonoverlapping(body.as_ptr(), place.add(8), body.len());
            AtomicU64::from_ptr(place.cast()).store(word.to_le(), Ordering::Release);
        }
    }

    /// Whether the tally that begins at `begins`, which must be one that was appended here, is of those that are
    /// `alike`.
    pub fn counts(&self, begins: u64, alike: &[u8]) -> bool {
        self.tally(begins).is_some_and(|(_, of)| of == alike)
    }

    /// Adds a hit to the tally that begins at `begins`. `false` where it was closed.
    pub fn add(&self, begins: u64, took: Duration) -> bool {
        let is_added = self.tally(begins).is_some_and(|(word, _)| Tally::add(word, took));
        if is_added && !self.is_added_to.load(Ordering::Relaxed) {
            self.is_added_to.store(true, Ordering::Release);
        }
        is_added
    }

    /// Closes the tally that begins at `begins`; returns what its word said.
    pub fn close_tally(&self, begins: u64) -> Option<u64> {
        self.tally(begins).map(|(word, _)| Tally::close(word))
    }

    /// The word of the tally whose entry begins there, and what follows it.
    #[allow(unsafe_code)]
    fn tally(&self, begins: u64) -> Option<(&AtomicU64, &[u8])> {
        let (place, room) = (begins as usize, (self.size() - HEAD) as usize);
        if !begins.is_multiple_of(8) || place > room {
            return None;
        }
        // SAFETY: a head's length before the end of the map there are eight bytes, at a multiple of 8.
        let entry = unsafe { self.map.as_mut_ptr().add(place) };
        // SAFETY: as above. The first word of an entry is only ever stored as an atomic.
        let first = unsafe { AtomicU64::from_ptr(entry.cast()) }.load(Ordering::Acquire);
        let len = (u64::from_le(first) & u64::from(u32::MAX)) as usize;
        if !(WORD.end..=LONGEST).contains(&len) || place + 8 + len > self.size() as usize {
            return None;
        }
        // SAFETY: the first word says that all of the entry is there, within the map. From then on nothing of it is
        // written but the word of a tally, which is reached as an atomic and lies between these two slices.
        let (tag, word, alike) = unsafe {
            let body = entry.add(8);
            let alike = std::slice::from_raw_parts(body.add(WORD.end), len - WORD.end);
            (*body, AtomicU64::from_ptr(body.add(WORD.start).cast()), alike)
        };
        (tag == Tag::Hits as u8).then_some((word, alike))
    }

    /// Takes no more.
    pub fn close(&self) {
        self.tail.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Bytes taken.
    pub fn len(&self) -> u64 {
        self.tail.load(Ordering::Acquire) & !CLOSED
    }

    /// Whether all that was ever taken is there, and nothing will come.
    pub fn is_over(&self) -> bool {
        let tail = self.tail.load(Ordering::Acquire);
        tail & CLOSED != 0 && self.there.load(Ordering::Acquire) == tail & !CLOSED
    }

    /// To be read.
    pub fn file(&self) -> &File {
        &self.file
    }

    fn size(&self) -> u64 {
        self.room.bytes
    }

    /// Makes all that is there by now safe from a power cut. Waits for the disk.
    pub fn sync(&self) -> io::Result<()> {
        let synced = self.synced.load(Ordering::Acquire);
        // A tally may stand anywhere.
        let is_added_to = self.is_added_to.swap(false, Ordering::AcqRel);
        let from = if is_added_to { 0 } else { synced };
        // Asked before the tail: where both are the same, no thread is in the midst of an entry before that.
        let there = self.there.load(Ordering::Acquire);
        let to = self.len();
        if from >= to {
            return Ok(());
        }
        if let Err(error) = self.map.flush_range(from as usize, (to - from) as usize) {
            // What was added is not there yet, and is to be tried again.
            self.is_added_to.fetch_or(is_added_to, Ordering::AcqRel);
            return Err(error);
        }
        if synced == HEAD {
            // The first time: a file that has no name after the power cut is as good as none.
            sync_folder(&self.path)?;
        }
        if there == to {
            self.synced.fetch_max(to, Ordering::AcqRel);
        }
        Ok(())
    }
}

/// Removes the file at `path` when whoever was making it has died before it was ready.
pub(super) fn discard_unready(path: &Path) {
    if path.extension().is_none_or(|extension| extension != UNREADY) {
        return;
    }
    let Ok(file) = File::open(path) else { return };
    let age = file.metadata().and_then(|file| file.modified()).ok().and_then(|made| made.elapsed().ok());
    if age.is_some_and(|age| age > LONGEST_MAKING) && file.try_lock().is_ok() {
        let _ = std::fs::remove_file(path);
    }
}

/// Makes safe from a power cut which files there are beside the one at `path`.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// Claims the file at `path` when no living process has.
pub(super) fn adopt(path: &Path) -> io::Result<Option<(Name, File)>> {
    claim(OpenOptions::new().read(true).write(true).open(path)?)
}

/// Claims an open file.
pub(super) fn claim(file: File) -> io::Result<Option<(Name, File)>> {
    // Whoever had it may have taken it over and removed it since it was opened.
    if file.try_lock().is_err() || file.metadata()?.nlink() == 0 {
        return Ok(None);
    }
    let mut head = [0; HEAD as usize];
    file.read_exact_at(&mut head, 0)?;
    let name = <Name>::try_from(&head[8..24]).map_err(io::Error::other)?;
    match head[..8] == MAGIC {
        true => Ok(Some((name, file))),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Writes a whole segment that holds entries with these bodies, safe from a power cut, under a suffix that nobody
/// adopts. Once more under the same name is the same file.
pub(super) fn keep(folder: &Path, name: &Name, bodies: &[&[u8]]) -> io::Result<PathBuf> {
    let mut bytes = [&MAGIC[..], name, &[0; 8]].concat();
    for body in bodies {
        let at = bytes.len() as u64;
        bytes.extend_from_slice(&word(name, at, body).to_le_bytes());
        bytes.extend_from_slice(body);
        bytes.resize((at + room(body.len())) as usize, 0);
    }
    let ready = folder.join(format!("{}.{ASIDE}", Uuid::from_bytes(*name).simple()));
    let path = ready.with_extension(UNREADY);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    std::fs::rename(&path, &ready)?;
    sync_folder(&ready)?;
    Ok(ready)
}

fn fill(file: &mut File, name: &Name, size: u64) -> io::Result<()> {
    let mut zeros = io::repeat(0).take(size);
    io::copy(&mut zeros, file)?;
    file.write_all_at(&MAGIC, 0)?;
    file.write_all_at(name, 8)
}

/// What an entry with a body of `len` bytes takes.
pub(super) fn room(len: usize) -> u64 {
    (8 + len as u64).next_multiple_of(8)
}

/// The first word of an entry. What the word of a tally says is left out of its checksum.
pub(super) fn word(name: &Name, at: u64, body: &[u8]) -> u64 {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(name);
    checksum.update(&at.to_le_bytes());
    let (before, after) = match body.first() {
        Some(tag) if *tag == Tag::Hits as u8 && body.len() >= WORD.end => (WORD.start, WORD.end),
        _ => (0, 0),
    };
    checksum.update(&body[..before]);
    checksum.update(&body[after..]);
    u64::from(checksum.finalize()) << 32 | body.len() as u64
}

#[cfg(test)]
mod tests {
    use super::super::room::Rooms;
    use super::*;

    #[test]
    fn what_a_thread_is_in_the_midst_of_is_not_taken_for_safe() {
        let folder = tempfile::tempdir().unwrap();
        let segment = Segment::create(folder.path(), Rooms::new(1 << 16).take(1 << 16).unwrap()).unwrap();
        let taken = room(8);
        let place = segment.tail.fetch_add(taken, Ordering::AcqRel);
        segment.append(&[b"later"]).unwrap();
        segment.sync().unwrap();
        assert_eq!(segment.synced.load(Ordering::Acquire), HEAD);
        segment.put(place, b"an entry");
        segment.there.fetch_add(taken, Ordering::AcqRel);
        segment.sync().unwrap();
        assert_eq!(segment.synced.load(Ordering::Acquire), segment.len());
    }
}
