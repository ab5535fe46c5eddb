//! Who leaves takes his request with him: the upstream sees it at once, and stops generating.

use crate::stage::*;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;

/// Fails unless the upstream connection closed promptly after `left`.
async fn closed_soon(visit: &Arc<Visit>, left: Instant, what: &str) {
    let took = visit.hung_up().await.saturating_duration_since(left);
    assert!(took <= CALLED_OFF, "{what}: the upstream saw it after {took:?}");
}

/// The first frame, then silence.
fn begun(route: &Route) -> Vec<Act> {
    let mut acts = route.acts(true);
    acts.truncate(2);
    acts.push(Act::Hang);
    acts
}

#[tokio::test]
async fn before_the_first_byte() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for route in routes() {
        upstream.always(route.path, vec![Act::Hang]);
        for (nth, &streamed) in route.modes().iter().enumerate() {
            let mut wire = pannier.open().await;
            wire.ask(&route.ask(streamed)).await;
            let visit = upstream.visit(route.path, nth).await;
            let left = Instant::now();
            drop(wire);
            closed_soon(&visit, left, &format!("{} streamed {streamed}", route.path)).await;
        }
    }
    let samples = pannier.counts("pannier_http_requests_total", &[("code", "499")], 15.0).await;
    assert_eq!(samples.sum("pannier_llm_tokens_total", &[("source", "upstream")]), 0.0);
}

#[tokio::test]
async fn in_the_middle_of_a_stream() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for route in routes().iter().filter(|route| route.streams()) {
        upstream.always(route.path, begun(route));
        let mut wire = pannier.open().await;
        wire.ask(&route.ask(true)).await;
        assert_eq!(wire.head("POST").await.status, 200);
        assert_eq!(wire.piece().await.as_ref(), Ok(&route.frames[0]));
        let visit = upstream.visit(route.path, 0).await;
        let left = Instant::now();
        drop(wire);
        closed_soon(&visit, left, route.path).await;
    }
}

/// What was generated until then was generated: it is counted from the frames, marked as an estimate.
#[tokio::test]
async fn what_was_generated_is_counted_as_an_estimate() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let chat = route("/api/chat");
    let mut acts = chat.acts(true);
    acts.truncate(6);
    acts.push(Act::Hang);
    upstream.always(chat.path, acts);
    let mut wire = pannier.open().await;
    wire.ask(&chat.ask(true)).await;
    wire.head("POST").await;
    for _ in 0..5 {
        wire.piece().await.expect("a line");
    }
    drop(wire);
    upstream.visit(chat.path, 0).await.hung_up().await;
    let labels = [("type", "output"), ("source", "estimated")];
    pannier.counts("pannier_llm_tokens_total", &labels, 5.0).await;
    let labels = [("finish_reason", "cancelled")];
    pannier.counts("pannier_llm_requests_total", &labels, 1.0).await;
}

#[tokio::test]
async fn on_forwarded_routes() {
    let upstream = Upstream::start().await;
    let start = head(200, &["Content-Type: application/x-ndjson", "Transfer-Encoding: chunked"]);
    let line = b"{\"status\":\"pulling manifest\"}\n".to_vec();
    upstream.always("/api/pull", vec![Act::Send(start), Act::Chunk(line), Act::Hang]);
    upstream.always("/api/show", vec![Act::Hang]);
    let pannier = Pannier::start(&upstream).await;

    let mut wire = pannier.open().await;
    wire.ask(&Ask::post("/api/show", &json!({}))).await;
    let visit = upstream.visit("/api/show", 0).await;
    let left = Instant::now();
    drop(wire);
    closed_soon(&visit, left, "before the first byte").await;

    let mut wire = pannier.open().await;
    wire.ask(&Ask::post("/api/pull", &json!({ "model": "m" }))).await;
    wire.head("POST").await;
    wire.piece().await.expect("a line");
    let visit = upstream.visit("/api/pull", 0).await;
    let left = Instant::now();
    drop(wire);
    closed_soon(&visit, left, "mid-stream").await;
}

