//! Several Panniers on one Redis, or on one PostgreSQL: what one is told all know, and what all are asked at
//! once is asked for once.

use crate::stage::*;
use serde_json::{Value, json};
use servers::Pooler;
use servers::Postgres;
use servers::RedisServer;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// The longest that a request waits for what replicas share: on a busy machine, too, nobody is left out for being
/// slow.
const TIMEOUT: &str = "4s";
/// A holder that has died is waited for no longer.
const TERM: Duration = Duration::from_secs(12);
const CHAT: &str = "/api/chat";

/// What replicas share.
enum Ground {
    Redis(RedisServer),
    Postgres(Postgres),
    /// Behind a pooler.
    Pooled(Postgres, Pooler),
}

impl Ground {
    /// Those that can be had here.
    fn all() -> Vec<Ground> {
        let redis = RedisServer::start(&[]).map(Ground::Redis);
        redis.into_iter().chain(Postgres::start().map(Ground::Postgres)).collect()
    }

    fn pooled() -> Option<Ground> {
        let server = Postgres::start()?;
        let pooler = Pooler::before(&server)?;
        Some(Ground::Pooled(server, pooler))
    }

    fn launch(&self, upstream: &Upstream) -> Launch {
        let launch = Launch::before(upstream).set("cache.tiers.secret", SECRET);
        match self {
            Ground::Redis(server) => launch
                .set("cache.database.enabled", "false")
                .set("cache.redis.timeout", TIMEOUT)
                .set("cache.redis.url", &server.url()),
            Ground::Postgres(server) => {
                launch.set("cache.database.timeout", TIMEOUT).set("cache.database.url", &server.url())
            }
            Ground::Pooled(_, pooler) => {
                launch.set("cache.database.timeout", TIMEOUT).set("cache.database.url", &pooler.url())
            }
        }
    }

    fn dep(&self) -> &'static str {
        match self {
            Ground::Redis(_) => "redis",
            Ground::Postgres(_) | Ground::Pooled(..) => "database",
        }
    }

    /// A replica that has found what it shares.
    async fn replica(&self, launch: Launch) -> Pannier {
        let pannier = launch.start().await;
        pannier.counts("pannier_dependency_up", &[("dep", self.dep())], 1.0).await;
        pannier
    }

    async fn two(&self, upstream: &Upstream) -> [Pannier; 2] {
        [self.replica(self.launch(upstream)).await, self.replica(self.launch(upstream)).await]
    }
}

/// So many equal requests at once, each on a connection of its own.
fn crowd(pannier: &Pannier, ask: &Ask, size: usize) -> Vec<JoinHandle<Reply>> {
    let (addr, ask) = (pannier.addr, ask.clone());
    let one = || {
        let ask = ask.clone();
        tokio::spawn(async move { Wire::open(addr).await.exchange(&ask).await })
    };
    (0..size).map(|_| one()).collect()
}

async fn replies(crowd: Vec<JoinHandle<Reply>>) -> Vec<Reply> {
    let mut replies = Vec::new();
    for one in crowd {
        replies.push(within("an answer", one).await.expect("a reply"));
    }
    replies
}

