//! Byte for byte: what a client of a bare Ollama would notice, it must not notice.

use crate::stage::*;
use serde_json::json;
use std::time::Duration;

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn the_target_goes_up_as_it_came() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let targets = [
        "/v1/models/library%2Fsmollm2%3A135m",
        "/api/user/keys/a%20b%2Fc?ts=1795208692",
        "/api/nope?a=1&a=2&&=&%zz",
        "/API/Chat",
        "/api/tags/",
        "/api/blobs/sha256:29fdb92e57cf0827ded04ae6461b5931d01fa595843f55d36f5b275a52087dd2",
        "/a;b=c/~d/!$'()*+,",
    ];
    for target in targets {
        let path = target.split('?').next().unwrap_or_default();
        let reply = pannier.ask(&Ask::get(target)).await;
        assert_eq!((reply.status(), reply.text().as_str()), (404, "404 page not found"), "{target}");
        assert_eq!(reply.code(), None, "the upstream's own answer");
        assert_eq!(upstream.visit(path, 0).await.target, target);
    }
}

/// Ollama answers `//api/chat` with a redirect. Which one is its own affair, and following it is the
/// client's.
#[tokio::test]
async fn slashes_are_not_merged_and_redirects_not_followed() {
    let upstream = Upstream::start().await;
    let redirect = head(307, &["Location: /api/chat", "Content-Length: 0"]);
    upstream.always("//api/chat", vec![Act::Send(redirect.clone())]);
    upstream.always("/api/tags2", vec![Act::Send(redirect)]);
    let pannier = Pannier::start(&upstream).await;
    for ask in [Ask::post("//api/chat", &json!({ "model": "smollm2:135m" })), Ask::get("/api/tags2")] {
        let reply = pannier.ask(&ask).await;
        assert_eq!(reply.status(), 307);
        assert_eq!(reply.field("location"), Some("/api/chat"));
    }
    assert_eq!(upstream.count("//api/chat"), 1);
    assert_eq!(upstream.count("/api/chat"), 0);
}

#[tokio::test]
async fn a_call_with_a_query_goes_up_with_it() {
    let upstream = Upstream::start().await;
    let route = route("/api/chat");
    upstream.always(route.path, route.acts(false));
    let pannier = Pannier::start(&upstream).await;
    let mut ask = route.ask(false);
    ask.target = "/api/chat?ts=1795208692".into();
    assert_eq!(pannier.ask(&ask).await.fine().body(), route.answer);
    assert_eq!(upstream.visit(route.path, 0).await.target, "/api/chat?ts=1795208692");
    // `ts` is a signature's time: it makes no other question (OLLAMA.md §1.6).
    ask.target = "/api/chat?ts=1795208999".into();
    assert!(pannier.remembered(&ask).await.is_hit());
}

#[tokio::test]
async fn unknown_methods_404_and_405_pass() {
    let upstream = Upstream::start().await;
    upstream.on("/api/chat", |_| {
        let allow = ["Content-Type: text/plain", "Allow: POST", "Content-Length: 22"];
        let mut bytes = head(405, &allow);
        bytes.extend(b"405 method not allowed");
        vec![Act::Send(bytes)]
    });
    let pannier = Pannier::start(&upstream).await;
    for method in ["GET", "PUT", "PATCH", "DELETE", "PURGE"] {
        let reply = pannier.ask(&Ask::new(method, "/api/chat")).await;
        assert_eq!((reply.status(), reply.text().as_str()), (405, "405 method not allowed"), "{method}");
        assert_eq!(reply.field("allow"), Some("POST"));
        assert_eq!(reply.code(), None);
    }
    let methods: Vec<_> = upstream.visits("/api/chat").iter().map(|visit| visit.method.clone()).collect();
    assert_eq!(methods, ["GET", "PUT", "PATCH", "DELETE", "PURGE"]);
}

