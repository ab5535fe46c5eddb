//! One record a request, however it ended; sums that are right; and nothing of what was said in any of it.

use crate::stage::*;
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

const FAMILIES: [&str; 16] = [
    "pannier_build_info",
    "pannier_http_requests_total",
    "pannier_http_request_duration_seconds",
    "pannier_http_requests_in_flight",
    "pannier_connections",
    "pannier_llm_requests_total",
    "pannier_llm_time_to_first_token_seconds",
    "pannier_llm_tokens_total",
    "pannier_upstream_duration_seconds",
    "pannier_upstream_up",
    "pannier_cache_reasons_total",
    "pannier_cache_requests_total",
    "pannier_cache_entries",
    "pannier_cache_bytes",
    "pannier_coalesced_requests_total",
    "pannier_internal_size",
];

#[tokio::test]
async fn the_families_are_there_and_promtool_has_no_complaint() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    for route in routes() {
        for &streamed in route.modes() {
            upstream.always(route.path, route.acts(streamed));
            pannier.ask(&route.ask_apart(streamed)).await.fine();
            pannier.remembered(&route.ask_apart(streamed)).await;
        }
    }
    pannier.ask(&Ask::get("/").host("evil.example")).await;
    let samples = pannier.metrics().await;
    for family in FAMILIES {
        assert!(samples.has_family(family), "no {family} in\n{}", samples.text);
    }
    let kinds: Vec<_> = samples.text.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    let helps = samples.text.lines().filter(|line| line.starts_with("# HELP ")).count();
    assert_eq!(kinds.len(), helps, "each family says what it is");
    assert_eq!(samples.sum("pannier_upstream_up", &[]), 1.0);
    assert_eq!(samples.sum("pannier_build_info", &[]), 1.0);

    let Ok(mut promtool) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        return;
    };
    promtool.stdin.take().expect("stdin").write_all(samples.text.as_bytes()).expect("write");
    let output = promtool.wait_with_output().expect("promtool");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[tokio::test]
async fn metrics_are_the_same_on_both_ports() {
    let upstream = Upstream::start().await;
    let pannier = Pannier::start(&upstream).await;
    let through_data = pannier.ask(&Ask::get("/metrics")).await.fine();
    let direct = pannier.house("/metrics").await.fine();
    for reply in [&through_data, &direct] {
        assert!(
            reply.field("content-type").is_some_and(|v| v.starts_with("text/plain") && v.contains("0.0.4"))
        );
        assert!(sample_lines(&reply.text()).count() > 20);
    }
    assert_eq!(upstream.count("/metrics"), 0);
}

