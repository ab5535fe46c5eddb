//! `GET`, `PUT` and `DELETE` of the price table, in the predecessors' shapes and in Pannier's own.

use super::*;
use serde_json::json;

#[tokio::test]
async fn the_table_is_told_and_set_as_predecessors_did() {
    let (_upstream, pannier) = launched("[prices]\n").await;
    let reply = house(&pannier, "GET", PRICING, "").await.fine();
    // The digits themselves: a float would have others.
    assert!(reply.text().contains("\"llama3\":{\"input\":0.00015,\"output\":0.0003}"), "{}", reply.text());
    let told = reply.json();
    assert_eq!((&told["currency"], &told["unit"]), (&json!("USD"), &json!("per 1K tokens")));
    assert_eq!(told["models"].as_object().expect("models").len(), 3, "{told}");

    let body = r#"{"model": "llama3", "input_cost": 0.000000000001, "output_cost": 3.00000000000e-1}"#;
    let set = house(&pannier, "PUT", PRICING, body).await.fine().json();
    assert_eq!(set["message"], "Pricing updated for llama3");
    let reply = house(&pannier, "GET", PRICING, "").await.fine();
    let exact = "\"llama3\":{\"input\":0.000000000001,\"output\":0.3}";
    assert!(reply.text().contains(exact), "{}", reply.text());
    let [price] = &stored(&pannier).await[..] else { panic!("{}", reply.text()) };
    assert_eq!((&price["prompt"], &price["completion"]), (&json!("0.000000001"), &json!("300.00")));
    let from = price["from"].as_str().expect("a moment");
    assert!(from.starts_with("20") && from.ends_with('Z'), "it holds from now on: {from}");
}

#[tokio::test]
async fn any_number_of_prices_is_set_at_once_or_none() {
    let (_upstream, pannier) = launched("[prices]\nbuiltin = false\n").await;
    let gemma = json!({
        "model": "gemma*", "per": "1K", "prompt": "0.0001", "cached_prompt": "0.00005", "completion": "0.0002",
        "embedding": "0.00001", "image": "0.01", "audio_second": "0.002", "gpu_second": "0.0003",
        "currency": "USD", "from": "2026-01-31",
    });
    let both = json!({ "prices": [gemma, { "model": "qwen", "prompt": "1" }] });
    house(&pannier, "PUT", PRICING, &both.to_string()).await.fine();
    let whole = json!({
        "model": "gemma*", "per": "1M", "prompt": "0.10", "cached_prompt": "0.05", "completion": "0.20",
        "embedding": "0.01", "image": "0.01", "audio_second": "0.002", "gpu_second": "0.0003",
        "currency": "USD", "from": "2026-01-31T00:00:00Z", "origin": "store",
    });
    let prices = stored(&pannier).await;
    assert!(prices.len() == 2 && prices.contains(&whole), "{prices:?}");

    for (body, said) in [
        ("", "EOF"),
        ("{}", "prices"),
        (r#"{"model": "a", "input_cost": 1}"#, "output_cost"),
        (r#"{"model": "a", "input_cost": -1, "output_cost": 1}"#, "input_cost: not an amount"),
        (r#"{"model": "a", "input_cost": 1, "output_cost": true}"#, "output_cost: not an amount"),
        (r#"{"model": "a", "input_cost": 1e-13, "output_cost": 1}"#, "finer than a billionth"),
        (r#"{"model": "a", "input_cost": 1e99, "output_cost": 1}"#, "too large"),
        (r#"{"model": "two words", "input_cost": 1, "output_cost": 1}"#, "no model's name"),
        (r#"{"prices": [{"model": "a", "prompt": 0.1}]}"#, "string"),
        (r#"{"prices": [{"model": "a", "promt": "0.1"}]}"#, "promt"),
        (r#"{"prices": [{"model": "b"}, {"model": "a", "currency": "EUR"}]}"#, "prices[1]: the price of"),
        (r#"{"prices": [{"model": "b"}, {"model": "b"}]}"#, "prices[1]: \"b\" stands there twice"),
    ] {
        let reply = house(&pannier, "PUT", PRICING, body).await;
        assert_eq!((reply.status(), reply.code()), (400, Some("bad_request")), "{body}");
        let detail = reply.json()["detail"].as_str().expect("a detail").to_owned();
        assert!(detail.contains(said), "{body}: {detail}");
    }
    assert_eq!(stored(&pannier).await, prices, "nothing of what was refused has come in");

    let one = json!({ "prices": [{ "model": "qwen", "prompt": "2" }], "replace": true });
    house(&pannier, "PUT", PRICING, &one.to_string()).await.fine();
    assert_eq!(stored(&pannier).await.len(), 1);
    assert_eq!(house(&pannier, "DELETE", &format!("{PRICING}?model=gemma"), "").await.status(), 404);
    assert_eq!(house(&pannier, "DELETE", PRICING, "").await.status(), 400);
    let gone = house(&pannier, "DELETE", &format!("{PRICING}?model=qwen"), "").await.fine();
    assert_eq!(gone.json()["removed"], 1);
    assert!(stored(&pannier).await.is_empty());
}

#[tokio::test]
async fn nobody_may_without_the_admin_key() {
    let (_upstream, pannier) = launched("[prices]\n").await;
    let body = r#"{"model": "llama3", "input_cost": 0, "output_cost": 0}"#;
    for (method, target) in [
        ("GET", PRICING),
        ("PUT", PRICING),
        ("DELETE", "/api/admin/costs/pricing?model=llama3"),
        ("POST", "/api/admin/costs/what-if"),
        ("POST", "/api/admin/costs/reprice"),
    ] {
        // On its own listener, and where clients come.
        for reply in [
            Wire::open(pannier.admin).await.exchange(&Ask::new(method, target).bytes(body)).await,
            pannier.ask(&Ask::new(method, target).bytes(body)).await,
        ] {
            assert_eq!((reply.status(), reply.code()), (401, Some("unauthenticated")), "{method} {target}");
        }
    }
    assert!(stored(&pannier).await.is_empty());
}

#[tokio::test]
async fn prices_outlive_the_process_and_the_settings_come_behind_them() {
    let upstream = Upstream::start().await;
    let home = tempfile::tempdir().expect("a directory");
    let settings = "[prices]\nmodels = [{ model = \"llama3\", prompt = \"5\" }, { model = \"qwen:7b\", prompt = \"6\" }]\n";
    let launch = || {
        Launch::before(&upstream).file(settings).set("cache.database.enabled", "false").data_dir(home.path())
    };
    let mut pannier = launch().start().await;
    told(&pannier, &["set", "llama3", "--prompt", "7", "--from", "ever"]).await;
    told(&pannier, &["set", "qwen", "--prompt", "8", "--from", "ever"]).await;
    for signal in ["KILL", "TERM"] {
        let input = |told: &Value, model: &str| told["models"][model]["input"].to_string();
        let now = pricing(&pannier).await;
        assert_eq!(input(&now, "llama3"), "0.007", "the database comes first: {now}");
        assert_eq!(input(&now, "qwen:7b"), "0.006", "but for what is more specific: {now}");
        assert_eq!(input(&now, "mistral"), "0.0001", "{now}");
        pannier.signal(signal);
        pannier.ended().await;
        pannier = launch().start().await;
    }
    assert_eq!(stored(&pannier).await.len(), 2);
}
