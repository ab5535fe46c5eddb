//! Random mixes of known and unknown texts, duplicates, orders, routes, encodings and concurrent requests:
//! zero wrong vectors, and every count right. `MIXES` says how many; `make test-long` asks for 100,000.

use super::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

/// Requests at the same time.
const CLIENTS: usize = 12;
const BATCH: &str = "/embeddings/batch";

/// A request, its texts (in a batch some are none), and how many numbers of each vector it wants.
struct Mix {
    path: &'static str,
    ask: Ask,
    texts: Vec<Option<String>>,
    dimensions: Option<u64>,
}

/// What is asked for once may be asked for again.
struct Dice {
    random: fastrand::Rng,
    pool: Arc<Mutex<Vec<String>>>,
}

impl Dice {
    fn text(&mut self) -> String {
        let mut pool = self.pool.lock().expect("pool");
        if pool.len() > 4 && self.random.u8(..) > 30 {
            // Some are asked for often, most seldom, and the youngest are still under way.
            let at = match self.random.bool() {
                true => self.random.usize(pool.len().saturating_sub(8)..pool.len()),
                false => (pool.len() as f64 * self.random.f64().powi(3)) as usize,
            };
            return pool[at.min(pool.len() - 1)].clone();
        }
        let letters =
            ["a", " ", "é", "\"", "\\", "\n", "日本", "\u{1f600}", "<b>", "\u{2028}", "null", "0.5"];
        let text: String =
            (0..self.random.usize(..9)).map(|_| letters[self.random.usize(..letters.len())]).collect();
        let text =
            format!("{text}{}", if self.random.bool() { pool.len().to_string() } else { String::new() });
        // `""` alone loads the model on the native route.
        let text = if text.is_empty() { " ".to_owned() } else { text };
        pool.push(text.clone());
        text
    }

    fn mix(&mut self) -> Mix {
        let path = [ROUTES[0], ROUTES[1], BATCH][self.random.usize(..3)];
        let count = if self.random.u8(..) < 80 { 1 } else { self.random.usize(1..14) };
        let mut texts: Vec<_> = (0..count).map(|_| Some(self.text())).collect();
        if path == BATCH && count > 1 && self.random.u8(..) < 80 {
            texts[self.random.usize(..count)] = None;
        }
        let lone = count == 1 && self.random.bool();
        let mut body = json!({ "model": MODEL, "input": if lone { json!(texts[0]) } else { json!(texts) } });
        let dimensions = Some(self.random.u64(..24)).filter(|_| self.random.u8(..) < 60);
        if let Some(dimensions) = dimensions {
            body["dimensions"] = dimensions.into();
        }
        if path == BATCH && self.random.bool() {
            body["texts"] = body["input"].take();
            body.as_object_mut().expect("an object").remove("input");
        }
        match (path, self.random.u8(..8)) {
            (BATCH, 0..3) => body["stream"] = true.into(),
            (BATCH, 3) => body["encoding_format"] = "base64".into(),
            ("/v1/embeddings", 0..4) => body["encoding_format"] = "base64".into(),
            ("/v1/embeddings", 4) => body["user"] = "u".into(),
            ("/api/embed" | BATCH, 5) => body["truncate"] = false.into(),
            ("/api/embed" | BATCH, 6) => body["options"] = json!({ "num_ctx": 512 }),
            ("/api/embed" | BATCH, 4) => body["keep_alive"] = "5m".into(),
            _ => {}
        }
        let ask = match self.random.u8(..40) {
            0 => Ask::post(path, &body).with("Cache-Control", "no-cache"),
            1 => Ask::post(path, &body).with("Cache-Control", "no-store"),
            _ => Ask::post(path, &body),
        };
        Mix { path, ask, texts, dimensions }
    }
}

