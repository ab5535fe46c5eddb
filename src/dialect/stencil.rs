//! Makes a [`Template`] of an answer's frames: the dialect points at values in them, the stencil says
//! which bytes of those are fresh at each replay and which are another model's name.

use crate::domain::{Slot, SlotKind, Template};
use bytes::Bytes;
use serde_json::value::RawValue;

/// Digits of one slot beyond which an id is left as it is; a `u64` holds no more for sure.
const MOST_DIGITS: usize = 18;

/// Collects the places of one answer. A method that returns `None` has found a value that is not of
/// the expected shape: the answer cannot be replayed.
#[derive(Debug)]
pub struct Stencil<'a> {
    frames: &'a [Bytes],
    /// Which of `frames` the values pointed at are in.
    current: usize,
    /// The client's own name of the model, as JSON text.
    model: String,
    places: Vec<Place>,
    /// The different numbers in ids; an index here is a slot's group.
    numbers: Vec<&'a str>,
}

/// A range of one frame.
#[derive(Debug, Clone, Copy)]
struct Place {
    frame: usize,
    at: usize,
    len: usize,
    becomes: Becomes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Becomes {
    Model,
    Fresh { kind: SlotKind, group: u16 },
}

impl<'a> Stencil<'a> {
    pub fn new(frames: &'a [Bytes], model: &str) -> Self {
        Stencil { frames, current: 0, model: json_text(model), places: Vec::new(), numbers: Vec::new() }
    }

    /// Goes through the frames one after the other.
    pub fn each_frame(&mut self, mut point: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
        let frames = self.frames;
        for (current, frame) in frames.iter().enumerate() {
            self.current = current;
            point(self, frame)?;
        }
        Some(())
    }

    /// The answer's own name of the model.
    pub fn model(&mut self, value: &'a RawValue) -> Option<()> {
        let text = value.get();
        if !text.starts_with('"') {
            return None;
        }
        if text != self.model {
            self.mark(text, Becomes::Model)?;
        }
        Some(())
    }

    /// A time such as `"2026-08-21T18:48:22.123456789Z"`.
    pub fn rfc3339(&mut self, value: &'a RawValue) -> Option<()> {
        let text = string(value)?;
        let (second, fraction) = (text.get(..19)?, text.get(19..)?.strip_suffix('Z')?);
        let shape = "0000-00-00T00:00:00".bytes();
        let as_shaped = second.bytes().zip(shape).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            _ => byte == shape,
        });
        let digits = fraction.strip_prefix('.');
        let fits = digits.map_or(fraction.is_empty(), |digits| is_number(digits) && digits.len() <= 9);
        (as_shaped && fits).then_some(())?;
        self.fresh(text, SlotKind::Rfc3339, 0)
    }

    /// A time such as `1795208693`.
    pub fn unix_seconds(&mut self, value: &'a RawValue) -> Option<()> {
        let text = value.get();
        (is_number(text) && text.len() == 10).then_some(())?;
        self.fresh(text, SlotKind::UnixSeconds, 0)
    }

    /// An id with a number in it: `chatcmpl-313`, `resp_312503`, `rs_resp_312503`, `fc_339270_0`. Equal
    /// numbers stay equal, so an id that is made of another one follows it. An id of another kind is
    /// opaque, and stays as it is.
    pub fn numbered_id(&mut self, value: &'a RawValue) -> Option<()> {
        let id = string(value)?;
        let Some(start) = id.find(|c: char| c.is_ascii_digit()) else { return Some(()) };
        let (name, rest) = id.split_at(start);
        let number = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
        let index = &rest[number.len()..];
        let known = name.ends_with(['-', '_'])
            && number.len() <= MOST_DIGITS
            && (index.is_empty() || index.strip_prefix('_').is_some_and(is_number));
        if !known {
            return Some(());
        }
        let group = self.group(number)?;
        self.fresh(number, SlotKind::Digits, group)
    }

    /// An id such as `msg_db8fb24bcf24af99e885371c`; one of another kind stays as it is.
    pub fn hex_id(&mut self, value: &'a RawValue, prefix: &str) -> Option<()> {
        let Some(digits) = string(value)?.strip_prefix(prefix) else { return Some(()) };
        let is_hex = !digits.is_empty() && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !is_hex {
            return Some(());
        }
        let group = self.group(digits)?;
        self.fresh(digits, SlotKind::Hex, group)
    }

    /// Puts the answer together.
    pub fn template(mut self) -> Option<Template> {
        self.places.sort_unstable_by_key(|place| (place.frame, place.at));
        let unchanged = self.places.iter().all(|place| place.becomes != Becomes::Model);
        let shared = match self.frames {
            [whole] if unchanged => Some(whole.clone()),
            _ => None,
        };
        let mut body = match &shared {
            Some(_) => Vec::new(),
            None => Vec::with_capacity(self.frames.iter().map(Bytes::len).sum()),
        };
        let mut written = 0;
        let mut write = |bytes: &[u8]| {
            if shared.is_none() {
                body.extend_from_slice(bytes);
            }
            let from = written;
            written += bytes.len();
            from
        };
        let mut slots = Vec::new();
        let mut ends = Vec::with_capacity(self.frames.len());
        let mut places = self.places.iter().peekable();
        for (current, frame) in self.frames.iter().enumerate() {
            let mut from = 0;
            while let Some(place) = places.next_if(|place| place.frame == current) {
                write(&frame[from..place.at]);
                from = place.at + place.len;
                match place.becomes {
                    Becomes::Model => {
                        write(self.model.as_bytes());
                    }
                    Becomes::Fresh { kind, group } => {
                        let at = u32::try_from(write(&frame[place.at..from])).ok()?;
                        slots.push(Slot { at, len: u16::try_from(place.len).ok()?, kind, group });
                    }
                }
            }
            let end = write(&frame[from..]) + frame.len() - from;
            ends.push(u32::try_from(end).ok()?);
        }
        Some(Template {
            body: shared.unwrap_or_else(|| Bytes::from(body)),
            frames: ends.into_boxed_slice(),
            slots: slots.into_boxed_slice(),
        })
    }

    fn group(&mut self, number: &'a str) -> Option<u16> {
        let known = self.numbers.iter().position(|&other| other == number);
        let index = known.unwrap_or_else(|| {
            self.numbers.push(number);
            self.numbers.len() - 1
        });
        u16::try_from(index).ok()
    }

    fn fresh(&mut self, text: &str, kind: SlotKind, group: u16) -> Option<()> {
        self.mark(text, Becomes::Fresh { kind, group })
    }

    /// `text` lies within the current frame; where it does not, there is nothing to mark.
    fn mark(&mut self, text: &str, becomes: Becomes) -> Option<()> {
        let frame = self.frames.get(self.current)?;
        let at = (text.as_ptr() as usize).checked_sub(frame.as_ptr() as usize)?;
        (at + text.len() <= frame.len()).then_some(())?;
        self.places.push(Place { frame: self.current, at, len: text.len(), becomes });
        Some(())
    }
}

