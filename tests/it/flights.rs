//! One trip, many readers (RELIABILITY.md C-20 to C-25).

use crate::stage::*;
use std::time::Instant;
use tokio::task::JoinSet;

/// Lets `count` clients ask the same at once, and gives their answers back.
async fn crowd(pannier: &Pannier, ask: &Ask, count: usize, gate: &Gate) -> Vec<Reply> {
    let mut wires = Vec::with_capacity(count);
    for _ in 0..count {
        let mut wire = pannier.open().await;
        wire.ask(ask).await;
        wires.push(wire);
    }
    let under_way = || async {
        let metrics = pannier.metrics().await;
        (metrics.sum("pannier_http_requests_in_flight", &[("route", &ask.target)]) >= count as f64)
            .then_some(())
    };
    eventually_within(2 * PATIENCE, "all have asked", under_way).await;
    // A moment more, and Pannier has read them all.
    pause(300).await;
    gate.open();
    wires
        .into_iter()
        .map(|mut wire| async move { wire.reply("POST").await })
        .collect::<JoinSet<_>>()
        .join_all()
        .await
}

/// How many files this process may open.
fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("open files");
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(usize::MAX)
}

/// C-20.
#[tokio::test]
async fn five_thousand_identical_requests_make_one_trip() {
    let upstream = Upstream::start().await;
    let route = route("/api/embed");
    let gate = Gate::closed();
    upstream.always(route.path, [vec![Act::Wait(gate.clone())], route.acts(false)].concat());
    let pannier = Launch::before(&upstream).set("server.max_connections_per_ip", "6000").start().await;
    let count = if open_files() > 12_000 { 5000 } else { 300 };
    let replies = crowd(&pannier, &route.ask(false), count, &gate).await;
    assert_eq!(replies.len(), count);
    for reply in replies {
        assert_eq!(reply.fine().body(), route.answer);
    }
    assert_eq!(upstream.count(route.path), 1);
    let samples = pannier.counts("pannier_http_requests_total", &[("route", route.path)], count as f64).await;
    assert_eq!(samples.sum("pannier_llm_tokens_total", &[("type", "input")]), 3.0);
    assert_eq!(samples.sum("pannier_coalesced_requests_total", &[]), (count - 1) as f64);
}

#[tokio::test]
async fn every_streaming_route_is_shared_byte_for_byte() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for route in routes().iter().filter(|route| route.streams()) {
        let gate = Gate::closed();
        let mut acts = route.acts(true);
        acts.insert(2, Act::Wait(gate.clone()));
        upstream.always(route.path, acts);
        for reply in crowd(&pannier, &route.ask(true), 20, &gate).await {
            assert_eq!(reply.fine().body(), route.bytes(true), "{}", route.path);
        }
        assert_eq!(upstream.count(route.path), 1, "{}", route.path);
    }
}

#[tokio::test]
async fn one_who_comes_late_gets_it_from_the_first_byte_and_then_live() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    let gate = Gate::closed();
    let mut acts = vec![chat.acts(true)[0].clone()];
    for frame in &chat.frames {
        acts.extend([Act::Wait(gate.clone()), Act::Chunk(frame.clone())]);
    }
    // The last frame is not yet the end: who comes then is late, and not after all.
    acts.extend([Act::Wait(gate.clone()), Act::Chunk(Vec::new())]);
    upstream.always(chat.path, acts);
    let pannier = Pannier::start(&upstream).await;

    let mut wires = Vec::new();
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for number in 0..chat.frames.len() {
        gate.pass(1);
        let so_far = chat.frames[..=number].concat();
        if number % 6 == 0 {
            let mut wire = pannier.open().await;
            wire.ask(&chat.ask(true)).await;
            wire.head("POST").await;
            wires.push(wire);
            seen.push(Vec::new());
        }
        for (wire, seen) in wires.iter_mut().zip(&mut seen) {
            while seen.len() < so_far.len() {
                seen.extend(wire.piece().await.expect("more"));
            }
            assert_eq!(seen, &so_far, "all have what there is, and no more");
        }
    }
    assert!(wires.len() > 3);
    gate.pass(1);
    for mut wire in wires {
        assert_eq!(wire.piece().await, Err(Ending::Complete));
    }
    assert_eq!(upstream.count(chat.path), 1);
}

#[tokio::test]
async fn who_began_it_may_leave_before_anything_came() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    let gate = Gate::closed();
    upstream.always(chat.path, [vec![Act::Wait(gate.clone())], chat.acts(false)].concat());
    let pannier = Pannier::start(&upstream).await;
    let mut leader = pannier.open().await;
    leader.ask(&chat.ask(false)).await;
    let visit = upstream.visit(chat.path, 0).await;
    let mut follower = pannier.open().await;
    follower.ask(&chat.ask(false)).await;
    pause(100).await;
    drop(leader);
    pause(300).await;
    assert_eq!(visit.gone(), None, "the follower still wants it");
    gate.open();
    assert_eq!(follower.reply("POST").await.fine().body(), chat.answer);
    assert_eq!(upstream.count(chat.path), 1);
}

