//! Every field of every route: those that can change an answer, and those that cannot (RELIABILITY.md C-06, C-07).

use super::{goes_up, stage_with};
use crate::stage::*;
use serde_json::{Map, Value, json};

/// For each route: changes after which another answer could be due.
fn matters(path: &str) -> Vec<(&'static str, Value)> {
    let user = |content: &str| json!([{ "role": "user", "content": content }]);
    let tool = |a: &str, b: &str| {
        let mut properties = Map::new();
        properties.insert(a.into(), json!({ "type": "string" }));
        properties.insert(b.into(), json!({ "type": "string" }));
        json!([{ "type": "function", "function": { "name": "f", "description": "d",
            "parameters": { "type": "object", "properties": properties } } }])
    };
    let options = |key: &str, value: Value| json!({ "seed": 1, "temperature": 0, key: value });
    let native_options = || {
        vec![
            ("options", options("seed", 2.into())),
            ("options", options("temperature", 0.1.into())),
            ("options", options("num_predict", 5.into())),
            ("options", options("num_ctx", 8192.into())),
            ("options", options("top_k", 3.into())),
            ("options", options("top_p", 0.5.into())),
            ("options", options("min_p", 0.1.into())),
            ("options", options("stop", json!(["a"]))),
            ("options", options("stop", json!(["a", "b"]))),
            ("options", options("stop", json!(["b", "a"]))),
            ("options", options("repeat_penalty", 1.2.into())),
            ("options", options("seed", "1".into())),
            ("options", options("unknown_option", 1.into())),
            ("options", json!({ "seed": 1 })),
            ("options", json!({})),
            ("think", true.into()),
            ("think", false.into()),
            ("think", Value::Null),
            ("think", "low".into()),
            ("think", "high".into()),
            ("truncate", false.into()),
            ("shift", false.into()),
            ("logprobs", true.into()),
            ("top_logprobs", 3.into()),
            ("format", "json".into()),
            ("format", json!({ "type": "object", "properties": { "§1a": {}, "§2b": {} } })),
            ("format", json!({ "type": "object", "properties": { "§1b": {}, "§2a": {} } })),
            ("unknown", 1.into()),
            ("unknown", 2.into()),
        ]
    };
    let sampling = || {
        vec![
            ("seed", 2.into()),
            ("temperature", 0.5.into()),
            ("top_p", 0.5.into()),
            ("unknown", 1.into()),
            ("stop", "a".into()),
            ("stop", json!(["a", "b"])),
        ]
    };
    match path {
        "/api/chat" => {
            let mut all = native_options();
            all.extend([
                ("messages", user("Say ho")),
                ("messages", user("Say hi ")),
                ("messages", user("say hi")),
                ("messages", json!([{ "role": "system", "content": "Say hi" }])),
                ("messages", json!([{ "role": "user", "content": "Say hi", "images": ["aGk="] }])),
                ("messages", json!([{ "role": "user", "content": "Say hi", "images": ["aG8="] }])),
                (
                    "messages",
                    json!([{ "role": "user", "content": "Say" }, { "role": "user", "content": "hi" }]),
                ),
                (
                    "messages",
                    json!([{ "role": "user", "content": "hi" }, { "role": "user", "content": "Say" }]),
                ),
                ("tools", tool("§1a", "§2b")),
                ("tools", tool("§1b", "§2a")),
            ]);
            all
        }
        "/api/generate" => {
            let mut all = native_options();
            all.extend([
                ("prompt", "Say ho".into()),
                ("suffix", "the end".into()),
                ("system", "be brief".into()),
                ("template", "{{ .Prompt }}".into()),
                ("context", json!([1, 2, 3])),
                ("context", json!([1, 23])),
                ("raw", true.into()),
                ("images", json!(["aGk="])),
                ("images", json!(["aG8="])),
            ]);
            all
        }
        "/api/embed" => vec![
            ("input", "b".into()),
            ("input", "ab".into()),
            ("input", json!(["c", "a"])),
            ("input", json!(["a", "b", ""])),
            ("truncate", false.into()),
            ("dimensions", 64.into()),
            ("dimensions", 32.into()),
            ("options", json!({ "num_ctx": 64 })),
            ("unknown", 1.into()),
        ],
        "/api/embeddings" => vec![
            ("prompt", "b".into()),
            ("prompt", "a ".into()),
            ("options", json!({ "num_ctx": 64 })),
            ("unknown", 1.into()),
        ],
        "/v1/chat/completions" => {
            let mut all = sampling();
            all.extend([
                ("messages", user("Say ho")),
                ("messages", json!([{ "role": "user", "content": [{ "type": "text", "text": "Say ho" }] }])),
                (
                    "messages",
                    json!([{ "role": "user", "content": [
                        { "type": "image_url", "image_url": { "url": "data:image/png;base64,aGk=" } }] }]),
                ),
                (
                    "messages",
                    json!([{ "role": "user", "content": [
                        { "type": "image_url", "image_url": { "url": "data:image/png;base64,aG8=" } }] }]),
                ),
                ("tools", tool("§1a", "§2b")),
                ("tools", tool("§1b", "§2a")),
                ("response_format", json!({ "type": "json_object" })),
                (
                    "response_format",
                    json!({ "type": "json_schema", "json_schema": { "schema": { "a": 1 } } }),
                ),
                ("max_tokens", 5.into()),
                ("frequency_penalty", 0.5.into()),
                ("presence_penalty", 0.5.into()),
                ("reasoning_effort", "low".into()),
                ("reasoning_effort", "none".into()),
                ("reasoning", json!({ "effort": "high" })),
                ("logprobs", true.into()),
                ("top_logprobs", 2.into()),
            ]);
            all
        }
        "/v1/completions" => {
            let mut all = sampling();
            all.extend([
                ("prompt", "Say ho".into()),
                ("suffix", "the end".into()),
                ("max_tokens", 5.into()),
                ("frequency_penalty", 0.5.into()),
                ("presence_penalty", 0.5.into()),
                ("logprobs", 2.into()),
            ]);
            all
        }
        "/v1/embeddings" => vec![
            ("input", "a".into()),
            ("input", "ab".into()),
            ("input", json!(["c", "b"])),
            ("input", "".into()),
            ("dimensions", 64.into()),
            ("unknown", 1.into()),
        ],
        "/v1/responses" => vec![
            ("input", "Say ho".into()),
            ("input", user("Say ho")),
            ("instructions", "be brief".into()),
            ("tools", json!([{ "type": "function", "name": "f", "parameters": {} }])),
            ("reasoning", json!({ "effort": "low" })),
            ("text", json!({ "format": { "type": "json_schema", "schema": {} } })),
            ("max_output_tokens", 5.into()),
            ("temperature", 0.5.into()),
            ("top_p", 0.5.into()),
            ("truncation", "auto".into()),
            ("unknown", 1.into()),
        ],
        "/v1/messages" => vec![
            ("messages", user("Say ho")),
            ("system", "be brief".into()),
            ("tools", json!([{ "name": "f", "input_schema": { "type": "object" } }])),
            ("thinking", json!({ "type": "enabled", "budget_tokens": 100 })),
            ("thinking", json!({ "type": "disabled" })),
            ("output_config", json!({ "effort": "low" })),
            ("max_tokens", 5.into()),
            ("temperature", 0.5.into()),
            ("top_p", 0.5.into()),
            ("top_k", 5.into()),
            ("stop_sequences", json!(["a"])),
            ("unknown", 1.into()),
        ],
        other => panic!("no table for {other}"),
    }
}

