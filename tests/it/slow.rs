//! Clients that take their time over what is not looked into, and readers of one answer that do (RELIABILITY.md C-24,
//! D-04, D-05, D-16): none keeps anybody, or anything, for ever.

use crate::stage::*;
use std::time::Instant;

const BLOB: &str = "/api/blobs/sha256:1";
const MIB: u64 = 1 << 20;

/// The answer to a call whose body came too slowly, or did not come.
fn is_too_slow(reply: &Reply, what: &str) {
    assert_eq!((reply.status(), reply.code()), (408, Some("request_timeout")), "{what}: {}", reply.text());
}

/// A body that is passed on must come at some pace as well: on the light road, and on Pingora's.
#[tokio::test]
async fn a_forwarded_body_must_come_at_some_pace() {
    let upstream = Upstream::start().await;
    let launch =
        Launch::before(&upstream).set("server.body_grace", "400ms").set("server.body_min_rate", "4096");
    let pannier = launch.start().await;
    for (path, length) in [("/api/show", 1000), (BLOB, 10_000_000)] {
        for part in ["", "some of it"] {
            let mut wire = pannier.open().await;
            let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
            wire.send(&[head.as_bytes(), part.as_bytes()].concat()).await;
            let begun = Instant::now();
            is_too_slow(&wire.reply("POST").await, path);
            wire.hung_up().await;
            assert!(begun.elapsed() < PROMPTLY, "{path}: {:?}", begun.elapsed());
        }
    }
    // The upstream learns of it, and of the light road's never hears.
    for visit in upstream.visits(BLOB) {
        visit.hung_up().await;
    }
    assert_eq!(upstream.count("/api/show"), 0);
    // Who is quick enough passes, though he is not quick.
    let body = vec![b'b'; 40_000];
    let mut wire = pannier.open().await;
    wire.send(format!("POST {BLOB} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40000\r\n\r\n").as_bytes())
        .await;
    for piece in body.chunks(8000) {
        wire.send(piece).await;
        pause(100).await;
    }
    assert_eq!(wire.reply("POST").await.status(), 404, "the upstream's own answer");
}

/// Whoever asks to be told when to send, and then sends nothing.
#[tokio::test]
async fn who_promises_a_body_and_sends_none_is_told_so() {
    let upstream = Upstream::start().await;
    let pannier = Launch::before(&upstream).set("server.body_grace", "400ms").start().await;
    for path in ["/api/chat", "/v1/messages", "/api/show", BLOB] {
        let mut wire = pannier.open().await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\nExpect: 100-continue\r\n\r\n"
        );
        wire.send(head.as_bytes()).await;
        let reply = wire.reply("POST").await;
        is_too_slow(&reply, path);
        assert_eq!(reply.interim, [100], "{path}");
        wire.hung_up().await;
    }
    assert_eq!(upstream.count("/api/chat") + upstream.count("/v1/messages"), 0, "no trip without a question");
}

/// Who takes nothing of an answer that is passed on is cut off, and lets go of the upstream; meanwhile the upstream
/// waits as it would for him, and nothing is heaped up here.
#[tokio::test]
async fn who_reads_nothing_of_a_forwarded_answer_is_cut_off() {
    let upstream = Upstream::start().await;
    let start = head(200, &["Content-Type: application/octet-stream", "Transfer-Encoding: chunked"]);
    let acts = vec![Act::Send(start), Act::Flood(256 << 20), Act::Chunk(Vec::new())];
    upstream.always("/api/light", acts.clone());
    upstream.always("/api/heavy", acts);
    let pannier = Launch::before(&upstream).set("server.write_timeout", "1s").start().await;
    pannier.ask(&Ask::get("/api/tags")).await.fine();
    let before = pannier.resident();
    // What is larger than the light road bears goes by Pingora.
    let asks = [Ask::get("/api/light"), Ask::new("POST", "/api/heavy").bytes(vec![b' '; 70_000])];
    let mut readers = Vec::new();
    for ask in &asks {
        let mut wire = pannier.open().await;
        wire.ask(ask).await;
        assert_eq!(wire.head(&ask.method).await.status, 200);
        readers.push(wire);
    }
    let (begun, cut_off) = (Instant::now(), async {
        for ask in &asks {
            let visit = upstream.visit(&ask.target, 0).await;
            visit.hung_up().await;
            assert!(visit.flooded() < 64 * MIB, "{}: {} MiB", ask.target, visit.flooded() / MIB);
        }
    });
    let ((), most) = pannier.resident_while(cut_off).await;
    assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
    assert!(most - before < 24 * MIB, "{} MiB more", (most - before) / MIB);
    for wire in &mut readers {
        let ending = loop {
            if let Err(ending) = wire.piece().await {
                break ending;
            }
        };
        assert_eq!(ending, Ending::Cut, "he learns that it is not whole");
    }
}

/// Beyond `flight.max_recording` the slowest reader sets the pace, until his patience is over: then he is cut off, and
/// the others have all of it (C-24).
#[tokio::test]
async fn one_who_reads_nothing_holds_the_others_up_for_so_long_only() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    let gate = Gate::closed();
    let start = head(200, &["Content-Type: application/x-ndjson", "Transfer-Encoding: chunked"]);
    let total = 64 << 20;
    upstream.always(
        chat.path,
        vec![Act::Send(start), Act::Wait(gate.clone()), Act::Flood(total), Act::Chunk(Vec::new())],
    );
    let launch = Launch::before(&upstream)
        .set("flight.max_recording", "1MiB")
        .set("flight.window", "256KiB")
        .set("server.write_timeout", "1s");
    let pannier = launch.start().await;
    let mut wires = Vec::new();
    for _ in 0..3 {
        let mut wire = pannier.open().await;
        wire.ask(&chat.ask(true)).await;
        assert_eq!(wire.head("POST").await.status, 200);
        wires.push(wire);
    }
    gate.open();
    let mut deaf = wires.remove(0);
    let begun = Instant::now();
    let mut readers = tokio::task::JoinSet::new();
    for mut wire in wires {
        readers.spawn(async move {
            let mut read = 0;
            loop {
                match wire.piece().await {
                    Ok(piece) => read += piece.len(),
                    Err(ending) => break (read, ending),
                }
            }
        });
    }
    assert_eq!(readers.join_all().await, [(total, Ending::Complete); 2]);
    assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
    assert_eq!(upstream.count(chat.path), 1);
    let ending = loop {
        if let Err(ending) = deaf.piece().await {
            break ending;
        }
    };
    assert_eq!(ending, Ending::Cut);
}
