//! How entries are written in bytes: numbers in groups of seven bits, texts with their length before them.

/// What an entry is. Its first byte; a number once given is never given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Account = 1,
    Subject = 2,
    Trip = 3,
    Answer = 4,
    Hits = 5,
}

/// Bytes in the making; what does not fit any more is cut off from texts.
pub(super) struct Scratch<const ROOM: usize> {
    bytes: [u8; ROOM],
    len: usize,
}

/// Bytes being read. What is not as it was written reads as nothing.
pub(super) struct Cursor<'a>(pub &'a [u8]);

/// Room for the names of a symbol: six texts.
pub(super) const NAMES: usize = 2048;
/// Room for an entry: two texts, of which one is short, and some twenty numbers.
pub(super) const ENTRY: usize = 512;
/// Room for an entry without texts: a tally, and up to 16 numbers.
pub(super) const NUMBERS: usize = 192;
/// Of one text.
const LONGEST_TEXT: usize = 200;

impl<const ROOM: usize> Default for Scratch<ROOM> {
    fn default() -> Self {
        Scratch { bytes: [0; ROOM], len: 0 }
    }
}

impl<const ROOM: usize> Scratch<ROOM> {
    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.raw(&[number as u8 | 0x80]);
            number >>= 7;
        }
        self.raw(&[number as u8]);
    }

    pub fn text(&mut self, text: &str) {
        let text = &text[..text.floor_char_boundary(LONGEST_TEXT)];
        self.number(text.len() as u64);
        self.raw(text.as_bytes());
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        // All that there is fits.
        let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) else { return };
        room.copy_from_slice(bytes);
        self.len += bytes.len();
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl<'a> Cursor<'a> {
    pub fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.number()?).ok()?;
        std::str::from_utf8(self.raw(len)?).ok()
    }

    pub fn raw(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}
