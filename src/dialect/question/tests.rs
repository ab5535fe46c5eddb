//! What `decode` makes of a body, for all nine forms.

use crate::dialect::{Form, decode};
use crate::domain::{Call, Certainty, Kind, Reason, Storable};
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::HashMap;

fn call(form: Form, body: &str) -> Call {
    decode(form, Bytes::copy_from_slice(body.as_bytes())).unwrap_or_else(|error| panic!("{error}: {body}"))
}

fn refusal(form: Form, body: &str) -> String {
    let error = decode(form, Bytes::copy_from_slice(body.as_bytes())).expect_err(body);
    assert_eq!(error.kind, Kind::BadRequest);
    error.message
}

/// Every documented field of a form that changes the answer, each with two values that differ.
fn counted(form: Form) -> Vec<(&'static str, &'static str, &'static str)> {
    let native = [
        (
            "format",
            r#"{"type":"object","properties":{"a":{},"b":{}}}"#,
            r#"{"type":"object","properties":{"b":{},"a":{}}}"#,
        ),
        ("options", r#"{"seed":1,"num_ctx":2048}"#, r#"{"seed":1,"num_ctx":4096}"#),
        ("think", "true", "false"),
        ("truncate", "true", "false"),
        ("shift", "true", "false"),
        ("logprobs", "true", "false"),
        ("top_logprobs", "1", "2"),
        ("_debug_render_only", "true", "false"),
    ];
    let sampling = [
        ("max_tokens", "1", "2"),
        ("temperature", "0", "0.5"),
        ("top_p", "0.9", "0.8"),
        ("seed", "9007199254740992", "9007199254740993"),
        ("stop", r#"["a","b"]"#, r#"["b","a"]"#),
        ("frequency_penalty", "0", "1"),
        ("presence_penalty", "0", "1"),
        ("logprobs", "true", "false"),
        ("_debug_render_only", "true", "false"),
    ];
    let messages = ("messages", r#"[{"role":"user","content":"a"}]"#, r#"[{"role":"user","content":"b"}]"#);
    let tools = (
        "tools",
        r#"[{"function":{"parameters":{"properties":{"a":1,"b":2}}}}]"#,
        r#"[{"function":{"parameters":{"properties":{"b":2,"a":1}}}}]"#,
    );
    let own: &[(&str, &str, &str)] = match form {
        Form::Generate => &[
            ("prompt", r#""a""#, r#""b""#),
            ("suffix", r#""a""#, r#""b""#),
            ("system", r#""a""#, r#""b""#),
            ("template", r#""a""#, r#""b""#),
            ("context", "[1,2]", "[2,1]"),
            ("raw", "true", "false"),
            ("images", r#"["aGk="]"#, r#"["aGo="]"#),
        ],
        Form::Chat => &[messages, tools],
        Form::Embed => &[
            ("input", r#"["a","b"]"#, r#"["b","a"]"#),
            ("truncate", "true", "false"),
            ("dimensions", "1", "2"),
            ("options", r#"{"num_ctx":1}"#, r#"{"num_ctx":2}"#),
        ],
        Form::Embeddings => {
            &[("prompt", r#""a""#, r#""b""#), ("options", r#"{"num_ctx":1}"#, r#"{"num_ctx":2}"#)]
        }
        Form::OpenAiChat => &[
            messages,
            tools,
            ("response_format", r#"{"type":"json_object"}"#, r#"{"type":"text"}"#),
            ("reasoning", r#"{"effort":"low"}"#, r#"{"effort":"high"}"#),
            ("reasoning_effort", r#""low""#, r#""none""#),
            ("top_logprobs", "1", "2"),
        ],
        Form::OpenAiText => &[("prompt", r#""a""#, r#""b""#), ("suffix", r#""a""#, r#""b""#)],
        Form::OpenAiEmbed => &[
            ("input", r#""a""#, r#""b""#),
            ("dimensions", "1", "2"),
            ("encoding_format", r#""float""#, r#""base64""#),
        ],
        Form::Responses => &[
            ("input", r#""a""#, r#""b""#),
            ("instructions", r#""a""#, r#""b""#),
            tools,
            ("reasoning", r#"{"effort":"low"}"#, r#"{"effort":"high"}"#),
            ("text", r#"{"format":{"schema":{"const":1}}}"#, r#"{"format":{"schema":{"const":1.0}}}"#),
            ("max_output_tokens", "1", "2"),
            ("temperature", "0", "1"),
            ("top_p", "0", "1"),
            ("truncation", r#""auto""#, r#""disabled""#),
            ("background", "true", "false"),
        ],
        Form::Messages => &[
            messages,
            tools,
            ("system", r#""a""#, r#"[{"type":"text","text":"a"}]"#),
            ("thinking", r#"{"type":"enabled"}"#, r#"{"type":"disabled"}"#),
            ("output_config", r#"{"effort":"low"}"#, r#"{"effort":"high"}"#),
            ("max_tokens", "1", "2"),
            ("temperature", "0", "1"),
            ("top_p", "0", "1"),
            ("top_k", "1", "2"),
            ("stop_sequences", r#"["a"]"#, r#"["b"]"#),
        ],
    };
    let shared: &[_] = match form {
        Form::Generate | Form::Chat => &native,
        Form::OpenAiChat | Form::OpenAiText => &sampling,
        _ => &[],
    };
    let unknown = ("brand_new", "1", "1.0");
    own.iter().chain(shared).copied().chain([unknown]).collect()
}

/// The fields that the answer does not depend on.
fn uncounted(form: Form) -> &'static [&'static str] {
    match form {
        Form::Generate | Form::Chat | Form::Embed => &["model", "stream", "keep_alive"],
        Form::Embeddings => &["model", "keep_alive"],
        Form::OpenAiChat => &[
            "model",
            "stream",
            "stream_options",
            "user",
            "metadata",
            "store",
            "service_tier",
            "prompt_cache_key",
            "safety_identifier",
        ],
        Form::OpenAiText => &["model", "stream", "stream_options", "user"],
        Form::OpenAiEmbed => &["model", "user"],
        Form::Responses => &["model", "stream", "store", "metadata", "user", "include", "prompt_cache_key"],
        Form::Messages => &["model", "stream", "metadata"],
    }
}

fn object<'a>(members: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let members: Vec<String> = members.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

#[test]
fn every_field_that_changes_the_answer_changes_the_fingerprint() {
    let mut seen = HashMap::new();
    for form in Form::ALL {
        let fields = counted(form);
        let mut bodies = vec![object(fields.iter().map(|(key, one, _)| (*key, *one)))];
        for changed in 0..fields.len() {
            bodies.push(object(
                fields
                    .iter()
                    .enumerate()
                    .map(|(i, (key, one, other))| (*key, if i == changed { *other } else { *one })),
            ));
            bodies.push(object(
                fields
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| *i != changed)
                    .map(|(_, (key, one, _))| (*key, *one)),
            ));
        }
        for body in bodies {
            let before = seen.insert(call(form, &body).fingerprint, (form, body.clone()));
            assert_eq!(before, None, "the same as {form:?} {body}");
        }
    }
}

#[test]
fn what_the_answer_does_not_depend_on_leaves_the_fingerprint_alone() {
    for form in Form::ALL {
        let fields = counted(form);
        let base = call(form, &object(fields.iter().map(|(key, one, _)| (*key, *one)))).fingerprint;
        let turned = call(form, &object(fields.iter().rev().map(|(key, one, _)| (*key, *one)))).fingerprint;
        assert_eq!(base, turned, "{form:?}: the order of fields counts");
        for name in uncounted(form) {
            for value in [r#""a""#, "true", "null", r#"{"a":[1]}"#, "5"] {
                let body = object(fields.iter().map(|(key, one, _)| (*key, *one)).chain([(*name, value)]));
                assert_eq!(call(form, &body).fingerprint, base, "{form:?}: {name} counts");
            }
        }
    }
}

#[test]
fn ways_of_writing_do_not_count() {
    let plain = r#"{"model":"m","messages":[{"role":"user","content":"é"}],"options":{"seed":1,"temperature":0},"shift":true}"#;
    let fingerprint = call(Form::Chat, plain).fingerprint;
    for same in [
        "\n{ \"Shift\" : true , \"options\" : { \"temperature\" : 0.0, \"seed\" : 1e0 },\r\n\t\"MESSAGES\":[ {\"role\" :\"user\", \"content\":\"\\u00E9\"} ] ,\"model\":\"other\"} \n",
        r#"{"model":"m","messages":[{"role":"user","content":"é"}],"options":{"seed":1,"temperature":0},"\u0073hift":true,"tools":null,"format":""}"#,
    ] {
        assert_eq!(call(Form::Chat, same).fingerprint, fingerprint, "{same}");
    }
    for other in [
        r#"{"messages":[{"content":"é","role":"user"}],"options":{"seed":1,"temperature":0},"shift":true}"#,
        r#"{"messages":[{"role":"user","content":"é"}],"options":{"Seed":1,"temperature":0},"shift":true}"#,
        r#"{"messages":[{"role":"user","content":"é"}],"options":{"seed":1,"temperature":-0},"shift":true}"#,
        r#"{"messages":[{"role":"user","content":"é"}],"options":{"seed":"1","temperature":0},"shift":true}"#,
    ] {
        assert_ne!(call(Form::Chat, other).fingerprint, fingerprint, "{other}");
    }
}

#[test]
fn empty_is_absent_only_where_ollama_takes_it_so() {
    let of = |more: &str| call(Form::Generate, &format!(r#"{{"model":"m","prompt":"a"{more}}}"#)).fingerprint;
    for same in
        [r#","system":"""#, r#","template":null"#, r#","suffix":"""#, r#","format":"""#, r#","raw":null"#]
    {
        assert_eq!(of(same), of(""), "{same}");
    }
    let thinks = [
        "",
        r#","think":null"#,
        r#","think":false"#,
        r#","think":true"#,
        r#","think":"high""#,
        r#","think":"low""#,
    ];
    let apart = thinks.iter().map(|more| of(more).0).collect::<std::collections::HashSet<_>>();
    assert_eq!(apart.len(), thinks.len());
    assert_ne!(of(r#","brand_new":null"#), of(""));
    assert_ne!(of(r#","system":" ""#), of(""));
}

#[test]
fn fields_of_one_form_do_not_answer_for_another() {
    let body = r#"{"model":"m","prompt":"a","input":"a"}"#;
    let all: std::collections::HashSet<_> =
        Form::ALL.iter().map(|form| call(*form, body).fingerprint.0).collect();
    assert_eq!(all.len(), Form::ALL.len());
}

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
fn usage_is_asked_for_with_yes_or_no() {
    let body = |asked: &str| {
        format!(r#"{{"model":"m","messages":[{{}}],"stream_options":{{"x":1,"Include_Usage":{asked}}}}}"#)
    };
    for asked in ["true", "false", "null"] {
        assert_eq!(call(Form::OpenAiChat, &body(asked)).storable, Storable::Yes, "{asked}");
    }
    // The upstream refuses these: they must not get the answer of one that it takes.
    for asked in ["1", "\"true\"", "[]", "{}"] {
        assert_eq!(call(Form::OpenAiChat, &body(asked)).storable, Storable::No(Reason::Odd), "{asked}");
    }
}

#[test]
fn a_call_says_whether_it_brings_tools() {
    for form in [Form::Chat, Form::OpenAiChat, Form::Responses, Form::Messages] {
        let offers = |tools: &str| call(form, &format!(r#"{{"model":"m"{tools}}}"#)).offers_tools;
        assert!(offers(r#","tools":[{"type":"function"}]"#), "{form:?}");
        for none in ["", r#","tools":null"#, r#","tools":[]"#, r#","tools":[ ]"#] {
            assert!(!offers(none), "{form:?} {none}");
        }
    }
    // No tools here: what has this name is a stranger.
    assert!(!call(Form::Generate, r#"{"model":"m","tools":[{}]}"#).offers_tools);
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
fn streams_by_default_only_where_ollama_does() {
    for form in Form::ALL {
        let read = |stream: &str| {
            call(form, &format!(r#"{{"model":"m","messages":[1],"prompt":"a","input":"a"{stream}}}"#))
                .streamed
        };
        let embeds = matches!(form, Form::Embed | Form::Embeddings | Form::OpenAiEmbed);
        let default = matches!(form, Form::Generate | Form::Chat);
        assert_eq!(read(""), default, "{form:?}");
        assert_eq!(read(r#","stream":null"#), default, "{form:?}");
        assert_eq!(read(r#","stream":true"#), !embeds, "{form:?}");
        assert!(!read(r#","stream":false"#), "{form:?}");
    }
}

#[test]
fn certainty_is_what_the_call_asks_for() {
    use Certainty::{Exact, Greedy, Sampled, Seeded};
    for (form, fields, certainty) in [
        (Form::Chat, r#""options":{"temperature":0}"#, Greedy),
        (Form::Chat, r#""options":{"temperature":-0.0,"seed":1}"#, Greedy),
        (Form::Chat, r#""options":{"top_k":1}"#, Greedy),
        (Form::Chat, r#""options":{"seed":0,"temperature":0.7}"#, Seeded),
        (Form::Chat, r#""options":{"seed":-1}"#, Sampled),
        (Form::Chat, r#""options":{"Temperature":0}"#, Sampled),
        (Form::Chat, r#""options":null"#, Sampled),
        (Form::Chat, r#""temperature":0,"seed":1"#, Sampled),
        (Form::Generate, r#""options":{"temperature":0.01}"#, Sampled),
        (Form::OpenAiChat, r#""temperature":0"#, Greedy),
        (Form::OpenAiChat, r#""Temperature":0"#, Greedy),
        (Form::OpenAiChat, r#""top_k":1"#, Sampled),
        (Form::OpenAiChat, r#""seed":5"#, Seeded),
        (Form::OpenAiChat, r#""options":{"seed":5}"#, Sampled),
        (Form::OpenAiText, r#""seed":5,"temperature":null"#, Seeded),
        (Form::Responses, r#""seed":5"#, Sampled),
        (Form::Responses, r#""temperature":0.0"#, Greedy),
        (Form::Messages, r#""top_k":1"#, Greedy),
        (Form::Messages, r#""seed":1"#, Sampled),
        (Form::Embed, r#""input":"a""#, Exact),
        (Form::Embeddings, r#""prompt":"a""#, Exact),
        (Form::OpenAiEmbed, r#""input":"a""#, Exact),
    ] {
        assert_eq!(call(form, &format!("{{{fields}}}")).certainty, certainty, "{form:?} {fields}");
    }
}

#[test]
fn some_answers_are_never_kept() {
    for (form, fields, reason) in [
        (Form::Generate, r#""prompt":"""#, Reason::Load),
        (Form::Generate, r#""keep_alive":0"#, Reason::Load),
        (Form::Chat, r#""messages":[]"#, Reason::Load),
        (Form::Chat, r#""messages":[ ]"#, Reason::Load),
        (Form::Chat, r#""messages":null"#, Reason::Load),
        (Form::Embed, r#""input":"""#, Reason::Load),
        (Form::Embed, r#""input":[]"#, Reason::Load),
        (Form::Embed, r#""truncate":true"#, Reason::Load),
        (Form::Embeddings, r#""prompt":"""#, Reason::Load),
        (Form::OpenAiText, r#""prompt":"""#, Reason::Load),
        (Form::Responses, r#""input":[]"#, Reason::Load),
        (Form::Generate, r#""prompt":"a","keep_alive":0"#, Reason::KeepAlive),
        (Form::Chat, r#""messages":[1],"keep_alive":-1"#, Reason::KeepAlive),
        (Form::Chat, r#""messages":[1],"keep_alive":0.5"#, Reason::KeepAlive),
        (Form::Embed, r#""input":"a","keep_alive":"0s""#, Reason::KeepAlive),
        (Form::Embed, r#""input":"a","keep_alive":"0""#, Reason::KeepAlive),
        (Form::Embeddings, r#""prompt":"a","keep_alive":"-5m""#, Reason::KeepAlive),
        (Form::Chat, r#""messages":[1],"_debug_render_only":true"#, Reason::Debug),
        (Form::OpenAiChat, r#""messages":[1],"_debug_render_only":true"#, Reason::Debug),
        (
            Form::Responses,
            r#""input":"a","tools":[{"type":"function"},{"type":"web_search"}]"#,
            Reason::WebSearch,
        ),
        (
            Form::Messages,
            r#""messages":[1],"tools":[{"Type":"web_search_20250305","name":"w"}]"#,
            Reason::WebSearch,
        ),
        (Form::Chat, r#""messages":[1],"model":"gpt-oss:120b-cloud""#, Reason::Cloud),
        (Form::Chat, r#""messages":[1],"model":"qwen3:Cloud ""#, Reason::Cloud),
        (Form::Messages, r#""messages":[1],"model":"a/b:cloud""#, Reason::Cloud),
    ] {
        assert_eq!(call(form, &format!("{{{fields}}}")).storable, Storable::No(reason), "{form:?} {fields}");
    }
    for (form, fields) in [
        (Form::Chat, r#""messages":[1],"keep_alive":1"#),
        (Form::Chat, r#""messages":[1],"keep_alive":"5m""#),
        (Form::Chat, r#""messages":[1],"keep_alive":null"#),
        (Form::Chat, r#""messages":[1],"_debug_render_only":false"#),
        (Form::Chat, r#""messages":[1],"tools":[{"type":"web_search"}]"#),
        (Form::Chat, r#""messages":[1],"model":"cloud""#),
        (Form::Embed, r#""input":["",""]"#),
        (Form::OpenAiEmbed, r#""input":"""#),
        (Form::OpenAiChat, r#""messages":[1],"keep_alive":0"#),
        (Form::Responses, r#""input":"","tools":[{"type":"function"}]"#),
        (Form::Messages, r#""messages":[1],"tools":"web_search""#),
    ] {
        assert_eq!(call(form, &format!("{{{fields}}}")).storable, Storable::Yes, "{form:?} {fields}");
    }
}

#[test]
fn streams_are_asked_for_usage() {
    let ask = r#""include_usage":true"#;
    for (before, after) in [
        (r#"{"stream":true}"#, format!(r#"{{"stream_options":{{{ask}}},"stream":true}}"#)),
        ("\n { \"stream\":true}\n", format!("\n {{\"stream_options\":{{{ask}}}, \"stream\":true}}\n")),
        (
            r#"{"stream":true,"stream_options":null}"#,
            format!(r#"{{"stream":true,"stream_options":{{{ask}}}}}"#),
        ),
        (
            r#"{"stream":true,"stream_options":{}}"#,
            format!(r#"{{"stream":true,"stream_options":{{{ask}}}}}"#),
        ),
        (
            r#"{"stream":true,"Stream_Options":{ "x":1}}"#,
            format!(r#"{{"stream":true,"Stream_Options":{{{ask}, "x":1}}}}"#),
        ),
        (
            r#"{"stream_options":{"x":1,"Include_Usage": false },"stream":true}"#,
            r#"{"stream_options":{"x":1,"Include_Usage": true },"stream":true}"#.into(),
        ),
        (
            r#"{"stream_options":{"include_usage":null},"stream":true}"#,
            r#"{"stream_options":{"include_usage":true},"stream":true}"#.into(),
        ),
    ] {
        for form in [Form::OpenAiChat, Form::OpenAiText] {
            let read = call(form, before);
            assert_eq!((read.body.as_ref(), read.strip_usage), (after.as_bytes(), true), "{before}");
            let again = call(form, &after);
            assert_eq!((again.body.as_ref(), again.strip_usage), (after.as_bytes(), false), "{after}");
            assert_eq!(again.fingerprint, read.fingerprint);
        }
    }
    for untouched in [
        r#"{"stream":false}"#,
        r#"{"messages":[]}"#,
        r#"{"stream":"true"}"#,
        r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
        r#"{"stream":true,"stream_options":{"include_usage":"yes"}}"#,
        r#"{"stream":true,"stream_options":5}"#,
        r#"{"stream":true,"stream_options":[]}"#,
    ] {
        let read = call(Form::OpenAiChat, untouched);
        assert_eq!((read.body.as_ref(), read.strip_usage), (untouched.as_bytes(), false));
    }
    for form in [Form::Chat, Form::Responses, Form::Messages, Form::OpenAiEmbed] {
        assert!(!call(form, r#"{"stream":true}"#).strip_usage, "{form:?}");
    }
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
