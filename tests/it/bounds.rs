//! What Pannier holds at the most (RELIABILITY.md groups B and D): memory, descriptors, and the patience of
//! whoever shares a machine with a log that nobody reads.

use crate::stage::*;
use serde_json::json;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// One question of many, on a route whose answers are kept as they come.
fn question(number: usize) -> Ask {
    Ask::post("/api/embeddings", &json!({ "model": "all-minilm:l6-v2", "prompt": format!("text {number}") }))
}

/// An answer of about so many bytes.
fn answer(bytes: u64) -> String {
    let numbers = "0.125,".repeat(bytes as usize / 6);
    format!(r#"{{"embedding":[{numbers}1]}}"#)
}

/// The same question, asked in a way that only the ordinary road understands.
fn by_road(ask: &Ask) -> Ask {
    ask.clone().with("Cache-Control", "max-age=9999")
}

/// The question whose answer is large, the `nth` time: now and then by the ordinary road, which takes longer.
fn large_again(nth: usize) -> Ask {
    if nth % 10 == 9 { by_road(&question(0)) } else { question(0) }
}

/// A Pannier that remembers an answer of so many bytes to `question(0)`.
async fn with_large_hit(upstream: &Upstream, bytes: u64) -> Pannier {
    upstream.always("/api/embeddings", json(200, &answer(bytes)));
    let pannier = Pannier::start(upstream).await;
    pannier.ask(&question(0)).await.fine();
    pannier.remembered(&question(0)).await;
    pannier.ask(&by_road(&question(0))).await.fine();
    pannier
}

/// A pipe that nobody empties fills up; then lines are lost, and counted, and nothing else happens.
#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing() {
    let upstream = Upstream::start().await;
    let chat = route("/api/chat");
    upstream.always("/api/embeddings", json(200, &answer(100)));
    upstream.on(chat.path, move |visit| route("/api/chat").reply_to(visit));
    let launch = Launch::before(&upstream).unheard().file("[cache]\ncompletions = \"all\"\n");
    let launch = launch
        .set("log.level", "trace,pingora_core=trace,pingora_proxy=trace")
        .set("log.hit_sample", "1")
        .set("server.shutdown_delay", "0");
    let mut pannier = launch.start().await;
    pannier.ask(&question(0)).await.fine();
    pannier.remembered(&question(0)).await;

    // Access lines by the thousand, and as many of its own doings: more than a pipe and two queues hold.
    let raw = question(0).raw(&pannier.addr.to_string()).repeat(100);
    let mut wire = pannier.open().await;
    for _ in 0..70 {
        wire.send(&raw).await;
        for _ in 0..100 {
            wire.reply("POST").await.fine();
        }
    }
    for number in 0..300 {
        let begun = Instant::now();
        pannier.ask(&by_road(&question(number))).await.fine();
        assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
    }
    eventually("lines are lost and counted", || async {
        (pannier.metrics().await.sum("pannier_access_log_dropped_total", &[]) > 0.0).then_some(())
    })
    .await;

    // Reloads, good and bad.
    pannier.comes_to_keep(true).await;
    for settings in ["[cache\n", "[cache]\ncompletions = \"off\"\n"] {
        pannier.configure(settings);
        pannier.signal("HUP");
    }
    pannier.comes_to_keep(false).await;
    assert_eq!(pannier.house("/livez").await.status(), 200);

    pannier.signal("TERM");
    let (status, took) = pannier.ended().await;
    assert_eq!(status.code(), Some(0));
    assert!(took < PROMPTLY, "{took:?}");
}

