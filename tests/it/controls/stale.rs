//! What is over and given all the same, because the upstream is down.

use crate::stage::*;
use serde_json::{Value, json};

const ON: &str = "[cache]\nstale_if_error = \"1h\"\ncompletion_ttl = \"3s\"\nembedding_ttl = \"3s\"\n";

/// A Pannier that knows what `asks` are answered, and no longer believes in it.
async fn knows(settings: &str, asks: &[Ask]) -> (Upstream, Pannier) {
    let upstream = Upstream::start().await;
    for route in routes() {
        upstream.on(route.path, move |visit| route.reply_to(visit));
    }
    let pannier = Launch::before(&upstream).file(settings).start().await;
    for ask in asks {
        pannier.ask(ask).await.fine();
        pannier.remembered(ask).await;
    }
    for ask in asks {
        let only = ask.clone().with("Cache-Control", "only-if-cached");
        eventually("its time is over", || async { (pannier.ask(&only).await.status() == 504).then_some(()) })
            .await;
    }
    (upstream, pannier)
}

fn is_stale(reply: &Reply) -> bool {
    let cache = reply.cache();
    reply.status() == 200 && cache.starts_with("pannier; hit; ttl=") && cache.ends_with("; detail=STALE")
}

/// The upstream cannot be had, and nothing does instead.
async fn refused(pannier: &Pannier, ask: &Ask, what: &str) {
    let reply = pannier.ask(ask).await;
    assert_eq!(reply.status(), 502, "{what}: {}", reply.cache());
}

