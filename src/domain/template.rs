//! A finished answer with the few places marked that must be fresh at each replay.

use bytes::Bytes;

/// What stands in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotKind {
    /// RFC 3339 in UTC with `len - 21` digits of a second (0 and 20 characters when there are none):
    /// the native API's `created_at`.
    Rfc3339,
    /// Seconds since the epoch, ten digits: OpenAI's `created`, `created_at`, `completed_at`.
    UnixSeconds,
    /// Decimal digits, the same ones wherever they stand in one answer: `chatcmpl-123`, `resp_123`.
    Digits,
    /// Lower-case hex digits, the same ones wherever they stand in one answer: `msg_…`.
    Hex,
}

/// A place of fixed width in a [`Template`]'s bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Offset of its first byte.
    pub at: u32,
    /// Width in bytes; a replay never changes it, so the length of the answer is known beforehand.
    pub len: u16,
    pub kind: SlotKind,
    /// Slots of one kind with equal `group` get equal digits (a response's id in all its events),
    /// those with different ones get different digits.
    pub group: u16,
}

/// An answer's bytes, where its frames end and where its slots are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pub body: Bytes,
    /// Offsets just past each frame, ascending, the last equal to `body.len()`; one for a whole answer.
    pub frames: Box<[u32]>,
    /// Ascending, not overlapping.
    pub slots: Box<[Slot]>,
}
