//! The members of one JSON object, read the way Go's `encoding/json` reads them.
//!
//! Never judges: a text that is no JSON object is `None`, and the upstream says what it thinks of it.

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// A body as text. Like Go, every byte that is no UTF-8 becomes one U+FFFD.
pub struct Text<'a>(Cow<'a, str>);

/// One member, in the place where it was written.
pub struct Field<'a> {
    /// Unescaped and otherwise as written.
    pub key: Cow<'a, str>,
    /// Set where it differs from `key`.
    folded: Option<String>,
    /// The raw JSON of the value, without space around it: a slice of the text that was read.
    pub value: &'a str,
}

/// The first JSON value of a text, which is an object.
pub struct Object<'a> {
    /// In the order of the text, twins included.
    pub fields: Vec<Field<'a>>,
    /// Something besides space follows the object; Go ignores it.
    pub trailing: bool,
    /// A key has half of a surrogate pair in it, which became U+FFFD in `key`.
    pub lossy_keys: bool,
}

impl<'a> Text<'a> {
    pub fn of(body: &'a [u8]) -> Self {
        match std::str::from_utf8(body) {
            Ok(text) => Text(Cow::Borrowed(text)),
            Err(_) => Text(Cow::Owned(replaced(body, |_| true))),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the text is the body, byte for byte.
    pub fn is_exact(&self) -> bool {
        matches!(self.0, Cow::Borrowed(_))
    }
}

impl<'a> Field<'a> {
    /// The key as Go compares it with the name of a struct's field.
    pub fn folded(&self) -> &str {
        self.folded.as_deref().unwrap_or(&self.key)
    }
}

impl<'a> Object<'a> {
    /// `None` for what is no JSON or does not begin with an object (a byte order mark included).
    pub fn read(text: &'a str) -> Option<Self> {
        let mut json = serde_json::Deserializer::from_str(text);
        let members = json.deserialize_map(Members).ok()?;
        let mut lossy_keys = false;
        let fields = members
            .into_iter()
            .map(|(key, value)| {
                let (key, whole) = key_text(key.get());
                lossy_keys |= !whole;
                Field { folded: fold(&key), key, value: value.get() }
            })
            .collect();
        Some(Object { fields, trailing: json.end().is_err(), lossy_keys })
    }

    /// The raw value under exactly this key, as for a Go map; the last one wins, and `null` is `None`.
    pub fn exact(&self, key: &str) -> Option<&'a str> {
        self.fields
            .iter()
            .rev()
            .find(|field| field.key == key)
            .map(|field| field.value)
            .filter(|v| *v != "null")
    }

    /// The first of `names` that more than one key folds to.
    pub fn twin(&self, names: &[&'static str]) -> Option<&'static str> {
        let count = |name: &str| self.fields.iter().filter(|field| field.folded() == name).count();
        names.iter().copied().find(|name| count(name) > 1)
    }
}

/// An object with more members than this is not read: no question has so many, and each costs many times its
/// own size.
pub const MAX_MEMBERS: usize = 10_000;

/// Collects raw keys and values. `RawValue` skips a value without recursion, however deep it is.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(&'de RawValue, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            if members.len() == MAX_MEMBERS {
                return Err(serde::de::Error::custom("too many members"));
            }
            members.push(member);
        }
        Ok(members)
    }
}

/// The values of a list; `None` where it is none, or has more than `most`.
pub fn elements(list: &str, most: usize) -> Option<Vec<&str>> {
    let mut reader = serde_json::Deserializer::from_str(list);
    let elements = reader.deserialize_seq(Elements(most)).ok()?;
    reader.end().ok().map(|()| elements)
}

struct Elements(usize);

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element::<&RawValue>()? {
            if elements.len() == self.0 {
                return Err(serde::de::Error::custom("too many elements"));
            }
            elements.push(element.get());
        }
        Ok(elements)
    }
}