/// A client that breaks off its upload breaks off the upstream's as well.
#[tokio::test]
async fn in_the_middle_of_an_upload() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let mut wire = pannier.open().await;
    let head = format!(
        "POST /api/blobs/sha256:1 HTTP/1.1\r\nHost: {}\r\nContent-Length: 9999999\r\n\r\n",
        pannier.addr
    );
    wire.send(head.as_bytes()).await;
    wire.send(&vec![b'b'; 200_000]).await;
    let visit = upstream.visit("/api/blobs/sha256:1", 0).await;
    let left = Instant::now();
    drop(wire);
    closed_soon(&visit, left, "an upload").await;
}

/// Go's server, and so Ollama, takes a half-closed connection for one that has left.
#[tokio::test]
async fn a_half_close_is_a_leaving() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, begun(&chat));
    let pannier = Pannier::start(&upstream).await;
    let mut wire = pannier.open().await;
    wire.ask(&chat.ask(true)).await;
    wire.head("POST").await;
    let visit = upstream.visit(chat.path, 0).await;
    let left = Instant::now();
    wire.half_close().await;
    closed_soon(&visit, left, "half-close").await;
}

#[tokio::test]
async fn while_others_want_it_the_trip_goes_on() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, begun(&chat));
    let pannier = Pannier::start(&upstream).await;
    let mut wires = Vec::new();
    for _ in 0..3 {
        let mut wire = pannier.open().await;
        wire.ask(&chat.ask(true)).await;
        wire.head("POST").await;
        wire.piece().await.expect("the first line");
        wires.push(wire);
    }
    let visit = upstream.visit(chat.path, 0).await;
    drop(wires.remove(0));
    drop(wires.remove(0));
    pause(300).await;
    assert_eq!(visit.gone(), None, "one is still there");
    let left = Instant::now();
    drop(wires);
    closed_soon(&visit, left, "the last one out").await;
    assert_eq!(upstream.count(chat.path), 1);
}

/// After all that leaving nothing stays behind.
#[tokio::test]
async fn a_hundred_who_leave_at_any_moment_leave_nothing_behind() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    let asked = |seed: u64| {
        let mut body = chat.body(true);
        body["options"]["seed"] = seed.into();
        Ask::post("/api/chat", &body)
    };
    let script = chat.clone();
    upstream.on(chat.path, move |visit| {
        let body: Value = serde_json::from_slice(&visit.body()).expect("JSON");
        if body["options"]["seed"].as_u64().is_some_and(waits_for_the_first_line) {
            return begun(&script);
        }
        let mut acts = script.acts(true);
        for at in (2..acts.len()).rev() {
            acts.insert(at, Act::Pause(std::time::Duration::from_millis(5)));
        }
        acts
    });
    let pannier = Pannier::start(&upstream).await;
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..100 {
        let (mut wire, ask) = (pannier.open().await, asked(number));
        clients.spawn(async move {
            wire.ask(&ask).await;
            if waits_for_the_first_line(number) {
                wire.head("POST").await;
                wire.piece().await.expect("a line");
            }
            pause(number * 17 % 120).await;
        });
    }
    clients.join_all().await;
    eventually("no request is in flight", || async {
        let samples = pannier.metrics().await;
        (samples.sum("pannier_http_requests_in_flight", &[("route", "/api/chat")]) == 0.0).then_some(())
    })
    .await;
    let samples = pannier.counts("pannier_http_requests_total", &[("route", "/api/chat")], 100.0).await;
    assert_eq!(samples.sum("pannier_http_request_duration_seconds_count", &[("route", "/api/chat")]), 100.0);
    eventually("those in mid-stream were called off", || async {
        let gone = upstream.visits(chat.path).iter().filter(|visit| visit.gone().is_some()).count();
        (gone >= 25).then_some(())
    })
    .await;
    // What was called off is closed, not kept for later: the rest of its stream would come to the next one.
    for number in (100..200).filter(|number| !waits_for_the_first_line(*number)) {
        let reply = pannier.open().await.exchange(&asked(number)).await.fine();
        assert_eq!(reply.body(), chat.bytes(true));
    }
}

/// Of those who leave, the quarter that does so in mid-stream for certain.
fn waits_for_the_first_line(seed: u64) -> bool {
    seed.is_multiple_of(4)
}
