//! The pictures in a call's body: where they stand, and how others take their places.

use super::Form;
use super::fields::{self, Text};
use bytes::Bytes;
use memchr::memmem;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::ops::Range;

/// A picture in a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// Of the JSON string that it is.
    at: Range<usize>,
    /// Base64, perhaps within a `data:` address.
    pub text: String,
}

/// From a value to those within it.
enum Step {
    /// The members of this name.
    Member(&'static str),
    /// All of a list.
    Each,
}

use Step::{Each, Member};

/// Where a form has its pictures; those of Anthropic's are only `counted`.
fn path(form: Form, counted: bool) -> &'static [Step] {
    match form {
        Form::Messages if counted => &[Member("messages"), Each, Member("content"), Each],
        Form::Generate => &[Member("images"), Each],
        Form::Chat => &[Member("messages"), Each, Member("images"), Each],
        Form::OpenAiChat => &[Member("messages"), Each, Member("content"), Each, Member("image_url")],
        Form::Responses => &[Member("input"), Each, Member("content"), Each, Member("image_url")],
        _ => &[],
    }
}

/// How many pictures there are in a call. Holds nothing, however many there are.
pub fn count(form: Form, body: &[u8]) -> u64 {
    if !may_have_some(body) {
        return 0;
    }
    let text = Text::of(body);
    let mut number = Found::no_more_than(0, if form == Form::Messages { of_blocks } else { any });
    number.look(path(form, true), text.as_str());
    number.all
}

/// What may be a picture, or say where it is.
fn any<'b>(value: &'b str, found: &mut Found<'b>) {
    if value.starts_with(['"', '{']) {
        found.take(value);
    }
}

/// Anthropic's say what they are; what a tool has come to may have some within.
fn of_blocks<'b>(block: &'b str, found: &mut Found<'b>) {
    match has_type(block, "image") {
        true => found.take(block),
        false => {
            let mut within = Found::no_more_than(0, |block, found| {
                if has_type(block, "image") {
                    found.take(block);
                }
            });
            within.look(&[Member("content"), Each], block);
            found.all += within.all;
        }
    }
}

fn has_type(block: &str, kind: &str) -> bool {
    let mut types = Found::no_more_than(1, |value, found| found.take(value));
    types.look(&[Member("type")], block);
    types.first.first().and_then(|written| fields::string(written)).as_deref() == Some(kind)
}

/// The pictures of a call that can be read, in the order of their places; none where there are more than `most`.
pub fn find(form: Form, body: &[u8], most: usize) -> Vec<Place> {
    let Some(text) = std::str::from_utf8(body).ok().filter(|_| may_have_some(body)) else {
        return Vec::new();
    };
    let mut found = Found::no_more_than(most, |value, found| match value.starts_with('{') {
        // Where an address stands alone, or is a member of its own.
        true => url(value).into_iter().for_each(|url| found.take(url)),
        false if value.starts_with('"') => found.take(value),
        false => {}
    });
    found.look(path(form, false), text);
    if found.all > most as u64 {
        return Vec::new();
    }
    let place = |value: &str| {
        let start = value.as_ptr() as usize - text.as_ptr() as usize;
        Some(Place { at: start..start + value.len(), text: fields::string(value)? })
    };
    found.first.into_iter().filter_map(place).collect()
}

fn url(value: &str) -> Option<&str> {
    let mut urls = Found::no_more_than(1, |value, found| found.take(value));
    urls.look(&[Member("url")], value);
    urls.first.pop().filter(|url| url.starts_with('"'))
}

/// `body` with other pictures, which are base64, in some of its places.
pub fn replace(form: Form, body: &[u8], others: &[(&Place, &str)]) -> Bytes {
    let mut replaced = Vec::with_capacity(body.len());
    let mut from = 0;
    for (place, base64) in others {
        replaced.extend_from_slice(&body[from..place.at.start]);
        replaced.push(b'"');
        if matches!(form, Form::OpenAiChat | Form::Responses) {
            // Every JPEG and every PNG begins in its own way.
            let kind = if base64.starts_with("/9j/") { "jpeg" } else { "png" };
            replaced.extend_from_slice(format!("data:image/{kind};base64,").as_bytes());
        }
        replaced.extend_from_slice(base64.as_bytes());
        replaced.push(b'"');
        from = place.at.end;
    }
    replaced.extend_from_slice(&body[from..]);
    replaced.into()
}