/// For each route: changes after which the same answer is due.
fn does_not_matter(path: &str) -> Vec<(&'static str, Value)> {
    let openai = || {
        vec![
            ("user", "someone".into()),
            ("metadata", json!({ "a": 1 })),
            ("store", true.into()),
            ("service_tier", "auto".into()),
            ("prompt_cache_key", "k".into()),
            ("safety_identifier", "s".into()),
        ]
    };
    match path {
        "/api/chat" | "/api/generate" => vec![
            ("keep_alive", "10m".into()),
            ("keep_alive", 300.into()),
            ("options", json!({ "temperature": 0, "seed": 1 })),
            ("options", json!({ "temperature": 0.0, "seed": 1.0 })),
        ],
        "/api/embed" => vec![
            ("keep_alive", "10m".into()),
            ("input", json!(["a"])),
            ("input", json!(["a", "a"])),
            ("truncate", true.into()),
        ],
        "/api/embeddings" => vec![("keep_alive", "10m".into())],
        "/v1/chat/completions" => openai(),
        "/v1/completions" => vec![("user", "someone".into())],
        "/v1/embeddings" => vec![
            ("user", "someone".into()),
            ("input", json!(["b"])),
            ("input", json!(["b", "b"])),
            ("encoding_format", "base64".into()),
            ("encoding_format", "float".into()),
        ],
        "/v1/responses" => {
            vec![
                ("store", false.into()),
                ("metadata", json!({ "a": 1 })),
                ("user", "someone".into()),
                ("prompt_cache_key", "k".into()),
            ]
        }
        "/v1/messages" => vec![("metadata", json!({ "user_id": "x" }))],
        other => panic!("no table for {other}"),
    }
}

/// Field order is another text, not another question.
fn reversed(body: &Value) -> String {
    let fields = body.as_object().expect("an object");
    let texts: Vec<_> =
        fields.iter().rev().map(|(name, value)| format!("  \"{name}\" :\n\t{value} ")).collect();
    format!("\r\n{{{}}}\n", texts.join(","))
}

