//! One way of writing for all ways of writing the same JSON, fed to a hash as it is read.
//!
//! Space and the spelling of strings and numbers do not count; order does. Expects valid JSON, as
//! `fields` hands it out, and never recurses.

use super::fields::{MAX_MEMBERS, unescape};
use crate::domain::{Error, Kind};
use std::borrow::Cow;

/// How deep a body may be nested; the outermost object is the first level.
pub const MAX_DEPTH: usize = 128;

/// Small tokens are gathered up to this many bytes, for blake3 is at its best with long pieces.
const GATHER: usize = 16 * 1024;

/// Whole numbers from here on are not all doubles: two of them may share one.
const BEYOND_DOUBLE: f64 = 9_007_199_254_740_992.0;

/// The longest that a double has to be written: sign, 17 digits, point, `e-308`.
const LONGEST_DOUBLE: usize = 24;

/// When two numbers are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// As doubles: `1`, `1.0` and `1e0` are one number. Where a double could not hold the number, as
    /// it is written.
    ByValue,
    /// As written: for what the upstream passes on as text, such as a schema.
    AsWritten,
}

/// The hash of a sequence of JSON values, and what was noticed on the way.
pub struct Canon {
    hasher: blake3::Hasher,
    gathered: Vec<u8>,
    /// An object had a key twice, or a string half of a surrogate pair: readers differ about those.
    pub odd: bool,
    /// Bytes of all strings that are values, but for base64.
    pub text_bytes: u64,
}

/// Where a walk through one value stands.
struct Walk<'a> {
    json: &'a str,
    at: usize,
    /// What is open: an object (with the number of `keys` before its own) or an array.
    open: Vec<Option<usize>>,
    /// The keys of all open objects, outermost first.
    keys: Vec<Cow<'a, [u8]>>,
    /// The next string is a key.
    key_next: bool,
}

impl Canon {
    /// `purpose` keeps hashes of different kinds apart.
    pub fn new(purpose: &str) -> Self {
        let mut canon = Canon {
            hasher: blake3::Hasher::new_derive_key("pannier 2026 call fingerprint v1"),
            gathered: Vec::with_capacity(GATHER),
            odd: false,
            text_bytes: 0,
        };
        canon.string(purpose.as_bytes());
        canon
    }

    pub fn finish(mut self) -> [u8; 32] {
        self.hasher.update(&self.gathered);
        self.gathered.clear();
        *self.hasher.finalize().as_bytes()
    }

    /// One string, already unescaped. Its length goes first, so that no two sequences run together.
    pub fn string(&mut self, bytes: &[u8]) {
        self.counted(b's', bytes);
    }

    /// What lies between belongs together.
    pub fn open(&mut self) {
        self.put(b"{");
    }

    pub fn close(&mut self) {
        self.put(b"}");
    }

    /// One whole value, which stands `depth` levels deep (1: a member of the outermost object).
    ///
    /// # Errors
    /// `BadRequest` when it is nested beyond [`MAX_DEPTH`].
    pub fn value(&mut self, json: &str, numbers: Numbers, depth: usize) -> Result<(), Error> {
        let mut walk = Walk { json, at: 0, open: Vec::new(), keys: Vec::new(), key_next: false };
        while let Some(&first) = json.as_bytes().get(walk.at) {
            match first {
                b'"' => self.string_token(&mut walk),
                b'{' | b'[' => {
                    walk.enter(first == b'{');
                    if depth + walk.open.len() > MAX_DEPTH {
                        return Err(Error::new(Kind::BadRequest, "the body is nested deeper than 128"));
                    }
                    self.put(&[first]);
                }
                b'}' | b']' => {
                    self.odd |= walk.leave();
                    self.put(&[first]);
                }
                b',' => walk.next_member(),
                b't' | b'f' | b'n' => {
                    walk.at += if first == b'f' { 5 } else { 4 };
                    self.put(&[first]);
                }
                b'-' | b'0'..=b'9' => self.number(walk.number(), numbers),
                _ => walk.at += 1,
            }
        }
        Ok(())
    }