/// `false` where there are no pictures for sure: most bodies are gone through no further.
fn may_have_some(body: &[u8]) -> bool {
    let mut middles = memchr::memchr2_iter(b'g', b'G', body);
    let is_name = |at: usize| {
        let name = at.checked_sub(3).and_then(|start| body.get(start..start + 5));
        name.is_some_and(|name| name.eq_ignore_ascii_case(b"image"))
    };
    // Its letters may be written as numbers.
    middles.any(is_name) || memmem::find(body, b"\\u00").is_some()
}

/// What stands where a path leads, in its order.
struct Found<'b> {
    all: u64,
    /// Those of them that are held.
    first: Vec<&'b str>,
    most: usize,
    /// Takes what is meant of a value at the end of the path.
    see: fn(&'b str, &mut Found<'b>),
}

impl<'b> Found<'b> {
    fn no_more_than(most: usize, see: fn(&'b str, &mut Found<'b>)) -> Self {
        Found { all: 0, first: Vec::new(), most, see }
    }

    /// Follows `path` from `value` on. What follows `value` is not looked at, as little as Go looks at it.
    fn look(&mut self, path: &'static [Step], value: &'b str) {
        if path.is_empty() {
            return;
        }
        // Where it breaks off, what stands before is what there is.
        let _ = Walk { path, found: self }.deserialize(&mut serde_json::Deserializer::from_str(value));
    }

    fn take(&mut self, value: &'b str) {
        self.all += 1;
        if self.first.len() < self.most {
            self.first.push(value);
        }
    }
}

/// From a value to what is `found` at the end of the rest of the path.
struct Walk<'f, 'b> {
    path: &'static [Step],
    found: &'f mut Found<'b>,
}

impl<'b> DeserializeSeed<'b> for Walk<'_, 'b> {
    type Value = ();

    fn deserialize<D: Deserializer<'b>>(self, json: D) -> Result<(), D::Error> {
        if !self.path.is_empty() {
            return json.deserialize_any(self);
        }
        let value = <&RawValue>::deserialize(json)?;
        (self.found.see)(value.get(), self.found);
        Ok(())
    }
}

