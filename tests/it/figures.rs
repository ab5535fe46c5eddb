//! How the cache does, in figures: under the predecessors' names, for everybody, and true.

use crate::stage::*;
use serde_json::{Value, json};

const ANALYTICS: &str = "/analytics/cache";
const STATS: &str = "/api/cache/stats";

/// What a page says, the same at either port.
async fn told(pannier: &Pannier, page: &str) -> Value {
    let ask = Ask::get(page);
    let there = pannier.ask(&ask).await.fine();
    assert_eq!(there.field("content-type"), Some("application/json"));
    assert_eq!(there.field("cache-control"), Some("no-store"));
    pannier.house(page).await.fine().json()
}

/// The part of `of` whose `by` is `name`.
fn part<'a>(of: &'a Value, by: &str, name: &str) -> &'a Value {
    let parts = of.as_array().expect("parts");
    parts.iter().find(|part| part[by] == name).unwrap_or_else(|| panic!("no {name} in {of}"))
}

#[tokio::test]
async fn what_was_asked_and_what_is_kept_add_up() {
    let upstream = Upstream::start().await;
    let pannier = Launch::before(&upstream).set("cache.database.enabled", "false").start().await;
    // Of one chat two are hits, of one text one; a generation is a miss, and asked past the cache once.
    let (chat, embed, generate) = (route("/api/chat"), route("/api/embed"), route("/api/generate"));
    for route in [&chat, &embed, &generate] {
        upstream.always(route.path, route.acts(false));
        pannier.ask(&route.ask(false)).await.fine();
        pannier.counts("pannier_flights", &[], 0.0).await;
    }
    for route in [&chat, &chat, &embed] {
        assert!(pannier.ask(&route.ask(false)).await.fine().is_hit());
    }
    pannier.ask(&generate.ask(false).with("Cache-Control", "no-store")).await.fine();
    pannier.counts("pannier_cache_calls_total", &[("result", "hit")], 3.0).await;
    pannier.counts("pannier_cache_calls_total", &[("result", "bypass")], 1.0).await;

    let figures = told(&pannier, ANALYTICS).await;
    assert_eq!(figures["status"], "success");
    let cache = &figures["cache"];
    assert_eq!(cache["enabled"], true);
    assert!(cache["keys"].as_u64() >= Some(3), "{cache}");
    assert_eq!((&cache["hits"], &cache["misses"], &cache["hit_rate"]), (&json!(3), &json!(3), &json!(50.0)));
    assert_eq!((&cache["bypassed"], &cache["joined"]), (&json!(1), &json!(0)));
    assert!(cache["memory_usage"].as_u64() > Some(1000), "{cache}");
    for (prefix, operation, hits, rate) in [
        ("chat", "chat", 2, 66.67),
        ("embedding", "embeddings", 1, 50.0),
        ("inference", "text_completion", 0, 0.0),
    ] {
        for part in
            [part(&cache["prefixes"], "prefix", prefix), part(&cache["operations"], "operation", operation)]
        {
            assert_eq!((&part["hits"], &part["misses"]), (&json!(hits), &json!(1)), "{part}");
            assert_eq!(part["hit_rate"], json!(rate), "{part}");
            assert!(part["entries"]["memory"].as_u64() >= Some(1), "{part}");
            assert!(part["bytes"]["memory"].as_u64() > Some(100), "{part}");
        }
    }
    let memory = part(&cache["tiers"], "tier", "memory");
    assert_eq!((&memory["hits"], &memory["misses"]), (&json!(3), &json!(3)), "{memory}");
    let models = cache["models"].as_array().expect("models");
    let sum = |of: &str| models.iter().map(|model| model[of].as_u64().expect("a number")).sum::<u64>();
    assert_eq!((sum("hits"), sum("misses")), (3, 3), "{models:?}");
    let held =
        |of: &str| models.iter().map(|model| model[of]["memory"].as_u64().expect("a number")).sum::<u64>();
    assert_eq!(
        (json!(held("entries")), json!(held("bytes"))),
        (memory["entries"].clone(), memory["bytes"].clone())
    );
}

#[tokio::test]
async fn levels_stand_beside_their_targets() {
    let upstream = Upstream::start().await;
    // Nothing is given up because the machine is slow.
    let pannier = Launch::before(&upstream).set("cache.database.timeout", "10s").start().await;
    pannier.counts("pannier_dependency_up", &[("dep", "database")], 1.0).await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    pannier.ask(&chat.ask(false)).await.fine();
    for _ in 0..4 {
        pannier.remembered(&chat.ask(false)).await;
    }
    let levels = eventually("it is written", || async {
        let levels = told(&pannier, STATS).await;
        (levels["l3"]["size"] == 1).then_some(levels)
    })
    .await;
    assert_eq!(levels["success"], true);
    let memory = &levels["l1"];
    assert_eq!((&memory["tier"], &memory["target_hit_rate"]), (&json!("memory"), &json!("80.00%")));
    assert_eq!(memory["target_latency_ms"], 1);
    let text = |of: &Value, name: &str| of[name].as_str().expect("a text").trim_end_matches('%').to_owned();
    let reached: f64 = text(memory, "hit_rate").parse().expect("a number");
    assert_eq!(memory["meets_target"], json!(reached >= 80.0), "{memory}");
    assert!(memory["max_size_mb"].as_f64() > Some(1.0) && text(memory, "usage").parse::<f64>().is_ok());
    assert_eq!(levels["l2"], Value::Null, "there is no Redis");
    let database = &levels["l3"];
    assert_eq!((&database["tier"], &database["target_hit_rate"]), (&json!("database"), &json!("40.00%")));
    assert_eq!(database["target_latency_ms"], 50);
}

/// Neither what was asked and answered, nor who asked, nor under what key it is kept.
#[tokio::test]
async fn figures_show_nothing_of_what_is_kept() {
    let upstream = Upstream::start().await;
    let settings = "[[auth.keys]]\nname = \"alice\"\nkey = \"alice-has-a-key\"\nteam = \"laboratory\"\n";
    let pannier = Launch::before(&upstream).file(settings).start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let ask = Ask::post(
        chat.path,
        &json!({ "model": "smollm2:135m", "messages": [{ "role": "user", "content": "confidential" }], "stream": false }),
    );
    let ask = ask.with("Authorization", "Bearer alice-has-a-key");
    pannier.ask(&ask).await.fine();
    pannier.remembered(&ask).await;
    for page in [ANALYTICS, STATS] {
        let told = told(&pannier, page).await.to_string();
        assert!(told.contains("smollm2:135m"), "{told}");
        for hidden in ["confidential", "alice", "laboratory", "digest", "\"key\""] {
            assert!(!told.contains(hidden), "{hidden} in {told}");
        }
    }
}
