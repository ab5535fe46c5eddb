//! The house's own listener: the same door as the clients' (RELIABILITY.md groups D and H), and a bound of its
//! own.

use crate::stage::*;
use std::time::{Duration, Instant};

/// A problem of the house's (RFC 9457).
fn is_problem(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status(), reply.code()), (status, Some(code)), "{}", reply.text());
    assert_eq!(reply.field("content-type"), Some("application/problem+json"));
    assert_eq!(
        (reply.json()["status"].as_u64(), reply.json()["code"].as_str()),
        (Some(status.into()), Some(code))
    );
}

#[tokio::test]
async fn a_head_has_a_deadline_here_too() {
    let upstream = Upstream::start().await;
    let pannier = Launch::before(&upstream).set("server.header_timeout", "1s").start().await;
    let mut half = Wire::open(pannier.admin).await;
    half.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n").await;
    is_problem(&half.reply("GET").await, 408, "request_timeout");
    half.hung_up().await;

    let until_then = Duration::from_millis(950)..LATEST;
    let begun = Instant::now();
    let mut trickle = Wire::open(pannier.admin).await;
    while begun.elapsed() < PROMPTLY && trickle.try_send(b"x").await.is_ok() {
        pause(40).await;
    }
    assert!(until_then.contains(&begun.elapsed()), "{:?}", begun.elapsed());

    let begun = Instant::now();
    let mut lines = Wire::open(pannier.admin).await;
    while begun.elapsed() < PROMPTLY && lines.try_send(b"\r\n").await.is_ok() {
        pause(40).await;
    }
    assert!(until_then.contains(&begun.elapsed()), "{:?}", begun.elapsed());

    // Who says nothing, at first or after an answer, is told nothing.
    let mut silent = Wire::open(pannier.admin).await;
    assert!(silent.try_head("GET").await.is_none());
    let mut idle = Wire::open(pannier.admin).await;
    idle.exchange(&Ask::get("/livez")).await.fine();
    assert!(idle.try_head("GET").await.is_none());
}

/// A connection that never idles ends as well: one that takes nothing of its answers cannot stay for ever.
#[tokio::test]
async fn a_connection_lives_so_long() {
    let upstream = Upstream::start().await;
    let launch =
        Launch::before(&upstream).set("server.keepalive_timeout", "1s").set("server.write_timeout", "300ms");
    let pannier = launch.start().await;
    let begun = Instant::now();
    let mut wire = Wire::open(pannier.admin).await;
    while begun.elapsed() < PROMPTLY {
        wire.ask(&Ask::get("/livez")).await;
        if wire.try_reply("GET").await.is_none_or(|reply| reply.field("connection") == Some("close")) {
            break;
        }
        pause(30).await;
    }
    assert!((Duration::from_millis(950)..LATEST).contains(&begun.elapsed()), "{:?}", begun.elapsed());

    let mut deaf = Wire::open(pannier.admin).await;
    deaf.exchange(&Ask::get("/livez")).await.fine();
    let scrape = Ask::get("/metrics").raw("localhost").repeat(2000);
    let _ = tokio::time::timeout(Duration::from_millis(200), deaf.try_send(&scrape)).await;
    pannier.counts("pannier_connections", &[("listener", "admin")], 1.0).await;
}

#[tokio::test]
async fn the_house_answers_to_names_of_its_own_only() {
    let upstream = Upstream::start().await;
    let pannier = Launch::before(&upstream).file("[access]\nallowed_hosts = []\n").start().await;
    let ask = async |host: &str, target: &str| {
        Wire::open(pannier.admin).await.exchange(&Ask::get(target).host(host)).await
    };
    for target in ["/metrics", "/livez", "/nowhere"] {
        is_problem(&ask("evil.example", target).await, 403, "forbidden");
        assert_ne!(ask("LocalHost:8001", target).await.status(), 403);
    }
    pannier.configure("[access]\nallowed_hosts = [\"probe.example\"]\n");
    pannier.signal("HUP");
    eventually("the name is allowed", || async {
        (ask("probe.example", "/livez").await.status() == 200).then_some(())
    })
    .await;
    is_problem(&ask("evil.example", "/livez").await, 403, "forbidden");
}

/// Names are judged at the port where a request comes in: the way from there to the house is Pannier's own.
#[tokio::test]
async fn what_comes_through_the_main_port_was_judged_there() {
    let upstream = Upstream::start().await;
    let pannier = Launch::before(&upstream).listen("0.0.0.0:0").start().await;
    for target in ["/metrics", "/livez", "/readyz?verbose"] {
        let ask = Ask::get(target).host("llm.example.org");
        pannier.ask(&ask).await.fine();
        let here = Wire::open(pannier.admin).await.exchange(&ask).await;
        is_problem(&here, 403, "forbidden");
    }
    let mut old = pannier.open().await;
    old.send(b"GET /livez HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.reply("GET").await.status(), 200);
}

#[tokio::test]
async fn crooked_heads_are_refused_here_too() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let large = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(40 << 10));
    let many = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: x\r\n".repeat(150));
    let cases = [
        ("two hosts", "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        ("no host", "GET /livez HTTP/1.1\r\n\r\n", 400),
        ("another target", "GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        ("no HTTP", "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n", 400),
        ("a large head", &large, 431),
        ("many fields", &many, 431),
    ];
    for (what, raw, status) in cases {
        let mut wire = Wire::open(pannier.admin).await;
        let _ = wire.try_send(raw.as_bytes()).await;
        assert_eq!(wire.reply("GET").await.status(), status, "{what}");
    }
    assert_eq!(pannier.house("/livez").await.status(), 200);
}

#[tokio::test]
async fn its_connections_are_bounded_and_cost_the_clients_nothing() {
    let upstream = Upstream::start().await;
    let pannier = Launch::before(&upstream).set("server.max_admin_connections", "3").start().await;
    let mut wires = Vec::new();
    for _ in 0..3 {
        let mut wire = Wire::open(pannier.admin).await;
        wire.exchange(&Ask::get("/livez")).await.fine();
        wires.push(wire);
    }
    let samples = Samples::parse(wires[0].exchange(&Ask::get("/metrics")).await.fine().text());
    assert_eq!(samples.sum("pannier_connections", &[("listener", "admin")]), 3.0);
    let mut waiting = Wire::open(pannier.admin).await;
    waiting.ask(&Ask::get("/livez")).await;
    let early = tokio::time::timeout(Duration::from_millis(200), waiting.head("GET")).await;
    assert!(early.is_err(), "one too many was served");
    pannier.ask(&Ask::get("/api/version")).await.fine();
    wires.pop();
    assert_eq!(waiting.reply("GET").await.status(), 200);
}
