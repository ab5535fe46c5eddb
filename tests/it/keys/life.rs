//! From the making of a key to its end, over the admin API and the command line.

use super::*;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_secs()
}

/// Whom the access log names for the last request with this id.
async fn who(pannier: &Pannier, ask: &Ask) -> String {
    let id = pannier.ask(&ask.clone().with("Cache-Control", "no-store")).await.fine();
    let id = id.field("x-request-id").expect("an id").to_owned();
    eventually("the request is in the log", || async {
        let line = pannier.stdout().lines().find(|line| line.contains(&id)).map(str::to_owned)?;
        let line: Value = serde_json::from_str(&line).expect("JSON");
        Some(line["key_id"].as_str()?.to_owned())
    })
    .await
}

#[tokio::test]
async fn a_key_is_made_used_replaced_and_forgotten() {
    let upstream = upstream().await;
    let pannier = Launch::before(&upstream).set("log.hit_sample", "1").start().await;
    let chat = route("/api/chat").ask(false);
    let key = make(&pannier, "ann", json!({ "team": "lab" })).await;
    assert!(key.starts_with("pannier_") && key.len() == 46, "{key}");
    assert_eq!(who(&pannier, &of(&chat, &key)).await, "ann");
    assert_eq!(who(&pannier, &chat.clone().with("x-api-key", &key)).await, "ann");
    assert_eq!(who(&pannier, &chat).await, "anonymous");

    let shown = house(&pannier, "GET", "/admin/keys/ann", Value::Null).await.fine().json();
    assert!(
        key.starts_with(shown["start"].as_str().unwrap()) && shown["start"].as_str().unwrap().len() == 14
    );
    assert!(shown["last_used"].as_u64().is_some_and(|used| now() - used < 60), "{shown}");
    assert!(shown.get("key").is_none());
    let id = shown["id"].as_str().unwrap().to_owned();
    let one = format!("{KEYS}/{id}");

    // Disabled at once, and enabled again at once; never treated as somebody without a key.
    house(&pannier, "PATCH", &one, json!({ "disabled": true })).await.fine();
    let refused = pannier.ask(&of(&chat, &key)).await;
    assert_eq!((refused.status(), refused.code()), (401, Some("key_disabled")));
    house(&pannier, "PATCH", &one, json!({ "disabled": false, "team": "shop" })).await.fine();
    assert_eq!(who(&pannier, &of(&chat, &key)).await, "ann");

    // Replaced: the old one is good for a while, or not at all.
    let rotated = house(&pannier, "POST", &format!("{one}/rotate"), json!({ "grace": 3600 })).await.fine();
    let second = rotated.json()["key"].as_str().unwrap().to_owned();
    for key in [&key, &second] {
        assert_eq!(who(&pannier, &of(&chat, key)).await, "ann");
    }
    let rotated = house(&pannier, "POST", "/admin/keys/ann/rotate", Value::Null).await.fine();
    let third = rotated.json()["key"].as_str().unwrap().to_owned();
    for (key, status) in [(&key, 401), (&second, 401), (&third, 200)] {
        assert_eq!(pannier.ask(&of(&chat, key)).await.status(), status);
    }

    // Its time is over.
    house(&pannier, "PATCH", &one, json!({ "expires": now() + 3600 })).await.fine();
    pannier.ask(&of(&chat, &third)).await.fine();
    house(&pannier, "PATCH", &one, json!({ "expires": now() - 1 })).await.fine();
    let refused = pannier.ask(&of(&chat, &third)).await;
    assert_eq!((refused.status(), refused.code()), (401, Some("key_expired")));

    assert_eq!(house(&pannier, "DELETE", &one, Value::Null).await.status(), 204);
    let refused = pannier.ask(&of(&chat, &third)).await;
    assert_eq!((refused.status(), refused.code()), (401, Some("unauthenticated")));
    assert_eq!(house(&pannier, "DELETE", &one, Value::Null).await.status(), 404);
    assert_eq!(house(&pannier, "GET", "/admin/keys/ann", Value::Null).await.status(), 404);
}

