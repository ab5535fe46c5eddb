//! Why an answer did not simply come from the memory: the same word wherever it is told.

use crate::stage::*;
use serde_json::{Value, json};

/// The fields `cache` and `cache_reason` of the access log's lines that are about calls.
fn told(pannier: &Pannier) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let lines = pannier.stdout();
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let calls = lines.filter(|line| line["operation"].is_string());
    calls.map(|line| (text(&line["cache"]), text(&line["cache_reason"]))).collect()
}

#[tokio::test]
async fn a_reason_is_the_same_word_in_the_head_the_log_and_the_metrics() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let settings =
        "[log]\nhit_sample = 1.0\n[cache]\ncompletion_ttl = \"400ms\"\ncompletions = \"deterministic\"\n";
    let launch = Launch::before(&upstream).set("cache.database.enabled", "false");
    let pannier = launch.file(settings).start().await;
    let body = |fields: Value| {
        let mut body = chat.body(false);
        body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        Ask::post(chat.path, &body)
    };
    let sure = body(json!({ "options": { "seed": 7 } }));
    let first = pannier.ask(&sure).await.fine();
    assert_eq!(first.cache(), "pannier; fwd=uri-miss; fwd-status=200; ttl=0", "nothing more to say");
    let cases = [
        (body(json!({ "options": { "temperature": 1 } })), "bypass", "fwd=bypass; detail=TEMPERATURE"),
        (body(json!({ "model": "stranger" })), "bypass", "fwd=bypass; detail=MODEL"),
        (body(json!({ "keep_alive": 0 })), "bypass", "fwd=bypass; detail=KEEP-ALIVE"),
        (body(json!({ "messages": [] })), "bypass", "fwd=bypass; detail=LOAD"),
        (Ask::post(chat.path, &json!(["no call"])), "bypass", "fwd=bypass; detail=UNREADABLE"),
        (Ask::new("POST", chat.path).bytes("{'model': 'm'}"), "bypass", "fwd=bypass; detail=UNREADABLE"),
        (sure.clone().with("Cache-Control", "no-store"), "bypass", "fwd=bypass; detail=NO-STORE"),
        (
            sure.clone().with("Cache-Control", "no-cache"),
            "bypass",
            "fwd=request; fwd-status=200; ttl=0; detail=REQUEST",
        ),
    ];
    for (ask, _, status) in &cases {
        let reply = pannier.ask(ask).await.fine();
        assert_eq!(reply.cache(), format!("pannier; {status}"));
    }
    // Whatever of these was kept: its time is over soon.
    let over = eventually("its time is over", || async {
        let reply = pannier.ask(&sure).await.fine();
        (!reply.is_hit()).then(|| reply.cache())
    })
    .await;
    assert_eq!(over, "pannier; fwd=stale; fwd-status=200; ttl=0; detail=EXPIRED");

    let mut expected = vec![("miss".to_owned(), String::new()), ("miss".to_owned(), "EXPIRED".to_owned())];
    expected.extend(cases.iter().map(|(_, cache, status)| {
        let reason = status.split("detail=").nth(1).expect("a reason");
        ((*cache).to_owned(), reason.to_owned())
    }));
    expected.sort();
    eventually("a line for each of them", || async {
        let mut lines = told(&pannier);
        lines.retain(|(cache, _)| cache != "hit");
        lines.sort();
        (lines == expected).then_some(())
    })
    .await;
    let metrics = pannier.metrics().await;
    let count = |reason: &str| {
        metrics.sum("pannier_cache_reasons_total", &[("reason", reason), ("operation", "chat")])
    };
    for (reason, times) in [
        ("MODEL", 1.0),
        ("UNREADABLE", 2.0),
        ("NO-STORE", 1.0),
        ("REQUEST", 1.0),
        ("EXPIRED", 1.0),
        ("TOO-OLD", 0.0),
    ] {
        assert_eq!(count(reason), times, "{reason}");
    }
}

#[tokio::test]
async fn a_miss_by_the_requests_own_wish_says_so() {
    let upstream = Upstream::start().await;
    let embed = route("/api/embeddings");
    upstream.always(embed.path, embed.acts(false));
    let pannier = Pannier::start(&upstream).await;
    pannier.ask(&embed.ask(false)).await.fine();
    pannier.remembered(&embed.ask(false)).await;
    let picky = pannier.ask(&embed.ask(false).with("Cache-Control", "min-fresh=86401")).await.fine();
    assert_eq!(picky.cache(), "pannier; fwd=request; fwd-status=200; ttl=86400; detail=ENDS-SOON");
    // An error's status is told, and the reason stays.
    upstream.always(embed.path, json(400, r#"{"error":"no"}"#));
    let refused = eventually("the trip before has gone", || async {
        let reply = pannier.ask(&embed.ask(false).with("Cache-Control", "min-fresh=86401")).await;
        (!reply.cache().contains("collapsed")).then(|| reply.cache())
    })
    .await;
    assert_eq!(refused, "pannier; fwd=request; fwd-status=400; detail=ENDS-SOON");
}