/// Unescapes a key, and tells whether that lost nothing.
fn key_text(token: &str) -> (Cow<'_, str>, bool) {
    match unescape(token) {
        Cow::Borrowed(_) => (Cow::Borrowed(&token[1..token.len() - 1]), true),
        Cow::Owned(bytes) => match String::from_utf8(bytes) {
            Ok(key) => (Cow::Owned(key), true),
            Err(lone) => (Cow::Owned(without_lone(lone.as_bytes())), false),
        },
    }
}

/// WTF-8 as text. Like Go, every lone half of a pair, which is three bytes, becomes one U+FFFD.
fn without_lone(wtf8: &[u8]) -> String {
    replaced(wtf8, |byte| byte == 0xed)
}

fn replaced(bytes: &[u8], counts: fn(u8) -> bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(
            chunk.invalid().iter().filter(|byte| counts(**byte)).map(|_| char::REPLACEMENT_CHARACTER),
        );
    }
    text
}

/// Whether Go takes a key, as it is written, for the field `name` of a struct.
pub fn folds_to(token: &str, name: &str) -> bool {
    let (key, _) = key_text(token);
    fold(&key).as_deref().unwrap_or(&key) == name
}

/// Go folds ASCII case, and the two letters outside of ASCII whose fold lies within: U+017F is `s` and
/// U+212A is `k`. `None` where that changes nothing.
fn fold(key: &str) -> Option<String> {
    let folded = |letter: char| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().any(|letter| folded(letter) != letter).then(|| key.chars().map(folded).collect())
}

/// The contents of a valid JSON string token (quotes included), unescaped. Half of a surrogate pair
/// stays apart from U+FFFD: it comes as WTF-8, which is not valid UTF-8.
pub fn unescape(token: &str) -> Cow<'_, [u8]> {
    let inside = &token.as_bytes()[1..token.len() - 1];
    if memchr::memchr(b'\\', inside).is_none() {
        return Cow::Borrowed(inside);
    }
    match serde_json::Deserializer::from_str(token).deserialize_bytes(Contents) {
        Ok(bytes) => Cow::Owned(bytes),
        Err(_) => Cow::Borrowed(inside),
    }
}

struct Contents;

impl Visitor<'_> for Contents {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

/// A raw value that is a string, unescaped; a lone half of a surrogate pair is replaced.
pub fn string(value: &str) -> Option<String> {
    value.starts_with('"').then(|| without_lone(&unescape(value)))
}

/// A raw value that is a number, as Go's `float64`.
pub fn number(value: &str) -> Option<f64> {
    value.starts_with(|first: char| first == '-' || first.is_ascii_digit()).then(|| value.parse().ok())?
}

