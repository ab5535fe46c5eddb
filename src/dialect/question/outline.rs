//! A question field by field, for people who ask why two of them are not one.

use super::{Question, Role};
use crate::dialect::canon::{Canon, Numbers};
use crate::dialect::fields::{Object, string};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};

/// What counts in a question, and what does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// In the order of their names.
    pub counted: Vec<Counted>,
    /// Names, and why.
    pub left_out: Vec<(String, &'static str)>,
}

/// A field of the body that counts, and its parts where it has any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    pub whole: Part,
    pub parts: Vec<Part>,
    /// No field that this form is known to have.
    pub unknown: bool,
}

/// A value somewhere in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// `options.temperature`, `messages[1].content`
    pub path: String,
    /// Its beginning.
    pub shown: String,
    /// Equal where two values are the same to Pannier.
    pub digest: [u8; 32],
}

/// A place where two questions are not the same: what stands there in one and in the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub path: String,
    pub here: Option<String>,
    pub there: Option<String>,
}

/// Letters of a value that are shown.
const SHOWN: usize = 60;
/// Parts of one field that are looked at one by one, and how deep they may lie.
const MOST_PARTS: usize = 256;
const DEEPEST: usize = 8;

const EITHER_MODE: &str = "one entry answers in either mode";

/// Why a field does not count.
fn why_left_out(name: &str) -> &'static str {
    match name {
        "model" => "the model's digest counts, not its name",
        "stream" | "stream_options" => EITHER_MODE,
        "keep_alive" => "how long the model stays loaded changes no answer",
        _ => "the answer does not depend on it",
    }
}

impl Question<'_> {
    /// What this question asks, in the terms of the key of its answer; of a question of which `each_text` has a
    /// key of its own, in the terms of those.
    pub fn outline(&self, each_text: bool) -> Outline {
        let mut outline = Outline { counted: Vec::new(), left_out: Vec::new() };
        for member in &self.members {
            let why = match (member.name.as_ref(), member.role) {
                (name, Some(Role::Unkeyed)) => Some(why_left_out(name)),
                _ if member.is_absent() => Some("it says nothing"),
                ("encoding_format", Some(_)) if each_text => Some("vectors are kept as numbers"),
                ("truncate", Some(_)) if each_text && member.value != "false" => {
                    Some("a text that is too long is cut, unless that is forbidden")
                }
                _ => None,
            };
            if let Some(why) = why {
                outline.left_out.push((member.name.clone().into_owned(), why));
                continue;
            }
            let numbers = member.numbers();
            // One text is the same as a list of one.
            let listed = (each_text && member.name == "input" && member.value.starts_with('"'))
                .then(|| format!("[{}]", member.value));
            let value = listed.as_deref().unwrap_or(member.value);
            let mut whole = Part::of(member.name.clone().into_owned(), value, numbers);
            if member.role == Some(Role::Sorted) {
                let mut canon = Canon::new("sorted");
                let _ = member.write(&mut canon);
                whole.digest = canon.finish();
            }
            let mut parts = Vec::new();
            expand(&whole.path, value, numbers, 1, &mut parts);
            outline.counted.push(Counted { whole, parts, unknown: member.role.is_none() });
        }
        outline
    }
}

/// The parts of `value`, or itself where it has none that are looked at.
fn expand(path: &str, value: &str, numbers: Numbers, depth: usize, parts: &mut Vec<Part>) {
    if parts.len() >= MOST_PARTS {
        return;
    }
    let room = MOST_PARTS - parts.len();
    let object = Object::read(value).filter(|object| (1..=room).contains(&object.fields.len()));
    if let Some(object) = object.filter(|_| depth < DEEPEST) {
        for field in &object.fields {
            expand(&format!("{path}.{}", shortened(&field.key)), field.value, numbers, depth + 1, parts);
        }
        return;
    }
    let list = value.starts_with('[').then(|| serde_json::from_str::<Vec<&RawValue>>(value).ok()).flatten();
    let list = list.filter(|list| depth < DEEPEST && (1..=room).contains(&list.len()));
    let Some(list) = list else {
        parts.push(Part::of(path.to_owned(), value, numbers));
        return;
    };
    for (nth, item) in list.iter().enumerate() {
        expand(&format!("{path}[{nth}]"), item.get(), numbers, depth + 1, parts);
    }
}

/// `text`, or its beginning and how long it is.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
    }
}

impl Part {
    fn of(path: String, value: &str, numbers: Numbers) -> Self {
        let mut canon = Canon::new("part");
        // What is nested too deep was refused before.
        let _ = canon.value(value, numbers, 1);
        let shown = match string(value) {
            Some(text) => format!("{:?}", shortened(&text)),
            None => shortened(value),
        };
        Part { path, shown, digest: canon.finish() }
    }
}

impl Outline {
    /// Where `self` and `there` are not the same, and in how many places they are.
    pub fn differences(&self, there: &Outline) -> (Vec<Difference>, usize) {
        let (mut differences, mut equal) = (Vec::new(), 0);
        let names = self.counted.iter().chain(&there.counted).map(|counted| counted.whole.path.as_str());
        let all: BTreeSet<&str> = names.collect();
        for name in all {
            equal += tell_apart(name, self.counted(name), there.counted(name), &mut differences);
        }
        (differences, equal)
    }

    fn counted(&self, name: &str) -> Option<&Counted> {
        self.counted.iter().find(|counted| counted.whole.path == name)
    }
}

