//! What Ollama and the way to it can do wrong (RELIABILITY.md group U), and what the client sees of it.

use crate::stage::*;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const CHATS: [&str; 3] = ["/api/chat", "/v1/chat/completions", "/v1/messages"];

/// Fails unless `reply` is an error of Pannier's own, in the dialect of `path`.
#[track_caller]
pub fn is_own_error(reply: &Reply, path: &str, status: u16, codes: &[&str]) {
    assert_eq!(reply.status(), status, "{path}: {}", reply.text());
    let code = reply.code().unwrap_or_else(|| panic!("{path}: no X-Pannier-Error"));
    assert!(codes.contains(&code), "{path}: {code}");
    assert!(reply.field("content-type").is_some_and(|v| v.starts_with("application/json")), "{path}");
    let id = reply.field("x-request-id").expect("a request id");
    let body = reply.json();
    let message = if path.starts_with("/v1/messages") {
        assert_eq!(body["type"], "error");
        assert!(body["error"]["type"].is_string());
        assert_eq!(body["request_id"], id);
        &body["error"]["message"]
    } else if path.starts_with("/v1/") {
        assert!(body["error"]["type"].is_string() && body["error"]["param"].is_null());
        assert!(body["error"]["code"].is_string());
        &body["error"]["message"]
    } else {
        &body["error"]
    };
    assert!(message.as_str().is_some_and(|m| !m.is_empty()), "{path}: {body}");
}

/// Asks twice and fails if the second answer came from the memory.
async fn is_not_kept(upstream: &Upstream, pannier: &Pannier, ask: &Ask) {
    pause(30).await;
    let before = upstream.count(&ask.target);
    pannier.ask(ask).await;
    assert!(upstream.count(&ask.target) > before, "{} was kept", ask.target);
}

#[tokio::test]
async fn u01_nobody_listens() {
    let mut upstream = Upstream::start().await;
    upstream.stop().await;
    let pannier = Pannier::start(&upstream).await;
    for path in CHATS {
        for &streamed in route(path).modes() {
            let begun = Instant::now();
            let reply = pannier.ask(&route(path).ask(streamed)).await;
            assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
            is_own_error(&reply, path, 502, &["upstream_unreachable"]);
        }
    }
    for path in ["/", "/api/tags", "/api/version", "/v1/models", "/api/nope"] {
        let reply = pannier.ask(&Ask::get(path)).await;
        is_own_error(&reply, path, 502, &["upstream_unreachable"]);
    }
    let reply = pannier.ask(&Ask::new("HEAD", "/")).await;
    assert_eq!((reply.status(), reply.body().len()), (502, 0), "as the CLI's heartbeat asks");
    let samples = pannier.metrics().await;
    assert_eq!(samples.sum("pannier_upstream_up", &[]), 0.0);
}

#[tokio::test]
async fn u01_it_comes_back() {
    let mut upstream = Upstream::apart().await;
    let addr = upstream.addr;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(false));
    let pannier = Pannier::start(&upstream).await;
    pannier.ask(&chat.ask(false)).await.fine();
    upstream.stop().await;
    let ask = chat.ask(false).with("Cache-Control", "no-cache");
    assert_eq!(pannier.ask(&ask).await.status(), 502);
    drop(upstream);
    let upstream = Upstream::bind(addr).await;
    upstream.always(chat.path, chat.acts(false));
    pannier.ask(&ask).await.fine();
}

/// A listener whose queue is full swallows connection attempts, as a dead host does.
async fn black_hole() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("bind");
    let listener = socket.listen(1).expect("listen");
    let addr = listener.local_addr().expect("its address");
    let mut waiting = Vec::new();
    while let Ok(taken) = tokio::time::timeout(Duration::from_secs(1), TcpStream::connect(addr)).await {
        waiting.push(taken.expect("connect"));
    }
    (listener, waiting)
}

