//! Why a request was a miss, and answers that are known before anybody asks.

use crate::stage::embedder;
use crate::stage::*;
use serde_json::{Value, json};
use servers::RedisServer;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const CANARY: &str = "heliotrope-canary-7041";
const CHAT: &str = "/api/chat";
const EXPLAIN: &str = "/admin/cache/explain";
const WARM: &str = "/admin/cache/warm";

/// Answers chats, and texts to be embedded.
async fn stage() -> Upstream {
    let upstream = Upstream::start().await;
    upstream.always(CHAT, route(CHAT).acts(false));
    upstream.on("/api/embed", |visit| embedder::embeds(visit, MODELS[1].1));
    upstream
}

fn chat(content: &str) -> Value {
    json!({
        "model": MODELS[0].0,
        "messages": [{"role": "user", "content": content}],
        "options": {"temperature": 0.5, "seed": 7},
        "stream": false,
    })
}

/// A change of one field.
fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    match body.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => body[&pointer[1..]] = value,
    }
    body
}

fn locked(pannier: &Pannier, target: &str, body: &Value) -> Ask {
    Ask::post(target, body).with("X-API-Key", &pannier.admin_key())
}

async fn explain(pannier: &Pannier, inquiry: &Value) -> Value {
    pannier.ask(&locked(pannier, EXPLAIN, inquiry)).await.fine().json()
}

async fn explain_chat(pannier: &Pannier, body: &Value) -> Value {
    explain(pannier, &json!({"path": CHAT, "body": body})).await
}

/// The lines of a warming, all but the first and the last; and the last.
async fn warm(pannier: &Pannier, order: &Value) -> (Vec<Value>, Value) {
    let text = pannier.ask(&locked(pannier, WARM, order)).await.fine().text();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (first, rest) = lines.split_first().expect("a first line");
    let (last, between) = rest.split_last().expect("a last line");
    assert_eq!(
        (first["of"].as_u64(), last["done"].as_bool()),
        (Some(between.len() as u64), Some(true)),
        "{text}"
    );
    (between.to_vec(), last.clone())
}

fn differing(said: &Value) -> Vec<&str> {
    let differs = said["nearest"]["entry"]["differs"].as_array();
    differs.into_iter().flatten().map(|differs| differs["field"].as_str().expect("a field")).collect()
}

fn says<'a>(said: &'a Value, tier: &str) -> &'a str {
    let tiers = said["tiers"].as_array().expect("tiers");
    tiers.iter().find(|says| says["tier"] == tier).map_or("", |says| says["says"].as_str().expect("a text"))
}

/// With the cache's file in `dir`.
fn before(upstream: &Upstream, dir: &TempDir) -> Launch {
    let file = dir.path().join("cache.db");
    Launch::before(upstream)
        .set("cache.tiers.secret", SECRET)
        .set("cache.database.url", &file.to_string_lossy())
}

/// Starts it, and waits until its tiers are there: what comes before is not kept in them.
async fn begun(launch: Launch) -> Pannier {
    let pannier = launch.start().await;
    eventually("the database", || async {
        let said = explain_chat(&pannier, &chat("anything")).await;
        let away = |says: &Value| says["says"] != "nothing";
        (!said["tiers"].as_array().expect("tiers").iter().any(away)).then_some(())
    })
    .await;
    pannier
}

async fn end(mut pannier: Pannier) {
    pannier.signal("TERM");
    assert_eq!(pannier.ended().await.0.code(), Some(0));
}

/// Keeps the answer to `body`.
async fn tell(pannier: &Pannier, body: &Value) {
    let ask = Ask::post(CHAT, body);
    pannier.ask(&ask).await.fine();
    pannier.remembered(&ask).await;
}

