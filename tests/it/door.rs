//! At the door: slow, absurd and crooked requests (RELIABILITY.md groups D, H, J). Each has a clear
//! answer and an end, and costs nobody else anything.

use crate::stage::*;
use serde_json::json;
use std::time::{Duration, Instant};

/// Sends raw bytes and takes what comes: the first answer's status, or 0 for a mere hang-up.
async fn verdict(pannier: &Pannier, raw: &[u8]) -> u16 {
    let mut wire = pannier.open().await;
    let _ = wire.try_send(raw).await;
    let status = wire.try_reply("POST").await.map_or(0, |reply| reply.status());
    if status == 400 || status == 0 {
        wire.hung_up().await;
    }
    status
}

#[tokio::test]
async fn a_head_has_a_deadline_however_it_trickles() {
    let upstream = Upstream::start().await;
    let pannier = Launch::before(&upstream).set("server.header_timeout", "1s").start().await;
    for path in ["/api/chat", "/api/tags"] {
        let begun = Instant::now();
        let mut wire = pannier.open().await;
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Slow: {}", "x".repeat(100));
        let mut trickle = head.bytes();
        while begun.elapsed() < PROMPTLY {
            let byte = trickle.next().unwrap_or(b'x');
            if wire.try_send(&[byte]).await.is_err() {
                break;
            }
            pause(40).await;
        }
        let took = begun.elapsed();
        assert!((Duration::from_millis(950)..LATEST).contains(&took), "{path}: {took:?}");
    }
    // A whole head and then a second one that does not come: the deadline runs from its first byte.
    let mut wire = pannier.open().await;
    wire.exchange(&Ask::get("/api/tags")).await.fine();
    pause(1200).await;
    let begun = Instant::now();
    wire.send(b"GET /api/ver").await;
    let reply = wire.try_reply("GET").await;
    let took = begun.elapsed();
    assert!((Duration::from_millis(950)..LATEST).contains(&took), "{took:?}");
    assert!(reply.is_none_or(|reply| reply.status() == 408));
}