impl Mix {
    /// Fails unless `reply` holds exactly what was asked for, and its sums are right.
    fn check(&self, reply: Reply) {
        let texts: Vec<&str> = self.texts.iter().flatten().map(String::as_str).collect();
        if self.path != BATCH {
            check(reply, &texts, self.dimensions);
            return;
        }
        let reply = reply.fine();
        let lined = reply.field("content-type") == Some("application/x-ndjson");
        let (vectors, errors, sums) = if lined { lines(&reply.text()) } else { whole(reply.json()) };
        for (index, (vector, text)) in vectors.iter().zip(&self.texts).enumerate() {
            let expected = text.as_ref().map(|text| embedder::vector(text, DIGEST, self.dimensions));
            assert_eq!(vector.as_deref().map(bits), expected.as_deref().map(bits), "{text:?}");
            assert_eq!(errors.contains(&json!(index)), text.is_none());
        }
        let tokens: u64 = texts.iter().map(|text| embedder::tokens(text)).sum();
        let (count, succeeded) = (self.texts.len(), texts.len());
        assert_eq!((vectors.len(), errors.len()), (count, count - succeeded));
        let counted = ["count", "succeeded", "failed", "prompt_eval_count"].map(|name| sums[name].clone());
        assert_eq!(counted, [json!(count), json!(succeeded), json!(count - succeeded), json!(tokens)]);
        assert!(sums["known"].as_u64() <= Some(succeeded as u64));
    }
}

/// The vectors of a batch's answer, the numbers of those that have none, and its sums.
type Told = (Vec<Option<Vec<f32>>>, Vec<Value>, Value);

fn whole(answer: Value) -> Told {
    let vector = |vector: &Value| (!vector.is_null()).then(|| embedder::numbers(vector));
    let vectors = answer["embeddings"].as_array().expect("embeddings").iter().map(vector).collect();
    let errors = answer["errors"].as_array().expect("errors").iter().map(|error| error["index"].clone());
    (vectors, errors.collect(), answer)
}

