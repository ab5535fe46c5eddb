//! A key sees its own figures, an admin all; nobody else sees any.

use super::*;

const OWN: [&str; 8] = [
    "/usage",
    "/usage/requests",
    "/costs",
    "/api/metrics/dashboard",
    "/api/metrics/timeseries",
    "/api/metrics/endpoints",
    "/api/costs/summary",
    "/api/costs/projection",
];
const ADMINS: [&str; 3] = ["/api/admin/costs/all", "/metrics/export", "/api/hydrochat/metrics/export/"];

#[tokio::test]
async fn a_key_sees_its_own_figures_and_an_admin_all() {
    let shop = Shop::open().await;
    let ids = shop.trade().await;
    let requests = ids.len() as u64;
    for path in OWN {
        for ask in
            [Ask::get(path), of(Ask::get(path), "no-key-of-this-house"), of(Ask::get(path), "pannier_x")]
        {
            let refused = shop.house(ask).await;
            assert_eq!(refused.status(), 401, "{path}: {}", refused.text());
        }
        let told = shop.get(path, &shop.ann).await.fine().text();
        assert!(!told.contains("+1-2") && !told.contains("shop"), "{path}: {told}");
        let foreign = of(Ask::get(path), &shop.ann).with("Sec-Fetch-Site", "cross-site");
        assert_eq!(shop.house(foreign).await.status(), 403, "{path}");
        // The same by the data port.
        shop.pannier.ask(&of(Ask::get(path), &shop.ann)).await.fine();
    }
    for path in ADMINS {
        for ask in [Ask::get(path), of(Ask::get(path), &shop.ann)] {
            assert_eq!(shop.house(ask).await.status(), 401, "{path}");
        }
        shop.admin(path).await;
    }
    for target in ["/usage?key=%2B1-2", "/costs?key=anonymous", "/usage/requests?key=ANN"] {
        assert_eq!(shop.get(target, &shop.ann).await.status(), 403, "{target}");
    }
    let own = shop.get("/usage?by=key,team,model,endpoint", &shop.ann).await.fine().json();
    let [line] = &own["lines"].as_array().expect("lines")[..] else { panic!("{own}") };
    for (name, value) in [
        ("key", json!("ann")),
        ("team", json!("lab")),
        ("model", json!("smollm2:135m")),
        ("endpoint", json!(CHAT)),
        ("requests", json!(requests)),
        ("trips", json!(3)),
        ("prompt_tokens", json!(60)),
        ("completion_tokens", json!(15)),
        ("gpu_seconds", json!(1.5)),
    ] {
        assert_eq!(line[name], value, "{name}: {line}");
    }
    let none = shop.get("/usage?team=shop", &shop.ann).await.fine().json();
    assert_eq!((&none["lines"], &none["total"]["requests"]), (&json!([]), &json!(0)));
    let all = shop.admin("/usage?by=key,day").await.json();
    let keys: Vec<_> = all["lines"].as_array().expect("lines").iter().map(|line| &line["key"]).collect();
    assert_eq!(keys, ["+1-2", "ann"]);
    assert_eq!(all["total"]["requests"], json!(requests + 2));
}

#[tokio::test]
async fn money_is_told_to_the_last_billionth_in_every_form() {
    let shop = Shop::open().await;
    let ids = shop.trade().await;
    let costs = shop.admin("/costs?by=key").await;
    assert_eq!(costs.field("content-type"), Some("application/json"));
    let ann = "\"prompt_cost\":0.000009,\"completion_cost\":0.000009,\"gpu_cost\":0.0015,\"cost\":0.001518,";
    let text = costs.text();
    assert!(text.contains(ann) && text.contains("\"cost\":0.00253,"), "{text}");

    let csv =
        shop.house(of(Ask::get("/costs?by=key"), &shop.pannier.admin_key()).with("Accept", "text/csv")).await;
    let text = csv.fine().text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "key,requests,trips,prompt_tokens,completion_tokens,gpu_seconds,prompt_cost,completion_cost,gpu_cost,cost,\
         saved_cost,unpriced,unbilled"
    );
    assert_eq!(lines[1], "'+1-2,2,2,40,10,1,0.000006,0.000006,0.001,0.001012,0.00,0,0", "no formula");
    assert!(lines[2].starts_with(&format!("ann,{},3,60,15,1.5,0.000009,", ids.len())), "{text}");

    let table = shop.admin("/costs?by=key&format=table&period=today").await.text();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(table.contains("(UTC), money in USD"), "{table}");
    assert_eq!(rows[2][..3], ["key", "requests", "trips"]);
    assert_eq!((rows[3][0], rows[4][0], rows[5][0], rows[5][9]), ("+1-2", "ann", "total", "0.00253"));

    let rows = shop.get("/usage/requests", &shop.ann).await.fine().text();
    assert_eq!(rows.lines().count(), ids.len() + 1, "{rows}");
    for id in &ids {
        assert!(rows.contains(id.as_str()), "{id}\n{rows}");
    }
    let lines = shop.get("/usage/requests?format=json", &shop.ann).await.fine().text();
    let first: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    for (name, value) in [
        ("request_id", json!(ids[0])),
        ("key", json!("ann")),
        ("status", json!(200)),
        ("ending", json!("complete")),
        ("cache", json!("miss")),
        ("tokens_from", json!("upstream")),
        ("prompt_tokens", json!(20)),
        ("completion_seconds", json!(0.4)),
        ("tokens_per_second", json!(12.5)),
        ("rating", json!(null)),
        ("cost", json!(0.000506)),
    ] {
        assert_eq!(first[name], value, "{name}: {first}");
    }
    assert!(first["price"].as_str().is_some_and(|price| price.starts_with("smollm2 from 0")), "{first}");
}