#[tokio::test]
async fn an_upstream_that_is_gone_is_made_up_for() {
    let (chat, embed, legacy) = (route("/api/chat"), route("/api/embed"), route("/api/embeddings"));
    let asks = [chat.ask(false), embed.ask(false), legacy.ask(false)];
    let (mut upstream, pannier) = knows(ON, &asks).await;
    upstream.stop().await;
    for (route, ask) in [&chat, &embed, &legacy].into_iter().zip(&asks) {
        let reply = pannier.ask(ask).await;
        assert!(is_stale(&reply), "{}: {} {}", route.path, reply.status(), reply.cache());
        assert!(reply.field("warning").is_none());
    }
    let told: Value = pannier.ask(&asks[0]).await.json();
    let known: Value = serde_json::from_slice(&chat.answer).expect("JSON");
    assert_eq!(told["message"], known["message"]);
    let streamed = pannier.ask(&chat.ask(true)).await;
    assert!(is_stale(&streamed) && streamed.pieces.len() > 1, "in the other mode as well");
    assert!(is_stale(&pannier.ask(&chat.ask(false).with("Cache-Control", "max-age=3000")).await));
    for unwilling in ["no-cache", "no-store", "min-fresh=1", "max-age=0"] {
        refused(&pannier, &chat.ask(false).with("Cache-Control", unwilling), unwilling).await;
    }
    refused(&pannier, &chat.ask_apart(false), "what nobody has asked before").await;
    let stale = [("reason", "STALE"), ("operation", "chat")];
    pannier.counts("pannier_cache_reasons_total", &stale, 4.0).await;
    eventually("each has its line in the log", || async {
        let lines = pannier.stdout();
        let lines = lines.lines().filter(|line| line.contains("\"STALE\"")).count();
        (lines == 6).then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_an_upstream_that_fails_is_made_up_for() {
    let (chat, embed) = (route("/api/chat"), route("/api/embed"));
    let asks = [chat.ask(false), embed.ask(false)];
    let (upstream, pannier) = knows(ON, &asks).await;
    for (route, ask) in [&chat, &embed].into_iter().zip(&asks) {
        upstream.always(route.path, json(500, r#"{"error":"the runner has died"}"#));
        assert!(is_stale(&pannier.ask(ask).await), "{}", route.path);
        upstream.always(route.path, json(404, r#"{"error":"no"}"#));
        let reply = pannier.ask(ask).await;
        assert_eq!(reply.status(), 404, "{}: what it says counts", route.path);
        upstream.always(route.path, route.acts(false));
        let reply = pannier.ask(ask).await.fine();
        assert!(!reply.is_hit(), "{}: {}", route.path, reply.cache());
    }
}

#[tokio::test]
async fn an_upstream_that_only_keeps_its_list_to_itself_is_asked() {
    let chat = route("/api/chat");
    let (upstream, pannier) = knows(ON, &[chat.ask(false)]).await;
    upstream.always("/api/tags", json(500, r#"{"error":"no list today"}"#));
    let answers = |reply: &Reply| reply.status() == 200 && !reply.is_hit();
    eventually("its answer counts", || async {
        let reply = pannier.ask(&chat.ask(false)).await;
        (answers(&reply) && reply.cache().contains("MODEL")).then_some(())
    })
    .await;
    upstream.always(chat.path, json(503, r#"{"error":"busy"}"#));
    let reply = pannier.ask(&chat.ask(false)).await;
    assert!(is_stale(&reply), "{} {}", reply.status(), reply.cache());
}

#[tokio::test]
async fn a_model_that_changed_or_went_takes_its_answers_along() {
    let chat = route("/api/chat");
    let other = "0".repeat(64);
    for models in [vec![("smollm2:135m", other.as_str())], vec![]] {
        let (upstream, pannier) = knows(ON, &[chat.ask(false)]).await;
        upstream.always(chat.path, json(500, r#"{"error":"the runner has died"}"#));
        assert!(is_stale(&pannier.ask(&chat.ask(false)).await));
        upstream.models(&models);
        eventually("the change is seen", || async {
            (pannier.ask(&chat.ask(false)).await.status() == 500).then_some(())
        })
        .await;
    }
    // Through Pannier: whether it has come to pass is not known.
    let (mut upstream, pannier) = knows(ON, &[chat.ask(false)]).await;
    let (gate, script) = (Gate::closed(), json(200, "{}"));
    upstream.on("/api/tags", move |_| vec![Act::Wait(gate.clone())]);
    upstream.always("/api/copy", script);
    pannier.ask(&Ask::post("/api/copy", &json!({ "source": "a", "destination": "smollm2:135m" }))).await;
    upstream.stop().await;
    refused(&pannier, &chat.ask(false), "it may have been copied over").await;
}

#[tokio::test]
async fn there_is_an_end_to_it_and_it_is_off_unless_wanted() {
    let chat = route("/api/chat");
    let short = ON.replace("1h", "1ms");
    let off = ON.replace("1h", "0s");
    for settings in [&short, &off] {
        let (mut upstream, pannier) = knows(settings, &[chat.ask(false)]).await;
        upstream.stop().await;
        refused(&pannier, &chat.ask(false), settings).await;
    }
    let (mut upstream, pannier) = knows(ON, &[chat.ask(false)]).await;
    upstream.stop().await;
    assert!(is_stale(&pannier.ask(&chat.ask(false)).await));
    pannier.configure(&off);
    pannier.signal("HUP");
    eventually("it is switched off", || async {
        (pannier.ask(&chat.ask(false)).await.status() == 502).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_page_is_judged_by_what_its_origin_was_told_before() {
    let chat = route("/api/chat");
    let (mut upstream, pannier) = knows(ON, &[chat.ask(false)]).await;
    let from = |origin: &str| chat.ask(false).with("Origin", origin);
    let (good, bad, new) = ("http://localhost:3000", "https://evil.example", "http://127.0.0.1:3000");
    pannier.ask(&from(good)).await.fine();
    assert_eq!(pannier.ask(&from(bad)).await.status(), 403);
    upstream.stop().await;
    let reply = eventually("its time is over", || async {
        let reply = pannier.ask(&from(good)).await;
        is_stale(&reply).then_some(reply)
    })
    .await;
    assert_eq!(reply.field("access-control-allow-origin"), Some(good));
    assert_eq!(pannier.ask(&from(bad)).await.status(), 403);
    refused(&pannier, &from(new), "nobody knows what it would be told").await;
}

#[tokio::test]
async fn explain_says_what_would_be_given_while_the_upstream_is_down() {
    let (chat, embed) = (route("/api/chat"), route("/api/embed"));
    let (mut upstream, pannier) = knows(ON, &[chat.ask(false), embed.ask(false)]).await;
    let explain = async |route: &Route, more: Value| {
        let mut body = route.body(false);
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let inquiry = json!({ "path": route.path, "body": body });
        let ask = Ask::post("/admin/cache/explain", &inquiry).with("X-API-Key", &pannier.admin_key());
        let said: Value = pannier.ask(&ask).await.fine().json();
        (said["verdict"].as_str().expect("a verdict").to_owned(), said["because"].to_string())
    };
    for route in [&chat, &embed] {
        let (verdict, because) = explain(route, json!({})).await;
        assert_eq!(verdict, "miss", "{because}");
        assert!(because.contains("turns out to be down"), "{because}");
    }
    let apart = json!({ "options": { "num_predict": 3 } });
    assert!(!explain(&chat, apart.clone()).await.1.contains("down"), "nothing of it is kept");
    upstream.stop().await;
    for route in [&chat, &embed] {
        eventually("it is seen to be down", || async {
            let (verdict, because) = explain(route, json!({})).await;
            (verdict == "hit" && because.contains("given as STALE")).then_some(())
        })
        .await;
        assert!(is_stale(&pannier.ask(&route.ask(false)).await), "and so it is");
    }
    let (verdict, because) = explain(&chat, apart).await;
    assert_eq!(verdict, "miss", "{because}");
    assert!(because.contains("nothing that will do instead"), "{because}");
}

#[tokio::test]
async fn a_batch_is_made_up_for_text_by_text() {
    let (model, digest) = MODELS[1];
    let mut upstream = Upstream::start().await;
    upstream.on("/api/embed", |visit| embedder::embeds(visit, MODELS[1].1));
    let pannier = Launch::before(&upstream).file(ON).start().await;
    let both = Ask::post("/api/embed", &json!({ "model": model, "input": ["a", "b"] }));
    pannier.ask(&both).await.fine();
    pannier.remembered(&both).await;
    for text in ["a", "b"] {
        let only = Ask::post("/api/embed", &json!({ "model": model, "input": text }));
        let only = only.with("Cache-Control", "only-if-cached");
        let is_over = || async { (pannier.ask(&only).await.status() == 504).then_some(()) };
        eventually("its time is over", is_over).await;
    }

    let batch = |texts: &[&str]| Ask::post("/embeddings/batch", &json!({ "model": model, "texts": texts }));
    let check = |told: &Value, texts: &[&str], fault: &str, stale: Value| {
        for (vector, text) in told["embeddings"].as_array().expect("embeddings").iter().zip(texts) {
            match *text {
                "new" => {
                    assert_eq!((vector, &told["errors"][0]["code"]), (&Value::Null, &json!(fault)), "{told}")
                }
                text => assert_eq!(embedder::numbers(vector), embedder::vector(text, digest, None), "{told}"),
            }
        }
        assert_eq!(told["stale"], stale, "{told}");
    };
    // It turns out only when it is asked.
    upstream.always("/api/embed", json(500, r#"{"error":"the runner has died"}"#));
    let texts = ["b", "new", "a", "b"];
    let reply = pannier.ask(&batch(&texts)).await.fine();
    let said = "fwd=stale; fwd-status=200; ttl=3; detail=\"0 of 3 known: EXPIRED\"";
    assert_eq!(reply.cache(), format!("pannier; {said}"));
    check(&reply.json(), &texts, "refused", json!([0, 2, 3]));
    let lines = pannier.ask(&batch(&["a"]).with("Accept", "application/x-ndjson")).await.fine().text();
    let line: Value = serde_json::from_str(lines.lines().nth(1).expect("a line")).expect("JSON");
    assert_eq!((&line["index"], &line["stale"]), (&json!(0), &json!(true)), "{lines}");
    // It is known to be down.
    upstream.stop().await;
    let reply = eventually("it is seen to be down", || async {
        let reply = pannier.ask(&batch(&["a", "b"])).await.fine();
        is_stale(&reply).then_some(reply)
    })
    .await;
    check(&reply.json(), &["a", "b"], "", json!([0, 1]));
    pannier.counts("pannier_cache_reasons_total", &[("reason", "STALE")], 1.0).await;
    let reply = pannier.ask(&batch(&["new", "a"])).await.fine();
    assert_eq!(reply.cache(), "pannier; detail=\"1 of 2 known\"");
    check(&reply.json(), &["new", "a"], "upstream_unreachable", json!([1]));
    refused(&pannier, &batch(&["new"]), "nobody has asked for it before").await;
    refused(&pannier, &batch(&["a"]).with("Cache-Control", "no-cache"), "no-cache").await;
}
