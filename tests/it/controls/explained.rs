//! What `explain` says of rules, of a request's own words, and of what others are asking.

use crate::stage::*;
use serde_json::{Value, json};
use servers::RedisServer;

const SETTINGS: &str = "[auth]\nkeys = [\n\
    { name = \"alice\", team = \"lab\", key = \"key-of-alice\" },\n\
    { name = \"bob\", team = \"lab\", key = \"key-of-bob\" },\n]\n\
    [cache]\nrules = [\n\
    { key = \"bob\", enabled = false },\n\
    { team = \"lab\", route = \"/api/generate\", ttl = \"10m\", max_entry = 1024 },\n\
    { model = \"smol*\", operation = \"text_completion\", completions = \"deterministic\" },\n]\n";

async fn explain(pannier: &Pannier, inquiry: &Value) -> Value {
    let ask = Ask::post("/admin/cache/explain", inquiry).with("X-API-Key", &pannier.admin_key());
    pannier.ask(&ask).await.fine().json()
}

fn inquiry(route: &Route, headers: Value, who: Value) -> Value {
    let mut inquiry = json!({ "path": route.path, "body": route.body(false), "headers": headers });
    inquiry.as_object_mut().expect("an object").extend(who.as_object().expect("an object").clone());
    inquiry
}

fn because(said: &Value) -> &str {
    said["because"][0].as_str().expect("a reason")
}

#[tokio::test]
async fn the_rule_that_holds_is_named() {
    let upstream = Upstream::start().await;
    let pannier = Launch::before(&upstream).file(SETTINGS).start().await;
    let (chat, generate) = (route("/api/chat"), route("/api/generate"));
    let plain = |route, who| inquiry(route, json!({}), who);

    let bob = explain(&pannier, &plain(&chat, json!({ "key_name": "bob" }))).await;
    assert_eq!((bob["verdict"].as_str(), bob["policy"]["bypass"].as_str()), (Some("bypass"), Some("OFF")));
    assert_eq!(because(&bob), "the cache is not asked: OFF, by rule 1 of cache.rules");
    assert_eq!(bob["policy"]["rule"], json!({ "number": 1, "says": "{ key = \"bob\", enabled = false }" }));

    let alice = explain(&pannier, &plain(&generate, json!({ "key_name": "alice" }))).await;
    assert_eq!(alice["policy"]["rule"]["number"], 2);
    assert_eq!((&alice["policy"]["ttl"], &alice["policy"]["max_entry"]), (&json!(600), &json!(1024)));
    assert_eq!(
        alice["policy"]["rule"]["says"],
        "{ route = \"/api/generate\", team = \"lab\", ttl = \"10m\", max_entry = 1024 }"
    );

    let anybody = explain(&pannier, &plain(&chat, json!({}))).await;
    assert_eq!((&anybody["policy"]["rule"], &anybody["verdict"]), (&Value::Null, &json!("miss")));

    let mut sampled = plain(&generate, json!({}));
    sampled["body"]["options"] = json!({ "temperature": 1 });
    let sampled = explain(&pannier, &sampled).await;
    assert_eq!(because(&sampled), "the cache is not asked: TEMPERATURE, by rule 3 of cache.rules");
}

#[tokio::test]
async fn a_requests_own_words_are_heeded() {
    let upstream = Upstream::start().await;
    let pannier = Launch::before(&upstream).set("cache.database.enabled", "false").start().await;
    let chat = route("/api/chat");
    let own = |name: &str, value: &str| inquiry(&chat, json!({ name: value }), json!({}));
    let cases = [
        (
            own("X-Pannier-Cache", "bypass"),
            "bypass",
            "the request itself says BYPASS: nothing is looked up or kept",
        ),
        (
            own("X-Pannier-Cache", "refresh"),
            "bypass",
            "the request itself wants a new answer (REFRESH); that one may be kept",
        ),
        (own("X-Pannier-Cache", "only"), "miss", "no tier has an answer under this key"),
        (
            own("X-Pannier-Cache-TTL", "0"),
            "bypass",
            "the cache is not asked: TTL, by the request's own X-Pannier-Cache-TTL",
        ),
    ];
    for (inquiry, verdict, why) in cases {
        let said = explain(&pannier, &inquiry).await;
        assert_eq!((said["verdict"].as_str(), because(&said)), (Some(verdict), why), "{said}");
    }
    let said = explain(&pannier, &own("X-Pannier-Cache-TTL", "90")).await;
    assert_eq!((&said["policy"]["ttl"], &said["policy"]["directives"]), (&json!(90), &json!(["ttl=90"])));
    assert_eq!(upstream.count(chat.path), 0, "no model was asked");
}

#[tokio::test]
async fn what_another_replica_is_asking_is_known() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    let gate = Gate::closed();
    let (held, answer) = (gate.clone(), chat.acts(false));
    upstream.on(chat.path, move |_| [vec![Act::Wait(held.clone())], answer.clone()].concat());
    let launch = || {
        Launch::before(&upstream)
            .set("cache.tiers.secret", &"5e".repeat(32))
            .set("cache.database.enabled", "false")
            .set("cache.redis.timeout", "2s")
            .set("cache.redis.url", &server.url())
    };
    let (one, other) = (launch().start().await, launch().start().await);
    let mut wire = one.open().await;
    wire.ask(&chat.ask(false)).await;
    upstream.visit(chat.path, 0).await;
    let said = explain(&other, &inquiry(&chat, json!({}), json!({}))).await;
    assert_eq!((&said["elsewhere"], &said["under_way"]), (&json!(true), &json!(false)), "{said}");
    assert_eq!(said["verdict"], "coalesced");
    let said = explain(&one, &inquiry(&chat, json!({}), json!({}))).await;
    assert_eq!((&said["elsewhere"], &said["under_way"]), (&json!(false), &json!(true)), "{said}");
    gate.open();
    wire.reply("POST").await.fine();
}