#[tokio::test]
async fn an_answer_is_rated_by_whoever_asked() {
    let shop = Shop::open().await;
    let ids = shop.trade().await;
    let rate = async |key: &str, id: &str, body: Value| {
        shop.house(of(Ask::post(&format!("/api/metrics/{id}/rate"), &body), key)).await
    };
    let rated = rate(&shop.ann, &ids[0], json!({ "rating": 1 })).await.fine();
    assert_eq!(rated.json(), json!({ "message": "Rating recorded successfully" }));
    rate(&shop.ann, &ids[1], json!({ "rating": 1 })).await.fine();
    rate(&shop.ann, &ids[1], json!({ "rating": -1 })).await.fine();
    rate(&shop.ann, &ids[2], json!({ "rating": 0 })).await.fine();
    assert_eq!(rate(&shop.sum, &ids[0], json!({ "rating": -1 })).await.status(), 404, "another's");
    let unknown = "01234567-89ab-7cde-8f01-23456789abcd";
    assert_eq!(rate(&shop.ann, unknown, json!({ "rating": 1 })).await.status(), 404);
    for (id, body) in [
        (ids[0].as_str(), json!({ "rating": 2 })),
        (&ids[0], json!({ "rating": "1" })),
        (&ids[0], json!({})),
        ("seven", json!({ "rating": 1 })),
    ] {
        assert_eq!(rate(&shop.ann, id, body.clone()).await.status(), 400, "{id} {body}");
    }
    let told = shop.get("/api/metrics/dashboard", &shop.ann).await.fine().json();
    let ratings = json!({ "positive": 1, "negative": 1, "total_rated": 3, "satisfaction_rate": 1.0 / 3.0 });
    assert_eq!(told["ratings"], ratings);
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_and_says_why() {
    let shop = Shop::open().await;
    for (target, why) in [
        ("/usage?by=colour", "by is any of"),
        ("/usage?by=key,key", "by is any of"),
        ("/usage?by=day,hour", "by is any of"),
        ("/usage?colour=red", "once"),
        ("/usage?key=ann&key=bob", "once"),
        ("/usage?period=fortnight", "period is"),
        ("/usage?period=week&from=7d", "either"),
        ("/usage?from=soon", "from and to"),
        ("/usage?from=2026-11-02&to=2026-11-01", "before"),
        ("/usage?zone=Nowhere/At-All", "zone"),
        ("/costs?format=xml", "format is"),
        ("/api/metrics/dashboard?days=0", "days is"),
        ("/api/metrics/dashboard?days=x", "days is"),
        ("/api/metrics/timeseries?interval=minute", "interval is"),
        ("/api/costs/summary?period=decade", "period is"),
    ] {
        let refused = shop.get(target, &shop.pannier.admin_key()).await;
        assert_eq!(refused.status(), 400, "{target}");
        assert!(refused.text().contains(why), "{target}: {}", refused.text());
    }
    let empty = shop.admin("/usage?from=2020-01-01&to=2020-02-29&zone=Europe/Berlin").await.json();
    assert_eq!(empty["from"], "2019-12-31T23:00:00Z");
    assert_eq!(empty["until"], "2020-02-29T23:00:00Z", "the last day is included");
    assert_eq!((&empty["time_zone"], &empty["lines"]), (&json!("Europe/Berlin"), &json!([])));
}
