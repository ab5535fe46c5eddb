//! Reading without touching: fields as Go reads them, packed bodies, usage asked for and taken out again.

use crate::stage::*;
use serde_json::{Value, json};
use std::io::Read;

/// A stage where `/api/chat` answers, and its question.
async fn chat_stage() -> (Upstream, Pannier, Route) {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let pannier = Pannier::start(&upstream).await;
    (upstream, pannier, chat)
}

#[tokio::test]
async fn field_names_are_read_the_way_go_reads_them() {
    let (upstream, pannier, chat) = chat_stage().await;
    let plain = chat.body(false).to_string();
    pannier.ask(&chat.ask(false)).await.fine();
    pannier.remembered(&chat.ask(false)).await;
    let twins = [
        ("\"model\"", "\"Model\""),
        ("\"model\"", "\"MODEL\""),
        ("\"messages\"", "\"Messages\""),
        ("\"messages\"", "\"me\u{17f}sages\""),
        ("\"stream\"", "\"\u{17f}tream\""),
        ("\"model\"", "\"mod\\u0065l\""),
    ];
    for (field, twin) in twins {
        assert!(plain.contains(field));
        let ask = Ask::new("POST", chat.path).bytes(plain.replace(field, twin));
        let reply = pannier.remembered(&ask).await;
        assert_eq!(reply.json()["model"], "smollm2:135m", "{twin}");
    }
    assert_eq!(upstream.count(chat.path), 1, "all of them are one question");
    // .NET's clients write names so: the model is known, and it is a stream.
    upstream.always(chat.path, chat.acts(true));
    let ask = Ask::new("POST", chat.path).bytes(r#"{"Model":"smollm2:135m","Messages":[],"Stream":true}"#);
    pannier.ask(&ask).await.fine();
    let labels = [("model", "smollm2:135m"), ("stream", "true")];
    pannier.counts("pannier_llm_requests_total", &labels, 1.0).await;
}

#[tokio::test]
async fn two_keys_for_one_field_are_refused() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let bodies = [
        r#"{"model":"cheap","MODEL":"dear","messages":[]}"#,
        r#"{"model":"cheap","model":"dear","messages":[]}"#,
        r#"{"model":"cheap","mod\u0065l":"dear","messages":[]}"#,
        "{\"model\":\"m\",\"stream\":true,\"\u{17f}tream\":false,\"messages\":[]}",
        r#"{"model":"m","options":{"seed":1,"Seed":2},"messages":[]}"#,
    ];
    for body in bodies {
        let reply = pannier.ask(&Ask::new("POST", "/api/chat").bytes(body)).await;
        assert_eq!((reply.status(), reply.code()), (400, Some("bad_request")), "{body}");
        assert!(reply.json()["error"].is_string());
    }
    let twice = r#"{"model":"m","messages":[],"max_tokens":5,"model":"n"}"#;
    let reply = pannier.ask(&Ask::new("POST", "/v1/chat/completions").bytes(twice)).await;
    assert_eq!(
        (reply.status(), reply.json()["error"]["type"].as_str()),
        (400, Some("invalid_request_error"))
    );
    let reply = pannier.ask(&Ask::new("POST", "/v1/messages").bytes(twice)).await;
    assert_eq!(
        (reply.status(), reply.json()["error"]["type"].as_str()),
        (400, Some("invalid_request_error"))
    );
    assert_eq!(upstream.strangers().len(), 0, "nothing went up");
}

/// Ollama judges what is odd; Pannier passes it, and keeps nothing of it.
#[tokio::test]
async fn what_is_odd_passes_and_is_not_kept() {
    let (upstream, pannier, chat) = chat_stage().await;
    let bodies: [&[u8]; 7] = [
        b"",
        b"not json",
        b"{\"model\":\"smollm2:135m\",\"messages\":[],\"stream\":false",
        b"{\"model\":\"smollm2:135m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"stream\":false} trailing",
        b"{\"model\":\"smollm2:135m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\xff\"}],\"stream\":false}",
        b"{\"model\":\"smollm2:135m\",\"messages\":[{\"role\":\"user\",\"role\":\"system\",\"content\":\"a\"}],\"stream\":false}",
        b"[1,2,3]",
    ];
    for body in bodies {
        let ask = Ask::new("POST", chat.path).bytes(body);
        for _ in 0..2 {
            let before = upstream.count(chat.path);
            pannier.ask(&ask).await.fine();
            assert_eq!(upstream.count(chat.path), before + 1, "{}", String::from_utf8_lossy(body));
            assert_eq!(upstream.visit(chat.path, before).await.body(), body);
            pause(20).await;
        }
    }
}