/// Without a descriptor left nobody new comes in, and whoever is here is served; afterwards all are.
#[tokio::test]
async fn running_out_of_descriptors_is_survived() {
    let upstream = Upstream::start().await;
    let acts = [vec![Act::Pause(Duration::from_millis(50))], json(200, &answer(100))].concat();
    upstream.always("/api/embeddings", acts);
    // Without a file, which would take the descriptor that one gives back.
    let mut pannier = Launch::before(&upstream).set("cache.database.enabled", "false").start().await;
    pannier.ask(&question(0)).await.fine();
    pannier.remembered(&question(0)).await;
    // All at once, so that there are connections upstream for all.
    let mut here = Vec::new();
    for number in 0..6 {
        let mut wire = pannier.open().await;
        wire.ask(&question(10 + number)).await;
        here.push(wire);
    }
    for wire in &mut here {
        wire.reply("POST").await.fine();
        wire.exchange(&Ask::get("/api/version")).await.fine();
    }
    pannier.leave_no_descriptor();
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut wire = pannier.open().await;
        wire.ask(&question(0)).await;
        waiting.push(wire);
    }
    let early = tokio::time::timeout(Duration::from_millis(300), waiting[0].head("POST")).await;
    assert!(early.is_err(), "it had a descriptor left");

    let (busy, begun) = (pannier.processor_time(), Instant::now());
    pause(1200).await;
    let (busy, elapsed) = (pannier.processor_time() - busy, begun.elapsed());
    assert!(busy < elapsed / 3, "{busy:?} of processor time in {elapsed:?} of waiting");

    for (number, wire) in here.iter_mut().enumerate() {
        assert!(wire.exchange(&question(0)).await.fine().is_hit());
        // Over connections upstream that are there already.
        wire.exchange(&Ask::get("/api/version")).await.fine();
        wire.exchange(&question(100 + number)).await.fine();
    }
    // One leaves, and another comes in.
    here.pop();
    waiting[0].reply("POST").await.fine();

    pannier.return_descriptors();
    for wire in &mut waiting[1..] {
        assert!(wire.reply("POST").await.fine().is_hit());
    }
    pannier.ask(&question(1)).await.fine();
    assert!(pannier.runs() && !pannier.output().contains("panicked"), "{}", pannier.output());
}

/// Few descriptors from the start: fewer clients at once, none of whom fails, and the rest have their turn.
#[tokio::test]
async fn few_descriptors_mean_few_clients_at_once() {
    let upstream = Upstream::start().await;
    upstream.always("/api/embeddings", json(200, &answer(100)));
    let pannier = Launch::before(&upstream).descriptors(128).start().await;
    let mut wires = Vec::new();
    for number in 0..100 {
        let mut wire = pannier.open().await;
        wire.ask(&question(number).with("Cache-Control", "no-store")).await;
        wires.push(wire);
    }
    for mut wire in wires {
        let reply = wire.reply("POST").await;
        assert_eq!(reply.status(), 200, "{}", reply.text());
    }
    assert!(!pannier.output().contains("cannot accept"), "{}", pannier.output());
}

/// The process may take its capacity, what the allocator loses over it, and no more, whatever comes by.
#[tokio::test]
async fn memory_stays_near_its_capacity() {
    const CAPACITY: u64 = 48 * MIB;
    const SIZES: [u64; 6] = [1 << 10, 700 << 10, 9 << 10, 2 * MIB, 60 << 10, 300 << 10];
    let upstream = Upstream::start().await;
    let by_size: Vec<_> = SIZES.iter().map(|&size| json(200, &answer(size))).collect();
    upstream.on("/api/embeddings", move |visit| by_size[visit.nth % SIZES.len()].clone());
    let pannier = Launch::before(&upstream)
        .set("memory.capacity", &CAPACITY.to_string())
        .set("cache.database.enabled", "false")
        .start()
        .await;
    pannier.ask(&question(0)).await.fine();
    let idle = pannier.resident();

    let mut wire = pannier.open().await;
    let mut total = 0;
    let mut number = 0;
    while total < 5 * CAPACITY {
        number += 1;
        total += wire.exchange(&question(number)).await.fine().body().len() as u64;
        // Some of them are asked for again, and so known by the shortest way as well.
        if number % 3 == 0 {
            wire.exchange(&question(number)).await.fine();
            wire.exchange(&question(number)).await.fine();
        }
        if number % 50 == 0 {
            let samples = pannier.metrics().await;
            let held = samples.sum("pannier_internal_size", &[("what", "cache_memory_bytes")])
                + samples.sum("pannier_internal_size", &[("what", "recall_bytes")]);
            assert!(held <= CAPACITY as f64 * 1.05, "{} MiB", held / MIB as f64);
        }
    }
    let grown = pannier.resident().saturating_sub(idle);
    assert!(grown < CAPACITY * 8 / 5, "{} MiB more for {} MiB of answers", grown / MIB, CAPACITY / MIB);
    // It is full indeed, and of the latest.
    eventually("the figure of what is held", || async {
        let held = pannier.metrics().await.sum("pannier_internal_size", &[("what", "cache_memory_bytes")]);
        (held > CAPACITY as f64 / 2.0 && held <= CAPACITY as f64).then_some(())
    })
    .await;
}

