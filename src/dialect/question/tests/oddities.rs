//! Bodies that readers may take in different ways, or not at all.

use super::{call, refusal};
use crate::dialect::{Form, decode};
use crate::domain::{Reason, Storable};
use bytes::Bytes;
use proptest::prelude::*;

#[test]
fn keys_are_read_as_go_reads_them() {
    let call = call(
        Form::Chat,
        "{\"MODEL\":\"m\\u00e9\",\"\u{17f}tream\":false,\"messages\":[1],\"\\u212aeep_alive\":0}",
    );
    assert_eq!(
        (call.model.as_str(), call.streamed, call.storable),
        ("mé", false, Storable::No(Reason::KeepAlive))
    );
}

#[test]
fn twins_of_what_pannier_acts_on_are_refused() {
    for (form, body, name) in [
        (Form::Chat, r#"{"model":"cheap","MODEL":"expensive"}"#, "model"),
        (Form::Chat, r#"{"model":"a","mod\u0065l":"b"}"#, "model"),
        (Form::Generate, r#"{"stream":true,"stream":true}"#, "stream"),
        (Form::Generate, "{\"stream\":true,\"\u{17f}tream\":false}", "stream"),
        (Form::Embed, "{\"keep_alive\":1,\"\u{212a}eep_alive\":0}", "keep_alive"),
        (Form::Chat, r#"{"options":{"seed":1,"SEED":2}}"#, "seed"),
        (Form::Chat, r#"{"options":{"temperature":0,"temperature":1}}"#, "temperature"),
        (Form::Chat, r#"{"options":{},"Options":{}}"#, "options"),
        (
            Form::OpenAiChat,
            r#"{"stream_options":{"include_usage":true,"Include_Usage":false}}"#,
            "include_usage",
        ),
        (Form::OpenAiChat, r#"{"seed":1,"Seed":2}"#, "seed"),
        (Form::Messages, r#"{"top_k":1,"top_K":2}"#, "top_k"),
        (Form::Responses, r#"{"input":"a","Input":"b"}"#, "input"),
    ] {
        assert_eq!(refusal(form, body), format!("the field {name} is given twice"), "{body}");
    }
}

#[test]
fn other_twins_pass_by_the_cache() {
    for (form, body) in [
        (Form::Generate, r#"{"model":"m","prompt":"a","system":"x","System":"y"}"#),
        (Form::Generate, r#"{"model":"m","prompt":"a","new":1,"new":1}"#),
        (Form::Generate, r#"{"model":"m","prompt":"a","options":{"num_ctx":1,"num_ctx":2}}"#),
        (Form::Chat, r#"{"model":"m","messages":[{"content":"a","content":"b"}]}"#),
        (Form::Chat, r#"{"model":"m","messages":[{"role":"user"}],"tools":[{"a":{"b":1,"b":2}}]}"#),
        (Form::OpenAiChat, r#"{"model":"m","messages":[{}],"metadata":{"seed":1,"Seed":1,"seed":2}}"#),
        // Ollama does not read top_k here, so nothing is decided by it.
        (Form::OpenAiChat, r#"{"model":"m","messages":[{}],"top_k":1,"top_k":2}"#),
    ] {
        let call = call(form, body);
        assert_eq!((call.model.as_str(), call.storable), ("m", Storable::No(Reason::Odd)), "{body}");
        assert_eq!(call.body, body.as_bytes());
    }
    let different = r#"{"model":"m","prompt":"a","new":1,"New":1}"#;
    assert_eq!(call(Form::Generate, different).storable, Storable::Yes);
}

#[test]
fn odd_bodies_are_passed_on_untouched() {
    let streams = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"a"}]}"#;
    for body in [
        [streams.as_bytes(), b" x"].concat(),
        [streams.as_bytes(), b"{}"].concat(),
        streams.as_bytes().to_vec().iter().map(|b| if *b == b'a' { 0xff } else { *b }).collect(),
        streams.replace("\"a\"", "\"\\ud800\"").into_bytes(),
    ] {
        let read = decode(Form::OpenAiChat, Bytes::from(body.clone())).expect("a call");
        assert_eq!(read.storable, Storable::No(Reason::Odd));
        assert_eq!((read.body.as_ref(), read.strip_usage), (body.as_slice(), false));
    }
    // A newline after the object is what every shell sends.
    assert_eq!(call(Form::OpenAiChat, &format!("{streams}\r\n\t ")).storable, Storable::Yes);
}

#[test]
fn unreadable_bodies_are_the_upstreams_to_judge() {
    let bodies = [
        "",
        " ",
        "{",
        "null",
        "[]",
        "\"a\"",
        "\u{feff}{\"model\":\"m\"}",
        "{\"a\":NaN}",
        "//\n{}",
        "{\"model\":",
    ];
    for form in Form::ALL {
        for body in bodies {
            let read = call(form, body);
            assert_eq!((read.model.as_str(), read.storable), ("", Storable::No(Reason::Unreadable)));
            assert_eq!((read.body.as_ref(), read.strip_usage), (body.as_bytes(), false));
            assert_eq!(read.streamed, matches!(form, Form::Generate | Form::Chat), "{form:?}");
        }
    }
    assert_ne!(call(Form::Chat, "{").fingerprint, call(Form::Chat, "[").fingerprint);
}

#[test]
fn a_model_may_be_called_anything() {
    let nasty = [
        "",
        "\u{0}",
        "a\u{0}b",
        "undefined",
        "\u{202e}test",
        "😍",
        "Ω≈ç√∫",
        "'; DROP TABLE t--",
        "../../etc",
        "\\",
        "\"",
        "{}",
        "\u{feff}",
        "ﬀ",
        "%00",
        "\r\nX: y",
        "Ａ",
    ];
    for name in nasty {
        let quoted = serde_json::Value::from(name).to_string();
        let chat =
            call(Form::Chat, &format!(r#"{{"model":{quoted},"messages":[{quoted}],{quoted}:{quoted}}}"#));
        assert_eq!((chat.model.as_str(), chat.storable), (name, Storable::Yes), "{name:?}");
    }
    for body in [r#"{"messages":[1]}"#, r#"{"model":null,"messages":[1]}"#, r#"{"model":5,"messages":[1]}"#] {
        assert_eq!(call(Form::Chat, body).model, "");
    }
    assert_eq!(call(Form::Chat, r#"{"model":"\ud800","messages":[1]}"#).storable, Storable::No(Reason::Odd));
}

#[test]
fn depth_is_bounded_for_every_field() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for field in ["messages", "metadata", "model", "format", "brand_new"] {
        let body = |levels| format!(r#"{{"{field}":{}}}"#, nested(levels));
        call(Form::Chat, &body(127));
        for levels in [128, 10_000, 1_000_000] {
            assert_eq!(refusal(Form::Chat, &body(levels)), "the body is nested deeper than 128");
        }
    }
    let within = |levels| format!(r#"{{"options":{{"a":{}}}}}"#, nested(levels));
    call(Form::Chat, &within(126));
    refusal(Form::Chat, &within(127));
}

#[test]
fn wide_bodies_take_linear_time() {
    let keys: String = (0..300_000).map(|n| format!(",\"k{n}\":1")).collect();
    let wide = format!("{{\"messages\":[1]{keys}}}");
    assert_eq!(call(Form::Chat, &wide).storable, Storable::No(Reason::Unreadable));
    let options = format!("{{\"messages\":[1],\"options\":{{{}}}}}", &keys[1..]);
    assert_eq!(call(Form::Chat, &options).storable, Storable::No(Reason::Odd));
    let items = "\"a\",".repeat(1_000_000);
    assert_eq!(call(Form::Embed, &format!("{{\"input\":[{items}\"a\"]}}")).estimated_prompt_tokens, 250_001);
    let key = "k".repeat(1_000_000);
    assert_eq!(call(Form::Embed, &format!("{{\"input\":\"a\",\"{key}\":1}}")).storable, Storable::Yes);
}

/// Pieces from which almost-JSON is put together.
const PIECES: [&str; 28] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    " ",
    "\"model\"",
    "\"MODEL\"",
    "\"stream\":true",
    "\"stream_options\"",
    "\"options\"",
    "{}",
    "null",
    "true",
    "0",
    "-",
    "1e9",
    "\"\\ud800\"",
    "\\u0000",
    "é",
    "\u{17f}",
    "\"messages\":[1]",
    "\"keep_alive\"",
    "\"\"",
    "\"tools\"",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for form in Form::ALL {
            let _ = decode(form, Bytes::from(body.clone()));
        }
    }

    #[test]
    fn almost_json_is_read_or_refused(pieces in prop::collection::vec(0..PIECES.len(), 0..40)) {
        let inside: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
        for body in [format!("{{{inside}}}"), inside] {
            for form in Form::ALL {
                if let Ok(call) = decode(form, Bytes::from(body.clone())) {
                    prop_assert!(call.strip_usage || call.body == body.as_bytes());
                }
            }
        }
    }

    /// serde_json agrees about every body that it can read whole, and that has no twins.
    #[test]
    fn what_is_sent_is_what_was_written(model in any::<String>(), prompt in any::<String>(), key in any::<String>()) {
        let value = serde_json::json!({ "model": model, "prompt": prompt, "stream": true, "options": { key: 1 } });
        let body = Bytes::from(value.to_string());
        let call = decode(Form::OpenAiText, body).expect("a call");
        prop_assert_eq!(&call.model, &model);
        prop_assert!(call.strip_usage);
        let mut sent: serde_json::Value = serde_json::from_slice(&call.body).expect("still JSON");
        let asked = sent.as_object_mut().and_then(|sent| sent.remove("stream_options"));
        prop_assert_eq!(asked, Some(serde_json::json!({ "include_usage": true })));
        prop_assert_eq!(sent, value);
    }
}