fn lines(text: &str) -> Told {
    let (mut vectors, mut errors, mut sums) = (Vec::new(), Vec::new(), Value::Null);
    for line in text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")) {
        if line["done"] == true {
            sums = line;
        } else if line["index"].is_u64() {
            assert_eq!(line["index"], json!(vectors.len()), "in order");
            if line["error"].is_string() {
                errors.push(line["index"].clone());
            }
            vectors.push((!line["error"].is_string()).then(|| embedder::numbers(&line["embedding"])));
        }
    }
    (vectors, errors, sums)
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_mix_ever_gets_a_wrong_vector() {
    let mixes: usize = std::env::var("MIXES").ok().and_then(|mixes| mixes.parse().ok()).unwrap_or(1000);
    let seed =
        std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed} MIXES={mixes}");
    let upstream = Upstream::start().await;
    let told = Arc::new(AtomicU64::new(0));
    for path in ROUTES {
        let told = told.clone();
        upstream.on(path, move |visit| {
            let texts = embedder::texts(&embedder::body(visit));
            told.fetch_add(texts.iter().map(|text| embedder::tokens(text)).sum(), Ordering::SeqCst);
            let mut acts = embedder::embeds(visit, DIGEST);
            if fastrand::u8(..4) == 0 {
                acts.insert(0, Act::Pause(Duration::from_millis(fastrand::u64(..8))));
            }
            acts
        });
    }
    let pannier = Arc::new(Pannier::start(&upstream).await);
    let pool = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::new(Mutex::new(HashMap::<_, u64>::new()));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (pannier, pool, asked) = (pannier.clone(), pool.clone(), asked.clone());
        clients.spawn(async move {
            let mut dice = Dice { random: fastrand::Rng::with_seed(seed ^ client as u64), pool };
            let mut wire = pannier.open().await;
            for mix in 0..mixes.div_ceil(CLIENTS) {
                if mix % 1000 == 999 {
                    wire = pannier.open().await;
                }
                let mix = dice.mix();
                mix.check(wire.exchange(&mix.ask).await);
                *asked.lock().expect("counts").entry(mix.path).or_default() += 1;
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.expect("no wrong vector");
    }
    // Most of it came from memory or from somebody else's flight.
    let calls = upstream.count(ROUTES[0]) + upstream.count(ROUTES[1]);
    assert!(calls < mixes * 3, "{calls} calls for {mixes} mixes");
    // One record each, and as many tokens as the upstream has told of.
    let asked = asked.lock().expect("counts").clone();
    for (path, count) in &asked {
        let of_route = [("route", *path), ("code", "200")];
        pannier.counts("pannier_http_requests_total", &of_route, *count as f64).await;
    }
    let told = told.load(Ordering::SeqCst);
    pannier.counts("pannier_llm_tokens_total", &[("type", "input")], told as f64).await;
    for what in ["text_flights", "text_calls_waiting", "text_calls_under_way", "held_body_bytes"] {
        pannier.counts("pannier_internal_size", &[("what", what)], 0.0).await;
    }
}

/// The same text in the same manner goes up once, whoever asks for it, however often, and by which route.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_up_twice() {
    let upstream = Upstream::start().await;
    for path in ROUTES {
        upstream.on(path, |visit| {
            [vec![Act::Pause(Duration::from_millis(3))], embedder::embeds(visit, DIGEST)].concat()
        });
    }
    let pannier = Arc::new(Pannier::start(&upstream).await);
    let mut clients = JoinSet::new();
    for client in 0..20u64 {
        let pannier = pannier.clone();
        clients.spawn(async move {
            let mut random = fastrand::Rng::with_seed(client);
            for _ in 0..10 {
                let texts: Vec<_> =
                    (0..random.usize(1..20)).map(|_| format!("text {}", random.u8(..60))).collect();
                let texts: Vec<_> = texts.iter().map(String::as_str).collect();
                let path = ROUTES[random.usize(..2)];
                check(pannier.ask(&ask(path, &texts)).await, &texts, None);
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.expect("no wrong vector");
    }
    let mut times: HashMap<String, usize> = HashMap::new();
    for text in ROUTES.iter().flat_map(|path| asked_for(&upstream, path)) {
        *times.entry(text).or_default() += 1;
    }
    assert_eq!(times.len(), 60);
    assert!(times.values().all(|times| *times == 1), "{times:?}");
}

/// While the model changes again and again, no answer holds vectors of two models, and none holds those of
/// one that had gone before the answer was asked for (but for what an answer may be late to notice).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_mixes_two_models() {
    let upstream = Arc::new(Upstream::start().await);
    let digest = Arc::new(Mutex::new("0".repeat(64)));
    for path in ROUTES {
        let digest = digest.clone();
        upstream.on(path, move |visit| embedder::embeds(visit, &digest.lock().expect("digest").clone()));
    }
    upstream.models(&[(MODEL, &"0".repeat(64))]);
    let pannier =
        Arc::new(Launch::before(&upstream).set("upstream.inventory_refresh", "100ms").start().await);
    let mut clients = JoinSet::new();
    for client in 0..6u64 {
        let pannier = pannier.clone();
        clients.spawn(async move {
            let mut random = fastrand::Rng::with_seed(client);
            let mut mixed_generations = std::collections::HashSet::new();
            for _ in 0..120 {
                let texts: Vec<_> =
                    (0..random.usize(2..8)).map(|_| format!("text {}", random.u8(..40))).collect();
                let texts: Vec<_> = texts.iter().map(String::as_str).collect();
                let answer = pannier.ask(&ask(ROUTES[random.usize(..2)], &texts)).await.fine().json();
                let vectors = embedder::read(&answer);
                let is_of = |generation: usize| {
                    let digest = format!("{generation:0>64}");
                    vectors
                        .iter()
                        .zip(&texts)
                        .all(|(read, text)| *read == embedder::vector(text, &digest, None))
                };
                let generation = (0..100).find(|generation| is_of(*generation));
                mixed_generations.insert(generation.expect("all vectors of one model"));
            }
            mixed_generations
        });
    }
    let changing = tokio::spawn({
        let (upstream, digest) = (upstream.clone(), digest.clone());
        async move {
            for generation in 1..100 {
                pause(130).await;
                let name = format!("{generation:0>64}");
                // The names change first, as in Ollama a runner is found by its manifest.
                let mut digest = digest.lock().expect("digest");
                upstream.models(&[(MODEL, &name)]);
                *digest = name;
            }
        }
    });
    let mut seen = std::collections::HashSet::new();
    while let Some(client) = clients.join_next().await {
        seen.extend(client.expect("all vectors of one model"));
    }
    changing.abort();
    assert!(seen.len() > 1, "the model has changed meanwhile: {seen:?}");
}