/// Every way for a request to end, and one record for each.
#[tokio::test]
async fn each_request_leaves_one_record() {
    let upstream = Upstream::start().await;
    let (chat, embed) = (route("/api/chat"), route("/api/embed"));
    upstream.always(embed.path, embed.acts(false));
    let launch = Launch::before(&upstream).set("server.max_body", "64KiB").set("log.hit_sample", "1");
    let pannier = launch.start().await;

    // Chats: a miss, a hit, two that share, one that leaves early, one that leaves late, one that breaks,
    // one that is refused, one that is too large, one that Ollama refuses.
    upstream.always(chat.path, chat.acts(false));
    pannier.ask(&chat.ask_apart(false)).await.fine();
    // Whoever asked whether it is remembered by now would leave a record.
    pause(1000).await;
    assert!(pannier.ask(&chat.ask_apart(false)).await.fine().is_hit());
    let gate = Gate::closed();
    let mut shared = chat.acts(true);
    shared.insert(2, Act::Wait(gate.clone()));
    upstream.always(chat.path, shared);
    let mut wires = [pannier.open().await, pannier.open().await];
    for wire in &mut wires {
        wire.ask(&chat.ask_apart(true)).await;
        wire.head("POST").await;
    }
    gate.open();
    for mut wire in wires {
        while wire.piece().await.is_ok() {}
    }
    let alone = |mut ask: Ask| {
        ask.fields.push(("Cache-Control".into(), "no-store".into()));
        ask
    };
    upstream.always(chat.path, vec![Act::Hang]);
    let before = upstream.count(chat.path);
    let mut wire = pannier.open().await;
    wire.ask(&alone(chat.ask_apart(true))).await;
    upstream.visit(chat.path, before).await;
    drop(wire);
    let mut late = chat.acts(true);
    late.truncate(2);
    late.push(Act::Hang);
    upstream.always(chat.path, late.clone());
    let mut wire = pannier.open().await;
    wire.ask(&alone(chat.ask_apart(true))).await;
    wire.head("POST").await;
    wire.piece().await.expect("a line");
    drop(wire);
    late.pop();
    late.push(Act::Rst);
    upstream.always(chat.path, late);
    pannier.ask(&alone(chat.ask_apart(true))).await;
    let twice = Ask::new("POST", chat.path).bytes(r#"{"model":"a","model":"b"}"#);
    assert_eq!(pannier.ask(&twice).await.status(), 400);
    let large = Ask::new("POST", chat.path).bytes(vec![b' '; 100 * 1024]);
    assert_eq!(pannier.ask(&large).await.status(), 413);
    upstream.always(chat.path, json(404, "{\"error\":\"model 'm' not found\"}"));
    assert_eq!(pannier.ask(&alone(chat.ask_apart(false))).await.status(), 404);
    upstream.always(chat.path, vec![Act::Rst]);
    assert_eq!(pannier.ask(&alone(chat.ask_apart(false))).await.status(), 502);

    let of_chat = [("route", "/api/chat")];
    let samples = pannier.counts("pannier_http_requests_total", &of_chat, 11.0).await;
    let code = |code| samples.sum("pannier_http_requests_total", &[of_chat[0], ("code", code)]);
    assert_eq!(code("400") + code("404") + code("413") + code("499") + code("502"), 5.0);
    assert_eq!((code("400"), code("404"), code("413"), code("499"), code("502")), (1.0, 1.0, 1.0, 1.0, 1.0));
    assert_eq!(samples.sum("pannier_http_request_duration_seconds_count", &of_chat), 11.0);
    let outcome = |outcome| {
        samples.sum("pannier_http_request_duration_seconds_count", &[of_chat[0], ("outcome", outcome)])
    };
    assert_eq!((outcome("hit"), outcome("coalesced")), (1.0, 1.0));

    // Others: forwarded, unknown, refused at the door.
    pannier.ask(&embed.ask(false)).await.fine();
    pannier.ask(&Ask::get("/api/tags")).await.fine();
    pannier.ask(&Ask::new("HEAD", "/")).await.fine();
    assert_eq!(pannier.ask(&Ask::get("/api/nope")).await.status(), 404);
    assert_eq!(pannier.ask(&Ask::get("/api/tags").host("evil.example")).await.status(), 403);
    assert_eq!(pannier.ask(&Ask::new("TRACE", "/api/tags")).await.status(), 405);
    let expects = Ask::post("/api/embed", &json!({})).with("Expect", "200-ok");
    assert_eq!(pannier.ask(&expects).await.status(), 417);
    // The house counts nothing of its own.
    pannier.ask(&Ask::get("/livez")).await.fine();
    let total = 11.0 + 7.0;
    eventually("all are counted", || async {
        let samples = pannier.metrics().await;
        let all = samples.sum("pannier_http_requests_total", &[]);
        let house = samples.sum("pannier_http_requests_total", &[("route", "house")]);
        (all - house == total).then_some(())
    })
    .await;

    // And the access log has a line for each, no more.
    let lines = eventually("the log is written", || async {
        let lines = access_lines(&pannier.stdout());
        let chats = lines.iter().filter(|line| line["route"] == "/api/chat").count();
        (chats == 11).then_some(lines)
    })
    .await;
    let mut ids: Vec<_> = lines.iter().map(|line| line["request_id"].to_string()).collect();
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "each request has one line");
}

