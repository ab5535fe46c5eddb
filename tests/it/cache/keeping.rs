//! What is kept, for how long, and what never is (RELIABILITY.md C-11, C-12).

use super::{goes_up, stage_with};
use crate::stage::*;
use serde_json::{Value, json};

#[tokio::test]
async fn the_requests_cache_control_is_honoured() {
    let (upstream, pannier, route) = stage_with("/api/chat").await;
    let ask = |directives: &str| route.ask(false).with("Cache-Control", directives);

    let reply = pannier.ask(&ask("only-if-cached")).await;
    assert_eq!((reply.status(), reply.code()), (504, Some("not_cached")));
    assert!(reply.json()["error"].is_string(), "in the route's dialect");
    assert_eq!(upstream.count(route.path), 0);

    // no-store: neither look up nor keep.
    assert!(goes_up(&upstream, &pannier, &ask("no-store")).await);
    assert!(goes_up(&upstream, &pannier, &ask("No-Store, max-age=100")).await);
    pause(50).await;
    assert_eq!(pannier.ask(&ask("only-if-cached")).await.status(), 504, "nothing was kept");
    let bypassed = pannier.ask(&ask("no-store")).await;
    assert!(
        bypassed.cache().contains("fwd=bypass") || bypassed.cache().contains("fwd=request"),
        "{}",
        bypassed.cache()
    );

    // no-cache: do not look, but keep the new answer.
    assert!(goes_up(&upstream, &pannier, &ask("no-cache")).await);
    pannier.remembered(&route.ask(false)).await;
    assert!(goes_up(&upstream, &pannier, &ask("no-cache")).await);
    let pragma = route.ask(false).with("Pragma", "no-cache");
    assert!(goes_up(&upstream, &pannier, &pragma).await);
    assert!(!goes_up(&upstream, &pannier, &pragma.with("Cache-Control", "max-age=100")).await);

    // max-age: no older than that.
    assert!(!goes_up(&upstream, &pannier, &ask("max-age=100")).await);
    assert!(!goes_up(&upstream, &pannier, &ask("max-age=100, only-if-cached")).await);
    assert!(goes_up(&upstream, &pannier, &ask("max-age=0")).await);
    assert_eq!(pannier.ask(&ask("max-age=0, only-if-cached")).await.status(), 504);
}

#[tokio::test]
async fn each_dialect_says_that_nothing_is_cached() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for route in routes() {
        let reply = pannier.ask(&route.ask(false).with("Cache-Control", "only-if-cached")).await;
        assert_eq!((reply.status(), reply.code()), (504, Some("not_cached")), "{}", route.path);
        let shape = &reply.json()["error"];
        assert!(if route.dialect == "ollama" { shape.is_string() } else { shape["message"].is_string() });
    }
    assert_eq!(upstream.strangers().len(), 0);
}

