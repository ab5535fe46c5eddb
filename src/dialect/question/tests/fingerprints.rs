//! What makes two bodies one question.

use super::call;
use crate::dialect::Form;
use std::collections::HashMap;

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
        Form::Transcription => &[],
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
        Form::Transcription => &[],
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