/// Waits until the database has the answer to `body`.
async fn written(pannier: &Pannier, body: &Value) {
    eventually("the answer in the database", || async {
        (says(&explain_chat(pannier, body).await, "database") == "known").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_miss_is_explained_by_what_differs() {
    let upstream = stage().await;
    let pannier = Pannier::start(&upstream).await;
    let known = chat(CANARY);
    tell(&pannier, &known).await;

    let said = explain_chat(&pannier, &known).await;
    assert_eq!((said["verdict"].as_str(), says(&said, "memory")), (Some("hit"), "known"), "{said}");
    assert_eq!(said["model"]["digest"], MODELS[0].1);
    assert_eq!((said["route"].as_str(), said["team"].as_str()), (Some(CHAT), Some("default")));

    // Order, space and spelling do not count, nor does the mode.
    let text = format!(
        "{{ \"stream\":true, \"options\":{{\"seed\":7.0,\"temperature\":5e-1}},\n\"model\":\"{}\",\
         \"messages\":[{{\"content\":\"{CANARY}\",\"role\":\"user\"}}],\"keep_alive\":\"1h\"}}",
        MODELS[0].0
    );
    let said = explain_chat(&pannier, &json!(text)).await;
    assert_eq!(said["verdict"], "hit", "{said}");
    let left_out: Vec<_> =
        said["left_out"].as_array().expect("fields").iter().map(|left| &left["field"]).collect();
    assert_eq!(left_out, ["keep_alive", "model", "stream"]);

    let no_seed = with(known.clone(), "/options", json!({"temperature": 0.5}));
    for (body, fields) in [
        (with(known.clone(), "/options/temperature", json!(0)), vec!["options.temperature"]),
        (no_seed, vec!["options.seed"]),
        (with(known.clone(), "/brand_new", json!(true)), vec!["brand_new"]),
        (with(known.clone(), "/messages/0/content", json!("other")), vec!["messages[0].content"]),
        (with(known.clone(), "/think", json!(null)), vec!["think"]),
    ] {
        let said = explain_chat(&pannier, &body).await;
        assert_eq!((said["verdict"].as_str(), differing(&said)), (Some("miss"), fields), "{said}");
        assert_eq!(says(&said, "memory"), "nothing");
    }
    let said = explain_chat(&pannier, &with(known.clone(), "/options/temperature", json!(0))).await;
    let differs = &said["nearest"]["entry"]["differs"][0];
    assert_eq!((&differs["here"], &differs["there"]), (&json!("0"), &json!("0.5")));
    assert_eq!(said["nearest"]["looked_at"], 1);
}

#[tokio::test]
async fn who_asks_what_he_says_and_what_the_settings_say_are_told() {
    let upstream = stage().await;
    let keys = "[auth]\nkeys = [{ name = \"ann\", team = \"lab\", key = \"k-ann\" }, \
                { name = \"bob\", team = \"ops\", key = \"k-bob\" }]\n";
    let pannier = Launch::before(&upstream).file(keys).start().await;
    let known = chat(CANARY);
    let ask = Ask::post(CHAT, &known).with("Authorization", "Bearer k-ann");
    pannier.ask(&ask).await.fine();
    pannier.remembered(&ask).await;

    let as_ann = explain(&pannier, &json!({"path": CHAT, "body": known, "key_name": "ann"})).await;
    assert_eq!((as_ann["verdict"].as_str(), as_ann["team"].as_str()), (Some("hit"), Some("lab")), "{as_ann}");
    for who in [json!({"team": "ops"}), json!({"key_name": "bob"}), json!({})] {
        let mut inquiry = json!({"path": CHAT, "body": known});
        inquiry.as_object_mut().expect("an object").extend(who.as_object().expect("an object").clone());
        let said = explain(&pannier, &inquiry).await;
        assert_eq!((said["verdict"].as_str(), &said["known_to"]), (Some("miss"), &json!(["lab"])), "{said}");
        assert_eq!(said["nearest"]["looked_at"], 0, "nobody else's entries are near");
    }
    let nobody = json!({"path": CHAT, "body": known, "team": "nobody"});
    assert_eq!(pannier.ask(&locked(&pannier, EXPLAIN, &nobody)).await.status(), 400);
    let forwarded = json!({"path": "/api/tags", "body": {}});
    assert_eq!(pannier.ask(&locked(&pannier, EXPLAIN, &forwarded)).await.status(), 400);

    for (header, verdict) in [("no-store", "bypass"), ("no-cache", "bypass"), ("max-age=60", "hit")] {
        let headers = json!({"Cache-Control": header});
        let inquiry = json!({"path": CHAT, "body": known, "team": "lab", "headers": headers});
        let said = explain(&pannier, &inquiry).await;
        assert_eq!(
            (&said["verdict"], &said["policy"]["directives"]),
            (&json!(verdict), &json!([header])),
            "{said}"
        );
    }
    for (body, why) in [
        (with(known.clone(), "/keep_alive", json!(0)), "KEEP-ALIVE"),
        (with(known.clone(), "/messages", json!([])), "LOAD"),
        (with(known.clone(), "/model", json!("nobody-has-it")), "MODEL"),
    ] {
        let said = explain_chat(&pannier, &body).await;
        assert_eq!((&said["verdict"], &said["policy"]["bypass"]), (&json!("bypass"), &json!(why)), "{said}");
    }
}

#[tokio::test]
async fn a_changed_model_and_an_answer_that_is_over_are_seen() {
    let upstream = stage().await;
    let launch = Launch::before(&upstream).set("cache.completion_ttl", "2s");
    let pannier = launch.set("cache.database.enabled", "false").start().await;
    let known = chat(CANARY);
    tell(&pannier, &known).await;
    let said = eventually("the end of its time", || async {
        let said = explain_chat(&pannier, &known).await;
        (said["verdict"] == "miss").then_some(said)
    })
    .await;
    assert_eq!(says(&said, "memory"), "it was known, and is over", "{said}");

    let lasting = Pannier::start(&upstream).await;
    tell(&lasting, &known).await;
    upstream.models(&[(MODELS[0].0, &"ab".repeat(32))]);
    let said = eventually("the change to be seen", || async {
        let said = explain_chat(&lasting, &known).await;
        (said["verdict"] == "miss").then_some(said)
    })
    .await;
    assert_eq!(differing(&said), ["digest"], "{said}");
    assert_eq!(said["nearest"]["entry"]["differs"][0]["there"], MODELS[0].1);
}

#[tokio::test]
async fn texts_are_explained_one_by_one() {
    let upstream = stage().await;
    let dir = TempDir::new().expect("a directory");
    let pannier = begun(before(&upstream, &dir)).await;
    let body = |texts: Value| json!({"model": MODELS[1].0, "input": texts});
    pannier.ask(&Ask::post("/api/embed", &body(json!(["a", "b"])))).await.fine();
    let said = eventually("the vectors", || async {
        let inquiry = json!({"path": "/v1/embeddings", "body": body(json!(["a", "b", "c", "a"]))});
        let said = explain(&pannier, &inquiry).await;
        (said["texts"]["known"] == 2 && differing(&said) == ["input[0]"]).then_some(said)
    })
    .await;
    assert_eq!(
        (&said["verdict"], &said["texts"]),
        (&json!("miss"), &json!({"of": 3, "known": 2, "unknown": [2]}))
    );
    assert_eq!(said["nearest"]["entry"]["tier"], "database", "only there are the texts of vectors kept");
    let all = explain(&pannier, &json!({"path": "/api/embed", "body": body(json!("a"))})).await;
    assert_eq!(all["verdict"], "hit", "{all}");
}

#[tokio::test]
async fn to_explain_counts_nothing_and_asks_nobody() {
    let upstream = stage().await;
    let dir = TempDir::new().expect("a directory");
    let pannier = begun(before(&upstream, &dir)).await;
    let (known, other) = (chat(CANARY), chat("something else"));
    tell(&pannier, &known).await;
    written(&pannier, &known).await;
    let figures = |page: &str| {
        let own = ["pannier_cache_requests_total", "pannier_cache_evictions_total", "route=\"/api/chat\""];
        let counted = |line: &&str| own.iter().any(|name| line.contains(name)) && !line.starts_with('#');
        page.lines().filter(counted).map(str::to_owned).collect::<Vec<_>>()
    };
    let top = async || {
        let ask = Ask::get("/admin/cache/top").with("X-API-Key", &pannier.admin_key());
        pannier.ask(&ask).await.fine().text()
    };
    let before = (figures(&pannier.house("/metrics").await.fine().text()), top().await);
    for body in [&known, &other, &known] {
        explain_chat(&pannier, body).await;
    }
    let after = (figures(&pannier.house("/metrics").await.fine().text()), top().await);
    assert_eq!(before, after);
    assert_eq!(upstream.count(CHAT), 1);
    assert!(!pannier.output().contains(CANARY), "no question is in any log");
}

#[tokio::test]
async fn questions_outlive_the_process_and_nobody_can_read_them_there() {
    let upstream = stage().await;
    let dir = TempDir::new().expect("a directory");
    let redis = RedisServer::start(&[]);
    let launch = || {
        let launch = before(&upstream, &dir);
        match &redis {
            Some(redis) => launch.set("cache.redis.url", &redis.url()),
            None => launch,
        }
    };
    let pannier = begun(launch()).await;
    let known = chat(CANARY);
    tell(&pannier, &known).await;
    let texts = json!({"model": MODELS[1].0, "input": [CANARY, "b"]});
    pannier.ask(&Ask::post("/api/embed", &texts)).await.fine();
    written(&pannier, &known).await;
    end(pannier).await;

    for entry in std::fs::read_dir(dir.path()).expect("read").flatten() {
        let bytes = std::fs::read(entry.path()).expect("read");
        assert!(find(&bytes, CANARY.as_bytes()).is_none(), "{:?}", entry.path());
    }
    if let Some(redis) = &redis {
        let url = redis::Client::open(redis.url()).expect("an address");
        let mut connection = url.get_connection().expect("a connection");
        let names: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).expect("names");
        let entries = names.iter().filter(|name| !name.ends_with("hits") && !name.ends_with("used"));
        let entries: Vec<_> = entries.collect();
        assert!(!entries.is_empty());
        for name in entries {
            let value: Vec<u8> = redis::cmd("GET").arg(name).query(&mut connection).expect("an entry");
            assert!(find(&value, CANARY.as_bytes()).is_none(), "{name}");
        }
    }

    let again = launch().start().await;
    let said = eventually("the database", || async {
        let said = explain_chat(&again, &with(known.clone(), "/options/seed", json!(8))).await;
        (!differing(&said).is_empty()).then_some(said)
    })
    .await;
    assert_eq!(
        (differing(&said), &said["nearest"]["entry"]["tier"]),
        (vec!["options.seed"], &json!("database"))
    );
    end(again).await;
}

#[tokio::test]
async fn what_is_not_to_be_kept_or_too_long_is_not_kept() {
    let upstream = stage().await;
    for (most, kept) in [("0", false), ("100", false), ("16KiB", true)] {
        let launch = Launch::before(&upstream).set("cache.max_question", most);
        let pannier = launch.set("cache.database.enabled", "false").start().await;
        let known = chat(CANARY);
        tell(&pannier, &known).await;
        let said = explain_chat(&pannier, &with(known, "/options/seed", json!(8))).await;
        assert_eq!(said["nearest"]["entry"].is_object(), kept, "{most}: {said}");
    }
}

#[tokio::test]
async fn a_file_of_requests_is_asked_once() {
    let upstream = stage().await;
    let pannier = Pannier::start(&upstream).await;
    tell(&pannier, &chat("known")).await;
    let requests = ["known", "a", "b"].map(|content| json!({"path": CHAT, "body": chat(content)}));
    let unload = json!({"path": CHAT, "body": with(chat("x"), "/keep_alive", json!(0))});
    let nonsense = json!({"path": "/nowhere", "body": {}});
    let all: Vec<&Value> = requests.iter().chain([&unload, &nonsense]).collect();

    let (_, dry) = warm(&pannier, &json!({"requests": all, "dry_run": true})).await;
    let counts = |last: &Value| {
        ["known", "loaded", "asked", "unknown", "unfit", "failed"]
            .map(|name| last[name].as_u64().expect("a number"))
    };
    assert_eq!((counts(&dry), upstream.count(CHAT)), ([1, 0, 0, 2, 2, 0], 1), "{dry}");

    let (lines, done) = warm(&pannier, &json!({"requests": all, "rate": 0.0})).await;
    assert_eq!((counts(&done), upstream.count(CHAT)), ([1, 0, 2, 0, 2, 0], 3), "{done}");
    let unfit = lines.iter().find(|line| line["n"] == 3).expect("the fourth");
    assert_eq!((&unfit["result"], &unfit["why"]), (&json!("unfit"), &json!("KEEP-ALIVE")));
    let hit = pannier.remembered(&Ask::post(CHAT, &chat("a"))).await;
    assert!(hit.is_hit());
    // Its requests are requests as all others are.
    let records = pannier.metrics().await;
    let requests = records.sum("pannier_http_requests_total", &[("route", CHAT), ("code", "200")]);
    assert!(requests >= 4.0, "{requests}");

    let bodies = json!({"path": CHAT, "requests": [chat("a"), chat("c")], "rate": 0.0});
    let (_, done) = warm(&pannier, &bodies).await;
    assert_eq!(counts(&done), [1, 0, 1, 0, 0, 0], "{done}");
    let wrong = json!({"requests": [], "colour": 1});
    assert_eq!(pannier.ask(&locked(&pannier, WARM, &wrong)).await.status(), 400);
}

#[tokio::test]
async fn it_asks_no_quicker_than_it_may() {
    let upstream = stage().await;
    let pannier = Pannier::start(&upstream).await;
    let requests: Vec<Value> = (0..5).map(|n| chat(&n.to_string())).collect();
    let began = Instant::now();
    warm(&pannier, &json!({"path": CHAT, "requests": requests, "rate": 10.0})).await;
    assert!(began.elapsed() >= Duration::from_millis(390), "{:?}", began.elapsed());
    assert_eq!(upstream.count(CHAT), 5);
}

#[tokio::test]
async fn what_a_changed_model_was_asked_is_asked_again() {
    let upstream = stage().await;
    let dir = TempDir::new().expect("a directory");
    let pannier = begun(before(&upstream, &dir)).await;
    let body = json!({"model": MODELS[1].0, "input": ["one", "two"]});
    pannier.ask(&Ask::post("/api/embed", &body)).await.fine();
    for content in ["a", "b"] {
        tell(&pannier, &chat(content)).await;
        written(&pannier, &chat(content)).await;
    }
    let order = json!({"model": MODELS[0].0, "most": 10, "rate": 0.0});
    let (_, same) = warm(&pannier, &order).await;
    assert_eq!((&same["known"], &same["asked"]), (&json!(2), &json!(0)), "{same}");

    upstream.models(&[(MODELS[0].0, &"ab".repeat(32)), (MODELS[1].0, MODELS[1].1)]);
    eventually("the change to be seen", || async {
        (explain_chat(&pannier, &chat("a")).await["verdict"] == "miss").then_some(())
    })
    .await;
    let asked = upstream.count(CHAT);
    let (_, changed) = warm(&pannier, &order).await;
    assert_eq!((&changed["asked"], upstream.count(CHAT)), (&json!(2), asked + 2), "{changed}");
    for content in ["a", "b"] {
        pannier.remembered(&Ask::post(CHAT, &chat(content))).await;
    }
    assert_eq!(upstream.count(CHAT), asked + 2);
    let none = json!({"model": "nobody-has-it", "most": 10});
    assert_eq!(warm(&pannier, &none).await.0, Vec::<Value>::new());
}

#[tokio::test]
async fn by_the_settings_a_new_model_is_warm_before_it_is_asked() {
    let upstream = stage().await;
    let dir = TempDir::new().expect("a directory");
    let launch = before(&upstream, &dir).set("cache.warm.after_pull", "10").set("cache.warm.rate", "0");
    let pannier = begun(launch).await;
    tell(&pannier, &chat("a")).await;
    written(&pannier, &chat("a")).await;
    let asked = upstream.count(CHAT);
    upstream.models(&[(MODELS[0].0, &"ab".repeat(32))]);
    let visit = upstream.visit(CHAT, asked).await;
    assert_eq!(embedder::body(&visit)["messages"], chat("a")["messages"]);
    pannier.remembered(&Ask::post(CHAT, &chat("a"))).await;
    assert_eq!(upstream.count(CHAT), asked + 1);
}

#[tokio::test]
async fn by_the_settings_a_start_is_a_warm_one() {
    let upstream = stage().await;
    let dir = TempDir::new().expect("a directory");
    let pannier = begun(before(&upstream, &dir)).await;
    let text = json!({"model": MODELS[1].0, "input": "one"});
    pannier.ask(&Ask::post("/api/embed", &text)).await.fine();
    tell(&pannier, &chat("a")).await;
    written(&pannier, &chat("a")).await;
    end(pannier).await;
    let asked = upstream.strangers().len();

    let again = before(&upstream, &dir).set("cache.warm.at_start", "10").start().await;
    within("the memory to be warmed", async {
        while !again.stdout().contains("the memory is warmed") {
            pause(10).await;
        }
    })
    .await;
    for ask in [Ask::post(CHAT, &chat("a")), Ask::post("/api/embed", &text)] {
        let first = again.ask(&ask).await.fine();
        assert!(first.cache().contains("detail=memory"), "{}", first.cache());
    }
    assert_eq!(upstream.strangers().len(), asked, "nobody was asked");
    end(again).await;
}

#[tokio::test]
async fn who_leaves_calls_it_off() {
    let upstream = Upstream::start().await;
    let gate = Gate::closed();
    let (held, acts) = (gate.clone(), route(CHAT).acts(false));
    upstream.on(CHAT, move |_| [vec![Act::Wait(held.clone())], acts.clone()].concat());
    let pannier = Pannier::start(&upstream).await;
    let requests: Vec<Value> = (0..40).map(|n| chat(&n.to_string())).collect();
    let order = json!({"path": CHAT, "requests": requests, "rate": 0.0});
    let mut wire = Wire::open(pannier.admin).await;
    wire.ask(&locked(&pannier, WARM, &order)).await;
    upstream.visit(CHAT, 3).await;
    drop(wire);
    for nth in 0..4 {
        upstream.visit(CHAT, nth).await.hung_up().await;
    }
    pannier.counts("pannier_http_requests_total", &[("route", CHAT), ("code", "499")], 4.0).await;
    assert_eq!(upstream.count(CHAT), 4, "a few at a time, and none after that");
    gate.open();
}