#[tokio::test]
async fn depth_is_bounded_where_it_is_read() {
    let (upstream, pannier, chat) = chat_stage().await;
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!("{{\"model\":\"smollm2:135m\",\"messages\":[],\"stream\":false,\"x\":{open}{close}}}")
    };
    let reply = pannier.ask(&Ask::new("POST", chat.path).bytes(nested(100))).await;
    assert_eq!(reply.status(), 200);
    for depth in [200, 10_000, 1_000_000] {
        let reply = pannier.ask(&Ask::new("POST", chat.path).bytes(nested(depth))).await;
        assert_eq!((reply.status(), reply.code()), (400, Some("bad_request")), "depth {depth}");
    }
    assert_eq!(upstream.count(chat.path), 1);
}

#[tokio::test]
async fn zstd_bodies_are_read_and_forwarded_as_they_came() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for path in ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages"]
    {
        let route = route(path);
        upstream.always(path, route.acts(false));
        let body = route.body(false).to_string();
        let packed = zstd::encode_all(body.as_bytes(), 3).expect("pack");
        let ask = Ask::new("POST", path).with("Content-Encoding", "zstd").bytes(packed.clone());
        assert_eq!(pannier.ask(&ask).await.fine().body(), route.answer, "{path}");
        let visit = upstream.visit(path, 0).await;
        assert_eq!(visit.body(), packed, "{path}");
        assert_eq!(visit.field("content-encoding"), Some("zstd"));
        assert!(
            pannier.remembered(&route.ask(false)).await.is_hit(),
            "{path}: the plain body is the same question"
        );
        assert!(pannier.remembered(&ask).await.is_hit(), "{path}");
        assert_eq!(upstream.count(path), 1);
    }
    pannier.counts("pannier_llm_tokens_total", &[("model", "smollm2:135m"), ("type", "input")], 44.0).await;
}

#[tokio::test]
async fn packed_bombs_and_garbage_do_no_harm() {
    let upstream = Upstream::start().await;
    let chat = route("/v1/chat/completions");
    upstream.always(chat.path, json(400, "{}"));
    let pannier = Pannier::start(&upstream).await;
    pannier.ask(&chat.ask(false)).await;
    let before = pannier.resident();
    let bomb = zstd::encode_all(std::io::repeat(b' ').take(512 << 20), 3).expect("pack");
    assert!(bomb.len() < 1 << 20);
    let mut huge_window = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8];
    huge_window.extend([0; 32]);
    for (what, body) in
        [("a bomb", bomb), ("garbage", b"no zstd".to_vec()), ("a window of 2 GiB", huge_window)]
    {
        let ask = Ask::new("POST", chat.path).with("Content-Encoding", "zstd").bytes(body);
        let reply = pannier.ask(&ask).await;
        assert!([400, 413, 415].contains(&reply.status()), "{what}: {}", reply.status());
    }
    let after = pannier.resident();
    assert!(after < before + (96 << 20), "{} MiB more", (after - before) >> 20);
}

type Frames = Vec<Vec<u8>>;

/// Both OpenAI streams: what the upstream sends when asked for usage, and what the client must see who
/// did not ask for it.
fn openai_streams() -> [(&'static str, Frames, Frames); 2] {
    let with_usage = Recording::openai_stream_with_usage().frames();
    let mut without = with_usage.clone();
    without.remove(with_usage.len() - 2);
    [
        ("/v1/chat/completions", with_usage, without),
        ("/v1/completions", text_frames(true), text_frames(false)),
    ]
}

#[tokio::test]
async fn usage_is_asked_for_and_taken_out_again() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for (path, sent, wanted) in openai_streams() {
        upstream.always(path, sse(&sent));
        let mut body = route(path).body(true);
        body.as_object_mut().expect("an object").remove("stream_options");
        let ask = Ask::post(path, &body);
        let reply = pannier.ask(&ask).await.fine();
        let visit = upstream.visit(path, 0).await;
        let mut asked: Value = serde_json::from_slice(&visit.body()).expect("JSON goes up");
        assert_eq!(asked["stream_options"]["include_usage"], true, "{path}");
        let length: usize = visit.field("content-length").expect("a length").parse().expect("a number");
        assert_eq!(length, visit.body().len());
        asked.as_object_mut().expect("an object").remove("stream_options");
        assert_eq!(asked, body, "{path}: nothing else was changed");
        assert_eq!(reply.text(), String::from_utf8(wanted.concat()).expect("text"), "{path}");
        // A chunk of what is left is what the upstream had sent as one.
        assert_eq!(reply.pieces.len(), wanted.len(), "{path}");
        let again = pannier.remembered(&ask).await;
        assert!(!again.text().contains("usage"), "{path}: {}", again.text());
        assert!(again.text().ends_with("data: [DONE]\n\n"));
    }
    let samples =
        pannier.counts("pannier_llm_tokens_total", &[("source", "upstream"), ("type", "input")], 22.0).await;
    assert_eq!(samples.sum("pannier_llm_tokens_total", &[("source", "upstream"), ("type", "output")]), 32.0);
    assert_eq!(samples.sum("pannier_llm_tokens_total", &[("source", "estimated")]), 0.0);
}