#[tokio::test]
async fn u02_connecting_goes_nowhere() {
    let (listener, _waiting) = black_hole().await;
    let addr = listener.local_addr().expect("its address");
    let launch = Launch::new(&format!("http://{addr}")).set("upstream.connect_timeout", "400ms");
    let pannier = launch.start().await;
    for path in CHATS {
        let begun = Instant::now();
        let reply = pannier.ask(&route(path).ask(false)).await;
        is_own_error(&reply, path, 504, &["upstream_timeout"]);
        assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
    }
    let reply = pannier.ask(&Ask::get("/api/tags")).await;
    is_own_error(&reply, "/api/tags", 504, &["upstream_timeout"]);
}

/// The model may have begun to work: a call that was sent on a fresh connection is not sent again.
#[tokio::test]
async fn u03_a_reset_before_any_byte() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for path in CHATS {
        upstream.always(path, vec![Act::Rst]);
        let reply = pannier.ask(&route(path).ask(true)).await;
        is_own_error(&reply, path, 502, &["upstream_aborted", "upstream_unreachable"]);
        let visits = upstream.visits(path);
        assert!(visits.iter().filter(|visit| visit.turn == 0).count() <= 1, "sent again");
        assert!(visits.len() <= 2);
    }
}

#[tokio::test]
async fn u03_an_end_before_any_byte() {
    let upstream = Upstream::start().await;
    upstream.always("/api/show", vec![Act::Fin]);
    upstream.always("/api/chat", vec![Act::Fin]);
    let pannier = Pannier::start(&upstream).await;
    for ask in [Ask::post("/api/show", &serde_json::json!({})), route("/api/chat").ask(true)] {
        let reply = pannier.ask(&ask).await;
        is_own_error(&reply, &ask.target, 502, &["upstream_aborted", "upstream_unreachable"]);
        assert!(upstream.count(&ask.target) <= 2);
    }
}

/// After the head nothing is retried; the client learns that the answer is not whole.
#[tokio::test]
async fn u04_a_reset_after_the_head() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for path in CHATS {
        let route = route(path);
        for (nth, &streamed) in route.modes().iter().enumerate() {
            let mut acts = route.acts(streamed);
            if let Some(Act::Send(bytes)) = acts.first_mut() {
                let end = find(bytes, b"\r\n\r\n").expect("a head");
                bytes.truncate(end + 4);
            }
            acts.truncate(1);
            acts.extend([Act::Pause(Duration::from_millis(30)), Act::Rst]);
            upstream.always(path, acts);
            let reply = pannier.ask(&route.ask(streamed)).await;
            if streamed {
                assert!(!reply.text().contains("\"done\":true") && !reply.text().contains("[DONE]"));
            }
            let told = reply.status() == 502 || reply.ending == Ending::Cut || reply.text().contains("error");
            assert!(told, "{path} streamed {streamed}: {reply:?}");
            assert_eq!(upstream.count(path), nth + 1, "never sent again");
        }
    }
}

/// Breaks streams off after two frames, by `end`, and looks at what the clients are told.
async fn broken_streams(end: Act) {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for route in routes().iter().filter(|route| route.streams()) {
        let mut acts = route.acts(true);
        acts.truncate(3);
        acts.extend([Act::Pause(Duration::from_millis(30)), end.clone()]);
        upstream.always(route.path, acts);
        let reply = pannier.ask(&route.ask(true)).await;
        let (path, body) = (route.path, reply.text());
        assert_eq!(reply.status(), 200, "{path}");
        let sent = route.frames[..2].concat();
        let sent = String::from_utf8(sent).expect("text");
        let rest = body.strip_prefix(&sent).unwrap_or_else(|| panic!("{path}: {body}"));
        let frame = match route.dialect {
            "ollama" => "{\"error\":\"",
            "openai" => "data: {\"error\":{",
            _ => "event: error\ndata: {\"",
        };
        assert!(rest.starts_with(frame), "{path}: {rest:?}");
        let end = if route.dialect == "ollama" { "\n" } else { "\n\n" };
        assert!(rest.ends_with(end) && rest.trim_end().lines().count() <= 2, "{path}: {rest:?}");
        for mark in ["[DONE]", "\"done\":true", "message_stop", "response.completed"] {
            assert!(!body.contains(mark), "{path} claims to be whole");
        }
        assert_eq!(upstream.count(path), 1, "{path} was sent again");
        is_not_kept(&upstream, &pannier, &route.ask(true)).await;
    }
    let samples = pannier.metrics().await;
    assert!(samples.sum("pannier_llm_requests_total", &[("finish_reason", "error")]) >= 5.0);
}

