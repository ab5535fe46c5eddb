//! The fast lane and the ordinary road give the same answers, and count the same.
//!
//! A spotless request (HTTP/1.1, POST, one plain `Content-Length`, no odd fields) may be answered before any
//! session exists; one harmless field more sends it down the ordinary road.

use crate::stage::*;
use serde_json::Value;

/// Fields that are fresh in every answer.
const FRESH: [&str; 4] = ["x-request-id", "request-id", "date", "age"];

/// All but what must differ between two replays of one answer: field names and values, sorted.
fn fields(reply: &Reply) -> Vec<(String, String)> {
    let mut fields: Vec<_> =
        reply.head.fields.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
    fields.retain(|(name, _)| !FRESH.contains(&name.as_str()));
    for (name, value) in &mut fields {
        if name == "cache-status" {
            // Seconds may tick between two answers.
            let kept = value.split("; ").filter(|part| !part.starts_with("ttl="));
            *value = kept.collect::<Vec<_>>().join("; ");
        }
    }
    fields.sort();
    fields
}

/// A body with digits blanked out where a replay makes fresh ones: times, and ids.
fn steady(text: &str) -> String {
    let names = ["\"created_at\":", "\"created\":", "\"completed_at\":", "\"id\":\"", "\"item_id\":\""];
    let mut out = text.to_owned();
    for name in names {
        let pieces: Vec<String> = out
            .split(name)
            .enumerate()
            .map(|(number, piece)| match (number, piece.find([',', '}'])) {
                (1.., Some(end)) => {
                    piece[..end].replace(|c: char| c.is_ascii_hexdigit(), "0") + &piece[end..]
                }
                _ => piece.to_owned(),
            })
            .collect();
        out = pieces.join(name);
    }
    out
}

/// The same request down the ordinary road.
fn by_road(ask: &Ask) -> Ask {
    ask.clone().with("Cache-Control", "max-age=9999")
}

#[track_caller]
fn same(lane: &Reply, road: &Reply, what: &str) {
    assert_eq!(lane.status(), road.status(), "{what}");
    assert_eq!(fields(lane), fields(road), "{what}");
    assert_eq!(lane.framing, road.framing, "{what}");
    assert_eq!(lane.ending, road.ending, "{what}");
    assert_eq!(steady(&lane.text()), steady(&road.text()), "{what}");
    for name in FRESH {
        assert_eq!(lane.field(name).is_some(), road.field(name).is_some(), "{what}: {name}");
    }
}

#[tokio::test]
async fn every_hit_is_the_same_down_both() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for route in routes() {
        for (nth, &streamed) in route.modes().iter().enumerate() {
            upstream.always(route.path, route.acts(streamed));
            let ask = route.ask_apart(streamed);
            let what = format!("{} streamed {streamed}", route.path);
            let lane = pannier.ask(&ask).await.fine();
            assert!(!lane.is_hit());
            let lane_hit = pannier.remembered(&ask).await;
            let road_hit = pannier.ask(&by_road(&ask)).await.fine();
            assert!(lane_hit.is_hit() && road_hit.is_hit(), "{what}");
            same(&lane_hit, &road_hit, &what);
            // And on a connection that has both.
            let mut wire = pannier.open().await;
            for ask in [&ask, &by_road(&ask), &ask, &ask, &by_road(&ask)] {
                same(&wire.exchange(ask).await, &road_hit, &what);
            }
            assert_eq!(upstream.count(route.path), nth + 1, "{what}");
        }
    }
}

#[tokio::test]
async fn every_miss_is_the_same_down_both() {
    let upstream = Upstream::start().await;
    for route in routes() {
        for &streamed in route.modes() {
            upstream.always(route.path, route.acts(streamed));
            // One of them may be told that its file was not open in time.
            let launch = || Launch::before(&upstream).set("cache.database.enabled", "false");
            let (lane, road) = (launch().start().await, launch().start().await);
            let what = format!("{} streamed {streamed}", route.path);
            let lane = lane.ask(&route.ask(streamed)).await.fine();
            let road = road.ask(&by_road(&route.ask(streamed))).await.fine();
            same(&lane, &road, &what);
            assert_eq!(lane.body(), road.body(), "{what}");
            if streamed {
                assert_eq!(lane.pieces, road.pieces, "{what}: chunk by chunk");
            }
        }
    }
}

