//! The tiers behind the memory on real servers: what they keep, what they find, and what they survive.

mod cluster;
mod encrypted;
mod faults;
mod keeping;
mod leases;
mod surveys;

use bytes::Bytes;
use pannier::cache::{
    CacheKey, Entry, Hits, Label, Limits, Payload, Prefix, Redis, RedisConfig, Seal, Secret, Standing, Tier,
    Tiers, Vector,
};
use pannier::domain::{Hidden, Observed, Operation, Reason, Scope, Source};
use pannier::telemetry::{Exposition, Metrics};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const SCOPE: Scope = Scope([3; 32]);
const SECRET: [u8; 32] = [5; 32];
/// What a request waits for a tier at most, where that is put to the test.
const TIMEOUT: Duration = Duration::from_millis(250);
/// Where it is not: also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// Who waits for no answer is through by then, also on a busy machine; a client of Redis waits for longer.
const PROMPTLY: Duration = Duration::from_secs(8);
/// What takes this long hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Tiers at work.
struct House {
    tiers: Arc<Tiers>,
    metrics: Arc<Metrics>,
    stop: watch::Sender<bool>,
    running: Option<JoinHandle<()>>,
}

impl House {
    /// Over the Redis servers at `urls`, in this order, working.
    async fn over(urls: &[&str]) -> House {
        let house = House::idle(urls, SECRET);
        house.tiers.probe().await;
        house.works()
    }

    /// A tier has no more than [`TIMEOUT`].
    async fn hasty(url: &str) -> House {
        let house = House::with(vec![RedisConfig { timeout: TIMEOUT, ..config(url) }], SECRET);
        house.tiers.probe().await;
        house.works()
    }

    /// Nothing is written yet, and nobody looks whether a tier is there.
    fn idle(urls: &[&str], secret: [u8; 32]) -> House {
        let configs = urls.iter().map(|url| config(url)).collect();
        House::with(configs, secret)
    }

    fn with(configs: Vec<RedisConfig>, secret: [u8; 32]) -> House {
        let metrics = Arc::new(Metrics::new());
        let tiers = configs.into_iter().map(|config| {
            let tier: Arc<dyn Tier> = Arc::new(Redis::new(&config).unwrap());
            (tier, config.limits())
        });
        let seal = Seal::new(&Secret::of(secret));
        let tiers = Arc::new(Tiers::new(seal, tiers, 64 << 20, metrics.clone()));
        House { tiers, metrics, stop: watch::channel(false).0, running: None }
    }

    fn works(mut self) -> House {
        let (tiers, stop) = (self.tiers.clone(), self.stop.subscribe());
        self.running = Some(tokio::spawn(async move { tiers.run(stop).await }));
        self
    }

    fn keep(&self, n: u32, payload: Payload) {
        self.tiers.keep(key(n), SCOPE, label(&payload), payload, None);
    }

    /// Keeps an answer, and waits until it has been written, or could not be.
    async fn kept(&self, n: u32) {
        self.keep(n, answer(n));
        self.written().await;
    }

    async fn written(&self) {
        eventually(|| self.tiers.waiting().0 == 0).await;
        // A removal waits for what is being written just now.
        let nothing = pannier::cache::Selection { key: Some(CacheKey([0xee; 32])), ..Default::default() };
        self.tiers.remove(&nothing).await;
    }

    async fn find(&self, n: u32) -> Option<Payload> {
        self.tiers.find(&key(n), &SCOPE, &chat()).await.ok().map(|(payload, _)| payload)
    }

    /// Why nothing is found, as far as that is known.
    async fn why(&self, n: u32) -> Option<Reason> {
        self.tiers.find(&key(n), &SCOPE, &chat()).await.err().flatten()
    }

    fn reading(&self) -> Standing {
        self.tiers.state()[0].reading
    }

    fn writing(&self) -> Standing {
        self.tiers.state()[0].writing
    }

    /// Of one series, 0 where there is none.
    fn value(&self, series: &str) -> f64 {
        let page = String::from_utf8(self.metrics.render(Exposition::Text).1).unwrap();
        let of = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        page.lines().find_map(of).unwrap_or(0.0)
    }

    /// Ends as Pannier does.
    async fn end(mut self) {
        let _ = self.stop.send(true);
        if let Some(running) = self.running.take() {
            running.await.unwrap();
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

/// How many names there are on a server, but for that of the notices of what was removed; at one moment.
fn size(server: &servers::RedisServer) -> u64 {
    let script = "return redis.call('DBSIZE') - redis.call('EXISTS', 'pannier:notices')";
    server.run(&["EVAL", script, "0"])
}

fn config(url: &str) -> RedisConfig {
    RedisConfig {
        enabled: true,
        url: Hidden::new(url),
        prefix: "pannier:".to_owned(),
        embedding_ttl: Duration::from_secs(3600),
        completion_ttl: Duration::from_secs(600),
        max_entry: 1 << 20,
        timeout: PATIENCE,
    }
}

fn key(n: u32) -> CacheKey {
    let mut key = [0xab; 32];
    key[..4].copy_from_slice(&n.to_le_bytes());
    CacheKey(key)
}

/// The name of an entry in Redis.
fn name(n: u32) -> String {
    format!("pannier:{}", key(n))
}

fn chat() -> Label {
    label_of(Operation::Chat, "llama3:latest")
}

fn label(payload: &Payload) -> Label {
    match payload {
        Payload::Answer(entry) => label_of(Operation::Chat, &entry.model),
        Payload::Vector(_) => label_of(Operation::Embed, "all-minilm:latest"),
    }
}

fn label_of(operation: Operation, model: &str) -> Label {
    Label {
        prefix: Prefix::of(operation),
        operation,
        model: model.into(),
        digest: format!("sha256:{}", "0".repeat(64)).into(),
        team: "lab".into(),
    }
}

/// An answer that says which it is.
fn answer(n: u32) -> Payload {
    answer_of("llama3:latest", format!("{{\"response\":\"answer {n}\",\"done\":true}}"))
}

fn answer_of(model: &str, body: impl Into<Bytes>) -> Payload {
    Payload::Answer(Arc::new(Entry {
        body: body.into(),
        frames: Box::default(),
        headers: Box::default(),
        model: model.into(),
        observed: Observed::default(),
        took: Duration::from_millis(700),
        stored: Instant::now(),
        ttl: Duration::from_secs(3600),
        question: None,
        hits: Hits::default(),
    }))
}

fn vector(n: u32) -> Payload {
    let numbers: Vec<u8> = (0..384).flat_map(|at| ((n * 1000 + at) as f32).sin().to_le_bytes()).collect();
    Payload::Vector(Arc::new(Vector {
        numbers: numbers.into(),
        tokens: n,
        source: Source::Upstream,
        took: Duration::from_millis(3),
        load: Duration::ZERO,
        stored: Instant::now(),
        ttl: Duration::from_secs(3600),
        question: None,
    }))
}

#[track_caller]
fn assert_answer(found: Option<Payload>, n: u32) {
    match found {
        Some(Payload::Answer(entry)) => {
            assert_eq!(entry.body, format!("{{\"response\":\"answer {n}\",\"done\":true}}"));
        }
        other => panic!("not answer {n}: {other:?}"),
    }
}

/// Waits until `is_so`.
#[track_caller]
fn eventually(is_so: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    let mut is_so = is_so;
    async move {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < LIMIT, "{place}: it never is");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn limits() -> Limits {
    config("").limits()
}
