//! Reading a segment from its file, whether its writer is alive or was killed.

use super::code::Tag;
use super::segment::{HEAD, LONGEST, Name, room, word};
use super::tally::WORD;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Entries from one place of a segment on.
#[derive(Debug, Default)]
pub struct Stretch {
    /// Where it begins.
    from: u64,
    bytes: Vec<u8>,
    /// Of the bodies within `bytes`.
    bodies: Vec<std::ops::Range<usize>>,
    /// Where the next begins.
    pub end: u64,
}

/// How far a look goes: no entry is longer. A transaction costs as much as thousands of hits, so it takes in many.
const LOOK: usize = 1 << 20;

impl Stretch {
    /// Nothing stands at `end` yet.
    pub(super) fn nothing(end: u64) -> Self {
        Stretch { from: end, end, ..Stretch::default() }
    }

    pub fn bodies(&self) -> impl Iterator<Item = &[u8]> {
        self.bodies.iter().map(|body| &self.bytes[body.clone()])
    }

    pub fn len(&self) -> usize {
        self.bodies.len()
    }

    /// Takes over the tallies in it, each as what `close` says of the one that begins there.
    pub(super) fn close(&mut self, close: impl Fn(u64) -> Option<u64>) {
        for body in &self.bodies {
            let bytes = &mut self.bytes[body.clone()];
            if bytes.first() == Some(&(Tag::Hits as u8))
                && let Some(place) = bytes.get_mut(WORD)
                && let Some(word) = close(self.from + body.start as u64 - 8)
            {
                place.copy_from_slice(&word.to_ne_bytes());
            }
        }
    }

    /// Leaves the first `entries` of it.
    pub fn cut(&mut self, entries: usize) {
        self.bodies.truncate(entries);
        let end = |last: &std::ops::Range<usize>| self.from + last.start as u64 - 8 + room(last.len());
        self.end = self.bodies.last().map_or(self.from, end);
    }

    pub fn is_empty(&self) -> bool {
        self.bodies.is_empty()
    }

    /// What the next can be read into.
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads on from `from`, no further than `until`, into `buffer`. What is not there yet ends the stretch; unless the
/// segment `is_over`: then it is a hole, left by a thread that was killed in its midst, and is passed over. An empty
/// stretch whose end is where it began is the end.
pub fn read(
    file: &File,
    name: &Name,
    (from, until): (u64, u64),
    is_over: bool,
    mut buffer: Vec<u8>,
) -> io::Result<Stretch> {
    let from = from.max(HEAD);
    let most = until.saturating_sub(from).min(LOOK as u64) as usize;
    buffer.resize(most, 0);
    let mut stretch = Stretch { from, bytes: buffer, bodies: Vec::new(), end: from };
    let mut len = 0;
    while len < most {
        match file.read_at(&mut stretch.bytes[len..], from + len as u64)? {
            0 => break,
            more => len += more,
        }
    }
    stretch.bytes.truncate(len);
    // Where there is more, what begins at the very end may be cut off.
    let last = if len == LOOK { LOOK - room(LONGEST) as usize } else { len };
    let mut at = 0;
    while at + 8 <= last {
        match entry(&stretch.bytes[at..], name, from + at as u64) {
            Some(body) => {
                stretch.bodies.push(at + 8..at + 8 + body);
                at += room(body) as usize;
                stretch.end = from + at as u64;
            }
            None if is_over => at += 8,
            None => return Ok(stretch),
        }
    }
    if is_over && len == LOOK {
        stretch.end = from + at as u64;
    }
    Ok(stretch)
}

/// The length of the body of the entry that `bytes` begin with, if they do.
fn entry(bytes: &[u8], name: &Name, at: u64) -> Option<usize> {
    let (first, rest) = bytes.split_first_chunk::<8>()?;
    let first = u64::from_le_bytes(*first);
    let len = (first & u64::from(u32::MAX)) as usize;
    let body = rest.get(..len).filter(|_| (1..=LONGEST).contains(&len))?;
    (word(name, at, body) == first).then_some(len)
}