/// Adds what is not the same in one field; returns in how many places it is.
fn tell_apart(
    name: &str,
    here: Option<&Counted>,
    there: Option<&Counted>,
    differences: &mut Vec<Difference>,
) -> usize {
    let parts = |counted: Option<&Counted>| {
        let parts = counted.map_or(&[][..], |counted| &counted.parts);
        parts.iter().map(|part| (part.path.clone(), part.clone())).collect::<BTreeMap<_, _>>()
    };
    let (ours, theirs) = (parts(here), parts(there));
    let digest = |counted: Option<&Counted>| counted.map(|counted| counted.whole.digest);
    if digest(here) == digest(there) {
        return ours.len();
    }
    let before = differences.len();
    let mut equal = 0;
    let paths: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    for path in paths {
        let (one, other) = (ours.get(path), theirs.get(path));
        if one.map(|part| part.digest) == other.map(|part| part.digest) {
            equal += 1;
            continue;
        }
        let shown = |part: Option<&Part>| part.map(|part| part.shown.clone());
        differences.push(Difference { path: path.clone(), here: shown(one), there: shown(other) });
    }
    if differences.len() == before {
        // Every part that is looked at is the same.
        let why = |counted: Option<&Counted>| counted.map(|_| "in another order, or further in".to_owned());
        differences.push(Difference { path: name.to_owned(), here: why(here), there: why(there) });
    }
    equal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Form, outline};

    fn of(form: Form, body: &str) -> Outline {
        outline(form, body.as_bytes()).expect("an object")
    }

    fn paths(form: Form, one: &str, other: &str) -> Vec<String> {
        let (differences, _) = of(form, one).differences(&of(form, other));
        differences.into_iter().map(|difference| difference.path).collect()
    }

    #[test]
    fn what_counts_is_named_and_what_does_not_says_why() {
        let body = r#"{"stream":false,"model":"m","messages":[{"role":"user","content":"hi"}],
            "options":{"temperature":0.5,"seed":7},"new_field":[1],"keep_alive":"5m","format":""}"#;
        let outline = of(Form::Chat, body);
        let counted: Vec<_> = outline.counted.iter().map(|counted| counted.whole.path.as_str()).collect();
        assert_eq!(counted, ["messages", "new_field", "options"]);
        let parts: Vec<_> =
            outline.counted[0].parts.iter().map(|part| (part.path.as_str(), part.shown.as_str())).collect();
        assert_eq!(parts, [("messages[0].role", "\"user\""), ("messages[0].content", "\"hi\"")]);
        let unknown: Vec<_> = outline.counted.iter().map(|counted| counted.unknown).collect();
        assert_eq!(unknown, [false, true, false]);
        let left_out: Vec<_> = outline.left_out.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(left_out, ["format", "keep_alive", "model", "stream"]);
        assert_eq!(outline.left_out[3].1, EITHER_MODE);
    }

    #[test]
    fn what_is_the_same_to_the_key_is_no_difference() {
        let same = [
            (
                r#"{"prompt":"a","options":{"seed":1,"top_k":2}}"#,
                r#"{ "options":{"top_k":2.0,"seed":1},"prompt":"\u0061"}"#,
            ),
            (r#"{"prompt":"a","stream":true,"suffix":""}"#, r#"{"prompt":"a","raw":null,"model":"x"}"#),
        ];
        for (one, other) in same {
            assert!(paths(Form::Generate, one, other).is_empty(), "{one} {other}");
        }
        let texts = (r#"{"input":"a"}"#, r#"{"input":["a"],"truncate":true}"#);
        assert!(paths(Form::Embed, texts.0, texts.1).is_empty());
    }

    #[test]
    fn a_difference_is_named_by_its_place() {
        let body = |rest: &str| format!(r#"{{"messages":[{{"role":"user","content":"hi"}}]{rest}}}"#);
        let cases = [
            (r#","options":{"temperature":0}"#, r#","options":{"temperature":1}"#, "options.temperature"),
            ("", r#","options":{"seed":1}"#, "options.seed"),
            ("", r#","brand_new":true"#, "brand_new"),
            (r#","think":false"#, "", "think"),
            (r#","think":null"#, "", "think"),
            (r#","tools":[{"a":1,"b":2}]"#, r#","tools":[{"b":2,"a":1}]"#, "tools"),
            (r#","format":{"a":1.0}"#, r#","format":{"a":1}"#, "format.a"),
        ];
        for (one, other, path) in cases {
            assert_eq!(paths(Form::Chat, &body(one), &body(other)), [path], "{one} {other}");
        }
        let (differences, equal) =
            of(Form::Chat, &body(cases[0].0)).differences(&of(Form::Chat, &body(cases[0].1)));
        assert_eq!((differences[0].here.as_deref(), differences[0].there.as_deref()), (Some("0"), Some("1")));
        assert_eq!(equal, 2, "who speaks, and what he says");
    }

    #[test]
    fn what_is_long_or_deep_is_cut_and_still_told_apart() {
        let long = |last: &str| format!(r#"{{"prompt":"{}{last}"}}"#, "ä".repeat(5000));
        let (differences, _) = of(Form::Generate, &long("x")).differences(&of(Form::Generate, &long("y")));
        let shown = differences[0].here.clone().expect("it is there");
        assert!(shown.len() < 200 && shown.contains("(10001 bytes)"), "{shown}");
        let wide = |last: usize| {
            let numbers: Vec<_> = (0..5000).chain([last]).map(|n| n.to_string()).collect();
            format!(r#"{{"prompt":"a","context":[{}]}}"#, numbers.join(","))
        };
        assert_eq!(paths(Form::Generate, &wide(1), &wide(2)), ["context"]);
        let deep = |last: &str| format!(r#"{{"messages":{}{last}{}}}"#, "[".repeat(60), "]".repeat(60));
        assert_eq!(paths(Form::Chat, &deep("1"), &deep("2")), ["messages[0][0][0][0][0][0][0]"]);
    }
}