#[tokio::test]
async fn u05_a_reset_in_mid_stream() {
    broken_streams(Act::Rst).await;
}

#[tokio::test]
async fn u06_a_stream_that_ends_without_its_end() {
    broken_streams(Act::Fin).await;
}

/// Well framed, and yet no end: no error of Pannier's own is put in, but it is no answer to keep.
#[tokio::test]
async fn streams_without_their_last_frame_pass_and_are_not_kept() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for route in routes().iter().filter(|route| route.streams()) {
        let mut short = route.clone();
        // With [DONE] goes the usage chunk: what is missing is all that tells an end.
        short.frames.truncate(3);
        upstream.always(route.path, short.acts(true));
        let reply = pannier.ask(&route.ask(true)).await.fine();
        assert_eq!(reply.body(), short.frames.concat(), "{}", route.path);
        is_not_kept(&upstream, &pannier, &route.ask(true)).await;
    }
}

#[tokio::test]
async fn u07_a_length_that_lies() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for path in ["/api/chat", "/v1/embeddings", "/api/show"] {
        let head_of = |length: usize| {
            head(200, &["Content-Type: application/json", &format!("Content-Length: {length}")])
        };
        let ask =
            Ask::post(path, &serde_json::json!({ "model": "smollm2:135m", "stream": false, "input": "a" }));
        let body = br#"{"model":"smollm2:135m","message":{"role":"assistant","content":"a"},"done":true}"#;

        let short = [head_of(body.len() + 5), body.to_vec()].concat();
        upstream.always(path, vec![Act::Send(short), Act::Fin]);
        let reply = pannier.ask(&ask).await;
        assert!(reply.status() == 502 || reply.ending == Ending::Cut, "{path}: {reply:?}");
        is_not_kept(&upstream, &pannier, &ask).await;

        // What comes after the announced end belongs to nobody, least of all to the next request.
        let long = [
            head_of(body.len()),
            body.to_vec(),
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil".to_vec(),
        ];
        upstream.always(path, vec![Act::Send(long.concat())]);
        let ask = ask.with("Cache-Control", "no-store");
        for _ in 0..3 {
            assert_eq!(pannier.ask(&ask).await.fine().body(), body[..], "{path}");
        }
        let visits = upstream.visits(path);
        let last = &visits[visits.len() - 3..];
        assert!(last[1].connection != last[0].connection, "{path}: the connection was used again");
    }
}

#[tokio::test]
async fn u08_silence_before_the_head() {
    let upstream = Upstream::start().await;
    let pannier = Launch::before(&upstream).set("upstream.first_byte_timeout", "300ms").start().await;
    for route in routes() {
        upstream.always(route.path, vec![Act::Hang]);
        let begun = Instant::now();
        let reply = pannier.ask(&route.ask(false)).await;
        let took = begun.elapsed();
        is_own_error(&reply, route.path, 504, &["upstream_timeout"]);
        assert!((Duration::from_millis(300)..PROMPTLY).contains(&took), "{}: {took:?}", route.path);
        upstream.visit(route.path, 0).await.hung_up().await;
        assert_eq!(upstream.count(route.path), 1, "not sent again");
    }
    upstream.always("/api/show", vec![Act::Hang]);
    let reply = pannier.ask(&Ask::post("/api/show", &serde_json::json!({}))).await;
    is_own_error(&reply, "/api/show", 504, &["upstream_timeout"]);
}

#[tokio::test]
async fn u09_silence_in_mid_stream() {
    let upstream = Upstream::start().await;
    let pannier = Launch::before(&upstream).set("upstream.between_bytes_timeout", "1s").start().await;
    for path in CHATS {
        let route = route(path);
        let mut acts = route.acts(true);
        acts.truncate(3);
        acts.push(Act::Hang);
        upstream.always(path, acts);
        let begun = Instant::now();
        let reply = pannier.ask(&route.ask(true)).await;
        let took = begun.elapsed();
        assert!((Duration::from_secs(1)..PROMPTLY).contains(&took), "{path}: {took:?}");
        assert_eq!(reply.status(), 200);
        let rest = reply.text().split_off(route.frames[..2].concat().len());
        assert!(rest.contains("error"), "{path}: {rest:?}");
        upstream.visit(path, 0).await.hung_up().await;
        is_not_kept(&upstream, &pannier, &route.ask(true)).await;
    }
}