/// A stream cut at any byte loses no frame and no boundary.
#[tokio::test]
async fn usage_is_taken_out_wherever_the_stream_is_cut() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for (path, sent, wanted) in openai_streams() {
        let bytes = sent.concat();
        for size in [1, 7, 100, 1000, bytes.len()] {
            let cuts: Vec<_> = bytes.chunks(size).map(<[u8]>::to_vec).collect();
            upstream.always(path, sse(&cuts));
            let mut body = route(path).body(true);
            body.as_object_mut().expect("an object").remove("stream_options");
            let ask = Ask::post(path, &body).with("Cache-Control", "no-store");
            let reply = pannier.ask(&ask).await.fine();
            assert_eq!(reply.body(), wanted.concat(), "{path} in pieces of {size}");
            assert!(reply.pieces.iter().all(|piece| !piece.is_empty()));
        }
    }
}

#[tokio::test]
async fn a_client_that_asked_for_usage_gets_it_untouched() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for (path, sent, _) in openai_streams() {
        upstream.always(path, sse(&sent));
        let body = format!(
            "{{\"stream\": true ,\"stream_options\":{{\"include_usage\":true,\"x\":1}},\"model\":\"smollm2:135m\",{}}}",
            if path.contains("chat") {
                "\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]"
            } else {
                "\"prompt\":\"a\""
            },
        );
        let ask = Ask::new("POST", path).bytes(body.clone());
        let reply = pannier.ask(&ask).await.fine();
        assert_eq!(reply.body(), sent.concat(), "{path}");
        assert_eq!(upstream.visit(path, 0).await.body(), body.as_bytes(), "{path}");
        let again = pannier.remembered(&ask).await;
        assert!(again.text().contains("\"total_tokens\":27"), "{path}");
    }
}

/// One who asked and one who did not may share an answer's making, never its bytes.
#[tokio::test]
async fn who_asked_for_usage_and_who_did_not_are_told_apart() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for (path, sent, plain) in openai_streams() {
        upstream.on(path, move |visit| {
            let asked: Value = serde_json::from_slice(&visit.body()).expect("JSON goes up");
            sse(if asked["stream_options"]["include_usage"] == true { &sent } else { &plain })
        });
        let with = route(path).body(true);
        let mut without = with.clone();
        without.as_object_mut().expect("an object").remove("stream_options");
        let mut refused = with.clone();
        refused["stream_options"]["include_usage"] = false.into();
        for _ in 0..2 {
            for (body, wants) in [(&with, true), (&without, false), (&refused, false)] {
                let text = pannier.ask(&Ask::post(path, body)).await.fine().text();
                assert_eq!(text.contains("\"total_tokens\":27"), wants, "{path} {}", body["stream_options"]);
                pause(30).await;
            }
        }
    }
}

/// An upstream that knows no `include_usage` sends none: the client's stream is whole, the count an estimate.
#[tokio::test]
async fn where_no_usage_comes_it_is_estimated() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let frames = Recording::openai_stream().frames();
    upstream.always("/v1/chat/completions", sse(&frames));
    let body =
        json!({ "model": "smollm2:135m", "stream": true, "messages": [{ "role": "user", "content": "a" }] });
    let reply = pannier.ask(&Ask::post("/v1/chat/completions", &body)).await.fine();
    assert_eq!(reply.body(), frames.concat());
    // One token a chunk with text in it.
    let labels = [("source", "estimated"), ("type", "output")];
    pannier.counts("pannier_llm_tokens_total", &labels, 16.0).await;
}

#[tokio::test]
async fn tokens_are_the_upstreams_own_figures() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let (mut prompt, mut completion) = (0, 0);
    for route in routes() {
        for &streamed in route.modes() {
            upstream.always(route.path, route.acts(streamed));
            pannier.ask(&route.ask_apart(streamed)).await.fine();
            prompt += route.prompt_tokens;
            completion += route.completion_tokens;
        }
    }
    let input = [("source", "upstream"), ("type", "input")];
    let samples = pannier.counts("pannier_llm_tokens_total", &input, prompt as f64).await;
    let output = [("source", "upstream"), ("type", "output")];
    assert_eq!(samples.sum("pannier_llm_tokens_total", &output), completion as f64);
    // Only the legacy route tells nothing.
    let estimated = samples.sum("pannier_llm_tokens_total", &[("source", "estimated"), ("type", "input")]);
    assert!((1.0..10.0).contains(&estimated), "{estimated}");
    assert_eq!(samples.sum("pannier_llm_implausible_usage_total", &[]), 0.0, "recorded ones are believed");
}

