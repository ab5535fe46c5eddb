//! Bounds are where the settings put them: of a head, and of connections that are kept for the next request.

use crate::stage::*;
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_head_may_be_as_large_as_is_said() {
    let upstream = Upstream::start().await;
    let launch =
        Launch::before(&upstream).set("server.max_header_bytes", "2KiB").set("server.max_headers", "8");
    let pannier = launch.start().await;
    // Host and Content-Length are two of the eight.
    let with = |bytes: usize, fields: usize| {
        let mut ask = Ask::post("/api/chat", &json!({})).with("X-Large", &"x".repeat(bytes));
        for _ in 0..fields {
            ask = ask.with("X-Many", "x");
        }
        ask
    };
    for (bytes, fields, passes) in [(1700, 0, true), (2100, 0, false), (1, 4, true), (1, 5, false)] {
        let reply = pannier.ask(&with(bytes, fields)).await;
        match passes {
            true => assert_eq!((reply.status(), reply.code()), (404, None), "{bytes} {fields}"),
            false => {
                assert_eq!((reply.status(), reply.code()), (431, Some("head_too_large")), "{bytes} {fields}")
            }
        }
    }
}

/// What is asked on each of the roads to the upstream, and keeps its connection.
fn roads(seed: u64) -> [Ask; 3] {
    let mut chat = route("/api/chat").body(false);
    chat["options"]["seed"] = seed.into();
    let blob = Ask::new("POST", "/api/blobs/sha256:1").bytes(vec![b'b'; 100_000]);
    [Ask::post("/api/chat", &chat), Ask::post("/api/show", &json!({ "seed": seed })), blob]
}

/// Waits until so few connections upstream are open.
async fn so_few_are_open(upstream: &Upstream, most: usize) {
    eventually(&format!("at most {most} connections are open"), || async {
        (upstream.connections().1 <= most).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_connection_upstream_is_kept_for_so_long() {
    let upstream = Upstream::start().await;
    upstream.always("/api/chat", route("/api/chat").acts(false));
    upstream.always("/api/show", json_of("{}"));
    upstream.always("/api/blobs/sha256:1", whole(201, "text/plain", ""));
    let pannier = Launch::before(&upstream).set("upstream.idle_timeout", "1s").start().await;
    let begun = Instant::now();
    for ask in roads(0) {
        assert!(pannier.ask(&ask).await.status() < 300, "{}", ask.target);
    }
    assert!(upstream.connections().1 > 0 || begun.elapsed() > Duration::from_secs(1), "none is kept");
    so_few_are_open(&upstream, 0).await;
    assert!(begun.elapsed() >= Duration::from_millis(950), "{:?}", begun.elapsed());
    // And then there are others.
    for ask in roads(1) {
        assert!(pannier.ask(&ask).await.status() < 300, "{}", ask.target);
    }
}

#[tokio::test]
async fn so_many_connections_upstream_are_kept() {
    let upstream = Upstream::start().await;
    let gate = Gate::closed();
    let waiting = |acts: Vec<Act>| [vec![Act::Wait(gate.clone())], acts].concat();
    upstream.always("/api/chat", waiting(route("/api/chat").acts(false)));
    upstream.always("/api/show", waiting(json_of("{}")));
    let pannier = Launch::before(&upstream).set("upstream.idle_connections", "2").start().await;
    let mut wires = Vec::new();
    for seed in 0..8 {
        for ask in &roads(seed)[..2] {
            let mut wire = pannier.open().await;
            wire.ask(ask).await;
            wires.push(wire);
        }
    }
    for path in ["/api/chat", "/api/show"] {
        upstream.visit(path, 7).await;
    }
    assert!(upstream.connections().1 >= 16, "one each");
    gate.open();
    for wire in &mut wires {
        wire.reply("POST").await.fine();
    }
    // Two of those for what is read here, the lists of models among it, and two for what is passed on.
    so_few_are_open(&upstream, 4).await;
    assert!(upstream.connections().1 > 0, "some are kept");
}

fn json_of(body: &str) -> Vec<Act> {
    crate::stage::json(200, body)
}