/// Who comes when the last has just left starts a new trip: nobody is put on one that was called off.
#[tokio::test]
async fn after_all_have_left_the_next_one_starts_anew() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    let frames = chat.clone();
    upstream.on(chat.path, move |visit| match visit.nth {
        0..5 => vec![Act::Hang],
        _ => frames.acts(true),
    });
    let pannier = Pannier::start(&upstream).await;
    for nth in 0..5 {
        let mut wire = pannier.open().await;
        wire.ask(&chat.ask(true)).await;
        upstream.visit(chat.path, nth).await;
        drop(wire);
        upstream.visit(chat.path, nth).await.hung_up().await;
    }
    let reply = pannier.ask(&chat.ask(true)).await.fine();
    assert_eq!(reply.body(), chat.bytes(true));
    assert_eq!(upstream.count(chat.path), 6);
}

/// All get to know, at once, and nobody starts a storm of retries.
#[tokio::test]
async fn a_failing_trip_tells_all_its_readers() {
    let busy = r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#;
    let failures: [(Vec<Act>, u16); 3] =
        [(json(503, busy), 503), (vec![Act::Rst], 502), (vec![Act::Hang], 504)];
    for (acts, status) in failures {
        let upstream = Upstream::start().await;
        let chat = route("/api/chat");
        let gate = Gate::closed();
        upstream.always(chat.path, [vec![Act::Wait(gate.clone())], acts].concat());
        let pannier = Launch::before(&upstream).set("upstream.first_byte_timeout", "4s").start().await;
        let begun = Instant::now();
        let replies = crowd(&pannier, &chat.ask(true), 20, &gate).await;
        assert!(begun.elapsed() < PROMPTLY, "{status}: {:?}", begun.elapsed());
        for reply in &replies {
            assert_eq!(reply.status(), status);
            if status == 503 {
                assert_eq!(reply.text(), busy);
            }
        }
        assert!(upstream.count(chat.path) <= 2, "{status}: {} trips", upstream.count(chat.path));
    }
}

#[tokio::test]
async fn a_stream_that_breaks_breaks_for_all() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    let gate = Gate::closed();
    let mut acts = chat.acts(true);
    acts.truncate(4);
    acts.extend([Act::Wait(gate.clone()), Act::Rst]);
    upstream.always(chat.path, acts);
    let pannier = Pannier::start(&upstream).await;
    for reply in crowd(&pannier, &chat.ask(true), 20, &gate).await {
        let text = reply.text();
        assert!(text.contains("{\"error\":") && !text.contains("\"done\":true"), "{text}");
    }
    assert_eq!(upstream.count(chat.path), 1);
}

/// One reads nothing; the other has his answer in no time.
#[tokio::test]
async fn a_slow_reader_hurts_nobody() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    let gate = Gate::closed();
    let start = head(200, &["Content-Type: application/x-ndjson", "Transfer-Encoding: chunked"]);
    let total = 16 << 20;
    upstream.always(
        chat.path,
        vec![
            Act::Send(start),
            Act::Chunk(chat.frames[0].clone()),
            Act::Wait(gate.clone()),
            Act::Flood(total),
            Act::Chunk(Vec::new()),
        ],
    );
    let pannier = Pannier::start(&upstream).await;
    let mut slow = pannier.open().await;
    slow.ask(&chat.ask(true)).await;
    slow.head("POST").await;
    let mut quick = pannier.open().await;
    quick.ask(&chat.ask(true)).await;
    quick.head("POST").await;
    gate.open();
    let begun = Instant::now();
    let mut read = 0;
    while let Ok(piece) = quick.piece().await {
        read += piece.len();
    }
    assert_eq!(read, total + chat.frames[0].len());
    assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
    // And the slow one has lost nothing.
    let mut read = 0;
    while let Ok(piece) = slow.piece().await {
        read += piece.len();
    }
    assert_eq!(read, total + chat.frames[0].len());
    assert_eq!(upstream.count(chat.path), 1);
}

/// Beyond `flight.max_recording` nothing is kept whole: one reader alone sets the pace, and memory stays flat.
#[tokio::test]
async fn an_answer_beyond_the_bound_waits_for_its_reader() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    let start = head(200, &["Content-Type: application/x-ndjson", "Transfer-Encoding: chunked"]);
    let total = 192 << 20;
    upstream.always(chat.path, vec![Act::Send(start), Act::Flood(total), Act::Chunk(Vec::new())]);
    let launch = Launch::before(&upstream).set("flight.max_recording", "1MiB").set("flight.window", "256KiB");
    let pannier = launch.start().await;
    pannier.ask(&Ask::get("/api/tags")).await;
    let before = pannier.resident();
    let mut wire = pannier.open().await;
    wire.ask(&chat.ask(true)).await;
    wire.head("POST").await;
    let visit = upstream.visit(chat.path, 0).await;
    pause(400).await;
    let ahead = visit.flooded();
    assert!(ahead < 24 << 20, "the upstream is {} MiB ahead of a reader who reads nothing", ahead >> 20);
    // It takes no new readers meanwhile.
    let mut late = pannier.open().await;
    late.ask(&chat.ask(true)).await;
    upstream.visit(chat.path, 1).await;
    drop(late);
    let mut read = 0;
    let mut most = 0;
    while let Ok(piece) = wire.piece().await {
        read += piece.len();
        if read % (4 << 20) < piece.len() {
            most = most.max(pannier.resident());
        }
    }
    assert_eq!(read, total);
    // The frame that never ends is read up to a bound of its own.
    assert!(most < before + (64 << 20), "{} MiB more", (most.saturating_sub(before)) >> 20);
}

