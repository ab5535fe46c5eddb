//! What is asked, in either dress.

use super::*;
use serde_json::{Value as Json, json};

fn read(view: View, body: &Json) -> Result<Look, Error> {
    Look::read(view, Some(b"application/json"), "", &Bytes::from(body.to_string()), 3)
}

fn form(parts: &[(&str, &str)]) -> Bytes {
    let part = |(head, content): &(&str, &str)| {
        format!("--x\r\nContent-Disposition: form-data; name={head}\r\n\r\n{content}\r\n")
    };
    format!("{}--x--\r\n", parts.iter().map(part).collect::<String>()).into()
}

fn read_form(query: &str, parts: &[(&str, &str)]) -> Result<Look, Error> {
    Look::read(View::Analyze, Some(b"multipart/form-data; boundary=x"), query, &form(parts), 3)
}

/// The call for a picture `P`.
fn call(look: &Look) -> Json {
    serde_json::from_slice(&look.call("m", "P")).expect("JSON")
}

fn texts(look: &Look) -> Vec<&str> {
    look.films
        .iter()
        .map(|film| match film {
            Film::Text(text) => text.as_str(),
            Film::Bytes(bytes) => std::str::from_utf8(bytes).expect("text"),
        })
        .collect()
}

#[test]
fn a_question_becomes_a_call_of_generate() {
    let asked = json!({
        "image": "QQ==", "prompt": "what \"is\" it?", "model": "llava", "temperature": 0.5, "max_tokens": 7,
        "stream": true, "detail_level": null, "whatever": [1],
    });
    let look = read(View::Analyze, &asked).expect("a question");
    assert_eq!(
        (look.model.as_deref(), look.streamed, look.is_list, texts(&look)),
        (Some("llava"), true, false, vec!["QQ=="])
    );
    assert_eq!(
        call(&look),
        json!({
            "model": "m", "images": ["P"], "stream": true, "prompt": "what \"is\" it?",
            "options": { "temperature": 0.5, "num_predict": 7 },
        })
    );
}

#[test]
fn each_view_has_words_of_its_own() {
    let prompt = |view, detail: Option<&str>| {
        let look = read(view, &json!({ "image": "QQ==", "detail_level": detail, "prompt": " " }))
            .expect("a question");
        call(&look)["prompt"].as_str().expect("a prompt").to_owned()
    };
    let details =
        [Some("brief"), Some("normal"), Some("detailed")].map(|detail| prompt(View::Caption, detail));
    assert_eq!(details[1], prompt(View::Caption, None));
    let mut all = details.to_vec();
    all.extend([prompt(View::Analyze, None), prompt(View::Ocr, None)]);
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 5);
    let ocr = read(View::Ocr, &json!({ "image": "QQ==" })).expect("a question");
    assert_eq!(call(&ocr)["options"], json!({ "temperature": 0 }), "nothing is made up");
    assert_eq!(
        call(&read(View::Caption, &json!({ "image": "QQ==" })).expect("a question"))["options"],
        json!({})
    );
}

#[test]
fn several_pictures_are_a_list() {
    let look = read(View::Ocr, &json!({ "images": ["QQ==", "Qg=="] })).expect("a question");
    assert!(look.is_list && texts(&look) == ["QQ==", "Qg=="]);
    assert!(read(View::Ocr, &json!({ "images": ["QQ=="] })).expect("a question").is_list);
}

#[test]
fn a_form_asks_the_same() {
    let parts = [
        ("\"prompt\"", "what?"),
        ("\"file\"; filename=\"../a.png\"", "AAA"),
        ("\"model\"", "llava"),
        ("\"max_tokens\"", " 7"),
        ("\"stream\"", "false"),
    ];
    let look = read_form("prompt=not+this&model=nor%20this", &parts).expect("a question");
    assert_eq!((look.model.as_deref(), look.is_list, texts(&look)), (Some("llava"), false, vec!["AAA"]));
    assert_eq!(look.films, [Film::Bytes(Bytes::from_static(b"AAA"))]);
    assert_eq!(
        (&call(&look)["prompt"], &call(&look)["options"]),
        (&json!("what?"), &json!({ "num_predict": 7 }))
    );
    let look = read_form("prompt=what+is%20it&model=llava", &[("file", "AAA"), ("image", "QQ==")])
        .expect("a question");
    assert_eq!((call(&look)["prompt"].as_str(), look.model.as_deref()), (Some("what is it"), Some("llava")));
    assert!(look.is_list);
    assert_eq!(look.films[1], Film::Text("QQ==".into()), "a field without a file's name is base64");
}

#[test]
fn what_is_no_question_is_refused() {
    for (body, kind) in [
        (json!([]), Kind::BadRequest),
        (json!({}), Kind::BadRequest),
        (json!({ "image": null }), Kind::BadRequest),
        (json!({ "image": 7 }), Kind::BadRequest),
        (json!({ "image": ["QQ=="] }), Kind::BadRequest),
        (json!({ "images": "QQ==" }), Kind::BadRequest),
        (json!({ "images": [] }), Kind::BadRequest),
        (json!({ "images": ["QQ==", null] }), Kind::BadRequest),
        (json!({ "image": "QQ==", "images": ["QQ=="] }), Kind::BadRequest),
        (json!({ "images": ["QQ=="], "stream": true }), Kind::BadRequest),
        (json!({ "images": ["QQ==", "QQ==", "QQ==", "QQ=="] }), Kind::TooLarge),
        (json!({ "image": "QQ==", "prompt": 7 }), Kind::BadRequest),
        (json!({ "image": "QQ==", "prompt": "a", "Prompt": "b" }), Kind::BadRequest),
        (json!({ "image": "QQ==", "temperature": -1 }), Kind::BadRequest),
        (json!({ "image": "QQ==", "temperature": "hot" }), Kind::BadRequest),
        (json!({ "image": "QQ==", "max_tokens": 0.5 }), Kind::BadRequest),
        (json!({ "image": "QQ==", "max_tokens": 0 }), Kind::BadRequest),
        (json!({ "image": "QQ==", "detail_level": "some" }), Kind::BadRequest),
        (json!({ "image": "QQ==", "stream": "yes" }), Kind::BadRequest),
    ] {
        assert_eq!(read(View::Analyze, &body).expect_err("a refusal").kind, kind, "{body}");
    }
    let raw = |kind: &[u8], body: &'static [u8]| {
        let read = Look::read(View::Analyze, Some(kind), "", &Bytes::from_static(body), 3);
        read.expect_err("a refusal").kind
    };
    assert_eq!(raw(b"application/json", b"{\"image\":\"\\ud800\"}"), Kind::BadRequest);
    assert_eq!(raw(b"application/json", b"{\"image\":\"\xff\"}"), Kind::BadRequest);
    assert_eq!(raw(b"multipart/form-data", b"--x--"), Kind::BadRequest);
    assert_eq!(raw(b"multipart/form-data; boundary=x", b"--x--\r\n"), Kind::BadRequest);
    let many: Vec<_> = (0..4).map(|_| ("file", "A")).collect();
    assert_eq!(read_form("", &many).expect_err("a refusal").kind, Kind::TooLarge);
    let endless: Vec<_> = (0..10_000).map(|_| ("a", "b")).collect();
    assert_eq!(read_form("", &endless).expect_err("a refusal").kind, Kind::TooLarge);
}