impl<'b> Visitor<'b> for Walk<'_, 'b> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((step, path)) = self.path.split_first() else { return Ok(()) };
        let before = (self.found.all, self.found.first.len());
        while let Some(key) = map.next_key::<&RawValue>()? {
            match step {
                Member(name) if fields::folds_to(key.get(), name) => {
                    // The last of two is the one that counts.
                    self.found.all = before.0;
                    self.found.first.truncate(before.1);
                    map.next_value_seed(Walk { path, found: &mut *self.found })?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut list: A) -> Result<(), A::Error> {
        let Some((Each, path)) = self.path.split_first() else { return IgnoredAny.visit_seq(list).map(drop) };
        while list.next_element_seed(Walk { path, found: &mut *self.found })?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: &str =
        r#"{"messages":[{"role":"user","content":"image","images":["A",7]},{"Images": [ "B\n" ]}]}"#;
    const OPENAI: &str = r#"{"messages":[{"content":"an image"},{"content":[{"type":"text","text":"a"},
        {"type":"image_url","image_url":{"url":"data:image/webp;base64,A"}},{"image_url":"data:,"}]}]}"#;
    const RESPONSES: &str =
        r#"{"input":[{"content":[{"type":"input_image","image_url":"data:;base64,A"}]}]}"#;

    fn texts(form: Form, body: &str) -> Vec<String> {
        find(form, body.as_bytes(), 9).into_iter().map(|place| place.text).collect()
    }

    #[test]
    fn pictures_are_counted_wherever_they_stand() {
        const MESSAGES: &str = r#"{"messages":[{"role":"user","content":"an image"},{"role":"user","content":
            [{"type":"text","text":"a"},{"type":"image","source":{"type":"base64","data":"A"}},
            {"type":"document","source":{"type":"base64","data":"A"}},{"type":"tool_result","content":
            [{"type":"image","source":{"data":"B"}},{"type":"text","text":"image"}]}]}]}"#;
        for (form, body, number) in [
            (Form::Generate, r#"{"prompt":"a","images":["A","B"]}"#, 2),
            (Form::Generate, r#"{"prompt":"a","\u0049mages":["A"]}"#, 1),
            (Form::Chat, CHAT, 2),
            (Form::OpenAiChat, OPENAI, 2),
            (Form::Responses, RESPONSES, 1),
            (Form::Messages, MESSAGES, 2),
            (Form::Generate, r#"{"IMAGES":["A"]}"#, 1),
            (Form::Generate, r#"{"images":["A","B"],"Images":["C"]} {"images":[]}"#, 1),
            (Form::OpenAiChat, r#"{"messages":{"content":[{"image_url":"A"}]}}"#, 0),
        ] {
            assert_eq!(count(form, body.as_bytes()), number, "{body}");
        }
        let many = format!(r#"{{"messages":[{}]}}"#, [r#"{"images":["A"]}"#; 20_000].join(","));
        assert_eq!(count(Form::Chat, many.as_bytes()), 20_000);
        assert_eq!(count(Form::Generate, b"{\"prompt\":\"\xff\",\"images\":[\"A\"]}"), 1);
        for none in ["", "image", r#"{"prompt":"image"}"#, r#"{"images":[]}"#, r#"{"images":null}"#] {
            for form in Form::ALL {
                assert_eq!(count(form, none.as_bytes()), 0, "{none}");
            }
        }
    }

    #[test]
    fn each_form_has_its_pictures_somewhere_else() {
        assert_eq!(texts(Form::Generate, r#"{"prompt":"a","images":["A","B"]}"#), ["A", "B"]);
        assert_eq!(texts(Form::Chat, CHAT), ["A", "B\n"]);
        assert_eq!(texts(Form::OpenAiChat, OPENAI), ["data:image/webp;base64,A", "data:,"]);
        assert_eq!(texts(Form::Responses, RESPONSES), ["data:;base64,A"]);
        for none in ["", "{", "[]", r#"{"images":"A"}"#, r#"{"messages":{"images":["A"]}}"#] {
            for form in Form::ALL {
                assert_eq!(find(form, none.as_bytes(), 9), []);
            }
        }
        assert_eq!(texts(Form::Messages, CHAT), [""; 0]);
        assert_eq!(find(Form::Chat, CHAT.as_bytes(), 1), [], "more than are wanted");
        let many = format!(r#"{{"images":[{}"A"]}}"#, "0,".repeat(100_000));
        assert_eq!(texts(Form::Generate, &many), ["A"]);
    }

    #[test]
    fn nothing_but_the_pictures_changes() {
        let replaced = |form, body: &str, other| {
            let places = find(form, body.as_bytes(), 9);
            let others: Vec<_> = places.iter().map(|place| (place, other)).collect();
            String::from_utf8(replace(form, body.as_bytes(), &others).to_vec()).expect("text")
        };
        assert_eq!(
            replaced(Form::Chat, CHAT, "X"),
            CHAT.replace("\"A\"", "\"X\"").replace("\"B\\n\"", "\"X\"")
        );
        let expected = OPENAI.replace("data:image/webp;base64,A", "data:image/png;base64,X");
        assert_eq!(
            replaced(Form::OpenAiChat, OPENAI, "X"),
            expected.replace("data:,", "data:image/png;base64,X")
        );
        let expected = RESPONSES.replace("data:;base64,A", "data:image/jpeg;base64,/9j/X");
        assert_eq!(replaced(Form::Responses, RESPONSES, "/9j/X"), expected);
    }
}
