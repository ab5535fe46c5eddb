//! For whom an answer is kept.

use super::goes_up;
use crate::stage::*;
use serde_json::json;

const KEYS: &str = r#"
[[auth.keys]]
name = "ann"
team = "red"
key = "key-of-ann"
[[auth.keys]]
name = "ben"
team = "red"
key = "key-of-ben"
[[auth.keys]]
name = "cat"
team = "blue"
key = "key-of-cat"
[[auth.keys]]
name = "dan"
key = "key-of-dan"
"#;

/// Launches with `KEYS` and a scope; asks as each and says who had to go up.
async fn who_goes_up(scope: &str) -> Vec<&'static str> {
    let upstream = Upstream::start().await;
    let route = route("/api/chat");
    upstream.always(route.path, route.acts(false));
    let settings = format!("[auth]\nscope = \"{scope}\"\n{KEYS}");
    let pannier = Launch::before(&upstream).file(&settings).start().await;
    let mut went = Vec::new();
    for who in ["ann", "ben", "cat", "dan", "", "nobody"] {
        let ask = match who {
            "" => route.ask(false),
            "ben" => route.ask(false).with("x-api-key", "key-of-ben"),
            _ => route.ask(false).with("Authorization", &format!("Bearer key-of-{who}")),
        };
        if goes_up(&upstream, &pannier, &ask).await {
            went.push(who);
            pannier.remembered(&ask).await;
        }
    }
    went
}

#[tokio::test]
async fn teams_share_among_themselves() {
    // Keys without a team, unknown keys and no key at all are the team "default".
    assert_eq!(who_goes_up("team").await, ["ann", "cat", "dan"]);
}

#[tokio::test]
async fn keys_can_be_kept_apart() {
    assert_eq!(who_goes_up("key").await, ["ann", "ben", "cat", "dan", ""]);
}

#[tokio::test]
async fn all_can_share() {
    assert_eq!(who_goes_up("shared").await, ["ann"]);
}

/// Nothing that a client says moves it into another scope (RELIABILITY.md C-04).
#[tokio::test]
async fn a_scope_cannot_be_forged() {
    let upstream = Upstream::start().await;
    let route = route("/api/chat");
    upstream.always(route.path, route.acts(false));
    let pannier = Launch::before(&upstream).file(KEYS).start().await;
    let of_red = route.ask(false).with("Authorization", "Bearer key-of-ann");
    pannier.ask(&of_red).await.fine();
    pannier.remembered(&of_red).await;
    let forged = [
        route.ask(false).with("X-Pannier-Scope", "red"),
        route.ask(false).with("X-Pannier-Team", "red").with("Cache-Control", "no-store"),
        route.ask(false).with("Authorization", "key-of-ann-").with("Cache-Control", "no-store"),
        route.ask(false).with("Authorization", "Bearer KEY-OF-ANN").with("Cache-Control", "no-store"),
    ];
    for ask in forged {
        assert!(goes_up(&upstream, &pannier, &ask).await, "{:?}", ask.fields);
    }
}

/// A team's texts are its own, known ones and those under way.
#[tokio::test]
async fn texts_are_not_shared_across_teams() {
    let upstream = Upstream::start().await;
    let gate = Gate::closed();
    let waits = gate.clone();
    upstream.on("/api/embed", move |visit| {
        [vec![Act::Wait(waits.clone())], embedder::embeds(visit, MODELS[1].1)].concat()
    });
    let pannier = Launch::before(&upstream).file(KEYS).start().await;
    let embed = |texts: &[&str], who: &str| {
        let body = json!({ "model": MODELS[1].0, "input": texts });
        Ask::post("/api/embed", &body).with("Authorization", &format!("Bearer key-of-{who}"))
    };
    let mut wires = Vec::new();
    for (nth, who) in ["ann", "cat", "dan"].into_iter().enumerate() {
        let mut wire = pannier.open().await;
        wire.ask(&embed(&["a"], who)).await;
        upstream.visit("/api/embed", nth).await;
        wires.push(wire);
    }
    gate.open();
    for wire in &mut wires {
        wire.reply("POST").await.fine();
    }
    pannier.ask(&embed(&["a", "b"], "ann")).await.fine();
    pannier.remembered(&embed(&["a", "b"], "ben")).await;
    assert_eq!(upstream.count("/api/embed"), 4, "red has both");
    pannier.ask(&embed(&["b"], "cat")).await.fine();
    assert_eq!(upstream.count("/api/embed"), 5, "blue had only one of them");
}

/// A key that is taken away opens nothing of its team's any more (RELIABILITY.md C-03).
#[tokio::test]
async fn a_key_that_is_gone_finds_nothing_of_its_teams() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let pannier = Launch::before(&upstream).file(KEYS).start().await;
    let of = |who: &str| chat.ask(false).with("Authorization", &format!("Bearer key-of-{who}"));
    pannier.ask(&of("ann")).await.fine();
    for _ in 0..3 {
        pannier.remembered(&of("ann")).await;
    }
    let (second, _) = KEYS.match_indices("[[").nth(1).expect("a second key");
    pannier.configure(&KEYS[second..]);
    pannier.signal("HUP");
    eventually("the key is gone", || async { goes_up(&upstream, &pannier, &of("ann")).await.then_some(()) })
        .await;
    assert!(!goes_up(&upstream, &pannier, &of("ben")).await, "its team has the answer still");
}

/// Of two keys nobody can say which one counts, whichever way the request would take.
#[tokio::test]
async fn two_keys_are_nobody() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let pannier = Launch::before(&upstream).file(KEYS).start().await;
    let (ann, cat) = (("Authorization", "Bearer key-of-ann"), ("X-API-Key", "key-of-cat"));
    let of_ann = chat.ask(false).with(ann.0, ann.1);
    pannier.ask(&of_ann).await.fine();
    for _ in 0..3 {
        pannier.remembered(&of_ann).await;
    }
    for (first, then) in [(ann, cat), (cat, ann)] {
        let both = pannier.ask(&chat.ask(false).with(first.0, first.1).with(then.0, then.1)).await;
        assert_eq!((both.status(), both.code()), (401, Some("unauthenticated")));
    }
    assert_eq!(upstream.count(chat.path), 1);
    let visit = upstream.visit(chat.path, 0).await;
    assert_eq!((visit.field("authorization"), visit.field("x-api-key")), (None, None));
}
