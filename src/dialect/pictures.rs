//! The pictures in a call's body: where they stand, and how others take their places.

use super::Form;
use super::fields::{self, MAX_MEMBERS, Object};
use bytes::Bytes;
use memchr::memmem;
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

/// Where a form has its pictures.
fn path(form: Form) -> &'static [Step] {
    match form {
        Form::Generate => &[Member("images"), Each],
        Form::Chat => &[Member("messages"), Each, Member("images"), Each],
        Form::OpenAiChat => &[Member("messages"), Each, Member("content"), Each, Member("image_url")],
        Form::Responses => &[Member("input"), Each, Member("content"), Each, Member("image_url")],
        _ => &[],
    }
}

/// How many pictures there are in a call whose fields have these values.
pub fn count<'a>(form: Form, field: impl Fn(&str) -> Option<&'a str>) -> u64 {
    let path = match form {
        Form::Messages => &[Member("messages"), Each, Member("content"), Each, Member("source")],
        form => path(form),
    };
    let Some((Member(first), rest)) = path.split_first() else { return 0 };
    let value =
        field(first).filter(|value| *first == "images" || memmem::find(value.as_bytes(), b"image").is_some());
    let found = value.map(|value| walk(vec![value], rest)).unwrap_or_default();
    found.iter().filter(|value| value.starts_with(['"', '{'])).count() as u64
}

/// The pictures of a call that can be read, in the order of their places; none where there are more than `most`.
pub fn find(form: Form, body: &[u8], most: usize) -> Vec<Place> {
    let path = path(form);
    let text = std::str::from_utf8(body).ok().filter(|_| !path.is_empty());
    let Some(text) = text.filter(|text| memmem::find(text.as_bytes(), b"image").is_some()) else {
        return Vec::new();
    };
    let found = walk(vec![text], path);
    // Where an address stands alone, or is a member of its own.
    let found = found.into_iter().flat_map(|value| match value.starts_with('{') {
        true => Member("url").go(value),
        false => vec![value],
    });
    let place = |value: &str| {
        let start = value.as_ptr() as usize - text.as_ptr() as usize;
        Some(Place { at: start..start + value.len(), text: fields::string(value)? })
    };
    let mut places: Vec<Place> = found.filter_map(place).take(most.saturating_add(1)).collect();
    if places.len() > most {
        return Vec::new();
    }
    places.sort_by_key(|place| place.at.start);
    places
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

/// Where these steps lead from `values`.
fn walk<'a>(values: Vec<&'a str>, path: &[Step]) -> Vec<&'a str> {
    path.iter().fold(values, |values, step| values.into_iter().flat_map(|value| step.go(value)).collect())
}

impl Step {
    fn go<'a>(&self, value: &'a str) -> Vec<&'a str> {
        match self {
            Each => fields::elements(value, MAX_MEMBERS).unwrap_or_default(),
            Member(name) => {
                let fields = Object::read(value).map(|object| object.fields).unwrap_or_default();
                fields.into_iter().filter(|field| field.folded() == *name).map(|field| field.value).collect()
            }
        }
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

    fn number(form: Form, body: &str) -> u64 {
        let fields = Object::read(body).expect("an object").fields;
        count(form, |name| fields.iter().find(|field| field.folded() == name).map(|field| field.value))
    }

    #[test]
    fn pictures_are_counted_wherever_they_stand() {
        const MESSAGES: &str = r#"{"messages":[{"role":"user","content":"an image"},{"role":"user","content":
            [{"type":"text","text":"a"},{"type":"image","source":{"type":"base64","data":"A"}}]}]}"#;
        assert_eq!(number(Form::Generate, r#"{"prompt":"a","images":["A","B"]}"#), 2);
        assert_eq!(number(Form::Chat, CHAT), 2);
        assert_eq!(number(Form::OpenAiChat, OPENAI), 2);
        assert_eq!(number(Form::Responses, RESPONSES), 1);
        assert_eq!(number(Form::Messages, MESSAGES), 1);
        for none in
            [r#"{"prompt":"image"}"#, r#"{"images":[]}"#, r#"{"images":null}"#, r#"{"messages":"image"}"#]
        {
            for form in Form::ALL {
                assert_eq!(number(form, none), 0, "{none}");
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
        let endless = format!(r#"{{"images":[{}"A"]}}"#, "0,".repeat(MAX_MEMBERS));
        assert_eq!(texts(Form::Generate, &endless), [""; 0]);
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
