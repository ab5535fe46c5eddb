//! The walks through the whole house: a cached embedding, a shared stream, a reload under load.

use crate::stage::*;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[tokio::test]
async fn a_cached_embedding() {
    let upstream = Upstream::start().await;
    let route = route("/api/embed");
    upstream.always(route.path, route.acts(false));
    let pannier = Pannier::start(&upstream).await;

    let first = pannier.ask(&route.ask(false)).await.fine();
    assert_eq!(first.body(), route.answer, "the upstream's own bytes");
    assert_eq!(first.field("content-type"), Some(route.content_type));
    assert!(first.cache().contains("fwd="), "{}", first.cache());

    let again = pannier.remembered(&route.ask(false)).await;
    assert!(again.is_hit(), "{}", again.cache());
    assert_eq!(again.body(), route.answer, "an embedding has nothing to refresh");
    assert_eq!(again.field("content-type"), Some(route.content_type));
    assert!(again.field("age").expect("Age on a hit").parse::<u64>().expect("seconds") < 10);
    assert_eq!(upstream.count(route.path), 1);

    let samples = pannier.counts("pannier_cache_requests_total", &[("result", "hit")], 2.0).await;
    assert_eq!(samples.sum("pannier_llm_tokens_total", &[("type", "input")]), 3.0, "counted once");
}

#[tokio::test]
async fn a_streaming_miss_with_three_followers_the_first_of_whom_hangs_up() {
    let upstream = Upstream::start().await;
    let route = route("/api/chat");
    let gate = Gate::closed();
    let mut acts = route.acts(true);
    acts.insert(6, Act::Wait(gate.clone()));
    upstream.always(route.path, acts);
    let pannier = Pannier::start(&upstream).await;

    let mut leader = pannier.open().await;
    leader.ask(&route.ask(true)).await;
    assert_eq!(leader.head("POST").await.status, 200);
    leader.piece().await.expect("the first line");
    let mut followers = Vec::new();
    for _ in 0..3 {
        let mut follower = pannier.open().await;
        follower.ask(&route.ask(true)).await;
        let head = follower.head("POST").await;
        assert!(head.field("cache-status").is_some_and(|s| s.contains("collapsed")), "{head:?}");
        let start = follower.piece().await.expect("what was said before it came");
        assert!(route.bytes(true).starts_with(&start), "from byte 0");
        followers.push((follower, start));
    }
    drop(leader);
    drop(followers.remove(0));
    pause(50).await;
    gate.open();

    for (mut follower, mut body) in followers {
        loop {
            match follower.piece().await {
                Ok(piece) => body.extend(piece),
                Err(ending) => break assert_eq!(ending, Ending::Complete),
            }
        }
        assert_eq!(body, route.bytes(true), "every byte, in order");
    }
    assert_eq!(upstream.count(route.path), 1, "one trip for all");
    assert!(pannier.remembered(&route.ask(true)).await.is_hit());
    assert_eq!(upstream.count(route.path), 1);
    // Five asked and one was answered from the memory; the model spoke once.
    pannier.counts("pannier_llm_tokens_total", &[("type", "output")], 24.0).await;
}

#[tokio::test]
async fn a_reload_under_load() {
    let upstream = Upstream::start().await;
    let route = route("/api/generate");
    upstream.always(route.path, route.acts(false));
    let with = |completions: &str| format!("[cache]\ncompletions = \"{completions}\"\n");
    let pannier = Arc::new(Launch::before(&upstream).file(&with("all")).start().await);

    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for client in 0..4 {
        let (pannier, stop, asked) = (pannier.clone(), stop.clone(), asked.clone());
        clients.push(tokio::spawn(async move {
            let mut wire = pannier.open().await;
            while !stop.load(Ordering::SeqCst) {
                let number = asked.fetch_add(1, Ordering::SeqCst) % 50;
                let body = json!({ "model": "smollm2:135m", "prompt": format!("{client} {number}"),
                    "stream": false });
                let reply = wire.exchange(&Ask::post("/api/generate", &body)).await.fine();
                assert_eq!(reply.json()["done_reason"], "length");
            }
        }));
    }
    let is_loaded = || asked.load(Ordering::SeqCst) > 50;
    for round in (0..).take_while(|round| *round < 10 || round % 2 == 1 || !is_loaded()) {
        pannier.configure(&with(if round % 2 == 0 { "off" } else { "all" }));
        pannier.signal("HUP");
        pause(30).await;
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.expect("no request failed");
    }

    // The last settings are in force: "all" remembers.
    let body = json!({ "model": "smollm2:135m", "prompt": "after", "stream": false });
    let ask = Ask::post("/api/generate", &body);
    eventually("it is remembered again", || async { pannier.ask(&ask).await.is_hit().then_some(()) }).await;
}
