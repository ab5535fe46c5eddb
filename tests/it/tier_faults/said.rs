//! What is said of a miss where a tier is in trouble: the same word in the answer's head, in the access log, in the
//! metrics, and to whoever asks why.

use super::*;
use serde_json::{Value, json};
use servers::RedisServer;

async fn pannier(upstream: &Upstream, server: &RedisServer) -> Pannier {
    let launch = forgetful(upstream).set("cache.database.enabled", "false").set("log.hit_sample", "1");
    let launch = launch.set("cache.redis.timeout", "5s").set("cache.redis.url", &server.url());
    let pannier = launch.start().await;
    is_up(&pannier, "redis", true).await;
    pannier
}

async fn explain(pannier: &Pannier, route: &Route) -> Value {
    let inquiry = json!({ "path": route.path, "body": route.body(false) });
    let ask = Ask::post("/admin/cache/explain", &inquiry).with("X-API-Key", &pannier.admin_key());
    pannier.ask(&ask).await.fine().json()
}

/// How many lines of the access log say so, and how many calls were counted so.
async fn is_told(pannier: &Pannier, reason: &str, times: usize) {
    eventually("it stands in the access log", || async {
        let lines = pannier.stdout();
        let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        (lines.filter(|line| line["cache_reason"] == reason).count() == times).then_some(())
    })
    .await;
    pannier.counts("pannier_cache_reasons_total", &[("reason", reason)], times as f64).await;
}

#[tokio::test]
async fn a_tier_that_is_away_is_the_reason() {
    let Some(mut server) = RedisServer::start(&[]) else { return };
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    upstream.on("/api/embed", |visit| embedder::embeds(visit, MODELS[1].1));
    let pannier = pannier(&upstream, &server).await;
    let embed = |texts: &[&str]| Ask::post("/api/embed", &json!({ "model": MODELS[1].0, "input": texts }));

    let never = pannier.ask(&chat.ask(false)).await.fine();
    assert_eq!(never.cache(), "pannier; fwd=uri-miss; fwd-status=200; ttl=3600", "it was never kept");
    pannier.remembered(&chat.ask(false)).await;
    assert_eq!(explain(&pannier, &chat).await["reason"], Value::Null);

    server.kill();
    let away = pannier.ask(&chat.ask(false)).await.fine();
    assert_eq!(away.cache(), "pannier; fwd=uri-miss; fwd-status=200; ttl=3600; detail=TIER-DOWN");
    let text = pannier.ask(&embed(&["one"])).await.fine();
    assert_eq!(text.cache(), "pannier; fwd=uri-miss; fwd-status=200; ttl=86400; detail=TIER-DOWN");
    let texts = pannier.ask(&embed(&["two", "three", "four"])).await.fine();
    let said = "fwd=uri-miss; fwd-status=200; ttl=86400; detail=\"0 of 3 known: TIER-DOWN\"";
    assert_eq!(texts.cache(), format!("pannier; {said}"));
    let many = Ask::post("/embeddings/batch", &json!({ "model": MODELS[1].0, "texts": ["five", "six"] }));
    let many = pannier.ask(&many).await.fine();
    assert!(many.cache().ends_with("; detail=\"0 of 2 known: TIER-DOWN\""), "{}", many.cache());
    is_told(&pannier, "TIER-DOWN", 4).await;
    let said = explain(&pannier, &chat).await;
    assert_eq!((&said["verdict"], &said["reason"]), (&json!("miss"), &json!("TIER-DOWN")), "{said}");
    // Where it was not to be asked, it is not the reason.
    let own = pannier.ask(&chat.ask(false).with("Cache-Control", "no-cache")).await.fine();
    assert!(own.cache().ends_with("; detail=REQUEST"), "{}", own.cache());

    is_up(&pannier, "redis", false).await;
    server.begin();
    is_up(&pannier, "redis", true).await;
    let emptied = pannier.ask(&chat.ask(false)).await.fine();
    assert_eq!(emptied.cache(), never.cache());
    is_told(&pannier, "TIER-DOWN", 4).await;
}

#[tokio::test]
async fn what_cannot_be_opened_is_the_reason_once() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let pannier = pannier(&upstream, &server).await;
    pannier.ask(&chat.ask(false)).await.fine();
    pannier.remembered(&chat.ask(false)).await;
    let keys: Vec<String> = server.run(&["KEYS", "pannier:*"]);
    let key = keys.iter().find(|key| key.len() == "pannier:".len() + 64).expect("an entry");
    server.run::<String>(&["SET", key, "all yours"]);
    let said = explain(&pannier, &chat).await;
    assert_eq!((&said["verdict"], &said["reason"]), (&json!("miss"), &json!("UNOPENED")), "{said}");
    let forged = pannier.ask(&chat.ask(false)).await.fine();
    assert_eq!(forged.cache(), "pannier; fwd=uri-miss; fwd-status=200; ttl=3600; detail=UNOPENED");
    pannier.remembered(&chat.ask(false)).await;
    is_told(&pannier, "UNOPENED", 1).await;
}