/// OLLAMA.md §6.2: answers that must never come back.
#[tokio::test]
async fn what_is_no_answer_is_never_kept() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let user = json!([{ "role": "user", "content": "a" }]);
    let load = String::from_utf8(Recording::load().body.to_vec()).expect("text");
    let unload = load.replace("\"load\"", "\"unload\"");
    let aborted = r#"{"model":"smollm2:135m","created_at":"2026-11-20T21:04:43.7Z","message":{"role":"assistant","content":"aaa"},"done":false}"#;
    let of_cloud = r#"{"model":"smollm2:135m","remote_model":"m","remote_host":"https://ollama.com:443","created_at":"2026-11-20T21:04:43.7Z","message":{"role":"assistant","content":"aaa"},"done":true,"done_reason":"stop","prompt_eval_count":1,"eval_count":1}"#;
    let full = String::from_utf8(route("/api/chat").answer.to_vec()).expect("text");
    let generated = String::from_utf8(route("/api/generate").answer.to_vec()).expect("text");
    let cases: Vec<(&str, &str, Value, &str)> = vec![
        ("load", "/api/chat", json!({ "messages": [] }), &load),
        ("unload", "/api/chat", json!({ "messages": [], "keep_alive": 0 }), &unload),
        ("aborted", "/api/chat", json!({ "messages": user }), aborted),
        ("of the cloud", "/api/chat", json!({ "messages": user }), of_cloud),
        ("keep_alive 0", "/api/chat", json!({ "messages": user, "keep_alive": 0 }), &full),
        ("keep_alive 0s", "/api/chat", json!({ "messages": user, "keep_alive": "0s" }), &full),
        ("debug", "/api/chat", json!({ "messages": user, "_debug_render_only": true }), &full),
        ("empty prompt", "/api/generate", json!({ "prompt": "" }), &generated),
        ("no prompt", "/api/generate", json!({}), &generated),
        ("empty input", "/api/embed", json!({ "input": "" }), r#"{"model":"smollm2:135m","embeddings":[]}"#),
        ("no input", "/api/embed", json!({}), r#"{"model":"smollm2:135m","embeddings":[]}"#),
        ("empty legacy prompt", "/api/embeddings", json!({ "prompt": "" }), r#"{"embedding":[]}"#),
        (
            "web search",
            "/v1/messages",
            json!({ "messages": user, "max_tokens": 5, "tools": [{ "type": "web_search_20250305", "name": "web_search" }] }),
            r#"{"id":"msg_db8fb24bcf24af99e885371c","type":"message","role":"assistant","model":"smollm2:135m","content":[{"type":"text","text":"a"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}"#,
        ),
        ("unknown model", "/api/chat", json!({ "messages": user, "model": "not-in-tags" }), &full),
        ("cloud model", "/api/chat", json!({ "messages": user, "model": "smollm2:135m-cloud" }), &full),
    ];
    for (what, path, question, answer) in cases {
        upstream.always(path, json(200, answer));
        let mut body = json!({ "model": "smollm2:135m", "stream": false });
        body.as_object_mut().expect("an object").extend(question.as_object().expect("an object").clone());
        for _ in 0..2 {
            assert!(goes_up(&upstream, &pannier, &Ask::post(path, &body)).await, "{what}");
            pause(30).await;
        }
    }
}

#[tokio::test]
async fn answers_grow_old() {
    let upstream = Upstream::start().await;
    let (chat, embed) = (route("/api/chat"), route("/api/embed"));
    upstream.always(chat.path, chat.acts(false));
    upstream.always(embed.path, embed.acts(false));
    let launch = Launch::before(&upstream).set("cache.completion_ttl", "2s").set("cache.embedding_ttl", "1h");
    let pannier = launch.start().await;
    for route in [&chat, &embed] {
        pannier.ask(&route.ask(false)).await.fine();
        pannier.remembered(&route.ask(false)).await;
    }
    eventually("completions have their time", || async {
        goes_up(&upstream, &pannier, &chat.ask(false)).await.then_some(())
    })
    .await;
    assert!(!goes_up(&upstream, &pannier, &embed.ask(false)).await, "embeddings live longer");
    let hit = pannier.ask(&embed.ask(false)).await;
    let ttl = hit.cache().split("ttl=").nth(1).and_then(|t| t.split(';').next()?.trim().parse::<u64>().ok());
    assert!(ttl.is_some_and(|ttl| (3500..=3600).contains(&ttl)), "{}", hit.cache());
}

#[tokio::test]
async fn rules_make_exceptions() {
    let upstream = Upstream::start().await;
    let pannier = {
        let settings = r#"
[cache]
rules = [
  { model = "smollm2*", operation = "text_completion", completions = "off" },
  { operation = "embeddings", ttl = "300ms" },
]
"#;
        Launch::before(&upstream).file(settings).start().await
    };
    let (text, chat, embed) = (route("/api/generate"), route("/api/chat"), route("/api/embed"));
    for route in [&text, &chat, &embed] {
        upstream.always(route.path, route.acts(false));
        pannier.ask(&route.ask(false)).await.fine();
    }
    pause(50).await;
    assert!(goes_up(&upstream, &pannier, &text.ask(false)).await, "never kept");
    pannier.remembered(&chat.ask(false)).await;
    pause(350).await;
    assert!(goes_up(&upstream, &pannier, &embed.ask(false)).await, "too old");
    assert!(!goes_up(&upstream, &pannier, &chat.ask(false)).await, "no rule for it");
}

#[tokio::test]
async fn only_what_is_certain_is_kept_if_so_wished() {
    let upstream = Upstream::start().await;
    let pannier = Launch::before(&upstream).set("cache.completions", "deterministic").start().await;
    let (chat, openai, embed) = (route("/api/chat"), route("/v1/chat/completions"), route("/api/embed"));
    for route in [&chat, &openai, &embed] {
        upstream.always(route.path, route.acts(false));
    }
    let native = |options: Value| {
        let mut body = chat.body(false);
        body["options"] = options;
        Ask::post(chat.path, &body)
    };
    let on_v1 = |fields: Value| {
        let mut body = openai.body(false);
        for name in ["seed", "temperature"] {
            body.as_object_mut().expect("an object").remove(name);
        }
        body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        Ask::post(openai.path, &body)
    };
    let cases = [
        (native(json!({ "temperature": 0 })), true),
        (native(json!({ "top_k": 1 })), true),
        (native(json!({ "seed": 7 })), true),
        (native(json!({ "seed": -1 })), false),
        (native(json!({ "temperature": 0.01 })), false),
        (native(json!({})), false),
        (on_v1(json!({ "temperature": 0 })), true),
        (on_v1(json!({ "seed": 7 })), true),
        (on_v1(json!({})), false),
        (embed.ask(false), true),
    ];
    for (ask, kept) in cases {
        assert!(goes_up(&upstream, &pannier, &ask).await);
        if kept {
            pannier.remembered(&ask).await;
        } else {
            pause(40).await;
            assert!(goes_up(&upstream, &pannier, &ask).await, "{:?}", ask.body);
        }
    }
}

#[tokio::test]
async fn it_can_be_switched_off() {
    for (key, value, embeddings) in [("cache.completions", "off", true), ("cache.enabled", "false", false)] {
        let upstream = Upstream::start().await;
        let (chat, embed) = (route("/api/chat"), route("/api/embed"));
        upstream.always(chat.path, chat.acts(false));
        upstream.always(embed.path, embed.acts(false));
        let pannier = Launch::before(&upstream).set(key, value).start().await;
        for _ in 0..2 {
            assert!(goes_up(&upstream, &pannier, &chat.ask(false)).await, "{key}={value}");
            pause(40).await;
        }
        assert!(goes_up(&upstream, &pannier, &embed.ask(false)).await);
        if embeddings {
            pannier.remembered(&embed.ask(false)).await;
        } else {
            pause(40).await;
            assert!(goes_up(&upstream, &pannier, &embed.ask(false)).await, "{key}={value}");
        }
    }
}

#[tokio::test]
async fn the_memory_is_bounded() {
    let upstream = Upstream::start().await;
    let embed = route("/api/embed");
    upstream.always(embed.path, embed.acts(false));
    let launch = Launch::before(&upstream).set("memory.capacity", "256KiB").set("memory.vectors", "256KiB");
    let pannier = launch.set("cache.max_entry", "64KiB").start().await;
    let mut wire = pannier.open().await;
    for number in 0..200 {
        let body = json!({ "model": "all-minilm:l6-v2", "input": format!("text {number}") });
        wire.exchange(&Ask::post(embed.path, &body)).await.fine();
    }
    eventually("what is too much has gone", || async {
        let samples = pannier.metrics().await;
        let bytes = samples.sum("pannier_cache_bytes", &[]);
        (bytes > 0.0 && bytes <= 1.1 * 512.0 * 1024.0).then_some(())
    })
    .await;
    // One answer too large is delivered all the same.
    let large = format!(
        "{{\"model\":\"all-minilm:l6-v2\",\"embeddings\":[[{}1]],\"prompt_eval_count\":1}}",
        "0,".repeat(50_000)
    );
    upstream.always(embed.path, chunked("application/json; charset=utf-8", &[large.clone().into_bytes()]));
    let ask = Ask::post(embed.path, &json!({ "model": "all-minilm:l6-v2", "input": "large" }));
    for _ in 0..2 {
        let before = upstream.count(embed.path);
        assert_eq!(pannier.ask(&ask).await.fine().text(), large);
        assert_eq!(upstream.count(embed.path), before + 1);
        pause(40).await;
    }
}