#[tokio::test]
async fn the_root_answers_as_ollama_does() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let get = pannier.ask(&Ask::get("/")).await.fine();
    assert_eq!(get.text(), "Ollama is running");
    let head = pannier.ask(&Ask::new("HEAD", "/")).await.fine();
    assert_eq!(head.body(), "");
    assert_eq!(head.field("content-length"), Some("17"), "the length of what GET would give");
    assert_eq!(head.field("content-type"), Some("text/plain; charset=utf-8"));
    let options = pannier.ask(&Ask::new("OPTIONS", "/api/nope")).await;
    assert_eq!(options.status(), 404, "the upstream's verdict");
}

/// A connection is good for the next request after a HEAD, an answer without a body, and an error.
#[tokio::test]
async fn one_connection_carries_many_requests() {
    let upstream = Upstream::start().await;
    upstream.always("/api/empty", vec![Act::Send(head(204, &[]))]);
    let pannier = Pannier::start(&upstream).await;
    let mut wire = pannier.open().await;
    for _ in 0..3 {
        assert_eq!(wire.exchange(&Ask::new("HEAD", "/api/tags")).await.status(), 200);
        assert_eq!(wire.exchange(&Ask::get("/api/empty")).await.status(), 204);
        assert_eq!(wire.exchange(&Ask::get("/api/nope")).await.status(), 404);
        let chat = wire.exchange(&Ask::post("/api/chat", &json!({}))).await;
        assert_eq!(chat.status(), 404);
    }
    let (made, _) = upstream.connections();
    assert!(made <= 6, "{made} upstream connections for 12 requests: they are kept for the next one");
}

/// An upstream that knows before the end of an upload what it will say.
#[tokio::test]
async fn an_early_answer_to_an_upload_passes() {
    let upstream = Upstream::start().await;
    let refusal = json(400, "{\"error\":\"invalid digest format\"}");
    upstream.on_head("/api/blobs/sha256:x", move |_| [refusal.clone(), vec![Act::Hang]].concat());
    let pannier = Pannier::start(&upstream).await;
    let mut wire = pannier.open().await;
    let head = format!(
        "POST /api/blobs/sha256:x HTTP/1.1\r\nHost: {}\r\nContent-Length: 10000000\r\n\r\n",
        pannier.addr
    );
    wire.send(head.as_bytes()).await;
    wire.send(&vec![b'b'; 100_000]).await;
    let reply = wire.reply("POST").await;
    assert_eq!((reply.status(), reply.text().as_str()), (400, "{\"error\":\"invalid digest format\"}"));
}

#[tokio::test]
async fn unknown_fields_and_odd_json_go_up_as_they_came() {
    let upstream = Upstream::start().await;
    let route = route("/api/chat");
    upstream.always(route.path, route.acts(false));
    let pannier = Pannier::start(&upstream).await;
    let bodies: [&[u8]; 4] = [
        br#"{ "model" : "smollm2:135m","messages":[],"new_in_0.40":{"a":[1,2.50,1e3]} , "stream":false}"#,
        b"{\"stream\":false,\"model\":\"smollm2:135m\",\"messages\":[{\"role\":\"user\",\"content\":\"\\u00e9\\u2028\"}]}",
        b"{\"model\":\"smollm2:135m\",\"stream\":false,\"x\":1,\"x\":2}\n\n{\"second\":true}",
        b"not json at all",
    ];
    for (number, body) in bodies.into_iter().enumerate() {
        let ask = Ask::new("POST", route.path).with("Content-Type", "text/plain").bytes(body);
        assert_eq!(pannier.ask(&ask).await.fine().body(), route.answer);
        let visit = upstream.visit(route.path, number).await;
        assert_eq!(visit.body(), body);
        assert_eq!(visit.field("content-type"), Some("text/plain"));
    }
}

#[tokio::test]
async fn unknown_fields_and_events_come_down_as_they_came() {
    let upstream = Upstream::start().await;
    let frames: [&[u8]; 5] = [
        b": a comment\n\n",
        b"event: brand.new\ndata: {\"z\":1,\"a\":2,\"model\":\"smollm2:135m\"}\n\n",
        b"data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"new\":1}]}\n\n",
        b"retry: 5\n\n",
        b"data: [DONE]\n\n",
    ];
    let frames = frames.map(<[u8]>::to_vec);
    upstream.always("/v1/chat/completions", sse(&frames));
    upstream.always("/v1/responses", sse(&frames));
    let pannier = Pannier::start(&upstream).await;
    for path in ["/v1/chat/completions", "/v1/responses"] {
        let body = json!({ "model": "smollm2:135m", "stream": true, "input": "a",
            "stream_options": { "include_usage": true } });
        let reply = pannier.ask(&Ask::post(path, &body)).await.fine();
        assert_eq!(reply.body(), frames.concat(), "{path}");
    }
}