/// `body` as text. `serde_json` sorts keys, and order can matter: `§1` and `§2` put some first.
fn in_order(body: &Value) -> String {
    body.to_string().replace("§1", "").replace("§2", "")
}

async fn every_field_counts(path: &str) {
    let (upstream, _, route) = stage_with(path).await;
    // A shorter vector would be made of the whole one.
    let pannier = Launch::before(&upstream).set("embeddings.shorten", "off").start().await;
    let question = route.body(false);
    pannier.ask(&route.ask(false)).await.fine();
    pannier.remembered(&route.ask(false)).await;
    for (field, value) in does_not_matter(path) {
        let mut body = question.clone();
        body[field] = value;
        assert!(
            !goes_up(&upstream, &pannier, &Ask::post(path, &body)).await,
            "{path} {field} {}",
            body[field]
        );
    }
    let ask = Ask::new("POST", path).bytes(reversed(&question));
    assert!(!goes_up(&upstream, &pannier, &ask).await, "{path}: {}", reversed(&question));
    for field in [
        ("User-Agent", "x/1"),
        ("Accept", "*/*"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("Accept-Encoding", "gzip"),
    ] {
        assert!(
            !goes_up(&upstream, &pannier, &route.ask(false).with(field.0, field.1)).await,
            "{path} {field:?}"
        );
    }

    // Each change is new to the others as well: all of them go up.
    let mut seen = Vec::new();
    for (field, value) in matters(path) {
        let mut body = question.clone();
        body[field] = value;
        let text = in_order(&body);
        assert!(!seen.contains(&text), "listed twice: {text}");
        let ask = Ask::new("POST", path).bytes(text.clone());
        assert!(goes_up(&upstream, &pannier, &ask).await, "{path} {field} {text}");
        seen.push(text);
    }
    let mut body = question.clone();
    body["model"] = if path.contains("embed") { "smollm2:135m" } else { "all-minilm:l6-v2" }.into();
    assert!(goes_up(&upstream, &pannier, &Ask::post(path, &body)).await, "{path}: another model");
    assert!(!goes_up(&upstream, &pannier, &route.ask(false)).await, "{path}: still there");
}

#[tokio::test]
async fn every_field_of_chat() {
    every_field_counts("/api/chat").await;
}

#[tokio::test]
async fn every_field_of_generate() {
    every_field_counts("/api/generate").await;
}

#[tokio::test]
async fn every_field_of_embed() {
    every_field_counts("/api/embed").await;
}

#[tokio::test]
async fn every_field_of_embeddings() {
    every_field_counts("/api/embeddings").await;
}

#[tokio::test]
async fn every_field_of_openai_chat() {
    every_field_counts("/v1/chat/completions").await;
}

#[tokio::test]
async fn every_field_of_openai_completions() {
    every_field_counts("/v1/completions").await;
}

#[tokio::test]
async fn every_field_of_openai_embeddings() {
    every_field_counts("/v1/embeddings").await;
}

#[tokio::test]
async fn every_field_of_responses() {
    every_field_counts("/v1/responses").await;
}

#[tokio::test]
async fn every_field_of_messages() {
    every_field_counts("/v1/messages").await;
}

/// Numbers that only look alike (RELIABILITY.md C-08, C-09).
#[tokio::test]
async fn near_numbers_and_moved_boundaries_are_different_questions() {
    let (upstream, pannier, _) = stage_with("/api/generate").await;
    let bodies = [
        r#"{"model":"smollm2:135m","stream":false,"prompt":"ab","suffix":"c"}"#,
        r#"{"model":"smollm2:135m","stream":false,"prompt":"a","suffix":"bc"}"#,
        r#"{"model":"smollm2:135m","stream":false,"prompt":"abc"}"#,
        r#"{"model":"smollm2:135m","stream":false,"prompt":"a","options":{"seed":9007199254740992}}"#,
        r#"{"model":"smollm2:135m","stream":false,"prompt":"a","options":{"seed":9007199254740993}}"#,
        r#"{"model":"smollm2:135m","stream":false,"prompt":"a","options":{"temperature":0.1}}"#,
        r#"{"model":"smollm2:135m","stream":false,"prompt":"a","options":{"temperature":0.10000001}}"#,
        r#"{"model":"smollm2:135m","stream":false,"prompt":"é"}"#,
        "{\"model\":\"smollm2:135m\",\"stream\":false,\"prompt\":\"e\u{301}\"}",
    ];
    for body in bodies {
        assert!(goes_up(&upstream, &pannier, &Ask::new("POST", "/api/generate").bytes(body)).await, "{body}");
        pause(20).await;
    }
    // An escape is the letter that it stands for.
    let escaped = r#"{"model":"smollm2:135m","stream":false,"prompt":"\u00e9"}"#;
    assert!(!goes_up(&upstream, &pannier, &Ask::new("POST", "/api/generate").bytes(escaped)).await);
}