/// Long answers that are told anew at each replay are there twice for a moment, as they came and as they are kept:
/// what is on its way may take what `flight.max_recorded` says and as much again, beside what is kept.
#[tokio::test]
async fn long_answers_stay_near_what_the_settings_say() {
    const CAPACITY: u64 = 48 * MIB;
    const RECORDED: u64 = 12 * MIB;
    let upstream = Upstream::start().await;
    let mut told: serde_json::Value = serde_json::from_slice(&route("/api/generate").answer).expect("JSON");
    told["response"] = "word ".repeat(2 * MIB as usize / 5).into();
    upstream.always("/api/generate", json(200, &told.to_string()));
    let pannier = Launch::before(&upstream)
        .set("memory.capacity", &CAPACITY.to_string())
        .set("flight.max_recorded", &RECORDED.to_string())
        .set("cache.database.enabled", "false")
        .start()
        .await;
    let question = |number: u64| {
        let body = json!({ "model": "smollm2:135m", "prompt": format!("text {number}"), "stream": false });
        Ask::post("/api/generate", &body)
    };
    pannier.ask(&question(0)).await.fine();
    let idle = pannier.resident();
    let mut wire = pannier.open().await;
    let (_, most) = pannier
        .resident_while(async {
            for number in 0..3 * CAPACITY / (2 * MIB) {
                wire.exchange(&question(number)).await.fine();
                if number % 3 == 0 {
                    wire.exchange(&question(number)).await.fine();
                }
            }
        })
        .await;
    let (grown, allowed) = (most.saturating_sub(idle), CAPACITY * 8 / 5 + RECORDED * 2);
    assert!(grown < allowed, "{} MiB more, of {}", grown / MIB, allowed / MIB);
    let held = pannier.metrics().await.sum("pannier_internal_size", &[("what", "cache_memory_bytes")]);
    assert!(held > CAPACITY as f64 / 2.0, "it is full: {held}");
}

/// Who is in the midst of a remembered answer has it whole, though it is thrown out meanwhile (C-28).
#[tokio::test]
async fn an_answer_that_is_thrown_out_is_still_read_to_its_end() {
    let upstream = Upstream::start().await;
    let whole = answer(3 * MIB);
    let acts = json(200, &whole);
    upstream.on("/api/embeddings", move |_| acts.clone());
    let launch = Launch::before(&upstream).set("memory.capacity", "12MiB");
    let pannier = launch.set("cache.database.enabled", "false").start().await;
    pannier.ask(&question(0)).await.fine();
    pannier.remembered(&question(0)).await;
    let mut readers = Vec::new();
    for number in 0..4 {
        let mut wire = pannier.open().await;
        wire.ask(&large_again(number * 9 % 10)).await;
        readers.push(wire);
    }
    for wire in &mut readers {
        assert_eq!(wire.head("POST").await.status, 200);
    }
    let only = by_road(&question(0)).with("Cache-Control", "only-if-cached");
    let mut wire = pannier.open().await;
    let mut rounds = 0;
    while pannier.ask(&only).await.status() == 200 {
        rounds += 1;
        assert!(rounds < 20, "it is never thrown out");
        // Others are asked for more often.
        for number in (1..5).cycle().take(20) {
            wire.exchange(&question(number)).await.fine();
        }
    }
    for mut wire in readers {
        let mut told = Vec::new();
        while let Ok(piece) = wire.piece().await {
            told.extend(piece);
        }
        assert!(told == whole.as_bytes(), "another answer");
    }
}

