//! Which model answered, under which name (RELIABILITY.md C-10).

use super::{goes_up, stage_with};
use crate::stage::*;
use serde_json::json;

/// A digest of one repeated digit.
fn digest(digit: char) -> String {
    digit.to_string().repeat(64)
}

#[tokio::test]
async fn a_models_other_names_are_the_same_model() {
    for (path, names) in [
        ("/api/chat", ["SmolLM2:135M", "registry.ollama.ai/library/smollm2:135m", "library/smollm2:135m"]),
        (
            "/v1/chat/completions",
            ["SmolLM2:135M", "registry.ollama.ai/library/smollm2:135m", "library/smollm2:135m"],
        ),
    ] {
        let (upstream, pannier, route) = stage_with(path).await;
        for &streamed in route.modes() {
            pannier.ask(&route.ask(streamed)).await.fine();
            pannier.remembered(&route.ask(streamed)).await;
            let visits = upstream.count(path);
            for name in names {
                let mut body = route.body(streamed);
                body["model"] = name.into();
                let reply = pannier.remembered(&Ask::post(path, &body)).await;
                let text = reply.text();
                assert!(text.contains(&format!("\"model\":\"{name}\"")), "{path} echoes {name}: {text}");
                assert!(!text.contains("\"model\":\"smollm2:135m\""), "{path}: {text}");
            }
            assert_eq!(upstream.count(path), visits, "{path}");
        }
    }
    // `latest` is what a name without a tag means.
    let (upstream, pannier, route) = stage_with("/api/embed").await;
    upstream.models(&[("all-minilm:latest", &digest('a'))]);
    let named = |name: &str| Ask::post(route.path, &json!({ "model": name, "input": "a" }));
    eventually("the new name is known", || async {
        pannier.ask(&named("all-minilm")).await.fine();
        pannier.ask(&named("all-minilm")).await.is_hit().then_some(())
    })
    .await;
    let asked = upstream.count(route.path);
    pannier.remembered(&named("all-minilm:latest")).await;
    assert_eq!(upstream.count(route.path), asked);
}

/// Ollama says there, and there alone, that it has no such model.
#[tokio::test]
async fn the_oldest_route_heeds_the_case_of_a_name() {
    let (upstream, pannier, route) = stage_with("/api/embeddings").await;
    pannier.ask(&route.ask(false)).await.fine();
    pannier.remembered(&route.ask(false)).await;
    let named = |name: &str| {
        let mut body = route.body(false);
        body["model"] = name.into();
        Ask::post(route.path, &body)
    };
    assert!(pannier.ask(&named("library/all-minilm:l6-v2")).await.is_hit());
    let missing = r#"{"error":"model \"ALL-MINILM:L6-V2\" not found, try pulling it first"}"#;
    upstream.always(route.path, crate::stage::json(404, missing));
    for _ in 0..2 {
        let reply = pannier.ask(&named("ALL-MINILM:L6-V2")).await;
        assert_eq!((reply.status(), reply.text()), (404, missing.to_owned()));
        assert!(reply.cache().ends_with("detail=MODEL"), "{}", reply.cache());
    }
    assert!(pannier.ask(&route.ask(false)).await.is_hit());
}

#[tokio::test]
async fn a_new_digest_makes_old_answers_unusable() {
    let upstream = Upstream::start().await;
    let route = route("/api/embed");
    upstream.always(route.path, route.acts(false));
    upstream.always("/api/create", ndjson(&[b"{\"status\":\"success\"}\n".to_vec()]));
    let pannier = Launch::before(&upstream).set("upstream.inventory_refresh", "100ms").start().await;
    let ask = route.ask(false);
    pannier.ask(&ask).await.fine();
    pannier.remembered(&ask).await;

    // Around Pannier: within the refresh.
    upstream.models(&[("all-minilm:l6-v2", &digest('b'))]);
    eventually("the new digest is noticed", || async {
        goes_up(&upstream, &pannier, &ask).await.then_some(())
    })
    .await;
    pannier.remembered(&ask).await;
    // Back again: it is the same model as before, and its answer still holds.
    upstream.models(&[("all-minilm:l6-v2", MODELS[1].1)]);
    let read = upstream.count("/api/tags");
    eventually("the list is read", || async { (upstream.count("/api/tags") > read + 2).then_some(()) }).await;
    assert!(!goes_up(&upstream, &pannier, &ask).await, "entries survive an identical re-creation");
}

