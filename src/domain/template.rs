//! A finished answer with the few places marked that must be fresh at each replay.

use bytes::Bytes;
use std::time::{SystemTime, UNIX_EPOCH};

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

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

impl Template {
    /// Writes the slots into `out`, a copy of `body`. Times are `now`, never earlier than one that
    /// stands before it; numbers come from `seed` alone, so one replay agrees with itself.
    ///
    /// # Panics
    /// When `out` is shorter than `body`.
    pub fn fill(&self, out: &mut [u8], now: SystemTime, seed: u64) {
        let mut ink = Ink::new(now, seed);
        for slot in &self.slots {
            ink.fill(slot, &mut out[slot.at as usize..slot.end()]);
        }
    }
}

/// A template that is written out piece by piece, so that a large answer is never copied whole.
#[derive(Debug)]
pub struct Pour {
    template: Template,
    ink: Ink,
    /// What has been written, and the first slot that has not.
    at: usize,
    slot: usize,
}

impl Pour {
    pub fn new(template: Template, now: SystemTime, seed: u64) -> Self {
        Pour { template, ink: Ink::new(now, seed), at: 0, slot: 0 }
    }

    /// Bytes of the whole.
    pub fn len(&self) -> usize {
        self.template.body.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where each frame ends.
    pub fn frames(&self) -> &[u32] {
        &self.template.frames
    }

    /// Appends what comes next to `out`, up to the offset `end`: `most` bytes and the rest of a slot that
    /// begins in them. Returns whether `end` was reached.
    pub fn write(&mut self, end: usize, most: usize, out: &mut Vec<u8>) -> bool {
        let mut to = end.min(self.at + most);
        let first = self.slot;
        while let Some(slot) = self.template.slots.get(self.slot).filter(|slot| (slot.at as usize) < to) {
            to = to.max(slot.end());
            self.slot += 1;
        }
        let start = out.len();
        out.extend_from_slice(&self.template.body[self.at..to]);
        for slot in &self.template.slots[first..self.slot] {
            let place = start + slot.at as usize - self.at..start + slot.end() - self.at;
            self.ink.fill(slot, &mut out[place]);
        }
        self.at = to;
        to >= end
    }
}

/// What slots are filled with.
#[derive(Debug)]
struct Ink {
    /// Nanoseconds since the epoch: now, and the last time that was written.
    now: u64,
    shown: u64,
    seed: u64,
}

impl Ink {
    fn new(now: SystemTime, seed: u64) -> Self {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        Ink { now, shown: 0, seed }
    }

    fn fill(&mut self, slot: &Slot, place: &mut [u8]) {
        match slot.kind {
            SlotKind::Rfc3339 => self.shown = write_rfc3339(place, self.now, self.shown),
            SlotKind::UnixSeconds => write_decimal(place, self.now / SECOND),
            SlotKind::Digits => write_number(place, self.seed, slot.group),
            SlotKind::Hex => write_hex(place, self.seed, slot.group),
        }
    }
}

impl Slot {
    /// Offset past its last byte.
    fn end(&self) -> usize {
        self.at as usize + usize::from(self.len)
    }
}

/// Writes `now` as exactly as `place` has room for, rounded up where rounding down would be before
/// `earliest`. Returns the time as written. All times in nanoseconds since the epoch.
fn write_rfc3339(place: &mut [u8], now: u64, earliest: u64) -> u64 {
    let digits = place.len().saturating_sub(21).min(9);
    let step = SECOND / 10u64.pow(digits as u32);
    let now = now.max(earliest);
    let down = now - now % step;
    let shown = if down < earliest { down + step } else { down };

    let (seconds, nanoseconds) = (shown / SECOND, shown % SECOND);
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    let mut stamp = *b"0000-00-00T00:00:00.000000000";
    write_decimal(&mut stamp[0..4], year);
    write_decimal(&mut stamp[5..7], month);
    write_decimal(&mut stamp[8..10], day);
    write_decimal(&mut stamp[11..13], of_day / 3600);
    write_decimal(&mut stamp[14..16], of_day / 60 % 60);
    write_decimal(&mut stamp[17..19], of_day % 60);
    write_decimal(&mut stamp[20..29], nanoseconds);
    if let Some((zone, digits)) = place.split_last_mut() {
        let len = digits.len().min(stamp.len());
        digits[..len].copy_from_slice(&stamp[..len]);
        *zone = b'Z';
    }
    shown
}

/// Year, month and day of a day since the epoch (Howard Hinnant's `civil_from_days`, whose year
/// begins in March so that the leap day is its last).
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// Writes the last digits of `value`, with zeros before it.
fn write_decimal(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Writes a number without a leading zero. Groups count on from one start, so that as long as there
/// are numbers of this width no two of them get the same.
fn write_number(place: &mut [u8], seed: u64, group: u16) {
    let width = place.len().clamp(1, 18) as u32;
    let smallest = if width == 1 { 0 } else { 10u64.pow(width - 1) };
    let numbers = 10u64.pow(width) - smallest;
    let start = mix(seed, u64::from(width)) % numbers;
    write_decimal(place, smallest + (start + u64::from(group)) % numbers);
}

fn write_hex(place: &mut [u8], seed: u64, group: u16) {
    for (turn, digits) in place.chunks_mut(16).enumerate() {
        let mut bits = mix(seed, u64::from(group) << 32 | turn as u64);
        for digit in digits {
            *digit = b"0123456789abcdef"[(bits & 15) as usize];
            bits >>= 4;
        }
    }
}

/// SplitMix64's last step: neighbours in, strangers out.
fn mix(seed: u64, salt: u64) -> u64 {
    let mut bits = seed ^ salt.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A template of slots that stand behind each other.
    fn template(slots: &[(usize, SlotKind, u16)]) -> Template {
        let mut at = 0;
        let mut row = Vec::new();
        for &(len, kind, group) in slots {
            row.push(Slot { at: at as u32, len: len as u16, kind, group });
            at += len;
        }
        Template { body: vec![b'?'; at].into(), frames: Box::new([at as u32]), slots: row.into() }
    }

    fn filled(template: &Template, now: SystemTime, seed: u64) -> Vec<String> {
        let mut out = template.body.to_vec();
        template.fill(&mut out, now, seed);
        let of = |slot: &Slot| &out[slot.at as usize..slot.at as usize + usize::from(slot.len)];
        template.slots.iter().map(|slot| String::from_utf8_lossy(of(slot)).into_owned()).collect()
    }

    fn at(seconds: u64, nanoseconds: u32) -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds, nanoseconds)
    }

