//! The shapes that the predecessors' users know, with no name missing and every figure true.

use super::*;

#[tokio::test]
async fn gemmapys_metrics_have_their_shapes() {
    let shop = Shop::open().await;
    let requests = shop.trade().await.len() as i64;
    let told = shop.get("/api/metrics/dashboard?days=7", &shop.ann).await.fine().json();
    for (name, value) in [
        ("total_requests", json!(requests)),
        ("errors", json!(0)),
        ("error_rate", json!(0.0)),
        ("avg_tokens_per_sec", json!(12.5)),
        ("cache_hits", json!(1)),
        ("cache_hit_rate", json!(1.0 / requests as f64)),
        ("total_tokens", json!(25 * requests)),
    ] {
        assert_eq!(told[name], value, "{name}: {told}");
    }
    assert!(told["avg_duration"].as_f64().is_some_and(|milliseconds| milliseconds > 0.0));
    assert_eq!(members(&told["ratings"]), ["negative", "positive", "satisfaction_rate", "total_rated"]);
    let [model] = &told["by_model"].as_array().expect("models")[..] else { panic!("{told}") };
    assert_eq!(members(model), ["avg_duration", "avg_tps", "errors", "model", "requests", "total_tokens"]);
    assert_eq!((&model["model"], &model["requests"]), (&json!("smollm2:135m"), &json!(requests)));
    let all = shop.admin("/api/metrics/dashboard").await.json();
    assert_eq!(all["total_requests"], json!(requests + 2), "an admin sees everybody's");

    for (interval, len) in [("hour", 19), ("day", 10), ("week", 8)] {
        let target = format!("/api/metrics/timeseries?days=7&interval={interval}");
        let told = shop.get(&target, &shop.ann).await.fine().json();
        let points = told["data"].as_array().expect("points");
        assert!((1..=2).contains(&points.len()), "{told}");
        let usage = format!("/usage?by={interval}&from=8d&format=csv");
        let usage = shop.get(&usage, &shop.ann).await.fine().text();
        let sum: i64 = points.iter().map(|point| point["requests"].as_i64().expect("a number")).sum();
        assert_eq!(sum, requests);
        for point in points {
            let bucket = point["time_bucket"].as_str().expect("a text");
            assert_eq!(bucket.len(), len, "{bucket}");
            assert!(interval == "hour" || usage.contains(bucket), "{bucket}: {usage}");
            for name in ["avg_duration", "total_tokens", "errors"] {
                assert!(point[name].is_number(), "{name}: {point}");
            }
        }
    }
    let told = shop.get("/api/metrics/endpoints", &shop.ann).await.fine().json();
    let [endpoint] = &told["endpoints"].as_array().expect("endpoints")[..] else { panic!("{told}") };
    assert_eq!(members(endpoint), ["avg_duration", "endpoint", "errors", "requests"]);
    assert_eq!((&endpoint["endpoint"], &endpoint["requests"]), (&json!(CHAT), &json!(requests)));
}

#[tokio::test]
async fn gemmapys_costs_have_their_shapes() {
    let shop = Shop::open().await;
    let requests = shop.trade().await.len() as i64;
    for (period, days) in [("day", 1), ("week", 7), ("month", 30), ("quarter", 90), ("year", 365)] {
        let target = format!("/api/costs/summary?period={period}");
        let told = shop.get(&target, &shop.ann).await.fine().json();
        for (name, value) in [
            ("user_id", json!("ann")),
            ("period", json!(period)),
            ("period_days", json!(days)),
            ("total_cost", json!(0.001518)),
            ("currency", json!("USD")),
        ] {
            assert_eq!(told[name], value, "{name}: {told}");
        }
        let [part] = &told["breakdown"].as_array().expect("parts")[..] else { panic!("{told}") };
        for (name, value) in [
            ("model", json!("smollm2:135m")),
            ("request_count", json!(requests)),
            ("prompt_tokens", json!(60)),
            ("response_tokens", json!(15)),
            ("prompt_cost", json!(0.000009)),
            ("response_cost", json!(0.000009)),
            ("gpu_cost", json!(0.0015)),
            ("total_cost", json!(0.001518)),
        ] {
            assert_eq!(part[name], value, "{name}: {part}");
        }
    }
    let told = shop.get("/api/costs/projection?period=quarter", &shop.ann).await.fine().json();
    for (name, value) in [
        ("user_id", json!("ann")),
        ("projection_period", json!("quarter")),
        ("projection_days", json!(90)),
        ("based_on_days", json!(7)),
        // 1 518 000 billionths by seven.
        ("daily_avg_cost", json!(0.000216857)),
        ("projected_total_cost", json!(0.019517143)),
        ("currency", json!("USD")),
    ] {
        assert_eq!(told[name], value, "{name}: {told}");
    }
    assert_eq!(members(&told["breakdown"][0]), ["daily_avg_cost", "model", "projected_cost"]);

    let told = shop.admin("/api/admin/costs/all").await.json();
    let names = ["currency", "period", "period_days", "total_cost", "user_count", "users"];
    assert_eq!(members(&told), names);
    assert_eq!((&told["user_count"], &told["total_cost"]), (&json!(2), &json!(0.00253)));
    let ranked: Vec<_> =
        told["users"].as_array().expect("users").iter().map(|user| &user["username"]).collect();
    assert_eq!(ranked, ["ann", "+1-2"], "who costs most comes first");
    assert_eq!(told["users"][1]["breakdown"][0]["request_count"], json!(2));
}

#[tokio::test]
async fn hydrochats_export_has_its_shape() {
    let shop = Shop::open().await;
    let requests = shop.trade().await.len() as i64 + 2;
    let told = shop.admin("/metrics/export").await.json();
    assert_eq!(members(&told), ["llm_api_metrics", "performance_metrics", "retention_policy", "timestamp"]);
    let performance = &told["performance_metrics"];
    assert_eq!(
        members(performance),
        ["avg_response_time", "max_response_time", "metrics_count", "threshold_violations"]
    );
    assert_eq!(performance["metrics_count"], json!(requests));
    let calls = &told["llm_api_metrics"];
    for (name, value) in [
        ("total_calls", json!(requests)),
        ("successful_calls", json!(requests)),
        ("failed_calls", json!(0)),
        ("total_tokens_used", json!(125)),
        ("prompt_tokens", json!(100)),
        ("completion_tokens", json!(25)),
        ("total_cost_usd", json!(0.00253)),
    ] {
        assert_eq!(calls[name], value, "{name}: {calls}");
    }
    let policy = &told["retention_policy"];
    assert_eq!(
        members(policy),
        ["current_entries", "max_entries", "storage_utilization_percent", "ttl_hours"]
    );
    assert_eq!((&policy["current_entries"], &policy["max_entries"]), (&json!(requests), &json!(10_000_000)));
    assert_eq!(policy["ttl_hours"], json!(2160.0));
    assert_eq!(shop.admin("/api/hydrochat/metrics/export/").await.json()["llm_api_metrics"], *calls);
}
