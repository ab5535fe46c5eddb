//! Text as it stands on the wire, escapes and all: joined and cut without being read.
//!
//! What is not written anew stays as the server wrote it, letter for letter.

use super::fields;
use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{self, Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The inside of a JSON string.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Escaped<'a>(Cow<'a, str>);

/// The most bytes of text in one frame: clients that read by lines give up at 64 KiB.
pub const MOST: usize = 4 << 10;
/// About as many bytes as a token has.
const TOKEN: usize = 4;
/// However finely a text is cut, it comes to about so many frames at the most: each costs much more than a token.
const MOST_FINE: usize = 4 << 10;

/// How a text is cut into frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Grain {
    /// Into as few as may be.
    #[default]
    Coarse,
    /// Into about as many as it has tokens, as if it came from a model.
    Fine,
}

impl Grain {
    /// The most bytes of one frame, of a text of so many.
    fn most(self, len: usize) -> usize {
        match self {
            Grain::Coarse => MOST,
            Grain::Fine => (len / MOST_FINE).clamp(TOKEN, MOST),
        }
    }
}

impl<'a> Escaped<'a> {
    /// `None` for what is no string, and for one with half of a surrogate pair in it: Go writes no such
    /// escapes, and two halves in two frames would become one letter when they are joined.
    pub fn of_value(value: &'a str) -> Option<Self> {
        let inside = value.strip_prefix('"')?.strip_suffix('"')?;
        let has_half = unit_starts(inside).any(|unit| {
            let unit = unit.as_bytes();
            unit.starts_with(b"\\u")
                && matches!(unit[2..4], [b'd' | b'D', b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F'])
        });
        (!has_half).then_some(Escaped(Cow::Borrowed(inside)))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether bytes were lost on the way: what Go takes for no UTF-8 becomes U+FFFD, and the two parts
    /// of a letter that a stream has torn apart are one letter in a whole answer.
    pub fn is_torn(&self) -> bool {
        self.0.contains('\u{fffd}') || unit_starts(&self.0).any(|unit| unit.starts_with("\\ufffd"))
    }

    pub fn push(&mut self, more: &Escaped<'_>) {
        if !more.is_empty() {
            self.0.to_mut().push_str(&more.0);
        }
    }

    /// The text in pieces of at most [`MOST`] bytes, none for an empty one. Neither a letter nor an
    /// escape is cut through.
    pub fn slices(&self, grain: Grain) -> impl Iterator<Item = Escaped<'_>> {
        let mut rest = &*self.0;
        let most = grain.most(rest.len());
        std::iter::from_fn(move || {
            let (slice, after) = rest.split_at(fitting(rest, most));
            rest = after;
            (!slice.is_empty()).then_some(Escaped(Cow::Borrowed(slice)))
        })
    }

    /// What the text says; `None` where that is no Unicode.
    pub fn plain(&self) -> Option<String> {
        String::from_utf8(fields::unescape(&self.value()).into_owned()).ok()
    }

    /// With its quotes: a JSON value.
    pub fn value(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Escaped<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = <&RawValue>::deserialize(deserializer)?;
        Escaped::of_value(value.get()).ok_or_else(|| de::Error::custom("not a text"))
    }
}

impl Serialize for Escaped<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.value()).map_err(ser::Error::custom)?.serialize(serializer)
    }
}

/// `text` as a JSON value the way Ollama writes it: Go's encoder escapes what could be markup, too
/// (OLLAMA.md §1.2).
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

/// The length of the longest beginning of whole units that fits into `most` bytes; of one, where none does.
fn fitting(text: &str, most: usize) -> usize {
    let mut end = unit(text);
    while end < text.len() {
        let next = end + unit(&text[end..]);
        if next > most {
            break;
        }
        end = next;
    }
    end
}

/// From each letter or escape to the end.
fn unit_starts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let here = rest;
        rest = &rest[unit(rest)..];
        (!here.is_empty()).then_some(here)
    })
}

/// The length of the letter or the escape that a valid text begins with.
fn unit(text: &str) -> usize {
    match text.as_bytes() {
        [b'\\', b'u', ..] => 6,
        [b'\\', ..] => 2,
        _ => text.chars().next().map_or(0, char::len_utf8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn joined<'a>(slices: impl Iterator<Item = Escaped<'a>>) -> Escaped<'a> {
        slices.fold(Escaped::default(), |mut all, slice| {
            all.push(&slice);
            all
        })
    }

    #[test]
    fn names_are_escaped_as_go_does() {
        assert_eq!(
            json_text("a<b>&\"\\\n\u{2028}\u{1}é"),
            "\"a\\u003cb\\u003e\\u0026\\\"\\\\\\n\\u2028\\u0001é\""
        );
    }

    #[test]
    fn half_a_pair_is_no_text_of_ollamas() {
        for odd in [r#""\ud83d""#, r#""a\uDE00b""#, r#""\ud83d\ude00""#, "1", "null", "\""] {
            assert_eq!(Escaped::of_value(odd), None, "{odd}");
        }
        for fine in [r#""\\ud83d""#, r#""\u00d8\ud7ff\ue000""#, "\"😀\"", r#""""#] {
            assert_eq!(Escaped::of_value(fine).expect("a text").value(), fine);
        }
    }

    #[test]
    fn a_replacement_character_may_be_half_a_letter() {
        for torn in ["\"a\u{fffd}\"", r#""\ufffd""#] {
            assert!(Escaped::of_value(torn).expect("a text").is_torn(), "{torn}");
        }
        assert!(!Escaped::of_value(r#""\\ufffd \u003c""#).expect("a text").is_torn());
    }

    #[test]
    fn the_longest_slices_that_fit() {
        let text = format!("\"{}\\u003c{}\"", "x".repeat(MOST - 5), "é".repeat(MOST));
        let text = Escaped::of_value(&text).expect("a text");
        let lengths: Vec<usize> = text.slices(Grain::Coarse).map(|slice| slice.0.len()).collect();
        assert_eq!(lengths, [MOST - 5, MOST, MOST, 6]);
    }

    #[test]
    fn a_long_text_is_not_cut_to_dust() {
        for (len, frames) in [(10, 3), (TOKEN * MOST_FINE, MOST_FINE), (MOST * MOST_FINE * 2, 2 * MOST_FINE)]
        {
            let text = format!("\"{}\"", "x".repeat(len));
            let text = Escaped::of_value(&text).expect("a text");
            assert_eq!(text.slices(Grain::Fine).count(), frames, "{len}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_its_slices(text in "(?s).{0,3000}") {
            let value = json_text(&text);
            let escaped = Escaped::of_value(&value).expect("a text");
            prop_assert_eq!(escaped.plain(), Some(text));
            for (grain, most) in [(Grain::Coarse, MOST), (Grain::Fine, "\\u0000".len())] {
                for slice in escaped.slices(grain) {
                    prop_assert!((1..=most).contains(&slice.0.len()));
                    prop_assert!(slice.plain().is_some());
                }
                prop_assert_eq!(joined(escaped.slices(grain)).value(), &*value);
            }
        }
    }
}