    fn string_token<'a>(&mut self, walk: &mut Walk<'a>) {
        let contents = unescape(walk.string());
        if let Cow::Owned(unescaped) = &contents {
            self.odd |= std::str::from_utf8(unescaped).is_err();
        }
        self.string(&contents);
        if walk.key_next {
            walk.key_next = false;
            // So many keys are nobody's question: they are hashed, but not told apart.
            match walk.keys.len() < MAX_MEMBERS {
                true => walk.keys.push(contents),
                false => self.odd = true,
            }
        } else if !is_base64(&contents) {
            self.text_bytes += contents.len() as u64;
        }
    }

    fn number(&mut self, literal: &str, numbers: Numbers) {
        match by_value(literal).filter(|_| numbers == Numbers::ByValue) {
            Some(value) => {
                self.put(b"d");
                self.put(&value.to_bits().to_le_bytes());
            }
            None => self.counted(b'w', literal.as_bytes()),
        }
    }

    fn counted(&mut self, tag: u8, bytes: &[u8]) {
        self.put(&[tag]);
        self.put(&(bytes.len() as u64).to_le_bytes());
        self.put(bytes);
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.gathered.len() + bytes.len() > GATHER {
            self.hasher.update(&self.gathered);
            self.gathered.clear();
            if bytes.len() >= GATHER {
                self.hasher.update(bytes);
                return;
            }
        }
        self.gathered.extend_from_slice(bytes);
    }
}

impl<'a> Walk<'a> {
    fn enter(&mut self, object: bool) {
        self.open.push(object.then_some(self.keys.len()));
        self.key_next = object;
        self.at += 1;
    }

    /// Closes what is open, and tells whether it had one key twice. Sorting, unlike a hash table,
    /// takes no longer for keys that an enemy chose.
    fn leave(&mut self) -> bool {
        self.at += 1;
        let Some(Some(first)) = self.open.pop() else { return false };
        self.keys[first..].sort_unstable();
        let twice = self.keys[first..].windows(2).any(|pair| pair[0] == pair[1]);
        self.keys.truncate(first);
        twice
    }

    fn next_member(&mut self) {
        self.key_next = matches!(self.open.last(), Some(Some(_)));
        self.at += 1;
    }

    /// Steps over the string token that begins here.
    fn string(&mut self) -> &'a str {
        let (start, bytes) = (self.at, self.json.as_bytes());
        self.at += 1;
        while let Some(next) = memchr::memchr2(b'"', b'\\', &bytes[self.at..]) {
            self.at += next;
            if bytes[self.at] == b'"' {
                break;
            }
            self.at += 2;
        }
        self.at += 1;
        &self.json[start..self.at]
    }

    /// Steps over the number that begins here.
    fn number(&mut self) -> &'a str {
        let rest = &self.json[self.at..];
        let ends = |byte: u8| !matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
        let length = rest.bytes().position(ends).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }
}

/// The double that stands for a number, where no number that means something else shares it.
fn by_value(literal: &str) -> Option<f64> {
    if literal.len() > LONGEST_DOUBLE {
        return None;
    }
    let value: f64 = literal.parse().ok()?;
    let mantissa = literal.split(['e', 'E']).next().unwrap_or(literal);
    let vanished = value == 0.0 && mantissa.bytes().any(|digit| matches!(digit, b'1'..=b'9'));
    (value.abs() < BEYOND_DOUBLE && !vanished).then_some(value)
}

