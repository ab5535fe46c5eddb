//! Answers that are framed to deceive, and requests that must go up once (RELIABILITY.md group U): whatever
//! the upstream does, no client waits for ever, gets another's bytes, or has its question asked twice.

use crate::stage::*;
use crate::upstream_faults::is_own_error;
use serde_json::json;
use std::time::{Duration, Instant};

/// A route that Pannier answers, one that it forwards, and one for what is large: three ways up.
const ANSWERED: &str = "/api/chat";
const FORWARDED: &str = "/api/show";
const UPLOADED: &str = "/api/blobs/sha256:1";
const PATHS: [&str; 3] = [ANSWERED, FORWARDED, UPLOADED];
const BROKEN: [&str; 2] = ["upstream_aborted", "upstream_unreachable"];

fn ask(path: &str) -> Ask {
    if path == UPLOADED {
        return Ask::new("POST", path).bytes(vec![b'b'; 100_000]);
    }
    Ask::post(path, &json!({ "model": "smollm2:135m", "stream": false, "messages": [] }))
}

/// An upstream whose own small answers end their connection: every request comes on a fresh one.
async fn without_kept_connections() -> Upstream {
    let upstream = Upstream::start().await;
    let models: Vec<_> = MODELS.iter().map(|(name, digest)| model_entry(name, digest, 0)).collect();
    for (path, body) in [
        ("/api/tags", format!("{{\"models\":[{}]}}", models.join(","))),
        ("/api/version", r#"{"version":"0.33.0"}"#.to_owned()),
    ] {
        let head = head(200, &["Connection: close", &format!("Content-Length: {}", body.len())]);
        upstream.always(path, vec![Act::Send([head, body.into_bytes()].concat()), Act::Fin]);
    }
    upstream
}

/// The ways in which an upstream that has the whole request says nothing.
fn silences() -> [(&'static str, Act, u16); 3] {
    [("hangs", Act::Hang, 504), ("closes", Act::Fin, 502), ("resets", Act::Rst, 502)]
}

#[tokio::test]
async fn what_was_taken_on_a_fresh_connection_goes_up_once() {
    let upstream = without_kept_connections().await;
    let pannier = Launch::before(&upstream).set("upstream.first_byte_timeout", "1500ms").start().await;
    let large = vec![b'b'; 3 << 20];
    for path in ["/api/chat", "/v1/chat/completions", "/api/embed", "/api/show", "/api/blobs/sha256:1"] {
        for (what, act, status) in silences() {
            upstream.always(path, vec![Act::Pause(Duration::from_millis(20)), act]);
            let before = upstream.count(path);
            let question = match path.contains("blobs") {
                true => Ask::new("POST", path).bytes(large.clone()),
                false => ask(path),
            };
            let reply = pannier.ask(&question).await;
            let codes = if status == 504 { &["upstream_timeout"][..] } else { &BROKEN };
            is_own_error(&reply, path, status, codes);
            pause(100).await;
            let visits = upstream.visits(path).split_off(before);
            assert_eq!(visits.len(), 1, "{path} {what}: sent again");
            assert_eq!(visits[0].turn, 0, "{path}: the connection was not fresh");
        }
    }
}

#[tokio::test]
async fn what_was_taken_on_a_kept_connection_goes_up_twice_at_the_most() {
    let upstream = Upstream::start().await;
    let pannier = Launch::before(&upstream).set("upstream.first_byte_timeout", "1500ms").start().await;
    for path in PATHS {
        for (what, act, status) in silences() {
            // Kept connections there are.
            upstream.always(path, json(200, "{}"));
            pannier.ask(&ask(path)).await.fine();
            upstream.always(path, vec![Act::Pause(Duration::from_millis(20)), act]);
            let before = upstream.count(path);
            let reply = pannier.ask(&ask(path)).await;
            let codes = if status == 504 { &["upstream_timeout"][..] } else { &BROKEN };
            is_own_error(&reply, path, status, codes);
            pause(100).await;
            let visits = upstream.visits(path).split_off(before);
            // One that hangs is not dead: the model may be at work.
            let most = if status == 504 { 1 } else { 2 };
            assert!(visits.len() <= most, "{path} {what}: {} times", visits.len());
            let fresh = visits.iter().filter(|visit| visit.turn == 0).count();
            assert!(fresh <= 1, "{path} {what}: {fresh} times on a fresh connection");
        }
    }
}

/// What stands behind every crooked answer, for the next request to take for its own.
const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";

/// Answers `path` with each of `crooked`, a second answer behind it, and says what was not as it must be:
/// the client has an error of Pannier's own or a body that is cut off, soon, and the connection is not used
/// again.
async fn wrongs(path: &str, crooked: &[(&str, &str)]) -> Vec<String> {
    let upstream = Upstream::start().await;
    let launch = Launch::before(&upstream).set("upstream.first_byte_timeout", "3s");
    let pannier = launch.set("upstream.between_bytes_timeout", "3s").start().await;
    let mut wrong = Vec::new();
    for (what, raw) in crooked {
        let what = format!("{path} {what}");
        upstream.always(path, vec![Act::Send([raw, EVIL].concat().into_bytes()), Act::Hang]);
        let question = ask(path).with("Cache-Control", "no-store");
        let mut wire = pannier.open().await;
        wire.ask(&question).await;
        let Ok(reply) = tokio::time::timeout(PROMPTLY, wire.reply("POST")).await else {
            wrong.push(format!("{what}: hangs"));
            continue;
        };
        let told = reply.code() == Some("upstream_aborted") && reply.status() == 502;
        if !told && reply.ending != Ending::Cut {
            wrong.push(format!("{what}: {} {:?}", reply.status(), reply.text()));
        }
        if reply.text().contains("evil") {
            wrong.push(format!("{what}: more than the answer came down"));
        }
        let connection = upstream.visits(path).pop().map(|visit| visit.connection);
        upstream.always(path, json(200, r#"{"good":true}"#));
        for _ in 0..2 {
            let next = pannier.ask(&question).await.text();
            if next != r#"{"good":true}"# {
                wrong.push(format!("{what}, and then: {next:?}"));
            }
            if upstream.visits(path).pop().map(|visit| visit.connection) == connection {
                wrong.push(format!("{what}: the connection was used again"));
            }
        }
    }
    wrong
}

#[tokio::test]
async fn ambiguous_answers_are_refused() {
    let crooked = [
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}"),
        ("two lengths in a list", "HTTP/1.1 200 OK\r\nContent-Length: 2, 9\r\n\r\n{}"),
        ("length +2", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}"),
        ("length -1", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}"),
        ("length 0x2", "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\n{}"),
        ("an empty length", "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n{}"),
        ("an endless length", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}"),
        ("chunk -2", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n"),
        ("chunk 0x2", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n"),
        ("a chunk too long", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n"),
        (
            "a chunk's size overflows",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n",
        ),
        ("status 99", "HTTP/1.1 99 Low\r\nContent-Length: 2\r\n\r\n{}"),
        ("status 2000", "HTTP/1.1 2000 High\r\nContent-Length: 2\r\n\r\n{}"),
        ("NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\n{}"),
        ("no colon", "HTTP/1.1 200 OK\r\nwhatever\r\nContent-Length: 2\r\n\r\n{}"),
        ("HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
        ("no HTTP at all", "SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    ];
    for path in PATHS {
        let wrong = wrongs(path, &crooked).await;
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

/// A coding that is taken off would have to be undone; a protocol that nobody asked for is not spoken.
async fn unasked(path: &str) {
    let crooked = [
        ("gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        ("chunked, gzip", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        ("xchunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        ("101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
    ];
    let wrong = wrongs(path, &crooked).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn codings_and_protocols_that_nobody_asked_for_are_refused() {
    unasked(ANSWERED).await;
}

#[tokio::test]
async fn codings_and_protocols_that_nobody_asked_for_are_refused_where_forwarded() {
    unasked(FORWARDED).await;
    unasked(UPLOADED).await;
}

/// What two readers could only read alike, a length beside chunks or the same length twice, comes down framed
/// once; and what stands behind it is nobody's.
async fn agreeing(path: &str) {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for (what, fields, body) in [
        ("the same length twice", "Content-Length: 2\r\nContent-Length: 2\r\n", "{}"),
        (
            "chunks and a length",
            "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
            "2\r\n{}\r\n0\r\n\r\n",
        ),
        (
            "chunks, and a length of which nothing is true",
            "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
            "2\r\n{}\r\n0\r\n\r\n",
        ),
    ] {
        let raw = format!("HTTP/1.1 200 OK\r\n{fields}\r\n{body}{EVIL}");
        upstream.always(path, vec![Act::Send(raw.into_bytes())]);
        let question = ask(path).with("Cache-Control", "no-store");
        for _ in 0..3 {
            // The client fails on two framings at once.
            let reply = pannier.ask(&question).await;
            let refused = reply.status() == 502 && reply.code() == Some("upstream_aborted");
            assert!(refused || reply.text() == "{}", "{path} {what}: {}", reply.text());
        }
        // On one connection: nothing of an answer is taken for the next.
        let mut wire = pannier.open().await;
        for _ in 0..2 {
            wire.ask(&question).await;
            let reply = wire.reply("POST").await;
            let refused = reply.status() == 502 && reply.code() == Some("upstream_aborted");
            assert!(refused || reply.text() == "{}", "{path} {what}: {}", reply.text());
            if refused {
                break;
            }
        }
    }
}

#[tokio::test]
async fn framings_that_agree_are_passed_on_as_one() {
    for path in PATHS {
        agreeing(path).await;
    }
}

/// Heads without end: in advance, in one field, and byte by byte, each of which starts the clock anew.
async fn endless(path: &str, acts: Vec<Act>) {
    let upstream = Upstream::start().await;
    let pannier = Launch::before(&upstream).set("upstream.first_byte_timeout", "1500ms").start().await;
    pannier.ask(&Ask::get("/api/version")).await.fine();
    upstream.always(path, [acts, vec![Act::Hang]].concat());
    let (before, begun) = (pannier.resident(), Instant::now());
    let (reply, most) = pannier.resident_while(pannier.ask(&ask(path))).await;
    let (status, code) = match reply.status() {
        504 => (504, "upstream_timeout"),
        _ => (502, "upstream_aborted"),
    };
    is_own_error(&reply, path, status, &[code]);
    assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
    assert!(most < before + (16 << 20), "{} MiB more", (most - before) >> 20);
    upstream.visit(path, 0).await.hung_up().await;
    assert_eq!(upstream.count(path), 1, "sent again");
    // And it is in the books, once.
    pannier.counts("pannier_http_requests_total", &[("code", &status.to_string())], 1.0).await;
    pannier.counts("pannier_errors_total", &[("type", code)], 1.0).await;
}

/// Two hundred thousand of them.
fn hints() -> Vec<Act> {
    let some = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(1000);
    vec![vec![Act::Send(some), Act::Pause(Duration::from_millis(1))]; 200].concat()
}

#[tokio::test]
async fn heads_in_advance_without_end_are_given_up() {
    endless(ANSWERED, hints()).await;
}

#[tokio::test]
async fn heads_in_advance_without_end_are_given_up_where_forwarded() {
    endless(FORWARDED, hints()).await;
    endless(UPLOADED, hints()).await;
}

#[tokio::test]
async fn a_head_without_end_is_given_up() {
    let start = Act::Send(b"HTTP/1.1 200 OK\r\nX: ".to_vec());
    let acts = [vec![start], vec![Act::Send(vec![b'x'; 1 << 20]); 64]].concat();
    for path in PATHS {
        endless(path, acts.clone()).await;
    }
}

/// A head in single bytes.
fn trickle() -> Vec<Act> {
    let head = b"HTTP/1.1 200 OK\r\nX: ".iter().copied().chain(std::iter::repeat_n(b'x', 400));
    head.flat_map(|byte| [Act::Send(vec![byte]), Act::Pause(Duration::from_millis(50))]).collect()
}

#[tokio::test]
async fn a_head_that_trickles_is_given_up() {
    endless(ANSWERED, trickle()).await;
}

#[tokio::test]
async fn a_head_that_trickles_is_given_up_where_forwarded() {
    endless(FORWARDED, trickle()).await;
    endless(UPLOADED, trickle()).await;
}

/// An upstream that knows its answer before it has the question, and neither reads the rest nor closes: its
/// answer is the client's at once.
async fn early_answer(path: &str) {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    upstream.on_head(path, |_| [json(413, r#"{"error":"too large"}"#), vec![Act::Deaf]].concat());
    let raw = Ask::new("POST", path).bytes(vec![b' '; 12 << 20]).raw(&pannier.addr.to_string());
    let mut wire = pannier.open().await;
    let begun = Instant::now();
    // A body that is only passed through stops when nobody takes it.
    let _ = tokio::time::timeout(Duration::from_secs(1), wire.try_send(&raw)).await;
    let reply = wire.reply("POST").await;
    assert_eq!((reply.status(), reply.text().as_str()), (413, r#"{"error":"too large"}"#), "{path}");
    assert!(begun.elapsed() < PROMPTLY, "{path}: {:?}", begun.elapsed());
}

#[tokio::test]
async fn an_early_answer_comes_though_nobody_reads_the_rest() {
    early_answer(ANSWERED).await;
}

#[tokio::test]
async fn an_early_answer_comes_though_nobody_reads_the_rest_of_an_upload() {
    early_answer(UPLOADED).await;
}
