//! Texts that are spread over several upstreams.

use super::*;
use std::time::{Duration, Instant};

/// Upstreams that take `pause` a text, one text after the other as Ollama does.
async fn fleet(count: usize, pause: Duration) -> Vec<Upstream> {
    let mut fleet = Vec::new();
    for _ in 0..count {
        let upstream = Upstream::start().await;
        let free_at = std::sync::Mutex::new(Instant::now());
        upstream.on("/api/embed", move |visit| {
            let mut free_at = free_at.lock().expect("the clock");
            let done = Instant::now().max(*free_at) + pause;
            *free_at = done;
            let wait = done.saturating_duration_since(Instant::now());
            [vec![Act::Pause(wait)], embedder::embeds(visit, DIGEST)].concat()
        });
        fleet.push(upstream);
    }
    fleet
}

fn launch(fleet: &[Upstream]) -> Launch {
    let others: Vec<_> = fleet[1..].iter().map(|upstream| format!("\"http://{}\"", upstream.addr)).collect();
    Launch::before(&fleet[0]).set("upstream.embedding_urls", &format!("[{}]", others.join(",")))
}

#[tokio::test]
async fn texts_are_spread_over_all_that_have_the_model() {
    let fleet = fleet(4, Duration::from_millis(100)).await;
    fleet[2].models(&[(MODEL, &"f".repeat(64))]);
    let pannier = launch(&fleet).start().await;
    let texts: Vec<_> = (0..120).map(|number| format!("text {number}")).collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    let begun = Instant::now();
    check(pannier.ask(&ask("/api/embed", &texts)).await, &texts, None);
    let took = begun.elapsed();
    let counts: Vec<_> = fleet.iter().map(|upstream| upstream.count("/api/embed")).collect();
    assert_eq!(counts.iter().sum::<usize>(), 120);
    assert_eq!(counts[2], 0, "its model is another one: {counts:?}");
    assert!([0, 1, 3].iter().all(|number| (30..=50).contains(&counts[*number])), "{counts:?}");
    assert!(took < PROMPTLY, "one alone would take 12 s: {took:?}");
    pannier.remembered(&ask("/api/embed", &texts)).await;
}

#[tokio::test]
async fn one_that_dies_costs_no_text() {
    let mut fleet = fleet(3, Duration::from_millis(5)).await;
    let pannier = launch(&fleet).start().await;
    check(pannier.ask(&ask("/api/embed", &["a"])).await, &["a"], None);
    let texts: Vec<_> = (0..200).map(|number| format!("text {number}")).collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    let mut wire = pannier.open().await;
    wire.ask(&ask("/api/embed", &texts)).await;
    fleet[1].visit("/api/embed", 5).await;
    fleet[1].stop().await;
    check(wire.reply("POST").await, &texts, None);
    // And whoever comes later does not wait for it.
    let begun = Instant::now();
    check(pannier.ask(&ask("/api/embed", &["later", "still"])).await, &["later", "still"], None);
    assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
}
