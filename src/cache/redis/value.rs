//! An entry as it lies in Redis: its label in the open, then the sealed bytes.
//!
//! ```text
//! version: u8 = 1   length of the label: u16, all of it   operation: u8   stored: u64 ms since 1970
//! model, digest, team: u16 length, UTF-8 each   sealed bytes to the end        (all little endian)
//! ```
//!
//! Nothing of the label is believed where it matters: it is shown, counted and selected by, never answered with.

use super::super::tier::{Label, Parcel, Prefix};
use crate::domain::Operation;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const VERSION: u8 = 1;
/// `version` and `length`.
const START: usize = 3;
/// The longest label there is: three texts of [`MAX_TEXT`], and what stands before them.
pub(super) const MAX_LABEL: usize = 1024;
/// Bytes of a name; of a longer one the beginning.
const MAX_TEXT: usize = 300;

/// What is read of an entry without its sealed bytes.
#[derive(Debug, PartialEq)]
pub(super) struct Shown {
    pub label: Label,
    pub stored: SystemTime,
}

/// `parcel` as it is kept.
pub(super) fn write(parcel: &Parcel) -> Vec<u8> {
    let mut value = Vec::with_capacity(MAX_LABEL / 4 + parcel.sealed.len());
    let Label { prefix: _, operation, model, digest, team } = &parcel.label;
    let stored = parcel.stored.duration_since(UNIX_EPOCH).unwrap_or_default();
    value.extend_from_slice(&[VERSION, 0, 0, code(*operation)]);
    value.extend_from_slice(&(stored.as_millis() as u64).to_le_bytes());
    for text in [model, digest, team] {
        let text = &text[..text.floor_char_boundary(MAX_TEXT)];
        value.extend_from_slice(&(text.len() as u16).to_le_bytes());
        value.extend_from_slice(text.as_bytes());
    }
    let length = (value.len() as u16).to_le_bytes();
    value[1..START].copy_from_slice(&length);
    value.extend_from_slice(&parcel.sealed);
    value
}

/// Where the sealed bytes of `value` begin.
pub(super) fn label_length(value: &[u8]) -> Option<usize> {
    let [VERSION, low, high, ..] = *value else { return None };
    let length = usize::from(u16::from_le_bytes([low, high]));
    (START..=MAX_LABEL).contains(&length).then_some(length)
}

/// What `value`, or its beginning, shows. `None` where it is no entry, or its label goes on.
pub(super) fn read(value: &[u8]) -> Option<Shown> {
    let mut rest = value.get(START..label_length(value)?)?;
    let mut take = |length: usize| {
        let (taken, left) = rest.split_at_checked(length)?;
        rest = left;
        Some(taken)
    };
    let operation = operation(take(1)?[0])?;
    let stored = u64::from_le_bytes(take(8)?.try_into().ok()?);
    let mut text = || -> Option<Arc<str>> {
        let length = u16::from_le_bytes(take(2)?.try_into().ok()?);
        Some(std::str::from_utf8(take(length.into())?).ok()?.into())
    };
    let (model, digest, team) = (text()?, text()?, text()?);
    let label = Label { prefix: Prefix::of(operation), operation, model, digest, team };
    Some(Shown { label, stored: UNIX_EPOCH.checked_add(Duration::from_millis(stored))? })
}

fn code(operation: Operation) -> u8 {
    match operation {
        Operation::Chat => 0,
        Operation::Text => 1,
        Operation::Embed => 2,
        Operation::Transcribe => 3,
    }
}

fn operation(written: u8) -> Option<Operation> {
    Operation::ALL.into_iter().find(|operation| code(*operation) == written)
}

#[cfg(test)]
mod tests {
    use super::super::super::{CacheKey, samples};
    use super::*;
    use bytes::Bytes;

    fn parcel(model: &str) -> Parcel {
        let stored = UNIX_EPOCH + Duration::from_millis(1_790_000_000_123);
        Parcel {
            key: CacheKey([1; 32]),
            label: samples::label(Operation::Embed, model, "lab"),
            sealed: Bytes::from_static(b"sealed"),
            stored,
            expires: stored + Duration::from_secs(60),
        }
    }

    #[test]
    fn the_label_is_read_without_what_is_sealed() {
        let parcel = parcel("all-minilm:latest");
        let value = write(&parcel);
        let length = label_length(&value).unwrap();
        assert_eq!(&value[length..], b"sealed");
        let shown = Shown { label: parcel.label, stored: parcel.stored };
        assert_eq!(read(&value), Some(shown));
        assert_eq!(read(&value[..length]), read(&value));
        for shorter in 0..length {
            assert_eq!(read(&value[..shorter]), None, "{shorter}");
        }
    }

    #[test]
    fn a_name_of_absurd_length_is_cut() {
        let value = write(&parcel(&"ä".repeat(40_000)));
        assert_eq!(&*read(&value).unwrap().label.model, "ä".repeat(150));
        assert!(label_length(&value).unwrap() <= MAX_LABEL);
    }

    #[test]
    fn what_others_wrote_is_no_entry() {
        for value in
            [&b""[..], b"x", b"hello world", &[1, 0, 0], &[1, 255, 255, 0], &[2, 10, 0, 0, 0, 0, 0, 0, 0, 0]]
        {
            assert_eq!(read(value), None, "{value:?}");
        }
    }
}