/// A client that takes nothing of an answer that is ready is cut off, and the trip with it.
#[tokio::test]
async fn who_never_reads_is_cut_off() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    let start = head(200, &["Content-Type: application/x-ndjson", "Transfer-Encoding: chunked"]);
    upstream.always(chat.path, vec![Act::Send(start), Act::Flood(256 << 20), Act::Chunk(Vec::new())]);
    let launch = Launch::before(&upstream)
        .set("flight.max_recording", "1MiB")
        .set("flight.window", "256KiB")
        .set("server.write_timeout", "500ms");
    let pannier = launch.start().await;
    let mut wire = pannier.open().await;
    wire.ask(&chat.ask(true)).await;
    wire.head("POST").await;
    let visit = upstream.visit(chat.path, 0).await;
    let begun = Instant::now();
    visit.hung_up().await;
    assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
}

/// Sharing keeps to the scope, and `no-store` takes no part in it.
#[tokio::test]
async fn strangers_and_hermits_do_not_share() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, vec![Act::Hang]);
    let settings = "[[auth.keys]]\nname = \"a\"\nteam = \"red\"\nkey = \"key-of-a\"\n\
                    [[auth.keys]]\nname = \"b\"\nteam = \"blue\"\nkey = \"key-of-b\"\n";
    let pannier = Launch::before(&upstream).file(settings).start().await;
    let mut wires = Vec::new();
    let plain = chat.ask(true);
    let asks = [
        plain.clone().with("Authorization", "Bearer key-of-a"),
        plain.clone().with("Authorization", "Bearer key-of-b"),
        plain.clone(),
        plain.clone().with("Cache-Control", "no-store"),
    ];
    for (nth, ask) in asks.iter().enumerate() {
        let mut wire = pannier.open().await;
        wire.ask(ask).await;
        upstream.visit(chat.path, nth).await;
        wires.push(wire);
    }
    let mut wire = pannier.open().await;
    wire.ask(&asks[0]).await;
    pause(150).await;
    assert_eq!(upstream.count(chat.path), 4, "the last one shares with the first");
}

/// Who may not ask for himself gets nothing of what is under way for others (C-25).
#[tokio::test]
async fn who_may_not_ask_joins_nobody() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    let gate = Gate::closed();
    upstream.always(chat.path, [vec![Act::Wait(gate.clone())], chat.acts(true)].concat());
    let settings = "[[auth.keys]]\nname = \"a\"\nkey = \"key-of-a\"\n\
                    [[auth.keys]]\nname = \"b\"\nkey = \"key-of-b\"\nmodels = [\"other\"]\n\
                    [[auth.keys]]\nname = \"c\"\nkey = \"key-of-c\"\nroutes = [\"/v1/*\"]\n";
    let pannier = Launch::before(&upstream).file(settings).start().await;
    let with = |key: &str| chat.ask(true).with("Authorization", &format!("Bearer {key}"));
    let mut leader = pannier.open().await;
    leader.ask(&with("key-of-a")).await;
    upstream.visit(chat.path, 0).await;
    // All three would share with the first, who is of their team.
    for (key, status) in [("key-of-b", 403), ("key-of-c", 403), ("pannier_nobody", 401)] {
        assert_eq!(pannier.ask(&with(key)).await.status(), status, "{key}");
    }
    gate.open();
    assert_eq!(leader.reply("POST").await.fine().body(), chat.bytes(true));
    assert_eq!(upstream.count(chat.path), 1);
    assert_eq!(pannier.metrics().await.sum("pannier_coalesced_requests_total", &[]), 0.0);
}

#[tokio::test]
async fn trips_under_way_are_bounded() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, vec![Act::Hang]);
    let pannier = Launch::before(&upstream).set("flight.max_flights", "3").start().await;
    let ask = |seed: u64| {
        let mut body = chat.body(true);
        body["options"]["seed"] = seed.into();
        Ask::post(chat.path, &body)
    };
    let mut wires = Vec::new();
    for seed in 0..3 {
        let mut wire = pannier.open().await;
        wire.ask(&ask(seed)).await;
        upstream.visit(chat.path, seed as usize).await;
        wires.push(wire);
    }
    let reply = pannier.ask(&ask(3)).await;
    assert_eq!((reply.status(), reply.code()), (503, Some("overloaded")));
    assert!(reply.field("retry-after").is_some_and(|v| v.parse::<u64>().is_ok_and(|s| s >= 1)));
    wires.pop();
    eventually("a place is free again", || async {
        let mut wire = pannier.open().await;
        wire.ask(&ask(4)).await;
        pause(50).await;
        (upstream.count(chat.path) >= 4).then_some(())
    })
    .await;
}