#[tokio::test]
async fn who_says_half_a_head_is_told_408() {
    let upstream = Upstream::start().await;
    let pannier = Launch::before(&upstream).set("server.header_timeout", "1s").start().await;
    let mut wire = pannier.open().await;
    wire.send(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\n").await;
    let reply = wire.reply("POST").await;
    assert_eq!((reply.status(), reply.code()), (408, Some("request_timeout")));
    wire.hung_up().await;
}

#[tokio::test]
async fn silent_and_idle_connections_are_closed() {
    let upstream = Upstream::start().await;
    let launch = Launch::before(&upstream)
        .set("server.header_timeout", "1s")
        .set("server.keepalive_timeout", "1500ms");
    let pannier = launch.start().await;
    let mut silent = pannier.open().await;
    assert!(silent.hung_up().await < PROMPTLY, "never a byte");
    let idle_for = Duration::from_millis(1450)..Duration::from_secs(5);
    let mut idle = pannier.open().await;
    let begun = Instant::now();
    idle.exchange(&Ask::get("/api/version")).await.fine();
    idle.hung_up().await;
    assert!(idle_for.contains(&begun.elapsed()), "{:?}", begun.elapsed());
    // And a hit's connection no less than another's.
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    pannier.ask(&chat.ask(false)).await.fine();
    pannier.remembered(&chat.ask(false)).await;
    let mut idle = pannier.open().await;
    let begun = Instant::now();
    assert!(idle.exchange(&chat.ask(false)).await.is_hit());
    idle.hung_up().await;
    assert!(idle_for.contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

/// The empty lines that may stand before a request line are no sign of life.
#[tokio::test]
async fn empty_lines_keep_no_connection_open() {
    let upstream = Upstream::start().await;
    let launch = Launch::before(&upstream)
        .set("server.header_timeout", "1s")
        .set("server.keepalive_timeout", "1500ms");
    let pannier = launch.start().await;
    let mut wire = pannier.open().await;
    wire.send(b"\r\n\r\n").await;
    wire.exchange(&Ask::get("/api/version")).await.fine();
    // Whole ones, and halves.
    for piece in [2, 1] {
        let begun = Instant::now();
        let mut wire = pannier.open().await;
        let mut lines = b"\r\n".chunks(piece).cycle();
        while begun.elapsed() < PROMPTLY {
            if wire.try_send(lines.next().unwrap_or_default()).await.is_err() {
                break;
            }
            pause(40).await;
        }
        let took = begun.elapsed();
        assert!((Duration::from_millis(950)..LATEST).contains(&took), "{took:?}");
    }
}

/// Slow ones by the hundred; the others do not notice.
#[tokio::test]
async fn slow_ones_cost_nobody_anything() {
    let upstream = Upstream::start().await;
    let launch = Launch::before(&upstream).set("server.header_timeout", "120s");
    let pannier = launch.set("server.body_grace", "120s").start().await;
    let mut slow = Vec::new();
    for number in 0..200 {
        let mut wire = pannier.open().await;
        wire.send(if number % 2 == 0 {
            b"POST /api/ch"
        } else {
            b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
        })
        .await;
        slow.push(wire);
    }
    for _ in 0..20 {
        let begun = Instant::now();
        pannier.ask(&Ask::get("/api/version")).await.fine();
        assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
    }
    drop(slow);
}

#[tokio::test]
async fn heads_are_bounded() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for path in ["/api/chat", "/api/tags"] {
        let start = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n");
        let large = format!("{start}X-Large: {}\r\n\r\n{{}}", "x".repeat(40 * 1024));
        let many = format!("{start}{}\r\n{{}}", "X-Many: x\r\n".repeat(150));
        let long = format!("GET {path}?{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(40 * 1024));
        for (what, raw) in [("a large field", large), ("many fields", many), ("a long target", long)] {
            let mut wire = pannier.open().await;
            wire.send(raw.as_bytes()).await;
            let reply = wire.reply("POST").await;
            assert_eq!((reply.status(), reply.code()), (431, Some("head_too_large")), "{what} {path}");
            wire.hung_up().await;
        }
        // What is below the bounds passes.
        let good =
            format!("{start}{}X-Large: {}\r\n\r\n{{}}", "X-Many: x\r\n".repeat(90), "x".repeat(20 * 1024));
        assert_eq!(verdict(&pannier, good.as_bytes()).await, if path == "/api/tags" { 200 } else { 404 });
    }
    let mut wire = pannier.open().await;
    let before = pannier.resident();
    wire.send(b"GET / HTTP/1.1\r\nX: ").await;
    for _ in 0..64 {
        if wire.try_send(&vec![b'x'; 1 << 20]).await.is_err() {
            break;
        }
    }
    assert!(pannier.resident() < before + (8 << 20), "an endless head is not kept");
}

/// Whether the framing is ambiguous or the syntax crooked: 400, the end of the connection, and nothing goes up.
#[tokio::test]
async fn crooked_requests_are_refused() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let crooked: [(&str, &str); 36] = [
        ("CL and TE", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"),
        (
            "TE and CL",
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGPOST /x HTTP/1.1\r\n\r\n0\r\n\r\n",
        ),
        ("two lengths", "Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
        ("length +2", "Content-Length: +2\r\n\r\nab"),
        ("length -1", "Content-Length: -1\r\n\r\nab"),
        ("no length", "Content-Length: \r\n\r\n"),
        ("hex length", "Content-Length: 0x2\r\n\r\nab"),
        ("lengths differ in a list", "Content-Length: 2, 3\r\n\r\nab"),
        ("endless length", "Content-Length: 99999999999999999999\r\n\r\nab"),
        ("TE identity", "Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nab"),
        ("TE xchunked", "Transfer-Encoding: xchunked\r\nContent-Length: 2\r\n\r\nab"),
        ("TE chunked, gzip", "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
        ("TE with a space", "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        ("TE with a tab inside", "Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
        ("TE folded", "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
        ("a folded field", "X-A: b\r\n c\r\nContent-Length: 0\r\n\r\n"),
        ("chunk 0x2", "Transfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n"),
        ("chunk +2", "Transfer-Encoding: chunked\r\n\r\n+2\r\nab\r\n0\r\n\r\n"),
        ("chunk ' 2'", "Transfer-Encoding: chunked\r\n\r\n 2\r\nab\r\n0\r\n\r\n"),
        ("chunk ended by LF", "Transfer-Encoding: chunked\r\n\r\n2\nab\r\n0\r\n\r\n"),
        ("chunk extension with CR", "Transfer-Encoding: chunked\r\n\r\n2;\rx\r\nab\r\n0\r\n\r\n"),
        ("chunk extension with LF", "Transfer-Encoding: chunked\r\n\r\n2;\nxx\r\nab\r\n0\r\n\r\n"),
        ("chunk longer than said", "Transfer-Encoding: chunked\r\n\r\n2\r\nabXX0\r\n\r\n"),
        ("chunk size overflows", "Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\nab\r\n0\r\n\r\n"),
        (
            "a trailer without a colon",
            "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nGET / HTTP/1.1\r\n\r\n",
        ),
        ("a trailer without a name", "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n: x\r\n\r\n"),
        ("NUL in a value", "X-A: a\0b\r\n\r\n"),
        ("CR in a value", "X-A: a\rb\r\n\r\n"),
        ("no colon", "foo\r\n\r\n"),
        ("no name", ": x\r\n\r\n"),
        ("a space in a name", "X A: x\r\n\r\n"),
        ("a first line of fields that is folded", " X-A: x\r\n\r\n"),
        ("a second host", "Host: localhost\r\n\r\n"),
        ("another host", "Host: b\r\n\r\n"),
        ("length after NUL", "Content-Length: 2\0\r\n\r\nab"),
        ("a length with a space inside", "Content-Length: 1 2\r\n\r\nab"),
    ];
    for path in ["/api/chat", "/api/show", "/metrics"] {
        for (what, rest) in crooked {
            let raw = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{rest}");
            let status = verdict(&pannier, raw.as_bytes()).await;
            assert!([400].contains(&status), "{what} on {path}: {status}");
        }
        let gzip = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
        );
        let status = verdict(&pannier, gzip.as_bytes()).await;
        assert!([400, 415, 501].contains(&status), "TE gzip, chunked on {path}: {status}");
    }
    let lines = [
        ("no host", "POST /api/show HTTP/1.1\r\n\r\n"),
        (
            "HTTP/1.0 with TE",
            "POST /api/show HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("HTTP/0.9", "GET /\r\n\r\n"),
        ("HTTP/1.2", "GET /api/show HTTP/1.2\r\nHost: localhost\r\n\r\n"),
        ("HTTP/2.0", "GET /api/show HTTP/2.0\r\nHost: localhost\r\n\r\n"),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("NUL in the path, escaped", "GET /api/show%00 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("NUL in the path", "GET /api/show\0 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (
            "another host in the target",
            "GET http://evil.example/api/show HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ),
        ("a target that is no path", "GET api/show HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03\r\n\r\n"),
    ];
    for (what, raw) in lines {
        let status = verdict(&pannier, raw.as_bytes()).await;
        assert!([400, 403, 505, 0].contains(&status), "{what}: {status}");
    }
    let went: Vec<_> =
        upstream.strangers().iter().map(|visit| String::from_utf8_lossy(&visit.head).into_owned()).collect();
    assert!(went.is_empty(), "{went:#?}");
    pannier.ask(&Ask::get("/api/version")).await.fine();
}

/// Odd but unambiguous: refused, or passed on in a form that the upstream reads the same way.
#[tokio::test]
async fn what_is_odd_but_clear_means_the_same_upstream() {
    let upstream = Upstream::start().await;
    upstream.always("/api/show", json(200, "{}"));
    let pannier = Pannier::start(&upstream).await;
    let odd = [
        (
            "the same length twice",
            "POST /api/show HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
        ),
        (
            "the same length in a list",
            "POST /api/show HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2, 2\r\n\r\nab",
        ),
        ("bare line feeds", "POST /api/show HTTP/1.1\nHost: localhost\nContent-Length: 2\n\nab"),
        (
            "the target's own host",
            "POST http://localhost/api/show HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab",
        ),
        (
            "chunked twice",
            "POST /api/show HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        ),
        (
            "a chunk extension",
            "POST /api/show HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nab\r\n0\r\n\r\n",
        ),
        (
            "trailers",
            "POST /api/show HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-T: 1\r\n\r\n",
        ),
    ];
    for (what, raw) in odd {
        let before = upstream.count("/api/show");
        let status = verdict(&pannier, raw.as_bytes()).await;
        assert!([200, 400, 0].contains(&status), "{what}: {status}");
        if status == 200 {
            let visit = upstream.visit("/api/show", before).await;
            assert_eq!(visit.body(), "ab", "{what}");
            let framings = visit.all("content-length").len() + visit.all("transfer-encoding").len();
            assert_eq!(framings, 1, "{what}: {}", String::from_utf8_lossy(&visit.head));
            assert!(visit.field("content-length").is_none_or(|v| v == "2"), "{what}");
            assert!(visit.head.ends_with(b"\r\n\r\n"), "{what}");
        }
        assert!(upstream.strangers().iter().all(|visit| visit.path() == "/api/show"), "{what} smuggled");
    }
}

#[tokio::test]
async fn what_is_never_served_is_said_so() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for target in ["/", "/api/chat"] {
        let reply = pannier.ask(&Ask::new("TRACE", target)).await;
        assert_eq!((reply.status(), reply.code()), (405, Some("method_not_allowed")));
        assert!(reply.field("allow").is_some());
    }
    let reply = pannier.ask(&Ask::new("CONNECT", "evil.example:443").host("localhost")).await;
    assert_eq!((reply.status(), reply.code()), (405, Some("method_not_allowed")));
    for path in ["/api/chat", "/api/show", "/v1/messages"] {
        let reply = pannier.ask(&Ask::post(path, &json!({})).with("Expect", "200-ok")).await;
        assert_eq!((reply.status(), reply.code()), (417, Some("expectation_failed")), "{path}");
    }
    assert_eq!(upstream.strangers().len(), 0);
}

/// What a client hides in an upgrade or behind a GET is no second request.
#[tokio::test]
async fn nothing_is_smuggled() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let hidden = [
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\nX: ",
        "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 45\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n..",
        "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 45\r\nExpect: 100-continue\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n..",
    ];
    for raw in hidden {
        let mut wire = pannier.open().await;
        wire.send(raw.as_bytes()).await;
        wire.try_reply("GET").await;
        pause(50).await;
        assert_eq!(upstream.count("/smuggled"), 0, "{raw}");
    }
}

/// A hit, a miss, a forwarded one, a house route and a hit again, in one packet; answers in order.
#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::start().await;
    let (embed, chat) = (route("/api/embed"), route("/api/chat"));
    upstream.always(embed.path, embed.acts(false));
    upstream.always(chat.path, [vec![Act::Pause(Duration::from_millis(50))], chat.acts(true)].concat());
    let pannier = Pannier::start(&upstream).await;
    pannier.ask(&embed.ask(false)).await.fine();
    pannier.remembered(&embed.ask(false)).await;
    let host = pannier.addr.to_string();
    let asks = [
        embed.ask(false),
        chat.ask(true),
        Ask::get("/api/version"),
        Ask::get("/livez"),
        embed.ask(false),
        embed.ask(false).with("Cache-Control", "max-age=9999"),
        Ask::get("/api/nope"),
        embed.ask(false),
    ];
    let all: Vec<u8> = asks.iter().flat_map(|ask| ask.raw(&host)).collect();
    let mut wire = pannier.open().await;
    wire.send(&all).await;
    let mut replies = Vec::new();
    for ask in &asks {
        replies.push(wire.reply(&ask.method).await);
    }
    for at in [0, 4, 5, 7] {
        assert!(replies[at].is_hit(), "{at}: {:?}", replies[at].head);
        assert_eq!(replies[at].body(), embed.answer, "{at}");
    }
    assert_eq!(replies[1].body(), chat.bytes(true));
    assert_eq!(replies[2].json()["version"], "0.33.0");
    assert_eq!(replies[3].status(), 200);
    assert_eq!(replies[6].status(), 404);
    assert_eq!(upstream.count(embed.path), 1);
}

/// The rest of a body that nobody reads is not taken for the next request.
#[tokio::test]
async fn a_body_that_nobody_wants_is_no_request() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let hidden = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (method, target, host) in
        [("GET", "/livez", "localhost"), ("POST", "/api/chat", "evil.example"), ("TRACE", "/", "localhost")]
    {
        let mut wire = pannier.open().await;
        let raw = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{hidden}",
            hidden.len()
        );
        wire.send(raw.as_bytes()).await;
        wire.reply(method).await;
        let _ = wire.try_send(Ask::get("/api/version").raw("localhost").as_slice()).await;
        if let Some(reply) = wire.try_reply("GET").await {
            assert_eq!(reply.json()["version"], "0.33.0", "{method} {target}");
        }
        assert_eq!(upstream.count("/smuggled"), 0);
    }
}

#[tokio::test]
async fn a_body_must_come_at_some_pace() {
    let upstream = Upstream::start().await;
    let launch =
        Launch::before(&upstream).set("server.body_grace", "400ms").set("server.body_min_rate", "256");
    let pannier = launch.start().await;
    // Nothing of it, or a byte now and then.
    for trickle in [false, true] {
        let mut wire = pannier.open().await;
        wire.send(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n").await;
        let begun = Instant::now();
        while trickle && begun.elapsed() < PROMPTLY {
            if wire.try_send(b"x").await.is_err() {
                break;
            }
            pause(30).await;
        }
        let reply = wire.try_reply("POST").await;
        if !trickle {
            let reply = reply.expect("an answer");
            assert_eq!((reply.status(), reply.code()), (408, Some("request_timeout")));
        }
        assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
    }
    assert_eq!(upstream.count("/api/chat"), 0, "no trip before the question is whole");
    // One that is quick enough, though not at once, passes.
    let body = format!("{{\"model\":\"m\",\"x\":\"{}\"}}", "x".repeat(8000));
    let head =
        format!("POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut wire = pannier.open().await;
    // Each piece gives it four seconds more.
    for piece in [head, body].concat().as_bytes().chunks(1100) {
        wire.send(piece).await;
        pause(100).await;
    }
    assert_eq!(wire.reply("POST").await.status(), 404);
}

/// A client that writes all before it reads must still be able to read why.
#[tokio::test]
async fn a_body_too_large_is_told_so_readably() {
    let upstream = Upstream::start().await;
    let pannier = Launch::before(&upstream).set("server.max_body", "64KiB").start().await;
    for path in ["/api/chat", "/v1/chat/completions", "/v1/messages"] {
        let piece = vec![b' '; 100 * 1024];
        let with_length = Ask::new("POST", path).bytes(piece.repeat(4));
        let in_chunks = Ask::new("POST", path).chunks(&[&piece, &piece, &piece, &piece]);
        for ask in [with_length, in_chunks] {
            let reply = pannier.ask(&ask).await;
            assert_eq!((reply.status(), reply.code()), (413, Some("too_large")), "{path}");
            let error = &reply.json()["error"];
            assert!(
                if path == "/api/chat" { error.is_string() } else { error["message"].is_string() },
                "{path}"
            );
        }
        // At the bound it passes.
        let at_bound = pannier.ask(&Ask::new("POST", path).bytes(vec![b' '; 64 * 1024])).await;
        assert_eq!(at_bound.status(), 404, "{path}");
    }
    // A length beyond the bound is refused before the body comes.
    let mut wire = pannier.open().await;
    wire.send(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 999999999\r\n\r\n").await;
    let reply = wire.reply("POST").await;
    assert_eq!((reply.status(), reply.interim.len()), (413, 0));
    // Forwarded routes know no bound.
    let reply = pannier.ask(&Ask::new("POST", "/api/blobs/sha256:1").bytes(vec![b'b'; 1 << 20])).await;
    assert_eq!(reply.status(), 404);
    assert_eq!(upstream.visit("/api/blobs/sha256:1", 0).await.received(), 1 << 20);
}

/// Bodies that are held are bounded all together; who has no room is told so in his own dialect, at once, and
/// everything comes back when they go (RELIABILITY.md B-01).
#[tokio::test]
async fn bodies_are_bounded_all_together() {
    let upstream = Upstream::start().await;
    let launch =
        Launch::before(&upstream).set("server.max_body", "600KiB").set("server.max_buffered", "1MiB");
    let pannier = launch.start().await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut wire = pannier.open().await;
        wire.send(b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 600000\r\n\r\n").await;
        wire.send(&vec![b' '; 500_000]).await;
        slow.push(wire);
    }
    let held = [("what", "held_body_bytes")];
    pannier.counts("pannier_internal_size", &held, 1_000_000.0).await;
    for path in ["/api/chat", "/v1/chat/completions", "/v1/messages"] {
        // An announcement takes no room, and neither does what is refused.
        for body in [vec![b' '; 100_000], vec![b' '; 600_000]] {
            let reply = pannier.ask(&Ask::new("POST", path).bytes(body)).await;
            assert_eq!((reply.status(), reply.code()), (503, Some("overloaded")), "{path}");
            assert_eq!(reply.field("retry-after"), Some("1"));
            let error = &reply.json()["error"];
            assert!(if path == "/api/chat" { error.is_string() } else { error["message"].is_string() });
        }
        let fits = pannier.ask(&Ask::new("POST", path).bytes(vec![b' '; 40_000])).await;
        assert_eq!(fits.status(), 404, "{path}");
    }
    // What is forwarded is not held.
    let blob = Ask::new("POST", "/api/blobs/sha256:1").bytes(vec![b'b'; 2 << 20]);
    assert_eq!(pannier.ask(&blob).await.status(), 404);
    drop(slow.pop());
    pannier.counts("pannier_internal_size", &held, 500_000.0).await;
    let mut last = slow.pop().expect("the other one");
    last.send(&vec![b' '; 100_000]).await;
    assert_eq!(last.reply("POST").await.status(), 404);
    pannier.counts("pannier_internal_size", &held, 0.0).await;
}

/// JSON of absurd width and size costs time in proportion, no more (RELIABILITY.md J-06).
#[tokio::test]
async fn wide_json_costs_no_more_than_its_size() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let pannier = Pannier::start(&upstream).await;
    let wide = |count: usize| {
        let fields: Vec<_> = (0..count).map(|number| format!("\"k{number}\":{number}")).collect();
        format!("{{\"model\":\"smollm2:135m\",\"stream\":false,\"messages\":[],{}}}", fields.join(","))
    };
    let items =
        format!("{{\"model\":\"smollm2:135m\",\"stream\":false,\"messages\":[{}1]}}", "1,".repeat(500_000));
    let long_key = format!("{{\"model\":\"smollm2:135m\",\"stream\":false,\"{}\":1}}", "k".repeat(1 << 20));
    let long_text =
        format!("{{\"model\":\"smollm2:135m\",\"stream\":false,\"x\":\"{}\"}}", "x".repeat(20 << 20));
    let digits = format!("{{\"model\":\"smollm2:135m\",\"stream\":false,\"x\":{}}}", "9".repeat(1 << 20));
    let huge = r#"{"model":"smollm2:135m","stream":false,"options":{"temperature":1e400}}"#.to_owned();
    for (what, body) in [
        ("keys", wide(100_000)),
        ("items", items),
        ("a key", long_key),
        ("a text", long_text),
        ("digits", digits),
        ("1e400", huge),
    ] {
        let begun = Instant::now();
        let reply = pannier.ask(&Ask::new("POST", chat.path).bytes(body)).await;
        assert!([200, 400, 413].contains(&reply.status()), "{what}: {}", reply.status());
        assert!(begun.elapsed() < PROMPTLY, "{what}: {:?}", begun.elapsed());
        pannier.ask(&Ask::get("/livez")).await.fine();
    }
}

#[tokio::test]
async fn connections_are_bounded_and_wait_their_turn() {
    let upstream = Upstream::start().await;
    let launch = Launch::before(&upstream).set("server.max_connections", "20");
    let pannier = launch.start().await;
    let mut wires = Vec::new();
    for _ in 0..20 {
        let mut wire = pannier.open().await;
        wire.exchange(&Ask::get("/api/version")).await.fine();
        wires.push(wire);
    }
    let mut waiting = pannier.open().await;
    waiting.ask(&Ask::get("/api/version")).await;
    let early = tokio::time::timeout(Duration::from_millis(200), waiting.head("GET")).await;
    assert!(early.is_err(), "one too many was served");
    // The house has a listener of its own.
    assert_eq!(pannier.house("/livez").await.status(), 200);
    wires.pop();
    assert_eq!(waiting.reply("GET").await.status(), 200);
}

/// A path that the upstream would unescape into a route that is read here must not go round the reading.
#[tokio::test]
async fn disguised_routes_are_refused() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for path in ["/api/%63hat", "/%61pi/generate", "/v1/%65mbeddings", "/api/%64elete"] {
        let method = if path.ends_with("elete") { "DELETE" } else { "POST" };
        let reply = pannier.ask(&Ask::new(method, path).bytes("{}")).await;
        assert_eq!((reply.status(), reply.code()), (400, Some("bad_request")), "{path}");
    }
    // Elsewhere an escape is the upstream's business.
    upstream.always("/v1/models/a%2Fb", json(200, "{}"));
    pannier.ask(&Ask::get("/v1/models/a%2Fb")).await.fine();
    assert_eq!(upstream.strangers().len(), 1);
}

/// HTTP/1.0 knows no chunks: a forwarded answer of unknown length ends with its connection.
#[tokio::test]
async fn http_1_0_gets_no_chunks() {
    let upstream = Upstream::start().await;
    upstream.always("/api/ps", chunked("application/json", &[b"{\"models\":".to_vec(), b"[]}".to_vec()]));
    let pannier = Pannier::start(&upstream).await;
    let mut wire = pannier.open().await;
    wire.send(b"GET /api/ps HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    let reply = wire.reply("GET").await;
    assert_eq!(reply.field("transfer-encoding"), None);
    assert_eq!(reply.body(), "{\"models\":[]}");
}
