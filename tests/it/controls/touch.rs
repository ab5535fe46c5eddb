//! A hit can keep its model warm.

use crate::stage::embedder;
use crate::stage::*;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const ON: &str = "[cache]\ntouch_keep_alive = true\n";
const TOUCHES: &str = "pannier_model_touches_total";
/// By the stage's clock: its `Date` never moves.
const IN_5_MINUTES: &str = "2026-11-20T21:09:43.25Z";
const IN_3_SECONDS: &str = "2026-11-20T22:04:46+01:00";
const AT_ONCE: &str = "2026-11-20T21:04:43.5Z";
const NEVER: &str = "2319-03-11T05:15:42Z";
/// No model is touched more often.
const SHORTEST: Duration = Duration::from_secs(3);

/// An Ollama with one model loaded, until `expires_at` and with so large a context; what it says can be changed.
struct Stage {
    upstream: Upstream,
    running: Arc<Mutex<String>>,
}

impl Stage {
    async fn with(path: &str) -> Stage {
        let (upstream, running) = (Upstream::start().await, Arc::new(Mutex::new(String::new())));
        let route = route(path);
        upstream.on(path, move |visit| route.reply_to(visit));
        if path == "/api/embed" {
            upstream.on(path, |visit| match is_touch(visit) {
                true => json(200, r#"{"model":"all-minilm:l6-v2","embeddings":[]}"#),
                false => embedder::embeds(visit, MODELS[1].1),
            });
        } else {
            let loaded = r#"{"model":"smollm2:135m","response":"","done":true,"done_reason":"load"}"#;
            upstream.always("/api/generate", json(200, loaded));
        }
        let says = running.clone();
        upstream.on("/api/ps", move |_| {
            json(200, &format!(r#"{{"models":[{}]}}"#, says.lock().expect("what runs")))
        });
        Stage { upstream, running }
    }

    fn runs(&self, model: usize, expires_at: &str, context: u64) {
        let (name, digest) = MODELS[model];
        let entry = json!({
            "name": name, "digest": digest, "expires_at": expires_at, "context_length": context,
        });
        *self.running.lock().expect("what runs") = entry.to_string();
    }

    fn touches(&self) -> Vec<Value> {
        let paths = ["/api/generate", "/api/embed"];
        let visits = paths.into_iter().flat_map(|path| self.upstream.visits(path));
        let touches = visits.filter(|visit| is_touch(visit));
        touches.map(|visit| serde_json::from_slice(&visit.body()).expect("JSON")).collect()
    }
}

fn is_touch(visit: &Visit) -> bool {
    let body: Value = serde_json::from_slice(&visit.body()).unwrap_or_default();
    visit.path() == "/api/generate" || body["input"] == json!([])
}

async fn counted(pannier: &Pannier, outcome: &str, times: f64) {
    pannier.counts(TOUCHES, &[("outcome", outcome)], times).await;
}

/// A chat that is known, and says so much more.
async fn known(pannier: &Pannier, more: Value) -> Ask {
    let mut body = route("/api/chat").body(false);
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let ask = Ask::post("/api/chat", &body);
    pannier.ask(&ask).await.fine();
    pannier.remembered(&ask).await;
    ask
}

#[tokio::test]
async fn many_hits_are_one_touch_that_nobody_pays_for() {
    let stage = Stage::with("/api/chat").await;
    stage.runs(0, IN_5_MINUTES, 2048);
    let pannier = Launch::before(&stage.upstream).file(ON).start().await;
    let ask = known(&pannier, json!({ "keep_alive": "7m", "options": { "num_ctx": 2048, "seed": 7 } })).await;
    counted(&pannier, "touched", 1.0).await;
    for _ in 0..20 {
        assert!(pannier.ask(&ask).await.is_hit());
        assert!(pannier.ask(&ask.clone().with("Cache-Control", "max-age=999")).await.is_hit());
    }
    let samples = pannier.metrics().await;
    assert_eq!(samples.sum(TOUCHES, &[]), 1.0);
    assert_eq!(samples.sum("pannier_internal_size", &[("what", "touched_models")]), 1.0);
    assert_eq!(samples.sum("pannier_http_requests_total", &[("route", "/api/generate")]), 0.0);
    let wanted = json!({
        "model": "smollm2:135m", "stream": false, "keep_alive": "7m", "options": { "num_ctx": 2048 },
    });
    assert_eq!(stage.touches(), [wanted]);
    assert_eq!(stage.upstream.count("/api/chat"), 1);
}

#[tokio::test]
async fn the_shortest_way_touches_again_when_it_is_time() {
    let stage = Stage::with("/api/chat").await;
    stage.runs(0, IN_3_SECONDS, 2048);
    let pannier = Launch::before(&stage.upstream).file(ON).start().await;
    let begun = Instant::now();
    let ask = known(&pannier, json!({})).await;
    counted(&pannier, "touched", 1.0).await;
    eventually("it is touched again", || async {
        assert!(pannier.ask(&ask).await.is_hit());
        (stage.touches().len() == 2).then_some(())
    })
    .await;
    assert!(begun.elapsed() > SHORTEST, "{:?}", begun.elapsed());
    counted(&pannier, "touched", 2.0).await;
    assert_eq!(stage.touches()[1], json!({ "model": "smollm2:135m", "stream": false }));
}

#[tokio::test]
async fn what_is_not_loaded_is_not_loaded_by_it() {
    let stage = Stage::with("/api/chat").await;
    for (expires_at, outcome) in
        [("", "not_loaded"), (AT_ONCE, "not_loaded"), (NEVER, "pinned"), ("soon", "failed")]
    {
        if !expires_at.is_empty() {
            stage.runs(0, expires_at, 2048);
        }
        let pannier = Launch::before(&stage.upstream).file(ON).start().await;
        known(&pannier, json!({})).await;
        counted(&pannier, outcome, 1.0).await;
    }
    // Another model of that name is loaded.
    *stage.running.lock().expect("what runs") =
        format!(r#"{{"name":"smollm2:135m","digest":"0","expires_at":"{IN_5_MINUTES}"}}"#);
    let pannier = Launch::before(&stage.upstream).file(ON).start().await;
    known(&pannier, json!({})).await;
    counted(&pannier, "not_loaded", 1.0).await;
    assert_eq!(stage.touches(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_model_that_others_loaded_otherwise_is_left_alone() {
    let stage = Stage::with("/api/chat").await;
    stage.runs(0, IN_3_SECONDS, 2048);
    let pannier = Launch::before(&stage.upstream).file(ON).start().await;
    let ask = known(&pannier, json!({})).await;
    counted(&pannier, "touched", 1.0).await;
    stage.runs(0, IN_3_SECONDS, 8192);
    eventually("it is looked at again", || async {
        assert!(pannier.ask(&ask).await.is_hit());
        (pannier.metrics().await.sum(TOUCHES, &[("outcome", "otherwise")]) == 1.0).then_some(())
    })
    .await;
    assert_eq!(stage.touches().len(), 1);
}

#[tokio::test]
async fn vectors_have_their_model_touched_in_their_own_way() {
    let stage = Stage::with("/api/embed").await;
    stage.runs(1, IN_5_MINUTES, 512);
    let pannier = Launch::before(&stage.upstream).file(ON).start().await;
    for _ in 0..2 {
        let body = json!({ "model": MODELS[1].0, "input": ["one", "two"] });
        pannier.ask(&Ask::post("/api/embed", &body)).await.fine();
    }
    counted(&pannier, "touched", 1.0).await;
    assert_eq!(stage.touches(), [json!({ "model": MODELS[1].0, "input": [] })]);
}

#[tokio::test]
async fn what_a_lower_tier_knows_counts_and_no_answer_waits() {
    let stage = Stage::with("/api/chat").await;
    stage.runs(0, IN_5_MINUTES, 2048);
    let home = tempfile::TempDir::new().expect("a directory");
    let mut pannier = Launch::before(&stage.upstream).data_dir(home.path()).start().await;
    let ask = known(&pannier, json!({})).await;
    pannier.signal("TERM");
    pannier.ended().await;
    assert_eq!(stage.upstream.count("/api/ps"), 0, "it is off");

    let gate = Gate::closed();
    let (held, answer) = (gate.clone(), json(500, "{}"));
    stage.upstream.on("/api/ps", move |_| [vec![Act::Wait(held.clone())], answer.clone()].concat());
    let pannier = Launch::before(&stage.upstream).data_dir(home.path()).file(ON).start().await;
    let only = ask.clone().with("Cache-Control", "only-if-cached");
    eventually("the database is there", || async {
        pannier.ask(&only).await.cache().contains("detail=database").then_some(())
    })
    .await;
    stage.upstream.visit("/api/ps", 0).await;
    assert!(pannier.ask(&ask).await.is_hit());
    gate.open();
    counted(&pannier, "failed", 1.0).await;
    assert_eq!((stage.touches().len(), stage.upstream.count("/api/chat")), (0, 1));
}

#[tokio::test]
async fn it_is_switched_on_and_off_while_pannier_runs_and_no_unloading_touches() {
    let stage = Stage::with("/api/chat").await;
    stage.runs(0, IN_5_MINUTES, 2048);
    let pannier = Launch::before(&stage.upstream).file("").start().await;
    let ask = known(&pannier, json!({})).await;
    pannier.ask(&ask).await;
    pannier.configure(ON);
    pannier.signal("HUP");
    eventually("the settings are in force", || async {
        pannier.output().contains("settings reloaded").then_some(())
    })
    .await;
    for keep_alive in [json!(0), json!(-1), json!("0s")] {
        let mut body = route("/api/chat").body(false);
        body["keep_alive"] = keep_alive;
        for _ in 0..2 {
            assert!(!pannier.ask(&Ask::post("/api/chat", &body)).await.fine().is_hit());
        }
    }
    assert_eq!(stage.upstream.count("/api/ps"), 0);
    assert!(pannier.ask(&ask).await.is_hit());
    counted(&pannier, "touched", 1.0).await;
}