/// L-16: what an upstream says of its tokens is held against what passed.
#[tokio::test]
async fn counts_that_cannot_be_are_counted() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let line = |text: &str, done: &str| {
        let message = format!(r#"{{"role":"assistant","content":"{text}"}}"#);
        format!(r#"{{"model":"smollm2:135m","created_at":"","message":{message},"done":{done}}}"#) + "\n"
    };
    let told = |prompt: u64, completion: u64| {
        let figures = format!(
            r#"true,"done_reason":"stop","prompt_eval_count":{prompt},"eval_count":{completion},"total_duration":9"#
        );
        let lines = (0..20).map(|_| line("a", "false")).chain([line("", &figures)]);
        ndjson(&lines.map(String::into_bytes).collect::<Vec<_>>())
    };
    let mut odd = 0.0;
    let cases = [(20, 21, 0.0), (20, 3, 1.0), (20, 1_000_000, 1.0), (9_000_000, 20, 1.0), (20, 17, 0.0)];
    for (number, (prompt, completion, is_odd)) in cases.into_iter().enumerate() {
        upstream.always("/api/chat", told(prompt, completion));
        let body = json!({ "model": "smollm2:135m", "messages": [{ "role": "user", "content": format!("{number}") }] });
        pannier.ask(&Ask::post("/api/chat", &body)).await.fine();
        odd += is_odd;
        let name = "pannier_upstream_requests_total";
        pannier.counts(name, &[("code", "200")], (number + 1) as f64).await;
        pannier.counts("pannier_llm_implausible_usage_total", &[], odd).await;
    }
}

#[tokio::test]
async fn the_counts_of_newer_ollamas_are_read_and_left_in() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let cases = [
        (
            "/api/chat",
            r#"{"model":"smollm2:135m","created_at":"2026-11-20T21:04:43.7Z","message":{"role":"assistant","content":"a"},"done":true,"done_reason":"stop","total_duration":9000000,"load_duration":1000000,"prompt_eval_count":100,"prompt_eval_cached_count":90,"prompt_eval_duration":2000000,"eval_count":7,"eval_duration":4000000}"#,
        ),
        (
            "/v1/chat/completions",
            r#"{"id":"chatcmpl-1","object":"chat.completion","created":1795208692,"model":"smollm2:135m","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":100,"completion_tokens":7,"total_tokens":107,"prompt_tokens_details":{"cached_tokens":90},"completion_tokens_details":{"reasoning_tokens":3}}}"#,
        ),
        // Anthropic leaves the cached ones out of `input_tokens`.
        (
            "/v1/messages",
            r#"{"id":"msg_db8fb24bcf24af99e885371c","type":"message","role":"assistant","model":"smollm2:135m","content":[{"type":"text","text":"a"}],"stop_reason":"end_turn","usage":{"input_tokens":10,"cache_read_input_tokens":90,"output_tokens":7}}"#,
        ),
    ];
    for (number, (path, answer)) in cases.into_iter().enumerate() {
        upstream.always(path, json(200, answer));
        let body = json!({ "model": "smollm2:135m", "stream": false, "max_tokens": 9, "messages": [{ "role": "user", "content": "a" }] });
        assert_eq!(pannier.ask(&Ask::post(path, &body)).await.fine().text(), answer);
        let so_far = (number + 1) as f64;
        let samples =
            pannier.counts("pannier_llm_tokens_total", &[("type", "cached_input")], 90.0 * so_far).await;
        assert_eq!(samples.sum("pannier_llm_tokens_total", &[("type", "input")]), 100.0 * so_far, "{path}");
        assert_eq!(samples.sum("pannier_llm_tokens_total", &[("type", "output")]), 7.0 * so_far, "{path}");
    }
    let samples = pannier.metrics().await;
    assert_eq!(samples.sum("pannier_llm_tokens_total", &[("type", "reasoning")]), 3.0);
    // 2 ms and 4 ms, in seconds.
    let phase = |phase| samples.sum("pannier_upstream_duration_seconds_sum", &[("phase", phase)]);
    assert!((phase("prompt_eval") - 0.002).abs() < 1e-9 && (phase("eval") - 0.004).abs() < 1e-9);
}

#[tokio::test]
async fn why_a_model_stopped_is_counted() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let chat = route("/api/chat");
    for (reason, label) in [("stop", "stop"), ("length", "length"), ("load", "load")] {
        let answer = format!(
            r#"{{"model":"smollm2:135m","message":{{"role":"assistant","content":""}},"done":true,"done_reason":"{reason}"}}"#
        );
        upstream.always(chat.path, json(200, &answer));
        pannier.ask(&chat.ask(false).with("Cache-Control", "no-store")).await.fine();
        pannier.counts("pannier_llm_requests_total", &[("finish_reason", label)], 1.0).await;
    }
}