#[tokio::test]
async fn a_change_through_pannier_is_noticed_at_once() {
    let changes = [
        ("POST", "/api/create", json!({ "model": "all-minilm:l6-v2" })),
        ("POST", "/api/pull", json!({ "model": "all-minilm:l6-v2" })),
        ("POST", "/api/copy", json!({ "source": "a", "destination": "all-minilm:l6-v2" })),
        ("DELETE", "/api/delete", json!({ "model": "all-minilm:l6-v2" })),
        ("POST", "/api/new-in-0.40", json!({})),
    ];
    let upstream = Upstream::start().await;
    let route = route("/api/embed");
    upstream.always(route.path, route.acts(false));
    // So long that only the change itself can tell.
    let pannier = Launch::before(&upstream).set("upstream.inventory_refresh", "1h").start().await;
    for (number, (method, path, body)) in changes.into_iter().enumerate() {
        upstream.always(path, ndjson(&[b"{\"status\":\"success\"}\n".to_vec()]));
        pannier.ask(&route.ask(false)).await.fine();
        pannier.remembered(&route.ask(false)).await;
        upstream.models(&[("all-minilm:l6-v2", &digest(char::from(b'0' + number as u8)))]);
        assert!(!goes_up(&upstream, &pannier, &route.ask(false)).await, "{path}: nobody knows yet");
        let ask = Ask { method: method.into(), ..Ask::post(path, &body) };
        pannier.ask(&ask).await.fine();
        eventually("the change is noticed", || async {
            goes_up(&upstream, &pannier, &route.ask(false)).await.then_some(())
        })
        .await;
    }
}

/// The model was exchanged while it spoke: nobody knows which one did.
#[tokio::test]
async fn a_digest_that_changes_in_mid_flight_keeps_the_answer_out() {
    let upstream = Upstream::start().await;
    let route = route("/api/embed");
    let gate = Gate::closed();
    upstream.always(route.path, [vec![Act::Wait(gate.clone())], route.acts(false)].concat());
    let pannier = Pannier::start(&upstream).await;
    let mut wire = pannier.open().await;
    wire.ask(&route.ask(false)).await;
    upstream.visit(route.path, 0).await;
    upstream.models(&[("all-minilm:l6-v2", &digest('c'))]);
    gate.open();
    wire.reply("POST").await.fine();
    pause(100).await;
    // Neither under the new digest nor, should it come back, under the old one.
    assert!(goes_up(&upstream, &pannier, &route.ask(false)).await);
    pannier.remembered(&route.ask(false)).await;
    upstream.models(&MODELS);
    eventually("the old digest is back, and has no answer", || async {
        goes_up(&upstream, &pannier, &route.ask(false)).await.then_some(())
    })
    .await;
}

/// Another one while it spoke, and then the same again: its digest does not tell who did.
#[tokio::test]
async fn a_model_that_was_another_one_meanwhile_keeps_the_answer_out() {
    for path in ["/api/chat", "/api/embed"] {
        let upstream = Upstream::start().await;
        let route = route(path);
        let gate = Gate::closed();
        upstream.always(path, [vec![Act::Wait(gate.clone())], route.acts(false)].concat());
        let pannier = Pannier::start(&upstream).await;
        let mut wire = pannier.open().await;
        wire.ask(&route.ask(false)).await;
        upstream.visit(path, 0).await;
        upstream.models(&MODELS.map(|(name, _)| (name, MODELS[0].0)));
        upstream.models(&MODELS);
        gate.open();
        wire.reply("POST").await.fine();
        pause(100).await;
        assert!(goes_up(&upstream, &pannier, &route.ask(false)).await, "{path}");
        pannier.remembered(&route.ask(false)).await;
    }
}

