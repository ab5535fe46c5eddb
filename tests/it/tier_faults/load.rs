//! Clients that ask all the time: things that have been asked before and new ones, completions in either mode and
//! embeddings; and the model that answers them. Each answer says what was asked, so that none can be another's.

use crate::stage::*;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Who asks at the same time, besides the one who asks nothing of the tiers.
const CLIENTS: u64 = 3;
/// What is asked again and again.
const KNOWN: u64 = 12;

pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

struct Shared {
    /// Where hits are counted.
    tier: &'static str,
    stop: AtomicBool,
    answers: AtomicU64,
    hits: AtomicU64,
    slowest: AtomicU64,
    /// Of those answers that have nothing to do with any tier.
    slowest_apart: AtomicU64,
    asked: AtomicU64,
}

/// What the clients have seen since last asked.
#[derive(Debug)]
pub struct Seen {
    pub answers: u64,
    pub hits: u64,
    /// How much longer the slowest answer took than the slowest of those that have nothing to do with any tier:
    /// what the machine is busy with says nothing of them.
    pub waited: Duration,
    /// The latter.
    pub busy: Duration,
}

impl Load {
    pub fn on(upstream: &Upstream, pannier: &Pannier, tier: &'static str) -> Load {
        answer(upstream);
        let shared = Arc::new(Shared {
            tier,
            stop: AtomicBool::new(false),
            answers: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            slowest: AtomicU64::new(0),
            slowest_apart: AtomicU64::new(0),
            asked: AtomicU64::new(KNOWN),
        });
        let client = |_| tokio::spawn(shared.clone().ask(pannier.addr));
        let mut clients: Vec<_> = (0..CLIENTS).map(client).collect();
        clients.push(tokio::spawn(shared.clone().ask_apart(pannier.addr)));
        Load { clients, shared }
    }

    pub fn answers(&self) -> u64 {
        self.shared.answers.load(Ordering::Relaxed)
    }

    pub fn hits(&self) -> u64 {
        self.shared.hits.load(Ordering::Relaxed)
    }

    /// Since the last time.
    pub fn seen(&self) -> Seen {
        self.nobody_failed();
        let take = |of: &AtomicU64| of.swap(0, Ordering::Relaxed);
        let [slowest, busy] =
            [&self.shared.slowest, &self.shared.slowest_apart].map(|of| Duration::from_micros(take(of)));
        let (answers, hits) = (take(&self.shared.answers), take(&self.shared.hits));
        Seen { answers, hits, waited: slowest.saturating_sub(busy), busy }
    }

    /// Waits for all; fails the test where one has got anything but the right answer.
    pub async fn end(mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for client in &mut self.clients {
            within("a client's end", client).await.expect("every answer was right");
        }
    }

    /// Gives up whoever still asks.
    pub fn abort(&self) {
        self.clients.iter().for_each(JoinHandle::abort);
    }

    fn nobody_failed(&self) {
        assert!(
            !self.clients.iter().any(JoinHandle::is_finished),
            "a client got another answer than it should"
        );
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.abort();
    }
}

impl Shared {
    async fn ask(self: Arc<Self>, addr: std::net::SocketAddr) {
        let mut wire = Wire::open(addr).await;
        while !self.stop.load(Ordering::Relaxed) {
            let number = match fastrand::bool() {
                true => fastrand::u64(..KNOWN),
                false => self.asked.fetch_add(1, Ordering::Relaxed),
            };
            let began = Instant::now();
            let reply = wire.exchange(&question(number)).await;
            let took = began.elapsed();
            is_right(number, &reply);
            self.answers.fetch_add(1, Ordering::Relaxed);
            self.slowest.fetch_max(took.as_micros() as u64, Ordering::Relaxed);
            if reply.is_hit() && reply.cache().contains(self.tier) {
                self.hits.fetch_add(1, Ordering::Relaxed);
            }
            pause(10).await;
        }
    }

    async fn ask_apart(self: Arc<Self>, addr: std::net::SocketAddr) {
        let mut wire = Wire::open(addr).await;
        let ask = question(2).with("Cache-Control", "no-store");
        while !self.stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            let reply = wire.exchange(&ask).await;
            self.slowest_apart.fetch_max(began.elapsed().as_micros() as u64, Ordering::Relaxed);
            is_right(2, &reply);
            pause(5).await;
        }
    }
}

/// Every third is a text to be embedded; the others are streamed or not.
pub fn question(number: u64) -> Ask {
    let text = format!("question {number}");
    match number % 3 {
        0 => Ask::post("/api/embed", &json!({ "model": MODELS[1].0, "input": text })),
        mode => {
            let messages = json!([{ "role": "user", "content": text }]);
            let body = json!({ "model": MODELS[0].0, "messages": messages, "stream": mode == 1 });
            Ask::post("/api/chat", &body)
        }
    }
}

/// Fails unless `reply` is the answer to this question, whole.
#[track_caller]
pub fn is_right(number: u64, reply: &Reply) {
    let reply = reply.clone().fine();
    let text = format!("question {number}");
    if number.is_multiple_of(3) {
        assert_eq!(embedder::read(&reply.json()), [embedder::vector(&text, MODELS[1].1, None)], "{text}");
        return;
    }
    let lines: Vec<Value> =
        reply.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told: String =
        lines.iter().map(|line| line["message"]["content"].as_str().unwrap_or_default()).collect();
    assert_eq!(told, format!("the answer to {text}"));
    assert_eq!(lines.last().expect("a last line")["done"], json!(true));
    assert_eq!(lines.len() > 1, number % 3 == 1, "in the mode that was asked for");
}

/// Lets `upstream` answer all questions.
pub fn answer(upstream: &Upstream) {
    upstream.on("/api/embed", |visit| embedder::embeds(visit, MODELS[1].1));
    let (whole, frames) = (route("/api/chat").answer, Recording::chat_stream().frames());
    upstream.on("/api/chat", move |visit| {
        let asked: Value = serde_json::from_slice(&visit.body()).expect("JSON");
        let text = format!("the answer to {}", asked["messages"][0]["content"].as_str().expect("a text"));
        let saying = |line: &[u8], text: &str| {
            let mut line: Value = serde_json::from_slice(line).expect("JSON");
            line["message"]["content"] = text.into();
            line.to_string()
        };
        if asked["stream"] == json!(false) {
            return json(200, &saying(&whole, &text));
        }
        let (first, second) = text.split_at(text.len() / 2);
        let last = frames.last().expect("a last frame").clone();
        let told = [first, second].map(|part| (saying(&frames[0], part) + "\n").into_bytes());
        ndjson(&[told.as_slice(), &[last]].concat())
    });
}