/// Its figures are found by it.
#[tokio::test]
async fn a_name_is_never_given_to_another() {
    let upstream = upstream().await;
    let settings = "[auth]\nkeys = [{ name = \"bob\", key = \"key-of-bob\" }]\n";
    let pannier = Launch::before(&upstream).file(settings).start().await;
    let chat = route("/api/chat").ask(false);
    let refused = async |name: &str, why: &str| {
        let refused = house(&pannier, "POST", KEYS, json!({ "name": name })).await;
        assert_eq!((refused.status(), refused.code()), (400, Some("bad_request")), "{name}");
        assert!(refused.text().contains(why), "{name}: {}", refused.text());
    };
    let first = make(&pannier, "ann", json!({ "team": "lab" })).await;
    pannier.ask(&of(&chat, &first)).await.fine();
    make(&pannier, "unused", Value::Null).await;

    // Another key, and another team, under the same name: it is the same owner.
    let rotated = house(&pannier, "POST", "/admin/keys/ann/rotate", Value::Null).await.fine();
    let second = rotated.json()["key"].as_str().expect("a key").to_owned();
    house(&pannier, "PATCH", "/admin/keys/ann", json!({ "team": "shop" })).await.fine();
    pannier.ask(&of(&chat, &second)).await.fine();
    let own = of(&Ask::get("/usage?by=key"), &second);
    eventually_within(PATIENCE, "both are told", || async {
        let told = Wire::open(pannier.admin).await.exchange(&own).await.fine().json();
        (told["total"]["requests"] == 2).then_some(())
    })
    .await;
    let renamed = house(&pannier, "PATCH", "/admin/keys/ann", json!({ "name": "anna" })).await;
    assert_eq!(renamed.status(), 400, "a name stays with its key");

    // Deleted at once behind a request that the database may not know of yet.
    pannier.ask(&of(&chat, &second)).await.fine();
    for name in ["ann", "unused"] {
        assert_eq!(house(&pannier, "DELETE", &format!("{KEYS}/{name}"), Value::Null).await.status(), 204);
        refused(name, "was there before").await;
    }
    let other = make(&pannier, "ann-2", Value::Null).await;
    let own = of(&Ask::get("/usage"), &other);
    let told = Wire::open(pannier.admin).await.exchange(&own).await.fine().json();
    assert_eq!(told["total"]["requests"], 0);

    // A key that has stood in the settings is one that was there as well.
    pannier.ask(&of(&chat, "key-of-bob")).await.fine();
    eventually_within(PATIENCE, "bob is in the books", || async {
        let told = house(&pannier, "GET", "/usage?key=bob", Value::Null).await.fine().json();
        (told["total"]["requests"] == 1).then_some(())
    })
    .await;
    refused("bob", "stands in the settings").await;
    pannier.configure("");
    eventually_within(PATIENCE, "bob is out of the settings", || async {
        (pannier.ask(&of(&Ask::get("/usage"), "key-of-bob")).await.status() == 401).then_some(())
    })
    .await;
    refused("bob", "was there before").await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_says_why() {
    let upstream = upstream().await;
    let settings = "[auth]\nkeys = [{ name = \"bob\", key = \"key-of-bob\" }]\n";
    let pannier = Launch::before(&upstream).file(settings).start().await;
    make(&pannier, "ann", Value::Null).await;
    for (body, why) in [
        (json!({ "name": "ann" }), "already"),
        (json!({ "name": "bob" }), "settings"),
        (json!({ "name": "" }), "letters"),
        (json!({ "name": "anonymous" }), "anonymous"),
        (json!({ "name": "key_1" }), "key_"),
        (json!({ "name": "a b" }), "letters"),
        (json!({ "name": "x' OR '1'='1" }), "letters"),
        (json!({ "name": "x", "team": "\u{0}" }), "team"),
        (json!({ "name": "x", "expires": 1 }), "expired"),
        (json!({ "name": "x", "expires": "2030-01-01" }), "SECONDS SINCE 1970"),
        (json!({ "name": "x", "routes": ["/api/cat"] }), "/api/chat"),
        (json!({ "name": "x", "key": "mine" }), "expected form"),
        (json!({}), "expected form"),
        (json!("sesame"), "expected form"),
    ] {
        let refused = house(&pannier, "POST", KEYS, body.clone()).await;
        assert_eq!(refused.status(), 400, "{body}");
        assert!(refused.text().contains(why) && !refused.text().contains("sesame"), "{}", refused.text());
    }
    for who in ["nobody", "key_abc", "%27%20OR%201%3D1", "%00", "a%2Fb"] {
        for (method, body) in [("GET", Value::Null), ("PATCH", json!({})), ("DELETE", Value::Null)] {
            let target = format!("{KEYS}/{who}");
            assert_eq!(house(&pannier, method, &target, body).await.status(), 404, "{method} {who}");
        }
    }
    assert_eq!(house(&pannier, "DELETE", "/admin/keys/bob", Value::Null).await.status(), 400);
    let all = house(&pannier, "GET", KEYS, Value::Null).await.fine().json();
    let names: Vec<_> = all["keys"].as_array().unwrap().iter().map(|key| key["name"].as_str()).collect();
    assert_eq!(names, [Some("bob"), Some("ann")]);
}

#[tokio::test]
async fn the_command_line_does_all_of_it() {
    let upstream = upstream().await;
    let pannier = Launch::before(&upstream).set("auth.mode", "required").start().await;
    let say = async |arguments: &[&str]| {
        let (code, told, said) = command(&pannier, &[&["keys"], arguments].concat()).await;
        assert_eq!(code, 0, "{arguments:?}: {said}");
        told
    };
    let told = say(&["create", "--name", "ann", "--team", "lab", "--expires", "30d"]).await;
    let key = told.lines().next().unwrap().to_owned();
    assert!(key.starts_with("pannier_") && told.contains("shown this once"), "{told}");
    let chat = route("/api/chat").ask(false);
    let status = async |key: &str| pannier.ask(&of(&chat, key)).await.status();
    assert_eq!(status(&key).await, 200);
    let listed = say(&["list"]).await;
    assert!(listed.starts_with("name") && listed.contains("ann") && listed.contains("lab"), "{listed}");
    assert!(!listed.contains(&key));
    assert!(say(&["disable", "ann"]).await.contains("disabled"));
    assert_eq!(status(&key).await, 401);
    say(&["enable", "ann"]).await;
    say(&["change", "ann", "--expires", "never", "--team", "shop"]).await;
    let shown: Value = serde_json::from_str(&say(&["show", "ann", "--format", "json"]).await).expect("JSON");
    assert_eq!((&shown["team"], &shown["expires"]), (&json!("shop"), &Value::Null));
    let told = say(&["rotate", "ann", "--grace", "1h"]).await;
    let second = told.lines().next().unwrap().to_owned();
    assert_eq!((status(&key).await, status(&second).await), (200, 200));
    assert_eq!(say(&["delete", "ann"]).await, "");
    assert_eq!((status(&key).await, status(&second).await), (401, 401));
    let (code, _, said) = command(&pannier, &["keys", "show", "ann"]).await;
    assert!(code == 1 && said.contains("no key"), "{code} {said}");
    let (code, _, said) = command(&pannier, &["keys", "create", "--name", "x", "--expires", "soon"]).await;
    assert!(code == 2 && said.contains("30d"), "{code} {said}");
}

/// A key that opens the locked routes is made with one that does.
#[tokio::test]
async fn an_admin_can_be_made_and_unmade() {
    let upstream = upstream().await;
    let pannier = Pannier::start(&upstream).await;
    let admin = make(&pannier, "root", json!({ "admin": true })).await;
    let plain = make(&pannier, "ann", Value::Null).await;
    let look = async |ask: Ask| pannier.ask(&ask).await.status();
    for (method, target) in [
        ("GET", "/admin/keys"),
        ("POST", "/admin/keys"),
        ("GET", "/admin/keys/root"),
        ("PATCH", "/admin/keys/root"),
        ("DELETE", "/admin/keys/nobody"),
        ("POST", "/admin/keys/nobody/rotate"),
        ("GET", "/admin/cache/top"),
    ] {
        let ask = Ask::new(method, target);
        assert_eq!(look(ask.clone()).await, 401, "{method} {target}");
        assert_eq!(look(of(&ask, &plain)).await, 401, "{method} {target}");
        assert_eq!(look(of(&ask, &admin).with("X-API-Key", &plain)).await, 401, "two keys");
        assert_eq!(look(of(&ask, &admin).with("Sec-Fetch-Site", "cross-site")).await, 403);
        assert!(![401, 403].contains(&look(of(&ask, &admin)).await), "{method} {target}");
    }
    pannier.ask(&of(&route("/api/chat").ask(false), &admin)).await.fine();
    house(&pannier, "PATCH", "/admin/keys/root", json!({ "disabled": true })).await.fine();
    assert_eq!(look(of(&Ask::get("/admin/keys"), &admin)).await, 401);
}

/// What shares a team shares answers, wherever its keys stand.
#[tokio::test]
async fn a_team_shares_answers_and_others_do_not() {
    let upstream = upstream().await;
    let settings = "[auth]\nkeys = [{ name = \"bob\", team = \"lab\", key = \"key-of-bob\" }]\n";
    let pannier = Launch::before(&upstream).file(settings).start().await;
    let chat = route("/api/chat");
    let ann = make(&pannier, "ann", json!({ "team": "lab" })).await;
    let eve = make(&pannier, "eve", json!({ "team": "shop" })).await;
    pannier.ask(&of(&chat.ask(false), &ann)).await.fine();
    pannier.remembered(&of(&chat.ask(false), &ann)).await;
    assert!(pannier.ask(&of(&chat.ask(false), "key-of-bob")).await.fine().is_hit());
    assert!(!pannier.ask(&of(&chat.ask(false), &eve)).await.fine().is_hit());
    // By key from now on: what was shared is not any longer.
    pannier.configure(&settings.replace("[auth]", "[auth]\nscope = \"key\""));
    pannier.signal("HUP");
    eventually("answers are shared no longer", || async {
        let reply = pannier.ask(&of(&chat.ask(false), &ann).with("Cache-Control", "only-if-cached")).await;
        (reply.status() == 504).then_some(())
    })
    .await;
}