/// A raw value that is `true` or `false`.
pub fn flag(value: &str) -> Option<bool> {
    match value {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// Whether a raw value is an empty string or an empty array.
pub fn is_empty(value: &str) -> bool {
    value == "\"\"" || value.strip_prefix('[').is_some_and(|rest| rest.trim_start().starts_with(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<(String, String)> {
        let object = Object::read(text).expect("an object");
        object.fields.iter().map(|f| (f.key.to_string(), f.folded().to_string())).collect()
    }

    #[test]
    fn keys_fold_as_go_folds_them() {
        let folded = |key: &str| keys(&format!("{{\"{key}\":1}}"))[0].1.clone();
        assert_eq!(folded("MODEL"), "model");
        assert_eq!(folded("\u{17f}tream"), "stream");
        assert_eq!(folded("\\u212aeep_alive"), "keep_alive");
        assert_eq!(folded("mod\\u0065l"), "model");
        // Unicode case folding at large is not Go's: these stay what they are.
        assert_eq!(folded("\u{130}d"), "\u{130}d");
        assert_eq!(folded("MÖDEL"), "mÖdel");
    }

    #[test]
    fn the_exact_key_is_kept_beside_the_folded_one() {
        assert_eq!(keys(r#"{"Top_K":1,"x":2}"#)[0], ("Top_K".into(), "top_k".into()));
    }

    #[test]
    fn values_are_slices_of_the_text() {
        let text = " {\"a\" :  [1, 2] , \"b\":\"x\"} ";
        let object = Object::read(text).expect("an object");
        let offset = object.fields[0].value.as_ptr() as usize - text.as_ptr() as usize;
        assert_eq!((object.fields[0].value, &text[offset..offset + 6]), ("[1, 2]", "[1, 2]"));
        assert!(!object.trailing);
    }

    #[test]
    fn only_the_first_value_counts() {
        for (text, trailing) in [("{}", false), ("{} \r\n\t", false), ("{}x", true), ("{}{\"a\":1}", true)] {
            assert_eq!(Object::read(text).expect("an object").trailing, trailing, "{text}");
        }
    }

    #[test]
    fn what_is_no_object_is_left_to_the_upstream() {
        for text in
            ["", "null", "[]", "\"a\"", "\u{feff}{}", "{\"a\":NaN}", "{/**/}", "{'a':1}", "{\"a\":01}"]
        {
            assert!(Object::read(text).is_none(), "{text}");
        }
        for text in ["{\"a\":1,}", "{\"a\"", "{\"a\":\"\u{1}\"}", "{\"a\":\"\\x\"}", "{\"a\":+1}", "{1:2}"] {
            assert!(Object::read(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_lone_surrogate_is_not_a_replacement_character() {
        assert_ne!(unescape(r#""\ud800""#), unescape("\"\u{fffd}\""));
        assert_ne!(unescape(r#""\ud800""#), unescape(r#""\ud801""#));
        assert_eq!(unescape(r#""\ud83d\ude00""#).as_ref(), "😀".as_bytes());
        assert!(Object::read(r#"{"\ud800":1}"#).expect("an object").lossy_keys);
        assert!(!Object::read(r#"{"\u00e9":1}"#).expect("an object").lossy_keys);
    }

    /// Checked against Go 1.26's `encoding/json`.
    #[test]
    fn what_is_no_unicode_is_replaced_as_go_replaces_it() {
        assert_eq!(string(r#""a\ud800b""#).as_deref(), Some("a\u{fffd}b"));
        assert_eq!(string(r#""\udc00\ud83d\ude00\ud800""#).as_deref(), Some("\u{fffd}😀\u{fffd}"));
        let text = Text::of(b"\"a\xe2\x82b\xff\"");
        assert_eq!((text.as_str(), text.is_exact()), ("\"a\u{fffd}\u{fffd}b\u{fffd}\"", false));
        assert!(Text::of("é".as_bytes()).is_exact());
    }

    #[test]
    fn depth_and_breadth_do_not_hurt() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(Object::read(&deep).expect("an object").fields.len(), 1);
        let wide = |members: usize| {
            let text: String = (0..members).map(|n| format!(",\"k{n}\":{n}")).collect();
            format!("{{{}}}", &text[1..])
        };
        assert_eq!(Object::read(&wide(MAX_MEMBERS)).expect("an object").fields.len(), MAX_MEMBERS);
        assert!(Object::read(&wide(MAX_MEMBERS + 1)).is_none(), "too wide to be read");
    }

    #[test]
    fn scalars() {
        assert_eq!(string(r#""a\nb""#).as_deref(), Some("a\nb"));
        assert_eq!(string("1"), None);
        assert_eq!(
            (number("-0.5"), number("1e3"), number("\"1\""), number("null")),
            (Some(-0.5), Some(1000.0), None, None)
        );
        assert_eq!((flag("true"), flag("false"), flag("1")), (Some(true), Some(false), None));
        assert!(is_empty("\"\"") && is_empty("[]") && is_empty("[ \n]"));
        assert!(!is_empty("\" \"") && !is_empty("[1]") && !is_empty("{}"));
    }
}