/// A limit of 0 is none.
#[tokio::test]
async fn timeouts_can_be_switched_off() {
    let upstream = Upstream::start().await;
    let launch = Launch::before(&upstream)
        .set("upstream.first_byte_timeout", "0")
        .set("upstream.between_bytes_timeout", "0");
    let pannier = launch.start().await;
    let chat = route("/api/chat");
    let mut acts = chat.acts(true);
    acts.insert(2, Act::Pause(Duration::from_millis(300)));
    acts.insert(0, Act::Pause(Duration::from_millis(300)));
    upstream.always(chat.path, acts);
    assert_eq!(pannier.ask(&chat.ask(true)).await.fine().body(), chat.bytes(true));
}

#[tokio::test]
async fn u10_drips_pass_as_they_fall() {
    let upstream = Upstream::start().await;
    let pannier = Launch::before(&upstream).set("upstream.between_bytes_timeout", "2s").start().await;
    let chat = route("/api/chat");
    let bytes = chat.bytes(true);
    let start = head(200, &["Content-Type: application/x-ndjson", "Transfer-Encoding: chunked"]);
    let gate = Gate::closed();
    let (drips, rest) = bytes.split_at(20);
    let mut acts = vec![Act::Send(start), Act::Chunk(vec![drips[0]]), Act::Wait(gate.clone())];
    for drip in &drips[1..] {
        acts.extend([Act::Chunk(vec![*drip]), Act::Pause(Duration::from_millis(125))]);
    }
    acts.extend([Act::Chunk(rest.to_vec()), Act::Chunk(Vec::new())]);
    upstream.always(chat.path, acts);
    let mut wire = pannier.open().await;
    wire.ask(&chat.ask(true)).await;
    wire.head("POST").await;
    // It comes before there is another.
    let mut seen = wire.piece().await.expect("the first drip");
    gate.open();
    while let Ok(piece) = wire.piece().await {
        seen.extend(piece);
    }
    assert_eq!(seen, bytes, "longer than the timeout in all, never in one gap");
}

#[tokio::test]
async fn u11_u12_the_upstreams_own_errors_pass_as_they_came() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let busy = r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#;
    let missing = String::from_utf8(Recording::missing_model().body.to_vec()).expect("text");
    let missing_openai = String::from_utf8(Recording::missing_model_openai().body.to_vec()).expect("text");
    let errors = [
        (503, busy),
        (404, missing.as_str()),
        (404, missing_openai.as_str()),
        (400, r#"{"error":"invalid input type"}"#),
        (500, r#"{"error":"llama runner process has terminated: exit status 2"}"#),
        (501, "This server does not support embeddings. Start it with --embeddings"),
        (429, "{}"),
    ];
    for path in CHATS {
        for &streamed in route(path).modes() {
            for (status, body) in errors {
                upstream.always(path, json(status, body));
                let ask = route(path).ask(streamed);
                let reply = pannier.ask(&ask).await;
                assert_eq!((reply.status(), reply.text().as_str()), (status, body), "{path}");
                assert_eq!(reply.code(), None, "not Pannier's own");
                assert_eq!(reply.ending, Ending::Complete);
                is_not_kept(&upstream, &pannier, &ask).await;
            }
        }
    }
    pannier.counts("pannier_http_requests_total", &[("route", "/api/chat"), ("code", "503")], 4.0).await;
}

#[tokio::test]
async fn u13_an_error_inside_a_200() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let line = b"{\"error\":\"an error was encountered while running the model\"}\n".to_vec();
    for path in ["/api/chat", "/api/generate"] {
        let route = route(path);
        let first = route.frames[0].clone();
        for frames in [vec![line.clone()], vec![first, line.clone()]] {
            upstream.always(path, ndjson(&frames));
            let reply = pannier.ask(&route.ask(true)).await.fine();
            assert_eq!(reply.body(), frames.concat(), "{path}");
            is_not_kept(&upstream, &pannier, &route.ask(true)).await;
        }
    }
    pannier.counts("pannier_llm_requests_total", &[("finish_reason", "error")], 8.0).await;
    // OpenAI's mark of a broken stream is an empty chunk and no [DONE] (OLLAMA.md §1.7).
    let route = route("/v1/chat/completions");
    let empty = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1795208692,"model":"","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
    let frames = [format!("{empty}\n\n").into_bytes()];
    upstream.always(route.path, sse(&frames));
    let reply = pannier.ask(&route.ask(true)).await.fine();
    assert_eq!(reply.body(), frames.concat());
    is_not_kept(&upstream, &pannier, &route.ask(true)).await;
}

