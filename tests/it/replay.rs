//! How a remembered stream is told: frame by frame, and at a pace where one is wanted.

use crate::stage::*;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn paced(rate: f64) -> String {
    format!("[replay]\ntokens_per_second = {rate:?}\n")
}

/// A Pannier that remembers what `route` answers in one mode.
async fn knows(route: &Route, streamed: bool, settings: &str) -> (Upstream, Pannier) {
    let upstream = Upstream::start().await;
    upstream.always(route.path, route.acts(streamed));
    let pannier = Launch::before(&upstream).file(settings).start().await;
    pannier.ask(&route.ask(streamed)).await.fine();
    let only = route.ask(streamed).with("Cache-Control", "only-if-cached");
    eventually("it is remembered", || async {
        let mut wire = pannier.open().await;
        wire.ask(&only).await;
        (wire.head("POST").await.status == 200).then_some(())
    })
    .await;
    (upstream, pannier)
}

/// How long a hit takes, and its pieces.
async fn told(pannier: &Pannier, ask: &Ask) -> (Duration, Reply) {
    let begun = Instant::now();
    let reply = pannier.ask(ask).await.fine();
    assert!(reply.is_hit(), "{}", reply.cache());
    (begun.elapsed(), reply)
}

#[tokio::test]
async fn at_a_pace_each_frame_has_its_time() {
    for route in routes().iter().filter(|route| route.streams()) {
        // All tokens in 400 ms, the first frame at once.
        let rate = route.completion_tokens as f64 / 0.4;
        let (_upstream, pannier) = knows(route, true, &paced(rate)).await;
        // Twice: the shortest way must not lead past the pace.
        for _ in 0..2 {
            let (took, reply) = told(&pannier, &route.ask(true)).await;
            assert!(took >= Duration::from_millis(200), "{}: {took:?}", route.path);
            assert_eq!(reply.ending, Ending::Complete, "{}", route.path);
        }
    }
}

#[tokio::test]
async fn what_was_whole_is_told_word_by_word() {
    let route = route("/api/chat");
    let text = "A sky is blue where light is scattered. ".repeat(10);
    let mut answer: Value = serde_json::from_slice(&route.answer).expect("JSON");
    answer["message"]["content"] = text.clone().into();
    answer["eval_count"] = json!(100);
    let route = Route { answer: answer.to_string().into(), ..route };
    let (_upstream, pannier) = knows(&route, false, &paced(250.0)).await;
    let (took, reply) = told(&pannier, &route.ask(true)).await;
    assert!(took >= Duration::from_millis(350), "{took:?}");
    assert_eq!(reply.pieces.len(), text.len() / 4 + 1, "a frame has about a token");
    let said = reply.pieces.iter().map(|line| {
        let line: Value = serde_json::from_slice(line).expect("a line of JSON");
        line["message"]["content"].as_str().expect("text").to_owned()
    });
    assert_eq!(said.collect::<String>(), text);
    let (_, whole) = told(&pannier, &route.ask(false)).await;
    assert_eq!(whole.json()["message"]["content"], text);
}

#[tokio::test]
async fn without_a_pace_a_frame_is_a_chunk_of_at_most_four_kilobytes_of_text() {
    let route = route("/api/chat");
    // Three bytes a letter, so that 4,096 falls into the middle of one.
    let text = "空".repeat(5_000) + &"\"<".repeat(1_000);
    let mut answer: Value = serde_json::from_slice(&route.answer).expect("JSON");
    answer["message"]["content"] = text.clone().into();
    let route = Route { answer: answer.to_string().into(), ..route };
    let (_upstream, pannier) = knows(&route, false, "").await;
    for way in ["the ordinary road", "the shortest way"] {
        let (_, reply) = told(&pannier, &route.ask(true)).await;
        let mut said = String::new();
        for line in &reply.pieces {
            assert!(line.ends_with(b"\n") && line.iter().filter(|byte| **byte == b'\n').count() == 1);
            let line: Value = serde_json::from_slice(line).unwrap_or_else(|error| panic!("{way}: {error}"));
            let part = line["message"]["content"].as_str().expect("text");
            assert!(part.len() <= 4096, "{way}: {}", part.len());
            said += part;
        }
        assert!(reply.pieces.len() >= 6, "{way}: {}", reply.pieces.len());
        assert_eq!(said, text, "{way}");
    }
}

#[tokio::test]
async fn who_leaves_in_the_middle_of_it_leaves_nothing_behind() {
    let route = route("/api/chat");
    // The second frame would come after minutes.
    let (_upstream, pannier) = knows(&route, true, &paced(0.01)).await;
    let mut wires = Vec::new();
    for _ in 0..5 {
        let mut wire = pannier.open().await;
        wire.ask(&route.ask(true)).await;
        assert_eq!(wire.head("POST").await.status, 200);
        assert!(!wire.piece().await.expect("the first frame").is_empty());
        wires.push(wire);
    }
    let under_way = ("pannier_http_requests_in_flight", [("route", route.path)]);
    pannier.counts(under_way.0, &under_way.1, 5.0).await;
    drop(wires);
    pannier.counts(under_way.0, &under_way.1, 0.0).await;
    pannier.counts("pannier_connections", &[("listener", "data")], 0.0).await;
}

#[tokio::test]
async fn the_pace_changes_while_pannier_runs() {
    let route = route("/api/generate");
    let (_upstream, pannier) = knows(&route, true, "").await;
    let ask = route.ask(true);
    told(&pannier, &ask).await;
    // Known to the shortest way by now.
    told(&pannier, &ask).await;
    let slow = route.completion_tokens as f64 / 0.3;
    pannier.configure(&paced(slow));
    pannier.signal("HUP");
    eventually("it is told slowly", || async {
        let (took, _) = told(&pannier, &ask).await;
        (took >= Duration::from_millis(150)).then_some(())
    })
    .await;
}