/// Nor does anybody share the trip who comes when it is the same again.
#[tokio::test]
async fn a_trip_to_a_model_that_was_made_anew_is_not_shared() {
    for path in ["/api/chat", "/api/embed"] {
        let upstream = Upstream::start().await;
        let route = route(path);
        let gate = Gate::closed();
        let (waits, acts) = (gate.clone(), route.acts(false));
        upstream.on(path, move |visit| match visit.nth {
            0 => [vec![Act::Wait(waits.clone())], acts.clone()].concat(),
            _ => acts.clone(),
        });
        upstream.always("/api/create", ndjson(&[b"{\"status\":\"success\"}\n".to_vec()]));
        let pannier = Pannier::start(&upstream).await;
        let mut wire = pannier.open().await;
        wire.ask(&route.ask(false)).await;
        upstream.visit(path, 0).await;
        upstream.models(&MODELS);
        pannier.ask(&Ask::post("/api/create", &json!({ "model": MODELS[0].0 }))).await.fine();
        assert!(goes_up(&upstream, &pannier, &route.ask(false)).await, "{path}");
        gate.open();
        wire.reply("POST").await.fine();
    }
}

#[tokio::test]
async fn another_server_version_makes_old_answers_unusable() {
    let upstream = Upstream::start().await;
    let route = route("/api/chat");
    upstream.always(route.path, route.acts(false));
    let pannier = Launch::before(&upstream).set("upstream.inventory_refresh", "100ms").start().await;
    pannier.ask(&route.ask(false)).await.fine();
    pannier.remembered(&route.ask(false)).await;
    upstream.version("0.34.0");
    eventually("the new version is noticed", || async {
        goes_up(&upstream, &pannier, &route.ask(false)).await.then_some(())
    })
    .await;
}

#[tokio::test]
async fn while_nothing_is_known_of_the_models_nothing_is_kept() {
    let upstream = Upstream::start().await;
    let route = route("/api/chat");
    upstream.always(route.path, route.acts(false));
    upstream.always("/api/tags", json(500, "{}"));
    let pannier = Launch::before(&upstream).set("upstream.inventory_refresh", "100ms").start().await;
    for _ in 0..3 {
        assert!(goes_up(&upstream, &pannier, &route.ask(false)).await);
        pause(50).await;
    }
}

#[tokio::test]
async fn the_epoch_makes_all_answers_old() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let pannier = Launch::before(&upstream).file("[cache]\nepoch = \"one\"\n").start().await;
    pannier.ask(&chat.ask(false)).await.fine();
    pannier.remembered(&chat.ask(false)).await;
    pannier.configure("[cache]\nepoch = \"two\"\n");
    pannier.signal("HUP");
    eventually("the epoch is another one", || async {
        goes_up(&upstream, &pannier, &chat.ask(false)).await.then_some(())
    })
    .await;
}

/// A body that Ollama would refuse must neither get the answer of one that it takes, nor lead its trip.
#[tokio::test]
async fn mistyped_fields_are_another_question() {
    let (upstream, pannier, route) = stage_with("/api/chat").await;
    pannier.ask(&route.ask(false)).await.fine();
    pannier.remembered(&route.ask(false)).await;
    for (field, value) in
        [("stream", json!("no")), ("keep_alive", json!("5 parsecs")), ("keep_alive", json!({ "a": 1 }))]
    {
        let mut body = route.body(false);
        body[field] = value;
        assert!(
            goes_up(&upstream, &pannier, &Ask::post(route.path, &body)).await,
            "{field}: {}",
            body[field]
        );
    }
}
