//! The texts that an embedding is asked for.

use super::call;
use crate::dialect::Form;

fn texts(form: Form, body: &str) -> Option<std::sync::Arc<crate::domain::Texts>> {
    call(form, body).texts
}

#[test]
fn the_texts_of_a_call_are_found_where_they_stand() {
    let body = r#" {"model":"m","input" : [ "a", "b\u0061", "", "a" ],"keep_alive":"5m"} "#;
    for form in [Form::Embed, Form::OpenAiEmbed] {
        let texts = texts(form, body).expect("texts");
        let tokens: Vec<_> = texts.items.iter().map(|item| &body[item.place.clone()]).collect();
        assert_eq!(tokens, ["\"a\"", "\"b\\u0061\"", "\"\"", "\"a\""]);
        assert_eq!(&body[texts.input.clone()], "[ \"a\", \"b\\u0061\", \"\", \"a\" ]");
        assert_eq!(texts.items[0].text, texts.items[3].text);
        assert_ne!(texts.items[0].text, texts.items[1].text);
    }
    let lone = texts(Form::Embed, r#"{"model":"m","input":"ba"}"#).expect("a text");
    assert_eq!(lone.items[0].text, texts(Form::OpenAiEmbed, body).expect("texts").items[1].text);
}

#[test]
fn both_routes_ask_for_a_vector_in_one_manner() {
    let manner = |form, more: &str| {
        texts(form, &format!(r#"{{"model":"m","input":"a"{more}}}"#)).expect("texts").manner
    };
    let plain = manner(Form::Embed, "");
    for same in
        [r#","truncate":true"#, r#","truncate":null"#, r#","keep_alive":"5m""#, r#","dimensions":null"#]
    {
        assert_eq!(manner(Form::Embed, same), plain, "{same}");
    }
    for same in ["", r#","encoding_format":"base64""#, r#","user":"u""#] {
        assert_eq!(manner(Form::OpenAiEmbed, same), plain, "{same}");
    }
    let dimensions = r#","dimensions":64"#;
    assert_eq!(manner(Form::Embed, dimensions), manner(Form::OpenAiEmbed, dimensions));
    let mut seen = vec![plain, manner(Form::Embed, dimensions)];
    for (form, other) in [
        (Form::Embed, r#","truncate":false"#),
        (Form::Embed, r#","dimensions":32"#),
        (Form::Embed, r#","options":{"num_ctx":64}"#),
        (Form::OpenAiEmbed, r#","options":{"num_ctx":64}"#),
        (Form::OpenAiEmbed, r#","truncate":false"#),
        (Form::Embed, r#","unknown":1"#),
        (Form::OpenAiEmbed, r#","unknown":1"#),
    ] {
        let manner = manner(form, other);
        assert!(!seen.contains(&manner), "{form:?} {other}");
        seen.push(manner);
    }
}

#[test]
fn a_shorter_vector_is_the_beginning_of_a_whole_one() {
    let of =
        |more: &str| texts(Form::Embed, &format!(r#"{{"model":"m","input":"a"{more}}}"#)).expect("texts");
    let (dimensions, whole) = of(r#","dimensions":64"#).shortened.expect("shortened");
    assert_eq!((dimensions, whole), (64, of("").manner));
    assert!(of(r#","dimensions":0"#).shortened.is_none() && of(r#","dimensions":-1"#).shortened.is_none());
}

#[test]
fn what_ollama_refuses_has_no_texts() {
    for (form, fields) in [
        (Form::Embed, r#""input":"""#),
        (Form::Embed, r#""input":[]"#),
        (Form::Embed, r#""input":null"#),
        (Form::Embed, r#""inputs":"a""#),
        (Form::Embed, r#""input":1"#),
        (Form::Embed, r#""input":["a",1]"#),
        (Form::Embed, r#""input":["a",["b"]]"#),
        (Form::Embed, r#""input":["a",null]"#),
        (Form::Embed, r#""input":"a","dimensions":3.0"#),
        (Form::Embed, r#""input":"a","dimensions":"3""#),
        (Form::Embed, r#""input":"a","truncate":1"#),
        (Form::Embed, r#""input":["\ud800"]"#),
        (Form::Embed, r#""input":"a","keep_alive":0"#),
        (Form::Embed, r#""input":"a","x":1,"x":2"#),
        (Form::Embed, r#""prompt":"a""#),
        (Form::Embeddings, r#""prompt":"a""#),
        (Form::OpenAiEmbed, r#""input":[]"#),
        (Form::OpenAiEmbed, r#""input":[1,2]"#),
        (Form::OpenAiEmbed, r#""input":"a","encoding_format":"x""#),
        (Form::OpenAiEmbed, r#""input":"a","encoding_format":1"#),
    ] {
        assert!(texts(form, &format!(r#"{{"model":"m",{fields}}}"#)).is_none(), "{form:?} {fields}");
    }
    assert!(texts(Form::OpenAiEmbed, r#"{"model":"m","input":""}"#).is_some(), "a text like another there");
}