/// A connection that waits for its next request does not hold on to the largest answer that it bore.
#[tokio::test]
async fn idle_connections_hold_no_answers() {
    let upstream = Upstream::start().await;
    let pannier = with_large_hit(&upstream, 8 * MIB).await;
    let before = pannier.resident();
    let mut idle = Vec::new();
    for number in 0..100 {
        let mut wire = pannier.open().await;
        assert!(wire.exchange(&large_again(number)).await.fine().is_hit());
        idle.push(wire);
    }
    eventually("what was borne is let go", || async {
        (pannier.resident() < before + 30 * MIB).then_some(())
    })
    .await;
    for wire in &mut idle {
        wire.exchange(&Ask::get("/api/version")).await.fine();
    }
}

/// Who reads nothing of a remembered answer holds a piece of it, not a copy (D-05).
#[tokio::test]
async fn readers_who_read_nothing_hold_little() {
    let upstream = Upstream::start().await;
    let pannier = with_large_hit(&upstream, 15 * MIB).await;
    let before = pannier.resident();
    let (mut wires, most) = pannier
        .resident_while(async {
            let mut wires = Vec::new();
            for number in 0..20 {
                let mut wire = pannier.open().await;
                wire.ask(&large_again(number)).await;
                wires.push(wire);
            }
            pause(3000).await;
            wires
        })
        .await;
    let grown = most.saturating_sub(before);
    let whole = answer(15 * MIB);
    assert!(grown < 100 * MIB, "{} MiB more", grown / MIB);
    // The answer waited for them all the same.
    for wire in &mut wires[18..] {
        assert!(wire.reply("POST").await.fine().body() == whole, "another answer");
    }
}

/// A few KiB that unfold into many MiB of JSON cost whoever sends them, and not everybody else.
#[tokio::test]
async fn bodies_that_unfold_delay_nobody() {
    let upstream = Upstream::start().await;
    let chat = route("/v1/chat/completions");
    upstream.on(chat.path, move |visit| route("/v1/chat/completions").reply_to(visit));
    let pannier = Pannier::start(&upstream).await;
    pannier.ask(&chat.ask(false)).await.fine();
    pannier.remembered(&chat.ask(false)).await;
    let wide = format!(r#"{{"model":"smollm2:135m","messages":[],"x":[{}1]}}"#, "1,".repeat(4 << 20));
    let packed = zstd::encode_all(wide.as_bytes(), 3).expect("pack");
    assert!(packed.len() < 16 << 10, "{}", packed.len());
    let bomb = Ask::new("POST", chat.path).with("Content-Encoding", "zstd").bytes(packed);
    let before = pannier.resident();
    let mut bombs = Vec::new();
    for _ in 0..40 {
        let mut wire = pannier.open().await;
        wire.ask(&bomb).await;
        bombs.push(wire);
    }
    // A hit, a miss, and a forwarded one, each on a connection that is new.
    let begun = Instant::now();
    let mut miss = chat.body(false);
    miss["seed"] = 77.into();
    for ask in [chat.ask(false), Ask::post(chat.path, &miss), Ask::get("/api/version")] {
        pannier.ask(&ask).await.fine();
    }
    let took = begun.elapsed();
    let mut answered = 0;
    for wire in &mut bombs {
        answered +=
            usize::from(tokio::time::timeout(Duration::from_millis(1), wire.head("POST")).await.is_ok());
    }
    assert!(answered < bombs.len() / 2, "three plain requests took {took:?}, and {answered} of the others");
    assert!(pannier.resident() < before + 200 * MIB, "{} MiB more", (pannier.resident() - before) / MIB);
}