#[tokio::test]
async fn every_route_in_every_mode_comes_through_unchanged() {
    let upstream = Upstream::start().await;
    // What one mode was answered would be told in the other.
    let pannier = Launch::before(&upstream).set("cache.enabled", "false").start().await;
    for route in routes() {
        for &streamed in route.modes() {
            upstream.always(route.path, route.acts(streamed));
            let reply = pannier.ask(&route.ask(streamed)).await.fine();
            assert_eq!(reply.body(), route.bytes(streamed), "{} streamed {streamed}", route.path);
            let visit = upstream.visits(route.path).pop().expect("a visit");
            assert_eq!(visit.body(), route.body(streamed).to_string().into_bytes(), "{}", route.path);
        }
    }
}

#[tokio::test]
async fn framing_is_kept() {
    let upstream = Upstream::start().await;
    upstream.always("/api/ps", json(200, r#"{"models":[]}"#));
    upstream.always("/api/show", chunked("application/json", &[b"{}".to_vec()]));
    let small = route("/v1/chat/completions");
    let large = route("/api/embed");
    upstream.always(small.path, small.acts(false));
    upstream.always(large.path, large.acts(false));
    let pannier = Pannier::start(&upstream).await;

    let reply = pannier.ask(&Ask::get("/api/ps")).await.fine();
    assert_eq!(reply.framing, Framing::Length(13));
    assert_eq!(reply.field("transfer-encoding"), None);
    let reply = pannier.ask(&Ask::post("/api/show", &json!({ "model": "m" }))).await.fine();
    assert_eq!(reply.framing, Framing::Chunked);
    let reply = pannier.ask(&small.ask(false)).await.fine();
    assert_eq!(reply.framing, Framing::Length(small.answer.len()));
    // A whole answer that came in chunks may have got a length meanwhile; it must be the right one.
    let reply = pannier.ask(&large.ask(false)).await.fine();
    assert!([Framing::Chunked, Framing::Length(large.answer.len())].contains(&reply.framing));

    // Requests: the framing of forwarded ones is kept, that of read ones is one of the two.
    let ask = Ask::new("POST", "/api/blobs/sha256:1").chunks(&[b"abc", b"defgh"]);
    pannier.ask(&ask).await;
    let visit = upstream.visit("/api/blobs/sha256:1", 0).await;
    assert_eq!(visit.field("transfer-encoding"), Some("chunked"));
    assert_eq!(visit.all("content-length"), [""; 0]);
    assert_eq!(visit.body(), "abcdefgh");
    let mut ask = small.ask(false);
    let body = small.body(false).to_string();
    let (first, second) = body.as_bytes().split_at(20);
    ask = ask.chunks(&[first, second]).with("Cache-Control", "no-cache");
    pannier.ask(&ask).await.fine();
    let visit = upstream.visit(small.path, 1).await;
    assert_eq!(visit.body(), body.as_bytes());
    assert_eq!(visit.all("content-length").len() + visit.all("transfer-encoding").len(), 1);
}

/// Naive clients take a chunk for a line: boundaries stay where the upstream put them, and each piece
/// goes out when it is there.
#[tokio::test]
async fn chunks_come_one_by_one_as_they_were_cut() {
    let upstream = Upstream::start().await;
    let lines = Recording::chat_stream().frames();
    let gate = Gate::closed();
    for path in ["/api/chat", "/api/pull"] {
        let mut acts =
            vec![Act::Send(head(200, &["Content-Type: application/x-ndjson", "Transfer-Encoding: chunked"]))];
        for line in &lines {
            acts.extend([Act::Wait(gate.clone()), Act::Chunk(line.clone())]);
        }
        acts.push(Act::Chunk(Vec::new()));
        upstream.always(path, acts);
    }
    let pannier = Pannier::start(&upstream).await;
    let chat = route("/api/chat").ask(true);
    for ask in [chat, Ask::post("/api/pull", &json!({ "model": "m" }))] {
        let mut wire = pannier.open().await;
        wire.ask(&ask).await;
        upstream.visit(&ask.target, 0).await;
        for (number, line) in lines.iter().enumerate() {
            gate.pass(1);
            if number == 0 {
                assert_eq!(wire.head("POST").await.field("content-type"), Some("application/x-ndjson"));
            }
            assert_eq!(wire.piece().await.as_ref(), Ok(line), "{} line {number}", ask.target);
        }
        assert_eq!(wire.piece().await, Err(Ending::Complete));
    }
}

#[tokio::test]
async fn compression_is_the_affair_of_both_ends() {
    let upstream = Upstream::start().await;
    let gzip = b"\x1f\x8b\x08\x00 no valid gzip, and nobody between may care".to_vec();
    let script = {
        let gzip = gzip.clone();
        move |_: &Visit| {
            let length = format!("Content-Length: {}", gzip.len());
            let mut bytes = head(200, &["Content-Type: application/json", "Content-Encoding: gzip", &length]);
            bytes.extend(&gzip);
            vec![Act::Send(bytes)]
        }
    };
    upstream.on("/api/show", script.clone());
    upstream.on("/api/chat", script);
    let pannier = Pannier::start(&upstream).await;
    for path in ["/api/show", "/api/chat"] {
        let ask = Ask::post(path, &json!({ "model": "smollm2:135m", "messages": [] }))
            .with("Accept-Encoding", "gzip, br;q=0.5");
        let reply = pannier.ask(&ask).await.fine();
        assert_eq!(
            (reply.body(), reply.field("content-encoding")),
            (gzip.clone().into(), Some("gzip")),
            "{path}"
        );
        assert_eq!(upstream.visit(path, 0).await.field("accept-encoding"), Some("gzip, br;q=0.5"));
    }
    let ask = Ask::post("/api/show", &json!({})).with("Content-Encoding", "gzip");
    pannier.ask(&ask).await;
    assert_eq!(upstream.visit("/api/show", 1).await.field("content-encoding"), Some("gzip"));
    // Nothing is compressed that was not.
    let reply = pannier.ask(&Ask::get("/api/tags").with("Accept-Encoding", "gzip")).await.fine();
    assert_eq!(reply.field("content-encoding"), None);
}

#[tokio::test]
async fn fields_pass_and_hop_by_hop_ones_do_not() {
    let upstream = Upstream::start().await;
    let answer_head = head(
        200,
        &[
            "Content-Type: application/json",
            "X-Upstream: one",
            "X-Upstream: two",
            "Set-Cookie: a=b",
            "Keep-Alive: timeout=7",
            "Proxy-Authenticate: Basic",
            "Connection: keep-alive, X-Hop",
            "X-Hop: 1",
            "Content-Length: 2",
        ],
    );
    for path in ["/api/show", "/api/chat"] {
        upstream.always(path, vec![Act::Send([answer_head.clone(), b"{}".to_vec()].concat())]);
    }
    let pannier = Pannier::start(&upstream).await;
    for path in ["/api/show", "/api/chat"] {
        let ask = Ask::post(path, &json!({ "model": "smollm2:135m", "messages": [] }))
            .with("Authorization", "Bearer abc")
            .with("X-Custom", "täst")
            .with("Accept", "a/b")
            .with("Accept", "c/d")
            .with("User-Agent", "ollama/0.33 (amd64 linux) Go/1.26")
            .with("Connection", "keep-alive, X-Private")
            .with("X-Private", "1")
            .with("Keep-Alive", "timeout=5")
            .with("Proxy-Authorization", "Basic abc")
            .with("TE", "trailers")
            .with("Upgrade", "h2c");
        let reply = pannier.ask(&ask).await;
        assert_eq!(reply.head.all("x-upstream"), ["one", "two"], "{path}");
        assert_eq!(reply.field("set-cookie"), Some("a=b"));
        for hop in ["keep-alive", "x-hop", "proxy-authenticate"] {
            assert_eq!(reply.field(hop), None, "{path} lets {hop} down");
        }
        let visit = upstream.visit(path, 0).await;
        assert_eq!(visit.field("host"), Some(upstream.addr.to_string().as_str()), "rewritten");
        assert_eq!(visit.all("host").len(), 1);
        assert_eq!(visit.field("authorization"), Some("Bearer abc"));
        assert_eq!(visit.field("x-custom"), Some("täst"));
        assert_eq!(visit.all("accept").join(", "), "a/b, c/d");
        assert_eq!(visit.field("user-agent"), Some("ollama/0.33 (amd64 linux) Go/1.26"));
        for hop in ["x-private", "keep-alive", "proxy-authorization", "te", "upgrade"] {
            assert_eq!(visit.field(hop), None, "{path} lets {hop} up");
        }
    }
}

/// `Connection: Authorization` must not strip what decides who asks (RELIABILITY.md H-06).
#[tokio::test]
async fn naming_authorization_in_connection_does_not_strip_it() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for path in ["/api/show", "/api/chat"] {
        let ask = Ask::post(path, &json!({ "model": "smollm2:135m" }))
            .with("Authorization", "Bearer abc")
            .with("Connection", "close, Authorization");
        pannier.ask(&ask).await;
        assert_eq!(upstream.visit(path, 0).await.field("authorization"), Some("Bearer abc"), "{path}");
    }
}

#[tokio::test]
async fn a_request_id_is_echoed_or_made() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let pannier = Pannier::start(&upstream).await;
    let asks = [
        chat.ask(false),
        chat.ask(false),
        Ask::get("/api/tags"),
        Ask::get("/api/nope"),
        Ask::get("/livez"),
        Ask::get("/").host("evil.example"),
    ];
    let mut made = Vec::new();
    for ask in &asks {
        let reply = pannier.ask(ask).await;
        let id = reply.field("x-request-id").unwrap_or_else(|| panic!("no id for {}", ask.target)).to_owned();
        assert_eq!(id.len(), 36, "a UUID: {id}");
        assert_eq!(&id[14..15], "7", "version 7: {id}");
        made.push(id);
        let reply = pannier.ask(&ask.clone().with("X-Request-Id", "my-Id_1.2")).await;
        assert_eq!(reply.head.all("x-request-id"), ["my-Id_1.2"], "{}", ask.target);
    }
    made.sort();
    made.dedup();
    assert_eq!(made.len(), asks.len(), "each its own");
    for bad in ["a b", "a\"b", &"x".repeat(129)] {
        let reply = pannier.ask(&Ask::get("/api/tags").with("X-Request-Id", bad)).await;
        assert_ne!(reply.field("x-request-id"), Some(bad));
    }
}