    #[test]
    fn a_time_keeps_its_width() {
        let now = at(1_787_338_102, 123_456_789);
        let times =
            [30, 26, 22, 20].map(|len| filled(&template(&[(len, SlotKind::Rfc3339, 0)]), now, 0).remove(0));
        assert_eq!(
            times,
            [
                "2026-08-21T18:48:22.123456789Z",
                "2026-08-21T18:48:22.12345Z",
                "2026-08-21T18:48:22.1Z",
                "2026-08-21T18:48:22Z",
            ]
        );
        let seconds = template(&[(10, SlotKind::UnixSeconds, 0)]);
        assert_eq!(filled(&seconds, now, 0), ["1787338102"]);
        assert_eq!(filled(&seconds, UNIX_EPOCH - Duration::from_secs(1), 0), ["0000000000"]);
    }

    #[test]
    fn a_shorter_time_is_not_before_a_longer_one() {
        let row =
            template(&[(30, SlotKind::Rfc3339, 0), (26, SlotKind::Rfc3339, 0), (30, SlotKind::Rfc3339, 0)]);
        assert_eq!(
            filled(&row, at(1_787_338_199, 999_999_999), 0),
            [
                "2026-08-21T18:49:59.999999999Z",
                "2026-08-21T18:50:00.00000Z",
                "2026-08-21T18:50:00.000000000Z"
            ]
        );
    }

    #[test]
    fn poured_in_pieces_it_is_the_same() {
        use SlotKind::{Digits, Hex, Rfc3339, UnixSeconds};
        let row = template(&[
            (30, Rfc3339, 0),
            (6, Digits, 1),
            (26, Rfc3339, 0),
            (10, UnixSeconds, 0),
            (24, Hex, 0),
        ]);
        let (now, seed) = (at(1_787_338_199, 999_999_999), 7);
        let mut whole = row.body.to_vec();
        row.fill(&mut whole, now, seed);
        for most in 1..=row.body.len() + 1 {
            let (mut pour, mut out) = (Pour::new(row.clone(), now, seed), Vec::new());
            while !pour.write(row.body.len(), most, &mut out) {}
            assert_eq!(out, whole, "{most}");
        }
    }

    #[test]
    fn every_day_has_its_date() {
        // A day in every month of four centuries, leap days and all.
        for day in (0..146_097 + 365).step_by(7).chain([59, 11_016, 47_540, 47_541]) {
            let now = at(day * 86_400, 0);
            let date = filled(&template(&[(20, SlotKind::Rfc3339, 0)]), now, 0).remove(0);
            let http = httpdate::fmt_http_date(now);
            let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
            let month = months.iter().position(|&name| name == &http[8..11]).unwrap() + 1;
            assert_eq!(date, format!("{}-{month:02}-{}T00:00:00Z", &http[12..16], &http[5..7]));
        }
    }

    #[test]
    fn one_group_has_one_number_and_two_have_two() {
        use SlotKind::{Digits, Hex};
        let row = template(&[
            (6, Digits, 0),
            (6, Digits, 1),
            (6, Digits, 0),
            (1, Digits, 0),
            (24, Hex, 0),
            (24, Hex, 0),
        ]);
        for seed in 0..500 {
            let out = filled(&row, UNIX_EPOCH, seed);
            assert_eq!(out[0], out[2]);
            assert_ne!(out[0], out[1]);
            assert!(out[..2].iter().all(|number| !number.starts_with('0')), "{out:?}");
            assert!(out[..4].iter().flat_map(|number| number.bytes()).all(|byte| byte.is_ascii_digit()));
            assert_eq!(out[4], out[5]);
            assert!(out[4].bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
            assert_eq!(out, filled(&row, UNIX_EPOCH, seed));
        }
        assert_ne!(filled(&row, UNIX_EPOCH, 1), filled(&row, UNIX_EPOCH, 2));
    }

    #[test]
    fn one_digit_groups_are_different_while_there_are_digits() {
        let ten: Vec<_> = (0..10).map(|group| (1, SlotKind::Digits, group)).collect();
        let mut digits = filled(&template(&ten), UNIX_EPOCH, 7);
        digits.sort();
        assert_eq!(digits.concat(), "0123456789");
    }
}
