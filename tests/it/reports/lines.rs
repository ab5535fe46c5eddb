//! One line a request: all of it, against what the upstream served.

use super::*;

/// What only Pannier's own clock can know.
const MEASURED: [&str; 3] = ["time", "total_seconds", "first_token_seconds"];

/// Those of `ann`, in their order, less what was measured: that is there.
async fn lines(shop: &Shop) -> Vec<Value> {
    let text = shop.get("/usage/requests?format=json", &shop.ann).await.fine().text();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).expect("JSON");
        for name in MEASURED {
            let was = line.as_object_mut().expect("an object").remove(name).expect(name);
            assert!(was.is_string() || was.is_number(), "{name}: {was}");
        }
        line
    };
    text.lines().map(line).collect()
}

#[tokio::test]
async fn a_line_says_all_that_was_served() {
    let shop = Shop::open().await;
    let ids = shop.trade().await;
    let lines = lines(&shop).await;
    let mut expected = json!({
        "request_id": ids[0], "key": "ann", "team": "lab", "model": MODELS[0].0, "digest": MODELS[0].1,
        "endpoint": CHAT, "dialect": "ollama", "operation": "chat", "mode": "whole",
        "status": 200, "ending": "complete", "error": "", "error_message": "",
        "cache": "miss", "hit_below": 0, "tokens_from": "upstream",
        "prompt_tokens": 20, "cached_prompt_tokens": null, "completion_tokens": 5, "reasoning_tokens": null,
        "queue_seconds": 0.1, "load_seconds": null, "prompt_seconds": 0.1, "completion_seconds": 0.4,
        "gpu_seconds": 0.5, "tokens_per_second": 12.5,
        "price": "smollm2 from 0 prompt=0.15 completion=0.60 gpu_second=0.001 USD",
        "cost": 0.000506, "saved_cost": null, "unpriced": null, "unbilled": null, "rating": null,
        "audio_seconds": null,
        "images": null,
    });
    assert_eq!(lines[0], expected);
    // What the answer took when it was made; nobody pays for it again.
    for (name, value) in [
        ("request_id", json!(ids.last())),
        ("cache", json!("hit")),
        ("cost", json!(null)),
        ("saved_cost", json!(0.000506)),
    ] {
        expected[name] = value;
    }
    assert_eq!(lines.last(), Some(&expected));
}

#[tokio::test]
async fn a_line_says_what_could_not_be_billed() {
    let shop = Shop::open().await;
    shop.upstream.on("/api/generate", |visit| {
        let body: Value = serde_json::from_slice(&visit.body()).expect("JSON");
        let prompt = if body["prompt"] == "absurd" { u64::MAX >> 1 } else { 20 };
        let answer = json!({
            "model": body["model"], "created_at": "2026-11-20T21:04:43.000000Z", "response": "all of it",
            "done": true, "done_reason": "stop", "total_duration": 600_000_000, "load_duration": 7_000_000,
            "prompt_eval_count": prompt, "prompt_eval_duration": 0, "eval_count": 5, "eval_duration": 0,
        });
        json(200, &answer.to_string())
    });
    for (model, prompt) in [(MODELS[0].0, "absurd"), ("of-nobody-knows-whom", "usual")] {
        let body = json!({ "model": model, "prompt": prompt, "stream": false });
        shop.pannier.ask(&of(Ask::post("/api/generate", &body), &shop.ann)).await.fine();
    }
    let lines = eventually("both are in the books", || async {
        let lines = lines(&shop).await;
        (lines.len() == 2).then_some(lines)
    })
    .await;
    let told = |line: &Value| {
        ["model", "price", "cost", "unpriced", "unbilled", "load_seconds", "gpu_seconds"]
            .map(|name| line[name].clone())
    };
    let (none, model) = (json!(null), MODELS[0].0);
    // Of the rest nothing is told but how long it took in all.
    let (load, gpu) = (json!(0.007), json!(0.6));
    assert_eq!(
        told(&lines[0]),
        [json!(model), json!("no amount"), none.clone(), none.clone(), json!(1), load.clone(), gpu.clone()]
    );
    assert_eq!(
        told(&lines[1]),
        [json!("of-nobody-knows-whom:latest"), json!("unpriced"), none.clone(), json!(1), none, load, gpu]
    );
}

/// The client's own name for a request is its own affair: it is rated by Pannier's.
#[tokio::test]
async fn a_request_that_its_client_has_named_is_rated_by_the_name_that_it_has_here() {
    let shop = Shop::open().await;
    let body =
        json!({ "model": MODELS[0].0, "stream": false, "messages": [{ "role": "user", "content": "?" }] });
    let ask = of(Ask::post(CHAT, &body), &shop.ann).with("X-Request-Id", "mine-7");
    assert_eq!(id(&shop.pannier.ask(&ask).await.fine()), "mine-7");
    let lines = eventually("it is in the books", || async {
        let lines = lines(&shop).await;
        (!lines.is_empty()).then_some(lines)
    })
    .await;
    let rate = async |id: &str| {
        let ask = Ask::post(&format!("/api/metrics/{id}/rate"), &json!({ "rating": -1 }));
        shop.house(of(ask, &shop.ann)).await.status()
    };
    assert_eq!(rate("mine-7").await, 400);
    assert_eq!(rate(lines[0]["request_id"].as_str().expect("an id")).await, 200);
}