#[tokio::test]
async fn u14_answers_that_make_no_sense() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let chat = route("/api/chat");
    let long =
        format!("{{\"model\":\"smollm2:135m\",\"message\":{{\"content\":\"{}\"}}}}\n", "x".repeat(5 << 20));
    let done = |counts: &str| {
        format!(
            "{{\"model\":\"smollm2:135m\",\"message\":{{\"role\":\"assistant\",\"content\":\"a\"}},\"done\":true{counts}}}\n"
        )
    };
    let bodies = [
        "not json\n".to_owned(),
        "\n\n\n".to_owned(),
        "{\"model\":".to_owned(),
        "[]\nnull\n1\n".to_owned(),
        long,
        done(",\"eval_count\":-5,\"prompt_eval_count\":1.5"),
        done(",\"eval_count\":99999999999999999999999,\"prompt_eval_count\":\"11\""),
        done(",\"eval_count\":{},\"total_duration\":-1"),
        "[".repeat(100_000),
    ];
    for body in bodies {
        for streamed in [true, false] {
            let acts = match streamed {
                true => ndjson(&[body.clone().into_bytes()]),
                false => json(200, &body),
            };
            upstream.always(chat.path, acts);
            let ask = chat.ask(streamed).with("Cache-Control", "no-store");
            let reply = pannier.ask(&ask).await.fine();
            assert_eq!(reply.body(), body.as_bytes(), "{}", &body[..body.len().min(60)]);
        }
    }
    let samples = pannier.metrics().await;
    assert!(samples.sum("pannier_llm_tokens_total", &[]) < 1e12, "no nonsense was added up");
}

#[tokio::test]
async fn u15_heads_in_advance_are_no_answers() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for path in ["/api/chat", "/api/show"] {
        let mut acts: Vec<_> =
            (0..5).map(|_| Act::Send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".into())).collect();
        acts.extend(json(200, "{}"));
        upstream.always(path, acts);
        let body = serde_json::json!({ "model": "smollm2:135m", "stream": false });
        let reply = pannier.ask(&Ask::post(path, &body)).await.fine();
        assert_eq!(reply.text(), "{}", "{path}");
    }
}

/// A connection that the upstream closed while it was idle costs no client an error.
#[tokio::test]
async fn u17_idle_connections_that_died_are_not_noticed() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let chat = route("/api/chat");
    for (path, delay) in [("/api/chat", 0), ("/api/chat", 3), ("/api/show", 0), ("/api/show", 3)] {
        let mut acts = chat.acts(false);
        acts.extend([Act::Pause(Duration::from_millis(delay)), Act::Fin]);
        upstream.always(path, acts);
        for number in 0..25 {
            let mut body = chat.body(false);
            body["options"]["seed"] = (number + delay * 100).into();
            pannier.ask(&Ask::post(path, &body)).await.fine();
            pause(number % 5).await;
        }
    }
}