/// What stands between a string's quotes, escapes and all.
fn string(value: &RawValue) -> Option<&str> {
    value.get().strip_prefix('"')?.strip_suffix('"')
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `text` as Ollama writes it: Go's encoder escapes what could be markup, too (OLLAMA.md §1.2).
pub fn json_text(text: &str) -> String {
    let plain = serde_json::Value::from(text).to_string();
    let mut escaped = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(
        value: &str,
        point: impl Fn(&mut Stencil, &'static RawValue) -> Option<()>,
    ) -> Option<Vec<(u32, u16)>> {
        // Leaked so that frame and value may be the same bytes for as long as they like.
        let frame = Bytes::from_static(value.to_owned().leak().as_bytes());
        let frames: &'static [Bytes] = Box::leak(Box::new([frame]));
        let raw: &'static RawValue = serde_json::from_slice(&frames[0]).expect("JSON");
        let mut stencil = Stencil::new(frames, "m");
        point(&mut stencil, raw)?;
        Some(stencil.template()?.slots.iter().map(|slot| (slot.at, slot.len)).collect())
    }

    #[test]
    fn a_time_is_of_one_shape() {
        let of = |value: &str| with(value, |stencil, raw| stencil.rfc3339(raw));
        assert_eq!(of(r#""2026-08-21T18:48:22.12Z""#), Some(vec![(1, 23)]));
        assert_eq!(of(r#""2026-08-21T18:48:22Z""#), Some(vec![(1, 20)]));
        for odd in [
            r#""2026-08-21T18:48:22.Z""#,
            r#""2026-08-21T18:48:22.1234567890Z""#,
            r#""2026-08-21T18:48:22+02:00""#,
            r#""2026-08-21 18:48:22Z""#,
            r#""2026-08-21T18:48:2éZ""#,
            r#""""#,
            "1795208693",
        ] {
            assert_eq!(of(odd), None, "{odd}");
        }
        let seconds = |value: &str| with(value, |stencil, raw| stencil.unix_seconds(raw));
        assert_eq!(seconds("1795208693"), Some(vec![(0, 10)]));
        assert_eq!(seconds("1795208693.5").or(seconds("17")).or(seconds("-795208693")), None);
    }

    #[test]
    fn an_opaque_id_stays() {
        let of = |value: &str| with(value, |stencil, raw| stencil.numbered_id(raw));
        assert_eq!(of(r#""chatcmpl-7""#), Some(vec![(10, 1)]));
        assert_eq!(of(r#""fc_resp_102493_0""#), Some(vec![(9, 6)]));
        for opaque in
            [r#""chatcmpl-B9MBs8Cj""#, r#""7""#, r#""fc_12_x""#, r#""resp_1234567890123456789""#, r#""""#]
        {
            assert_eq!(of(opaque), Some(vec![]), "{opaque}");
        }
        assert_eq!(of("7"), None);
        let hex = |value: &str| with(value, |stencil, raw| stencil.hex_id(raw, "msg_"));
        assert_eq!(hex(r#""msg_db8fb24bcf24""#), Some(vec![(5, 12)]));
        assert_eq!(hex(r#""msg_01XY""#), Some(vec![]));
    }

    #[test]
    fn names_are_escaped_as_go_does() {
        assert_eq!(
            json_text("a<b>&\"\\\n\u{2028}\u{1}é"),
            "\"a\\u003cb\\u003e\\u0026\\\"\\\\\\n\\u2028\\u0001é\""
        );
    }
}