#[tokio::test]
async fn expect_100_continue_is_answered() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    upstream.always("/api/blobs/sha256:1", whole(201, "text/plain", ""));
    let pannier = Pannier::start(&upstream).await;
    let blob = Ask::new("POST", "/api/blobs/sha256:1").bytes(vec![b'b'; 3000]);
    for ask in [chat.ask(false), blob] {
        let mut wire = pannier.open().await;
        let host = pannier.addr.to_string();
        let ask = ask.with("Expect", "100-continue");
        let head = ask.head(&host);
        let body = ask.raw(&host).split_off(head.len());
        wire.send(&head).await;
        assert_eq!(wire.head("POST").await.status, 100, "{}", ask.target);
        wire.send(&body).await;
        let reply = wire.reply("POST").await;
        assert!(reply.status() < 300);
        assert_eq!(upstream.visit(&ask.target, 0).await.body(), body);
    }
}

#[tokio::test]
async fn a_large_upload_streams_in_flat_memory() {
    let upstream = Upstream::start().await;
    upstream.always("/api/blobs/sha256:1", whole(201, "text/plain", ""));
    upstream.always("/api/blobs/sha256:2", whole(201, "text/plain", ""));
    let pannier = Pannier::start(&upstream).await;
    pannier.ask(&Ask::get("/api/tags")).await;
    let before = pannier.resident();
    let mut most = before;
    let total = 80 * MIB;
    let piece = vec![b'b'; MIB as usize];

    let mut wire = pannier.open().await;
    let host = pannier.addr;
    let with_length =
        format!("POST /api/blobs/sha256:1 HTTP/1.1\r\nHost: {host}\r\nContent-Length: {total}\r\n\r\n");
    wire.send(with_length.as_bytes()).await;
    for sent in 0..80 {
        wire.send(&piece).await;
        if sent == 20 {
            let visit = upstream.visit("/api/blobs/sha256:1", 0).await;
            eventually("bytes go up while more are sent", || async {
                (visit.received() > 8 * MIB).then_some(())
            })
            .await;
        }
        most = most.max(pannier.resident());
    }
    assert_eq!(wire.reply("POST").await.status(), 201);
    assert_eq!(upstream.visit("/api/blobs/sha256:1", 0).await.received(), total);

    let in_chunks =
        format!("POST /api/blobs/sha256:2 HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n");
    wire.send(in_chunks.as_bytes()).await;
    for _ in 0..80 {
        wire.send(format!("{:x}\r\n", piece.len()).as_bytes()).await;
        wire.send(&piece).await;
        wire.send(b"\r\n").await;
        most = most.max(pannier.resident());
    }
    wire.send(b"0\r\n\r\n").await;
    assert_eq!(wire.reply("POST").await.status(), 201);
    assert_eq!(upstream.visit("/api/blobs/sha256:2", 0).await.received(), total);
    assert!(most - before < 24 * MIB, "grew by {} KiB", (most - before) / 1024);
}