/// The text of an answer to a chat, streamed or not.
fn text(reply: Reply) -> String {
    let text = reply.fine().text();
    let frames = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    frames.map(|frame| frame["message"]["content"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Waits until `pannier` waits for another's answer.
async fn waits(pannier: &Pannier) {
    pannier.counts("pannier_internal_size", &[("what", "turns_waited_for")], 1.0).await;
}

/// An upstream that answers a chat when it is let, in the mode in which it is asked.
async fn held_back(gate: &Gate) -> (Upstream, Route) {
    let upstream = Upstream::start().await;
    let chat = route(CHAT);
    let (script, gate) = (chat.clone(), gate.clone());
    upstream.on(CHAT, move |visit| {
        let mut acts = vec![Act::Wait(gate.clone())];
        acts.extend(script.reply_to(visit));
        acts
    });
    (upstream, chat)
}

#[tokio::test]
async fn fifty_at_each_make_one_call() {
    for ground in Ground::all() {
        for streamed in [false, true] {
            let gate = Gate::closed();
            let (upstream, chat) = held_back(&gate).await;
            let [one, other] = ground.two(&upstream).await;
            let ask = chat.ask_apart(streamed);
            let first = crowd(&one, &ask, 50);
            upstream.visit(CHAT, 0).await;
            let second = crowd(&other, &ask, 50);
            waits(&other).await;
            one.counts("pannier_internal_size", &[("what", "leases")], 1.0).await;
            gate.open();
            let mut told: Vec<String> =
                replies(first).await.into_iter().chain(replies(second).await).map(text).collect();
            assert_eq!(told.len(), 100);
            told.dedup();
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].contains("glad"), "{told:?}");
            assert_eq!(upstream.count(CHAT), 1, "{} streamed {streamed}", ground.dep());
            other.counts("pannier_flight_turns_total", &[("outcome", "found")], 1.0).await;
            for pannier in [&one, &other] {
                pannier.counts("pannier_internal_size", &[("what", "leases")], 0.0).await;
                pannier.counts("pannier_internal_size", &[("what", "turns_waited_for")], 0.0).await;
            }
            forget(&ground);
        }
    }
}

/// Both begin at the same moment, whoever is first.
#[tokio::test]
async fn whoever_is_first_asks_for_both() {
    for ground in Ground::all() {
        let upstream = Upstream::start().await;
        let chat = route(CHAT);
        upstream.always(CHAT, chat.acts(false));
        let [one, other] = ground.two(&upstream).await;
        for round in 0..20 {
            let mut body = chat.body(false);
            body["round"] = round.into();
            let ask = Ask::post(CHAT, &body);
            let both = [crowd(&one, &ask, 10), crowd(&other, &ask, 10)];
            for reply in replies(both.into_iter().flatten().collect()).await {
                assert!(text(reply).contains("glad"));
            }
            assert_eq!(upstream.count(CHAT), round + 1, "{}", ground.dep());
        }
    }
}

/// C-23.
#[tokio::test]
async fn a_killed_holder_costs_one_call_and_no_longer_than_its_term() {
    for ground in Ground::all() {
        let gate = Gate::closed();
        let (upstream, chat) = held_back(&gate).await;
        let [one, other] = ground.two(&upstream).await;
        let ask = chat.ask(true);
        let lost = crowd(&one, &ask, 5);
        upstream.visit(CHAT, 0).await;
        let waiting = crowd(&other, &ask, 20);
        waits(&other).await;
        one.signal("KILL");
        let killed = Instant::now();
        upstream.visit(CHAT, 1).await;
        assert!(killed.elapsed() < TERM + PROMPTLY, "{:?}", killed.elapsed());
        gate.open();
        for reply in replies(waiting).await {
            assert!(text(reply).contains("glad"));
        }
        assert_eq!(upstream.count(CHAT), 2, "{}", ground.dep());
        lost.into_iter().for_each(|client| client.abort());
    }
}

/// A lease is a row, and no connection's: it holds where each transaction has another (S-06).
#[tokio::test]
async fn leases_hold_behind_a_pooler() {
    let Some(ground) = Ground::pooled() else { return };
    let gate = Gate::closed();
    let (upstream, chat) = held_back(&gate).await;
    let [one, other] = ground.two(&upstream).await;
    let first = crowd(&one, &chat.ask(true), 20);
    upstream.visit(CHAT, 0).await;
    let second = crowd(&other, &chat.ask(true), 20);
    waits(&other).await;
    // For longer than a lease lasts that nobody renews.
    tokio::time::sleep(TERM + Duration::from_secs(1)).await;
    gate.pass(1);
    for reply in replies(first.into_iter().chain(second).collect()).await {
        assert!(text(reply).contains("glad"));
    }
    assert_eq!(upstream.count(CHAT), 1);

    let lost = crowd(&one, &chat.ask_apart(true), 1);
    upstream.visit(CHAT, 1).await;
    let waiting = crowd(&other, &chat.ask_apart(true), 20);
    waits(&other).await;
    one.signal("KILL");
    upstream.visit(CHAT, 2).await;
    gate.open();
    for reply in replies(waiting).await {
        assert!(text(reply).contains("glad"));
    }
    assert_eq!(upstream.count(CHAT), 3);
    lost.into_iter().for_each(|client| client.abort());
    if let Ground::Pooled(server, _) = &ground {
        assert!(!server.log().contains("prepared statement"), "{}", server.log());
    }
}

/// A holder that was stopped in its tracks comes back when another has asked anew: its own clients get what it has,
/// and nobody else does.
#[tokio::test]
async fn a_holder_that_slept_does_not_write_over_what_is_newer() {
    for ground in Ground::all() {
        let upstream = Upstream::start().await;
        let gate = Gate::closed();
        let (chat, held) = (route(CHAT), gate.clone());
        upstream.on(CHAT, move |visit| {
            let mut answer: Value = serde_json::from_slice(&chat.answer).expect("JSON");
            answer["message"]["content"] = format!("answer {}", visit.nth).into();
            let wait = [Act::Wait(held.clone())];
            let first = if visit.nth == 0 { &wait[..] } else { &[] };
            [first, &json(200, &answer.to_string())].concat()
        });
        let [one, other] = ground.two(&upstream).await;
        let ask = route(CHAT).ask(false);
        let first = crowd(&one, &ask, 1);
        upstream.visit(CHAT, 0).await;
        let second = crowd(&other, &ask, 1);
        waits(&other).await;
        one.signal("STOP");
        let stopped = Instant::now();
        assert_eq!(text(replies(second).await.remove(0)), "answer 1");
        assert!(stopped.elapsed() < TERM + PROMPTLY, "{:?}", stopped.elapsed());
        // What it waited for has come before it can know anything else.
        gate.open();
        pause(500).await;
        one.signal("CONT");
        assert_eq!(text(replies(first).await.remove(0)), "answer 0");
        let overtaken = [("cause", "overtaken")];
        one.counts("pannier_cache_writes_lost_total", &overtaken, 1.0).await;
        let newcomer = ground.replica(ground.launch(&upstream)).await;
        assert_eq!(text(newcomer.ask(&ask).await), "answer 1");
        assert_eq!(upstream.count(CHAT), 2, "{}", ground.dep());
        one.counts("pannier_internal_size", &[("what", "leases")], 0.0).await;
        forget(&ground);
    }
}

/// Holders die at any moment, one after the other: a kill costs one call more at the most, and nobody a wrong answer.
#[tokio::test]
async fn a_row_of_killed_holders_costs_one_call_each() {
    const REPLICAS: usize = 4;
    for ground in Ground::all() {
        let gate = Gate::closed();
        let (upstream, chat) = held_back(&gate).await;
        let ask = chat.ask(true);
        let (mut replicas, mut asking) = (Vec::new(), Vec::new());
        for nth in 0..REPLICAS {
            // Two terms, one after the other, are not too long for those who wait.
            let shorter = ["cache.redis.timeout", "cache.database.timeout"];
            let launch = shorter.iter().fold(ground.launch(&upstream), |launch, path| launch.set(path, "2s"));
            let replica = ground.replica(launch).await;
            asking.push(crowd(&replica, &ask, 3));
            match nth {
                0 => drop(upstream.visit(CHAT, 0).await),
                _ => waits(&replica).await,
            }
            replicas.push(replica);
        }
        // Whoever holds it is killed, until one is left who has waited for two, and goes alone.
        let mut killed = 0;
        while killed < 2 {
            let visits = upstream.count(CHAT);
            let holder = holder(&replicas).await;
            replicas.remove(holder).signal("KILL");
            asking.remove(holder).into_iter().for_each(|client| client.abort());
            killed += 1;
            upstream.visit(CHAT, visits).await;
        }
        gate.open();
        for reply in replies(asking.into_iter().flatten().collect()).await {
            assert!(text(reply).contains("glad"));
        }
        let calls = upstream.count(CHAT);
        // Of the two that are left both have waited for two.
        assert!(calls <= killed + 2, "{calls} calls at {}", ground.dep());
        forget(&ground);
    }
}

/// Which of these has the lease.
async fn holder(replicas: &[Pannier]) -> usize {
    eventually("one holds the lease", || async {
        for (nth, replica) in replicas.iter().enumerate() {
            if replica.metrics().await.sum("pannier_internal_size", &[("what", "leases")]) > 0.0 {
                return Some(nth);
            }
        }
        None
    })
    .await
}

/// What is not kept is waited for no longer than it takes to know that.
#[tokio::test]
async fn nobody_waits_for_what_will_not_be_kept() {
    for ground in Ground::all() {
        let upstream = Upstream::start().await;
        let chat = route(CHAT);
        let ask = chat.ask(true);
        let gate = Gate::closed();
        let mut large = chunked("application/x-ndjson", &[vec![b' '; 3000]]);
        large.pop();
        large.push(Act::Wait(gate.clone()));
        large.extend(chat.acts(true).into_iter().skip(1));
        upstream.always(CHAT, large);
        let launch = || ground.launch(&upstream).set("cache.max_entry", "2KiB");
        let [one, other] = [ground.replica(launch()).await, ground.replica(launch()).await];
        let begun = crowd(&one, &ask, 1);
        upstream.visit(CHAT, 0).await;
        let second = crowd(&other, &ask, 1);
        // While the first is still under way.
        upstream.visit(CHAT, 1).await;
        gate.open();
        assert_eq!(replies(begun).await[0].status(), 200);
        assert_eq!(replies(second).await[0].status(), 200);

        // An error is nobody else's.
        upstream.always(CHAT, json(500, r#"{"error":"no"}"#));
        let mut body = chat.body(false);
        body["other"] = true.into();
        let ask = Ask::post(CHAT, &body);
        let both = [crowd(&one, &ask, 3), crowd(&other, &ask, 3)];
        for reply in replies(both.into_iter().flatten().collect()).await {
            assert_eq!(reply.status(), 500);
        }
    }
}

#[tokio::test]
async fn who_leaves_waits_no_longer_and_another_has_the_turn() {
    for ground in Ground::all() {
        let gate = Gate::closed();
        let (upstream, chat) = held_back(&gate).await;
        let [one, other] = ground.two(&upstream).await;
        let ask = chat.ask(false);
        let first = crowd(&one, &ask, 1);
        upstream.visit(CHAT, 0).await;
        let leaver = crowd(&other, &ask, 1);
        waits(&other).await;
        leaver.into_iter().for_each(|client| client.abort());
        other.counts("pannier_internal_size", &[("what", "turns_waited_for")], 0.0).await;
        // The holder's only client leaves as well: the turn is the next one's at once.
        let next = crowd(&other, &ask, 1);
        waits(&other).await;
        first.into_iter().for_each(|client| client.abort());
        upstream.visit(CHAT, 0).await.hung_up().await;
        let left = Instant::now();
        upstream.visit(CHAT, 1).await;
        assert!(left.elapsed() < TERM, "{:?}", left.elapsed());
        gate.open();
        assert!(text(replies(next).await.remove(0)).contains("glad"));
    }
}

#[tokio::test]
async fn teams_wait_for_nobody_elses_and_what_is_switched_off_is_off() {
    for ground in Ground::all() {
        let gate = Gate::closed();
        let (upstream, chat) = held_back(&gate).await;
        let keys = "[auth]\nkeys = [\n  { name = \"alice\", team = \"lab\", key = \"sk-alice\" },\n  \
                    { name = \"bob\", team = \"shop\", key = \"sk-bob\" },\n]\n";
        let launch = || ground.launch(&upstream).file(keys);
        let [one, other] = [ground.replica(launch()).await, ground.replica(launch()).await];
        let of = |key: &str| chat.ask(false).with("Authorization", &format!("Bearer {key}"));
        let mut asking = crowd(&one, &of("sk-alice"), 5);
        asking.extend(crowd(&other, &of("sk-bob"), 5));
        upstream.visit(CHAT, 1).await;
        let alone = ground.replica(launch().set("cache.tiers.share_flights", "false")).await;
        asking.extend(crowd(&alone, &of("sk-alice"), 1));
        upstream.visit(CHAT, 2).await;
        gate.open();
        for reply in replies(asking).await {
            assert!(text(reply).contains("glad"));
        }
        assert_eq!(upstream.count(CHAT), 3, "{}", ground.dep());
    }
}

/// Replicas that embed the same texts at the same time share the work, text by text.
#[tokio::test]
async fn each_text_is_embedded_once() {
    for ground in Ground::all() {
        let upstream = Upstream::start().await;
        let (model, digest) = MODELS[1];
        upstream.on("/api/embed", move |visit| {
            let mut acts = vec![Act::Pause(Duration::from_millis(5))];
            acts.extend(embedder::embeds(visit, digest));
            acts
        });
        let [one, other] = ground.two(&upstream).await;
        let texts: Vec<String> = (0..60).map(|n| format!("text {n}")).collect();
        let reversed: Vec<String> = texts.iter().rev().cloned().collect();
        let ask = |path: &str, texts: &[String]| Ask::post(path, &json!({ "model": model, "input": texts }));
        let (forwards, backwards) = tokio::join!(
            replies(crowd(&one, &ask("/api/embed", &texts), 2)),
            replies(crowd(&other, &ask("/embeddings/batch", &reversed), 2)),
        );
        for (replies, texts) in [(forwards, &texts), (backwards, &reversed)] {
            for reply in replies {
                let told = embedder::read(&reply.fine().json());
                let meant: Vec<_> = texts.iter().map(|text| embedder::vector(text, digest, None)).collect();
                assert_eq!(told, meant);
            }
        }
        let visits = upstream.visits("/api/embed");
        let mut asked: Vec<_> =
            visits.iter().flat_map(|visit| embedder::texts(&embedder::body(visit))).collect();
        let all = asked.len();
        asked.sort();
        asked.dedup();
        assert_eq!((all, asked.len()), (60, 60), "{}", ground.dep());
    }
}

/// Has it embed texts once the gate is opened.
fn embeds_when_let(upstream: &Upstream, digest: &'static str) -> Gate {
    let gate = Gate::closed();
    let held = gate.clone();
    upstream.on("/api/embed", move |visit| {
        [vec![Act::Wait(held.clone())], embedder::embeds(visit, digest)].concat()
    });
    gate
}

/// Whoever waits for a text that another replica asks for has a hit in the books: he has asked nobody, and is credited
/// with it.
#[tokio::test]
async fn a_text_that_another_has_asked_for_is_a_hit_in_the_books() {
    for ground in Ground::all() {
        let upstream = Upstream::start().await;
        let (model, digest) = MODELS[1];
        let gate = embeds_when_let(&upstream, digest);
        let launch = || ground.launch(&upstream).set("ledger.enabled", "true");
        let [one, other] = [ground.replica(launch()).await, ground.replica(launch()).await];
        let ask = Ask::post("/api/embed", &json!({ "model": model, "input": "a text" }));
        let asking = crowd(&one, &ask, 1);
        upstream.visit("/api/embed", 0).await;
        let waiting = crowd(&other, &ask, 1);
        waits(&other).await;
        gate.open();
        replies(asking).await.pop().expect("a reply").fine();
        let reply = replies(waiting).await.pop().expect("a reply").fine();
        assert!(reply.is_hit() && reply.cache().contains(ground.dep()), "{}", reply.cache());
        assert_eq!(upstream.count("/api/embed"), 1);
        let told = async |pannier: &Pannier| {
            eventually("a row", || async {
                let rows = pannier.administer(Ask::get("/usage/requests?format=json")).await.fine().text();
                let row: Value = serde_json::from_str(rows.lines().next()?).expect("JSON");
                Some(["cache", "prompt_tokens", "tokens_from"].map(|name| row[name].clone()))
            })
            .await
        };
        let tokens = json!(embedder::tokens("a text"));
        assert_eq!(told(&one).await, [json!("miss"), tokens.clone(), json!("upstream")]);
        assert_eq!(told(&other).await, [json!("hit"), tokens, json!("upstream")], "{}", ground.dep());
    }
}

/// Whoever wants a fresh vector asks for it, whatever another is on the way to fetch.
#[tokio::test]
async fn a_text_that_is_wanted_anew_waits_for_nobody() {
    for ground in Ground::all() {
        let upstream = Upstream::start().await;
        let (model, digest) = MODELS[1];
        let gate = embeds_when_let(&upstream, digest);
        let [one, other] = ground.two(&upstream).await;
        for (round, path) in ["/api/embed", "/embeddings/batch"].into_iter().enumerate() {
            let texts = ["one", "other"].map(|name| format!("{name} by {path}"));
            let ask = Ask::post(path, &json!({ "model": model, "input": texts }));
            let held = crowd(&one, &ask, 1);
            upstream.visit("/api/embed", round * 4 + 1).await;
            let anew = crowd(&other, &ask.with("Cache-Control", "no-cache"), 1);
            upstream.visit("/api/embed", round * 4 + 3).await;
            gate.pass(4);
            for reply in replies(held).await.into_iter().chain(replies(anew).await) {
                let meant = texts.each_ref().map(|text| embedder::vector(text, digest, None));
                assert_eq!(embedder::read(&reply.fine().json()), meant);
            }
        }
    }
}

/// Removes all entries, past the Panniers.
fn forget(ground: &Ground) {
    match ground {
        Ground::Redis(server) => drop(server.run::<String>(&["FLUSHALL"])),
        Ground::Postgres(server) | Ground::Pooled(server, _) => drop(server.ask("TRUNCATE pannier_cache")),
    }
}
