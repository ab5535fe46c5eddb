//! What a file of weights says of itself in its first bytes, and what the process that loads it will take.

use std::io::{self, Read};

/// `ggml`, as a number.
const MAGIC: u32 = 0x6767_6d6c;
/// Bytes of a process beside its weights: for one recording, its samples and what is made of them.
const ROOM: u64 = 256 << 20;
/// And for each number that a layer passes on: what the decoder keeps of 512 words in each of seven tries (whisper.cpp
/// makes room for them as soon as one temperature is above 0) and of 1,536 frames, a key and a value of two bytes each;
/// and about as much again as the latter for the encoder.
const EACH: u64 = (7 * 512 + 2 * 1536) * 4;

/// How the head calls weights of five bits and an offset each, beside the version of that form in thousands.
const PACKED: u32 = 9;
/// Bytes of a block of such weights, and of one of eight bits.
const BLOCK: u64 = 24;
const UNPACKED_BLOCK: u64 = 34;

/// Of a file of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cast {
    /// Bytes of the file.
    pub length: u64,
    vocabulary: u64,
    width: u64,
    layers: u64,
    is_packed: bool,
}

impl Cast {
    /// What `file` says, which has so many bytes.
    ///
    /// # Errors
    /// When it cannot be read, or there are no weights in it.
    pub fn read(mut file: impl Read, length: u64) -> io::Result<Self> {
        let mut head = [0; 48];
        let none = || io::Error::new(io::ErrorKind::InvalidData, "it holds no ggml weights of Whisper");
        file.read_exact(&mut head).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => none(),
            _ => error,
        })?;
        let field = |number: usize| {
            let at = 4 * number;
            u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
        };
        let (magic, vocabulary, width, layers, form) = (field(0), field(1), field(3), field(5), field(11));
        let is_sane = (64..=16_384).contains(&width) && (1..=512).contains(&layers);
        if magic != MAGIC || !is_sane {
            return Err(none());
        }
        let is_packed = form % 1000 == PACKED;
        Ok(Cast {
            length,
            vocabulary: vocabulary.into(),
            width: width.into(),
            layers: layers.into(),
            is_packed,
        })
    }

    /// Whether the table of its words fits into the file, at two bits a number: most of the weights come after it.
    pub fn holds_weights(&self) -> bool {
        self.length >= self.vocabulary * self.width / 4
    }

    /// Whether the engine is quicker with them once they are unpacked.
    pub fn is_packed(&self) -> bool {
        self.is_packed
    }

    /// Bytes that a process with these weights may take, which it may `unpack`.
    pub fn memory(&self, unpack: bool) -> u64 {
        let weights = match unpack && self.is_packed {
            true => self.length.div_ceil(BLOCK) * UNPACKED_BLOCK,
            false => self.length,
        };
        weights + ROOM + self.width * self.layers * EACH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(head: [u32; 6], form: u32) -> io::Result<Cast> {
        let head = head.into_iter().chain([448, 384, 6, 4, 80, form]);
        let bytes: Vec<u8> = head.flat_map(u32::to_le_bytes).collect();
        Cast::read(&*bytes, bytes.len() as u64)
    }

    #[test]
    fn weights_say_how_large_they_are() {
        let cast = written([MAGIC, 51_865, 1500, 384, 6, 4], 2009).expect("weights");
        assert_eq!((cast.length, cast.width, cast.layers, cast.is_packed), (48, 384, 4, true));
        assert!(!cast.holds_weights());
        assert!(Cast { length: 51_865 * 384 / 4, ..cast }.holds_weights());
        assert_eq!(cast.memory(false), 48 + ROOM + 384 * 4 * EACH);
        assert_eq!(cast.memory(true), 48 / 24 * 34 + ROOM + 384 * 4 * EACH);
        let plain = written([MAGIC, 51_865, 1500, 384, 6, 4], 1).expect("weights");
        assert_eq!((plain.is_packed, plain.memory(true)), (false, plain.memory(false)));
    }

    #[test]
    fn what_is_no_weights_is_said_to_be_none() {
        for head in [[0, 1, 2, 384, 4, 5], [MAGIC, 1, 2, u32::MAX, 4, 5], [MAGIC, 1, 2, 384, 4, 0]] {
            assert!(written(head, 1).is_err(), "{head:?}");
        }
    }
}