/// The log's lines that tell of a request; each line must be JSON.
fn access_lines(stdout: &str) -> Vec<Value> {
    let lines = stdout.lines().filter(|line| !line.starts_with("pannier: "));
    let parsed = lines.map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    parsed.filter(|line: &Value| line["route"].is_string() && line["status"].is_number()).collect()
}

#[tokio::test]
async fn a_line_of_the_access_log_says_what_happened() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, chat.acts(true));
    let settings =
        "[log]\nhit_sample = 1.0\n[[auth.keys]]\nname = \"ann\"\nteam = \"red\"\nkey = \"key-of-ann\"\n";
    let pannier = Launch::before(&upstream).file(settings).start().await;
    let ask = chat.ask(true).with("Authorization", "Bearer key-of-ann");
    pannier.ask(&ask).await.fine();
    let again = pannier.remembered(&ask).await;
    let id = again.field("x-request-id").expect("an id").to_owned();
    let lines = eventually("both lines", || async {
        let lines = access_lines(&pannier.stdout());
        lines.iter().any(|line| line["request_id"] == id.as_str()).then_some(lines)
    })
    .await;
    let miss = lines.iter().find(|line| line["cache"] == "miss").expect("the miss's line");
    assert_eq!(miss["method"], "POST");
    assert_eq!(miss["route"], "/api/chat");
    assert_eq!(miss["status"], 200);
    assert_eq!(miss["model"], "smollm2:135m");
    assert_eq!(miss["dialect"], "ollama");
    assert_eq!(miss["stream"], true);
    assert_eq!((&miss["tokens_in"], &miss["tokens_out"]), (&json!(11), &json!(24)));
    assert_eq!(miss["tokens_source"], "upstream");
    assert!(miss["duration_ms"].is_number() && miss["bytes_in"].is_number() && miss["bytes_out"].is_number());
    assert!(miss["ts"].as_str().is_some_and(|ts| ts.ends_with('Z')), "{miss}");
    let hit = lines.iter().find(|line| line["request_id"] == id.as_str()).expect("the hit's line");
    assert_eq!(hit["cache"], "hit");
    assert_eq!(hit["model"], "smollm2:135m");
}

/// The line of a client that left, as the last of its trip or with others reading on, and of one whose answer
/// broke off: what was counted until then, where it is known.
#[tokio::test]
async fn a_line_of_an_answer_cut_short_has_the_tokens_there_were() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    let gate = Gate::closed();
    let mut acts = chat.acts(true);
    // The head, and four frames with content.
    acts.truncate(5);
    acts.push(Act::Wait(gate.clone()));
    acts.push(Act::Rst);
    upstream.always(chat.path, acts);
    let pannier = Pannier::start(&upstream).await;
    let begun = async || {
        let mut wire = pannier.open().await;
        wire.ask(&chat.ask(true)).await;
        wire.head("POST").await;
        for _ in 0..4 {
            wire.piece().await.expect("a line");
        }
        wire
    };
    let lines = async |count: usize| {
        eventually("the lines", || async {
            let lines = access_lines(&pannier.stdout());
            (lines.len() == count).then_some(lines)
        })
        .await
    };
    let tokens = |line: &Value| (line["tokens_out"].clone(), line["tokens_source"].clone());
    let (first, last) = (begun().await, begun().await);
    drop(first);
    let left = lines(1).await.remove(0);
    assert_eq!(tokens(&left), (Value::Null, Value::Null), "nobody knows yet what it will come to: {left}");
    drop(last);
    let left = lines(2).await.remove(1);
    assert_eq!(tokens(&left), (json!(4), json!("estimated")), "{left}");
    assert_eq!(left["finish_reason"], "cancelled");
    pannier.counts("pannier_llm_tokens_total", &[("type", "output")], 4.0).await;

    let wire = begun().await;
    gate.open();
    let broken = lines(3).await.remove(2);
    assert_eq!(tokens(&broken), (json!(4), json!("estimated")), "{broken}");
    assert_eq!(broken["error_code"], "upstream_aborted");
    drop(wire);
    pannier.counts("pannier_llm_tokens_total", &[("type", "output")], 8.0).await;
}

