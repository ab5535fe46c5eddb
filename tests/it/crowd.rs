//! Clients counted by address (RELIABILITY.md D-08): none takes what belongs to the others.

use crate::stage::*;
use std::time::Instant;

/// What an address is told that has too many.
fn is_told(reply: &Reply) {
    assert_eq!((reply.status(), reply.code()), (429, Some("rate_limited")), "{}", reply.text());
    assert_eq!(reply.field("retry-after"), Some("1"));
    assert!(reply.json()["error"].as_str().is_some_and(|words| words.contains("this address")));
    assert_eq!(reply.field("connection"), Some("close"));
}

async fn refused(pannier: &Pannier, reason: &str) -> f64 {
    pannier.metrics().await.sum("pannier_connections_refused_total", &[("reason", reason)])
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let upstream = Upstream::start().await;
    let launch = Launch::before(&upstream).set("server.max_connections_per_ip", "3");
    let pannier = launch.set("server.per_ip_exempt", "[\"127.0.0.3\"]").start().await;
    let version = Ask::get("/api/version");
    let mut wires = Vec::new();
    for _ in 0..3 {
        let mut wire = Wire::open_from("127.0.0.2", pannier.addr).await;
        wire.exchange(&version).await.fine();
        wires.push(wire);
    }
    // Said before anything is asked.
    let mut fourth = Wire::open_from("127.0.0.2", pannier.addr).await;
    is_told(&fourth.reply("GET").await);
    fourth.half_close().await;
    fourth.hung_up().await;
    assert_eq!(refused(&pannier, "connections").await, 1.0);
    let samples = pannier.counts("pannier_internal_size", &[("what", "client_addresses")], 1.0).await;
    assert_eq!(samples.sum("pannier_connections", &[("listener", "data")]), 3.0);

    // Others come in, and so does this one when it has left.
    Wire::open_from("127.0.0.4", pannier.addr).await.exchange(&version).await.fine();
    let mut exempt = Vec::new();
    for _ in 0..6 {
        let mut wire = Wire::open_from("127.0.0.3", pannier.addr).await;
        wire.exchange(&version).await.fine();
        exempt.push(wire);
    }
    wires.pop();
    pannier.counts("pannier_connections", &[("listener", "data")], 8.0).await;
    Wire::open_from("127.0.0.2", pannier.addr).await.exchange(&version).await.fine();
    wires.clear();
    pannier.counts("pannier_internal_size", &[("what", "client_addresses")], 0.0).await;
}

#[tokio::test]
async fn an_address_has_so_many_that_ask_nothing() {
    let upstream = Upstream::start().await;
    let launch = Launch::before(&upstream).set("server.max_heads_per_ip", "2");
    let pannier = launch.set("server.per_ip_exempt", "[]").start().await;
    let version = Ask::get("/api/version");
    let mut silent = Wire::open_from("127.0.0.2", pannier.addr).await;
    let mut half = Wire::open_from("127.0.0.2", pannier.addr).await;
    half.send(b"GET /api/version HTTP/1.1\r\nHost: loc").await;
    is_told(&Wire::open_from("127.0.0.2", pannier.addr).await.reply("GET").await);
    assert_eq!(refused(&pannier, "heads").await, 1.0);
    Wire::open_from("127.0.0.4", pannier.addr).await.exchange(&version).await.fine();

    // Who has asked waits for no head any more, until the next one begins.
    half.send(b"alhost\r\n\r\n").await;
    half.reply("GET").await.fine();
    let mut third = Wire::open_from("127.0.0.2", pannier.addr).await;
    third.send(b"GET /api/ver").await;
    pause(300).await;
    half.exchange(&version).await.fine();
    half.send(b"GET /api/ver").await;
    is_told(&half.reply("GET").await);
    half.hung_up().await;
    silent.exchange(&version).await.fine();
    assert_eq!(refused(&pannier, "heads").await, 2.0);
}

/// Those who are told so, and stay, take no place of others.
#[tokio::test]
async fn who_is_refused_costs_nobody_anything() {
    let upstream = Upstream::start().await;
    let launch = Launch::before(&upstream).set("server.max_connections_per_ip", "2");
    let launch = launch.set("server.max_connections", "4").set("server.per_ip_exempt", "[]");
    let pannier = launch.start().await;
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(Wire::open_from("127.0.0.2", pannier.addr).await);
    }
    let begun = Instant::now();
    Wire::open_from("127.0.0.4", pannier.addr).await.exchange(&Ask::get("/api/version")).await.fine();
    assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
    pannier.counts("pannier_connections_refused_total", &[("reason", "connections")], 98.0).await;
}

/// By default one's own programs are not counted: they may come in any number.
#[tokio::test]
async fn ones_own_machine_is_exempt() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(pannier.open().await);
    }
    pannier.ask(&Ask::get("/api/version")).await.fine();
    assert_eq!(pannier.metrics().await.sum("pannier_connections_refused_total", &[]), 0.0);
}