/// On a reused connection a reset before any byte is the old connection's death rather than the call's
/// failure: one fresh try, and no more.
#[tokio::test]
async fn u17_a_stale_connection_is_retried_once_on_a_fresh_one() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    upstream.always("/api/version", json(200, r#"{"version":"0.33.0"}"#));
    upstream.on("/api/ps", |visit| match visit.turn {
        0 => json(200, r#"{"models":[]}"#),
        _ => vec![Act::Rst],
    });
    for round in 0..10 {
        let reply = pannier.ask(&Ask::get("/api/ps")).await;
        assert_eq!(reply.status(), 200, "round {round}");
    }
    upstream.always("/api/ps", vec![Act::Rst]);
    let before = upstream.count("/api/ps");
    assert_eq!(pannier.ask(&Ask::get("/api/ps")).await.status(), 502);
    assert!(upstream.count("/api/ps") - before <= 3, "no storm");
}

/// Nobody knows what a request for an unknown route does: it is not sent twice.
#[tokio::test]
async fn u17_what_nobody_knows_is_never_sent_twice() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for (method, path, expected) in [
        ("POST", "/v1/unheard", (502, 1)),
        ("POST", "/api/signout", (502, 1)),
        ("GET", "/v1/unheard-of", (200, 2)),
    ] {
        upstream.on(path, |visit| match visit.turn {
            0 => json(200, "{}"),
            _ => vec![Act::Rst],
        });
        let ask = Ask::new(method, path);
        let mut seen = (200, 1);
        // As long as there is no kept connection, it goes on a new one.
        for _ in 0..50 {
            let before = upstream.count(path);
            seen = (pannier.ask(&ask).await.status(), upstream.count(path) - before);
            if seen != (200, 1) {
                break;
            }
        }
        assert_eq!(seen, expected, "{path}");
    }
}

#[tokio::test]
async fn u19_a_restart_during_many_streams() {
    let mut upstream = Upstream::apart().await;
    let addr = upstream.addr;
    let chat = route("/api/chat");
    let mut acts = chat.acts(true);
    acts.truncate(3);
    acts.push(Act::Hang);
    upstream.always(chat.path, acts);
    let pannier = Pannier::start(&upstream).await;
    let mut wires = Vec::new();
    for number in 0..30 {
        let mut body = chat.body(true);
        body["options"]["seed"] = number.into();
        let mut wire = pannier.open().await;
        wire.ask(&Ask::post(chat.path, &body)).await;
        wire.head("POST").await;
        wire.piece().await.expect("the first line");
        wires.push(wire);
    }
    upstream.stop().await;
    drop(upstream);
    for mut wire in wires {
        let mut rest = Vec::new();
        while let Ok(piece) = wire.piece().await {
            rest.extend(piece);
        }
        assert!(String::from_utf8_lossy(&rest).contains("{\"error\":"), "{rest:?}");
    }
    let upstream = Upstream::bind(addr).await;
    upstream.always(chat.path, chat.acts(true));
    pannier.ask(&chat.ask(true)).await.fine();
    eventually("no flight is left", || async {
        let samples = pannier.metrics().await;
        let open = samples.sum("pannier_http_requests_in_flight", &[("route", "/api/chat")]);
        (open == 0.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn u20_heads_beyond_measure() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for path in ["/api/chat", "/api/show"] {
        let many: Vec<String> = (0..5000).map(|number| format!("X-{number}: a")).collect();
        let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
        many.push("Content-Length: 0");
        let endless = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 4 << 20]].concat();
        for bytes in [head(200, &many), endless, b"\0\0\0\0 garbage\r\n\r\n".to_vec()] {
            upstream.always(path, vec![Act::Send(bytes), Act::Fin]);
            let body = serde_json::json!({ "model": "smollm2:135m", "stream": false });
            let reply = pannier.ask(&Ask::post(path, &body)).await;
            is_own_error(&reply, path, 502, &["upstream_aborted", "upstream_unreachable"]);
        }
    }
}

/// A model called like a header: nothing of a request becomes a field of an answer.
#[tokio::test]
async fn nothing_of_a_request_reaches_a_head() {
    let mut upstream = Upstream::start().await;
    upstream.stop().await;
    let pannier = Pannier::start(&upstream).await;
    let body = serde_json::json!({ "model": "a\r\nX-Evil: 1\r\n\r\n", "messages": [] });
    let reply = pannier.ask(&Ask::post("/api/chat", &body)).await;
    is_own_error(&reply, "/api/chat", 502, &["upstream_unreachable"]);
    assert!(!String::from_utf8_lossy(&reply.head.raw).contains("Evil"));
    assert!(!reply.text().contains("Evil"), "nor of its error");
}