/// What was said, who said it and with which key stands nowhere (RELIABILITY.md I8).
#[tokio::test]
async fn nothing_of_what_was_said_is_written_down() {
    let upstream = Upstream::start().await;
    let settings = "[log]\nhit_sample = 1.0\nlevel = \"debug\"\n\
                    [[auth.keys]]\nname = \"ann\"\nteam = \"red\"\nkey = \"canary-known-key\"\n";
    let mut pannier = Launch::before(&upstream).file(settings).start().await;
    for route in routes() {
        for &streamed in route.modes() {
            let mut canaried = route.clone();
            let answer =
                |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("glad", "canary-answer").into_bytes();
            canaried.answer = answer(&route.answer).into();
            canaried.frames = route.frames.iter().map(|frame| answer(frame)).collect();
            upstream.always(route.path, canaried.acts(streamed));
            let body = route.body(streamed).to_string().replace("Say hi", "canary-prompt");
            let ask = Ask { target: format!("{}?token=canary-query", route.path), ..Ask::new("POST", "") }
                .with("Authorization", "Bearer canary-known-key")
                .with("Cookie", "a=canary-cookie")
                .with("X-Whatever", "canary-header")
                .bytes(body);
            for _ in 0..3 {
                pannier.ask(&ask).await;
                pause(10).await;
            }
            let unknown = route.ask(streamed).with("x-api-key", "canary-unknown-key");
            pannier.ask(&unknown).await;
        }
    }
    // Errors of every sort as well.
    let mut wrong =
        json!({ "model": "canary-model", "messages": [{ "role": "user", "content": "canary-prompt" }] });
    upstream.always("/api/chat", vec![Act::Send(b"canary-garbage\r\n\r\n".to_vec()), Act::Fin]);
    pannier.ask(&Ask::post("/api/chat", &wrong)).await;
    wrong["Model"] = "canary-model-2".into();
    let refused = pannier.ask(&Ask::post("/api/chat", &wrong)).await;
    assert!(!refused.text().contains("canary"), "{}", refused.text());
    upstream.always("/api/chat", json(500, "{\"error\":\"canary-upstream-error\"}"));
    pannier.ask(&Ask::post("/api/chat", &json!({ "model": "m" }))).await;
    pannier.ask(&Ask::get("/canary-path/canary%20path?canary-query=1")).await;
    pannier.ask(&Ask::new("CANARY-METHOD", "/api/chat")).await;
    pannier.ask(&Ask::get("/").host("canary-host.example")).await;
    let mut wire = pannier.open().await;
    wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: canary-host\r\ncanary-header\r\n\r\n").await;
    wire.try_reply("GET").await;
    pause(200).await;

    let samples = pannier.metrics().await.text;
    assert!(!samples.to_lowercase().contains("canary"), "{samples}");
    let output = pannier.output();
    let told: Vec<_> = output.lines().filter(|line| line.to_lowercase().contains("canary")).collect();
    assert!(told.is_empty(), "{told:#?}");
    assert!(!output.contains('\u{1b}'), "no escape sequences");

    // Nor in the books, nor in what is kept: answers are sealed there.
    pannier.signal("TERM");
    pannier.ended().await;
    let mut files = 0;
    for folder in [pannier.data_dir.clone(), pannier.data_dir.join("spool")] {
        let entries = std::fs::read_dir(folder).expect("a folder").flatten();
        for file in entries.map(|entry| entry.path()).filter(|path| path.is_file()) {
            let kept = std::fs::read(&file).expect("a file");
            assert!(find(&kept, b"canary-").is_none(), "{file:?}");
            files += 1;
        }
    }
    assert!(files > 3, "{files}");
}