#[tokio::test]
async fn a_large_download_streams_in_flat_memory() {
    let upstream = Upstream::start().await;
    let start = head(200, &["Content-Type: application/octet-stream", "Transfer-Encoding: chunked"]);
    let acts = vec![Act::Send(start), Act::Flood(80 * MIB as usize), Act::Chunk(Vec::new())];
    upstream.always("/api/big", acts);
    let pannier = Pannier::start(&upstream).await;
    pannier.ask(&Ask::get("/api/tags")).await;
    let before = pannier.resident();
    let mut most = before;
    let mut wire = pannier.open().await;
    wire.ask(&Ask::get("/api/big")).await;
    wire.head("GET").await;
    let mut total = 0;
    while let Ok(piece) = wire.piece().await {
        total += piece.len() as u64;
        if total % (4 * MIB) < piece.len() as u64 {
            most = most.max(pannier.resident());
        }
    }
    assert_eq!(total, 80 * MIB);
    assert!(most - before < 24 * MIB, "grew by {} KiB", (most - before) / 1024);
}

/// Ollama says nothing while it loads a model: silence before the first byte is no failure.
#[tokio::test]
async fn a_silent_upstream_is_waited_for() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    let mut acts = chat.acts(true);
    acts.insert(0, Act::Pause(Duration::from_millis(1500)));
    upstream.always(chat.path, acts);
    let pannier = Pannier::start(&upstream).await;
    assert_eq!(pannier.ask(&chat.ask(true)).await.fine().body(), chat.bytes(true));
}

/// An HTTP/1.0 client and one that asks for the connection's end get just that.
#[tokio::test]
async fn connections_end_when_the_client_wants_it() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let mut wire = pannier.open().await;
    let reply = wire.exchange(&Ask::get("/api/tags").with("Connection", "close")).await.fine();
    assert!(reply.field("connection").is_some_and(|v| v.eq_ignore_ascii_case("close")));
    assert!(wire.hung_up().await < PROMPTLY);

    let mut wire = pannier.open().await;
    wire.send(format!("GET /api/version HTTP/1.0\r\nHost: {}\r\n\r\n", pannier.addr).as_bytes()).await;
    let reply = wire.reply("GET").await;
    assert_eq!(reply.status(), 200);
    assert_ne!(reply.framing, Framing::Chunked, "HTTP/1.0 knows no chunks");
    assert!(reply.text().contains("0.33.0"));
    assert!(wire.hung_up().await < PROMPTLY);
}
