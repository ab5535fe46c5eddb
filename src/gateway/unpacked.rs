//! Bodies that came packed, and have become larger: they are bounded together, beside what came.

use crate::dialect::encoding::Opened;
use crate::domain::{Error, Kind};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Kibibytes.
const MOST: usize = 256 << 10;

/// Room for them.
pub struct Unpacked(Semaphore);

impl Unpacked {
    pub fn new() -> Self {
        Unpacked(Semaphore::new(MOST))
    }

    /// Bytes that are taken.
    pub fn bytes(&self) -> usize {
        (MOST - self.0.available_permits()) << 10
    }

    /// For one of them, until it is dropped; `None` where nothing was packed.
    ///
    /// # Errors
    /// `Overloaded` where there is none.
    pub fn room(&self, opened: &Opened) -> Result<Option<SemaphorePermit<'_>>, Error> {
        let kibibytes = u32::try_from(opened.unpacked().div_ceil(1 << 10)).unwrap_or(u32::MAX);
        if kibibytes == 0 {
            return Ok(None);
        }
        let full = |_| Error::new(Kind::Overloaded, "too many bodies that came packed are held already");
        self.0.try_acquire_many(kibibytes).map(Some).map_err(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Form, encoding};
    use bytes::Bytes;

    #[test]
    fn so_many_bytes_have_room_and_no_more() {
        let unpacked = Unpacked::new();
        let packed = Bytes::from(zstd::bulk::compress(&vec![b' '; 19 << 20], 3).expect("zstd compresses"));
        let open = |encoding| encoding::open(Form::OpenAiChat, encoding, &packed).expect("it can be opened");
        assert!(unpacked.room(&open(None)).expect("it takes none").is_none());
        let opened = open(Some("zstd"));
        let held: Vec<_> = (0..13).map(|_| unpacked.room(&opened).expect("room")).collect();
        assert_eq!(unpacked.bytes(), 13 * (19 << 20));
        assert_eq!(unpacked.room(&opened).expect_err("it is full").kind, Kind::Overloaded);
        drop(held);
        assert_eq!(unpacked.bytes(), 0);
    }
}