/// Whether a long string is an encoded picture or sound rather than text, judged by its beginning.
fn is_base64(contents: &[u8]) -> bool {
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=');
    contents.starts_with(b"data:") || (contents.len() > 1024 && contents[..256].iter().all(letter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn walked(json: &str) -> Canon {
        let mut canon = Canon::new("test");
        canon.value(json, Numbers::ByValue, 1).expect("not too deep");
        canon
    }

    fn hash(json: &str) -> [u8; 32] {
        walked(json).finish()
    }

    #[test]
    fn spelling_does_not_count() {
        assert_eq!(
            hash(r#"{"a":[1,true,null,"x"]}"#),
            hash(" { \"a\" : [ 1.0 ,\n true,null , \"\\u0078\" ] } ")
        );
        assert_eq!(hash("\"\\/\\u00e9\\n\""), hash("\"/é\\u000A\""));
        for one in ["1", "1.0", "1e0", "10E-1", "0.1e+1", "1.000"] {
            assert_eq!(hash(one), hash("1"), "{one}");
        }
        assert_eq!(hash("0"), hash("0.0e9"));
        assert_eq!(hash("1E5"), hash("100000"));
    }

    #[test]
    fn numbers_that_a_double_cannot_tell_apart_stay_apart() {
        let apart = ["9007199254740991", "9007199254740992", "9007199254740993", "9007199254740993.0"];
        let more =
            ["0", "-0", "1e400", "-1e400", "1e401", "1e-400", "1e-401", "123456789012345678901234567890"];
        let long = format!("1{}", "0".repeat(1000));
        let longer = format!("1{}1", "0".repeat(999));
        let all: Vec<&str> = apart.into_iter().chain(more).chain([long.as_str(), longer.as_str()]).collect();
        for (index, one) in all.iter().enumerate() {
            for other in &all[index + 1..] {
                assert_ne!(hash(one), hash(other), "{one} {other}");
            }
        }
        assert_eq!(hash("4503599627370497"), hash("4503599627370497.0"));
    }

    #[test]
    fn as_written_numbers_are_text() {
        let hash = |json| {
            let mut canon = Canon::new("test");
            canon.value(json, Numbers::AsWritten, 1).expect("not too deep");
            canon.finish()
        };
        assert_ne!(hash("{\"const\":1}"), hash("{\"const\":1.0}"));
        assert_eq!(hash("{\"const\":1}"), hash("{ \"const\": 1 }"));
    }

    #[test]
    fn different_values_differ() {
        let different = [
            r#"["ab","c"]"#,
            r#"["a","bc"]"#,
            r#"["abc"]"#,
            r#"[["ab"],"c"]"#,
            r#"[["ab","c"]]"#,
            r#"{"ab":"c"}"#,
            r#"{"a":null}"#,
            "{}",
            "[]",
            "[[]]",
            "[{}]",
            "[[],[]]",
            r#""1""#,
            "1",
            "null",
            r#""null""#,
            "true",
            "false",
            r#""""#,
            r#"[""]"#,
            r#"{"a":1,"b":2}"#,
            r#"{"b":2,"a":1}"#,
            "\"e\u{301}\"",
            "\"é\"",
            r#""\ud800""#,
            "\"\u{fffd}\"",
            r#""\ud801""#,
            r#""\u0000""#,
        ];
        for (index, one) in different.iter().enumerate() {
            for other in &different[index + 1..] {
                assert_ne!(hash(one), hash(other), "{one} {other}");
            }
        }
    }

    #[test]
    fn twice_the_same_key_is_noticed_at_any_depth() {
        for json in [r#"{"a":1,"a":2}"#, r#"[[{"b":{"a":1,"x":[{}],"\u0061":2}}]]"#, r#"{"":1,"":1}"#] {
            assert!(walked(json).odd, "{json}");
        }
        for json in
            [r#"{"a":{"a":1},"b":[{"a":1},{"a":2}]}"#, r#"{"a":1,"A":2}"#, r#"["a","a"]"#, r#"{"a":"a"}"#]
        {
            assert!(!walked(json).odd, "{json}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_odd() {
        assert!(walked(r#"["\ud800"]"#).odd && walked(r#"{"\udc00":1}"#).odd);
        assert!(!walked(r#"["\ud83d\ude00","\ufffd"]"#).odd);
    }

    #[test]
    fn depth_is_bounded_without_recursion() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let fits = |levels, depth| Canon::new("test").value(&nested(levels), Numbers::ByValue, depth).is_ok();
        assert!(fits(127, 1) && fits(126, 2) && fits(10, 1));
        assert!(!fits(128, 1) && !fits(127, 2) && !fits(10_000, 1) && !fits(1_000_000, 1));
    }

    #[test]
    fn breadth_takes_linear_time() {
        let keys: String = (0..300_000).map(|n| format!(",\"k{n}\":0")).collect();
        assert!(walked(&format!("{{{}}}", &keys[1..])).odd, "too many to be told apart");
        walked(&format!("[{}1]", "1.5,".repeat(1_000_000)));
        walked(&format!("\"{}\"", "\\n".repeat(1_000_000)));
    }

    #[test]
    fn pictures_are_not_text() {
        assert_eq!(walked(r#"{"role":"user","content":"12345"}"#).text_bytes, 9);
        assert_eq!(walked(&format!("\"{}\"", "iVBORw0KGgo".repeat(200))).text_bytes, 0);
        assert_eq!(walked("\"data:image/png;base64,AAAA\"").text_bytes, 0);
        assert_eq!(walked(&format!("\"{}\"", "word ".repeat(400))).text_bytes, 2000);
    }

    /// Any JSON of moderate size, whose objects keep the order in which they were made.
    fn json() -> impl Strategy<Value = Node> {
        let leaf = prop_oneof![
            Just(Node::Plain("null".into())),
            any::<bool>().prop_map(|b| Node::Plain(b.to_string())),
            (-(1i64 << 52)..(1i64 << 52)).prop_map(Node::Whole),
            any::<f64>()
                .prop_filter("no other way to write a whole number", |x| x.is_finite() && *x != 0.0)
                .prop_map(|x| Node::Plain(Value::from(x).to_string())),
            any::<String>().prop_map(Node::Text),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Node::List),
                prop::collection::vec((any::<String>(), inner), 0..6).prop_map(Node::Map),
            ]
        })
    }

    #[derive(Debug, Clone, PartialEq)]
    enum Node {
        Plain(String),
        Whole(i64),
        Text(String),
        List(Vec<Node>),
        Map(Vec<(String, Node)>),
    }

    /// Plain JSON.
    fn plain(node: &Node) -> String {
        let joined = |parts: Vec<String>| parts.join(",");
        match node {
            Node::Plain(text) => text.clone(),
            Node::Whole(number) => number.to_string(),
            Node::Text(text) => Value::from(text.as_str()).to_string(),
            Node::List(items) => format!("[{}]", joined(items.iter().map(plain).collect())),
            Node::Map(members) => {
                let member =
                    |(key, value): &(String, Node)| format!("{}:{}", Value::from(key.as_str()), plain(value));
                format!("{{{}}}", joined(members.iter().map(member).collect()))
            }
        }
    }

    /// The same with space between all tokens, every letter escaped and every whole number a fraction.
    fn ornate(node: &Node) -> String {
        let quoted = |text: &str| -> String {
            let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            format!("\"{units}\"")
        };
        let joined = |parts: Vec<String>| parts.join(" ,\n\t");
        match node {
            Node::Plain(text) => format!(" {text}\r"),
            Node::Whole(number) => format!("{number}.0e0"),
            Node::Text(text) => quoted(text),
            Node::List(items) => format!("[ {} ]", joined(items.iter().map(ornate).collect())),
            Node::Map(members) => {
                let member = |(key, value): &(String, Node)| format!("{} : {}", quoted(key), ornate(value));
                format!("{{ {} }}", joined(members.iter().map(member).collect()))
            }
        }
    }

    proptest! {
        #[test]
        fn any_way_of_writing_is_the_same(node in json()) {
            prop_assert_eq!(hash(&plain(&node)), hash(&ornate(&node)));
        }

        #[test]
        fn any_two_values_differ(one in json(), other in json()) {
            prop_assert_eq!(one == other, hash(&plain(&one)) == hash(&plain(&other)));
        }
    }
}