/// Whatever a client makes up becomes no new series (RELIABILITY.md O-01).
#[tokio::test]
async fn labels_are_bounded() {
    let samples = samples_of_what_is_made_up(json(404, r#"{"error":"model not found"}"#)).await;
    assert_eq!(made_up(&samples), 0);
    assert!(samples.values("method").iter().all(|method| !method.contains("MADE")));
}

/// Where the upstream answers for models that it does not list, what they would cost is told of so many.
#[tokio::test]
async fn labels_are_bounded_whatever_the_upstream_answers() {
    let samples = samples_of_what_is_made_up(route("/api/chat").acts(false)).await;
    assert!(made_up(&samples) <= 100);
}

fn made_up(samples: &Samples) -> usize {
    samples.values("model").iter().filter(|model| model.contains("made")).count()
}

/// After hundreds of clients have made up models, paths, methods and more; the upstream answers `acts` to all models.
async fn samples_of_what_is_made_up(acts: Vec<Act>) -> Samples {
    let upstream = Upstream::start().await;
    upstream.always("/api/chat", acts);
    // What the database is asked has series of its own, which begin when it answers for the first time.
    let pannier = Launch::before(&upstream).set("cache.database.enabled", "false").start().await;
    let mut wire = pannier.open().await;
    let mut ask_one = async |number: usize| {
        let body = json!({ "model": format!("made-up-{number}\"\\\n"), "stream": false, "messages": [] });
        wire.exchange(&Ask::post("/api/chat", &body)).await;
        wire.exchange(&Ask::get(&format!("/api/made-up-{number}"))).await;
        wire.exchange(&Ask::new(&format!("MADEUP{number}"), "/api/chat")).await;
        wire.exchange(&Ask::get(&format!("/v1/models/made-up-{number}"))).await;
        wire.exchange(&Ask::get("/").with("User-Agent", &format!("made-up-{number}"))).await;
    };
    ask_one(0).await;
    let first = sample_lines(&pannier.metrics().await.text).count();
    // What Pannier does by itself may begin some that every Pannier has; one for each client would be more.
    let clients = 300;
    for number in 1..=clients {
        ask_one(number).await;
    }
    let samples = pannier.metrics().await;
    let last = sample_lines(&samples.text).count();
    assert!(last < first + clients, "{first} series, then {last}");
    assert!(last < 5000);
    assert!(samples.values("model").contains(&"other".to_owned()));
    samples
}

/// Many at once, leaving or staying: what the metrics sum up to is what the upstream had said.
#[tokio::test]
async fn sums_are_right_under_load() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    let script = chat.clone();
    upstream.on(chat.path, move |_| {
        let mut acts = script.acts(true);
        acts.insert(acts.len() - 2, Act::Pause(std::time::Duration::from_millis(20)));
        acts
    });
    let pannier = Pannier::start(&upstream).await;
    let mut clients = tokio::task::JoinSet::new();
    let groups: Vec<_> = (0..50).map(|_| Arc::new(tokio::sync::Barrier::new(4))).collect();
    for number in 0..200u64 {
        let mut body = chat.body(true);
        body["options"]["seed"] = (number / 4).into();
        let mut wire = pannier.open().await;
        let all_are_there = groups[(number / 4) as usize].clone();
        clients.spawn(async move {
            wire.ask(&Ask::post("/api/chat", &body)).await;
            assert_eq!(wire.head("POST").await.status, 200);
            // One of each four leaves; the other three keep the trip going.
            all_are_there.wait().await;
            if number % 4 == 0 {
                return;
            }
            while wire.piece().await.map_err(|ending| assert_eq!(ending, Ending::Complete)).is_ok() {}
        });
    }
    clients.join_all().await;
    pannier.counts("pannier_http_requests_total", &[("route", "/api/chat")], 200.0).await;
    let output = [("type", "output"), ("source", "upstream")];
    // The upstream may see a moment later who has left.
    let (samples, finished) = eventually("what the upstream has said to its end is counted", || async {
        let gone = upstream.visits(chat.path).iter().filter(|visit| visit.gone().is_some()).count();
        let (samples, finished) = (pannier.metrics().await, upstream.count(chat.path) - gone);
        let counted = samples.sum("pannier_llm_tokens_total", &output);
        (counted == 24.0 * finished as f64).then_some((samples, finished))
    })
    .await;
    assert_eq!(
        samples.sum("pannier_llm_tokens_total", &[("type", "input"), ("source", "upstream")]),
        11.0 * finished as f64
    );
    assert_eq!(samples.sum("pannier_llm_requests_total", &[]), 200.0);
    let hits = samples.sum("pannier_cache_requests_total", &[("result", "hit")]);
    let shared = samples.sum("pannier_coalesced_requests_total", &[]);
    assert_eq!(hits + shared + upstream.count(chat.path) as f64, 200.0, "each was a hit, a share or a trip");
}

/// Sizes of all that grows are shown, and are back where they were after the load.
#[tokio::test]
async fn what_grows_is_shown_and_shrinks() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always(chat.path, vec![Act::Hang]);
    let pannier = Pannier::start(&upstream).await;
    let flights = || async {
        let samples = pannier.metrics().await;
        samples.sum("pannier_internal_size", &[("what", "flights")])
    };
    let mut wires = Vec::new();
    for seed in 0..5u64 {
        let mut body = chat.body(true);
        body["options"]["seed"] = seed.into();
        let mut wire = pannier.open().await;
        wire.ask(&Ask::post(chat.path, &body)).await;
        upstream.visit(chat.path, seed as usize).await;
        wires.push(wire);
    }
    assert_eq!(flights().await, 5.0);
    let samples = pannier.metrics().await;
    assert_eq!(samples.sum("pannier_http_requests_in_flight", &[("route", "/api/chat")]), 5.0);
    assert!(samples.sum("pannier_connections", &[]) >= 5.0);
    drop(wires);
    eventually("nothing is under way", || async { (flights().await == 0.0).then_some(()) }).await;
}

