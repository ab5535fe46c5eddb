//! What a body asks for: its mode, its usage, its tools, how sure an answer it wants and whether it may be kept.

use super::call;
use crate::dialect::Form;
use crate::domain::{Certainty, Reason, Storable};

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