#[tokio::test]
async fn errors_are_the_same_down_both() {
    let mut upstream = Upstream::start().await;
    upstream.stop().await;
    let pannier = Launch::before(&upstream).set("server.max_body", "64KiB").start().await;
    for route in routes() {
        let asks = [
            route.ask(false),
            route.ask(false).host("evil.example"),
            Ask::new("POST", route.path).bytes(r#"{"model":"a","model":"b"}"#),
            Ask::new("POST", route.path).bytes(vec![b' '; 100_000]),
        ];
        for (ask, status) in asks.iter().zip([502, 403, 400, 413]) {
            let lane = pannier.ask(ask).await;
            let road = pannier.ask(&by_road(ask)).await;
            assert_eq!(lane.status(), status, "{}", route.path);
            assert_eq!((road.status(), road.code()), (status, lane.code()), "{}", route.path);
            // Anthropic's errors carry the request's id.
            let nameless =
                |reply: &Reply| reply.text().replace(reply.field("x-request-id").unwrap_or("-"), "ID");
            assert_eq!(nameless(&lane), nameless(&road), "{}", route.path);
            assert_eq!(fields(&lane), fields(&road), "{} {status}", route.path);
        }
    }
}

/// Oddities that keep a request out of the lane and change nothing about its answer.
#[tokio::test]
async fn whatever_keeps_a_request_out_of_the_lane_it_is_still_a_hit() {
    let upstream = Upstream::start().await;
    let route = route("/api/chat");
    upstream.always(route.path, route.acts(false));
    let pannier = Pannier::start(&upstream).await;
    let ask = route.ask(false);
    pannier.ask(&ask).await.fine();
    let hit = pannier.remembered(&ask).await;
    let body = route.body(false).to_string();
    let (first, second) = body.as_bytes().split_at(30);
    let odd = [
        Ask::new("POST", route.path).chunks(&[first, second]),
        Ask { target: "/api/chat?".into(), ..ask.clone() },
        ask.clone().with("Connection", "keep-alive"),
        ask.clone().with("Accept", "application/x-ndjson").with("Accept", "*/*"),
        ask.clone().host("localhost"),
        ask.clone().host("LOCALHOST:80"),
        (0..60).fold(ask.clone(), |ask, number| ask.with(&format!("X-{number}"), "x")),
        ask.clone().with("content-TYPE", "text/plain"),
        ask.clone().with("Authorization", "Bearer whoever"),
        ask.clone().with("x-api-key", "whoever").with("Authorization", "Bearer whoever"),
        ask.clone().with("X-Request-Id", "mine"),
        ask.clone().with("Upgrade", "h2c").with("Connection", "Upgrade"),
    ];
    for ask in odd {
        let reply = pannier.ask(&ask).await.fine();
        assert!(reply.is_hit(), "{ask:?}");
        assert_eq!(steady(&reply.text()), steady(&hit.text()));
    }
    assert_eq!(upstream.count(route.path), 1);
}

/// However a request is cut into packets, it is one request.
#[tokio::test]
async fn hits_come_whatever_the_packets() {
    let upstream = Upstream::start().await;
    let route = route("/api/embed");
    upstream.always(route.path, route.acts(false));
    let pannier = Pannier::start(&upstream).await;
    pannier.ask(&route.ask(false)).await.fine();
    pannier.remembered(&route.ask(false)).await;
    let raw = route.ask(false).raw(&pannier.addr.to_string());
    let head = find(&raw, b"\r\n\r\n").expect("a head") + 4;
    let mut wire = pannier.open().await;
    for cuts in [
        vec![1],
        vec![3, 20],
        vec![head - 2],
        vec![head],
        vec![head + 1],
        vec![raw.len() - 1],
        vec![10, head, raw.len() - 3],
    ] {
        let mut from = 0;
        for cut in cuts.into_iter().chain([raw.len()]) {
            wire.send(&raw[from..cut]).await;
            pause(5).await;
            from = cut;
        }
        let reply = wire.reply("POST").await.fine();
        assert!(reply.is_hit());
        assert_eq!(reply.body(), route.answer);
    }
    // Many at once, without waiting for an answer.
    wire.send(&raw.repeat(20)).await;
    for _ in 0..20 {
        assert_eq!(wire.reply("POST").await.fine().body(), route.answer);
    }
    assert_eq!(upstream.count(route.path), 1);
}

#[tokio::test]
async fn both_are_counted_alike() {
    let upstream = Upstream::start().await;
    let route = route("/api/chat");
    upstream.always(route.path, route.acts(false));
    let pannier = Launch::before(&upstream).set("log.hit_sample", "1").start().await;
    let ask = route.ask(false);
    pannier.ask(&ask).await.fine();
    pannier.remembered(&ask).await;
    let count = async || {
        let samples = pannier.metrics().await;
        let sum = |name: &str, labels: &[(&str, &str)]| samples.sum(name, labels);
        let hit = [("route", "/api/chat"), ("outcome", "hit")];
        [
            sum("pannier_http_requests_total", &[("route", "/api/chat"), ("code", "200")]),
            sum("pannier_http_request_duration_seconds_count", &hit),
            sum("pannier_cache_requests_total", &[("result", "hit")]),
            sum("pannier_llm_tokens_total", &[]),
        ]
    };
    pannier.counts("pannier_http_requests_in_flight", &[("route", "/api/chat")], 0.0).await;
    pause(100).await;
    let mut before = count().await;
    for ask in [ask.clone(), by_road(&ask)] {
        for _ in 0..10 {
            assert!(pannier.ask(&ask).await.is_hit());
        }
        let wanted = [10.0, 10.0, 10.0, 0.0];
        let grown = async || {
            let now = count().await;
            [0, 1, 2, 3].map(|at| now[at] - before[at])
        };
        eventually("all are counted", || async { (grown().await == wanted).then_some(()) }).await;
        pause(100).await;
        assert_eq!(grown().await, wanted, "and once");
        before = count().await;
    }

    // The access log tells the same of both.
    let lane = pannier.ask(&ask).await;
    let road = pannier.ask(&by_road(&ask)).await;
    assert!(lane.is_hit() && road.is_hit());
    let line_of = async |reply: &Reply| {
        let id = reply.field("x-request-id").expect("an id").to_owned();
        eventually("its line", || async {
            let stdout = pannier.stdout();
            let line = stdout.lines().find(|line| line.contains(&format!("\"{id}\"")))?;
            let mut line: Value = serde_json::from_str(line).expect("JSON");
            let fields = line.as_object_mut().expect("an object");
            // What may differ: when, who, how long, and the longer head.
            fields.retain(|name, value| {
                !(name == "ts"
                    || name.contains("id")
                    || name.ends_with("_ms")
                    || name == "bytes_in"
                    || value.is_null())
            });
            Some(line)
        })
        .await
    };
    assert_eq!(line_of(&lane).await, line_of(&road).await);
}

/// The answer under a key can be another one than the lane has rendered: of another length, or in other frames.
#[tokio::test]
async fn a_replaced_answer_is_told_as_it_is_now() {
    let upstream = Upstream::start().await;
    let route = route("/api/chat");
    let pannier = Pannier::start(&upstream).await;
    for streamed in [false, true] {
        upstream.always(route.path, route.acts(streamed));
        let ask = route.ask_apart(streamed);
        pannier.ask(&ask).await.fine();
        for _ in 0..3 {
            pannier.remembered(&ask).await;
        }
        let longer = |frames: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
            let swap =
                |frame: Vec<u8>| String::from_utf8(frame).expect("text").replace("you", "thee and thine");
            frames.into_iter().map(|frame| swap(frame).into_bytes()).collect()
        };
        let acts = match streamed {
            true => ndjson(&longer(route.frames.clone())),
            false => {
                let answer = longer(vec![route.answer.to_vec()]).remove(0);
                json(200, &String::from_utf8(answer).expect("text"))
            }
        };
        upstream.always(route.path, acts);
        let fresh = pannier.ask(&ask.clone().with("Cache-Control", "no-cache")).await.fine();
        assert!(fresh.text().contains("thee and thine"), "{}", fresh.text());
        eventually("the new answer is remembered", || async {
            let hit = pannier.ask(&ask).await.fine();
            (hit.is_hit() && hit.text().contains("thee and thine")).then_some(())
        })
        .await;
        for _ in 0..3 {
            let hit = pannier.ask(&ask).await.fine();
            assert_eq!(steady(&hit.text()), steady(&fresh.text()));
            assert_eq!(hit.ending, Ending::Complete);
        }
    }
}

/// Who takes nothing of a remembered answer is cut off as on the ordinary road, and has not had it.
#[tokio::test]
async fn who_never_reads_a_hit_is_cut_off() {
    let upstream = Upstream::start().await;
    let route = route("/api/embed");
    let numbers = vec!["0.12345679"; 500_000].join(",");
    let answer =
        format!(r#"{{"model":"all-minilm:l6-v2","embeddings":[[{numbers}]],"prompt_eval_count":1}}"#);
    upstream.always(route.path, json(200, &answer));
    let pannier = Launch::before(&upstream).set("server.write_timeout", "1500ms").start().await;
    let ask = route.ask(false);
    pannier.ask(&ask).await.fine();
    pannier.remembered(&ask).await;
    let mut wire = pannier.open().await;
    wire.ask(&ask).await;
    pannier.counts("pannier_errors_total", &[("type", "client_gone")], 1.0).await;
    pannier.counts("pannier_connections", &[("listener", "data")], 0.0).await;
}