/// Lines that its reader leaves lying are counted as lost beyond a bound, and below it they are written before
/// the end.
#[tokio::test]
async fn a_log_that_nobody_reads_is_bounded_and_flushed() {
    let upstream = Upstream::start().await;
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let launch = Launch::before(&upstream).stdout(writer).set("log.access", "false");
    let launch = launch.set("log.level", "trace").set("server.shutdown_delay", "0");
    let mut pannier = launch.start().await;
    let mut asked = 0;
    while pannier.metrics().await.sum("pannier_log_dropped_total", &[]) == 0.0 {
        asked += 1;
        assert!(asked < 5000, "it says too little");
        pannier.ask(&Ask::get("/api/version")).await.fine();
    }
    pannier.signal("TERM");
    pause(300).await;
    assert!(pannier.runs(), "it gives its reader a moment");
    let reading = tokio::task::spawn_blocking(move || std::io::read_to_string(&mut reader));
    let said = within("the end of the log", reading).await.expect("a task").expect("text");
    assert_eq!(pannier.ended().await.0.code(), Some(0));
    assert!(said.ends_with("}\n"), "the last line is whole");
    // A pipe holds 64 KiB: what is more had waited in the queue.
    assert!(said.lines().count() > 1024, "{}", said.lines().count());
    for line in said.lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error} in {line}"));
    }
}

/// Nobody who ends it waits for a reader that has stopped reading.
#[tokio::test]
async fn a_deaf_reader_of_the_log_does_not_hold_up_the_end() {
    let upstream = Upstream::start().await;
    let (_reader, writer) = std::io::pipe().expect("a pipe");
    let launch = Launch::before(&upstream).stdout(writer).set("log.access", "false");
    let launch = launch.set("log.level", "trace").set("server.shutdown_delay", "0");
    let mut pannier = launch.start().await;
    while pannier.metrics().await.sum("pannier_log_dropped_total", &[]) == 0.0 {
        pannier.ask(&Ask::get("/api/version")).await.fine();
    }
    pannier.signal("TERM");
    let (status, took) = pannier.ended().await;
    assert_eq!(status.code(), Some(0));
    assert!(took < PROMPTLY, "{took:?}");
}
