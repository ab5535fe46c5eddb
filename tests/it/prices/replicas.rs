//! Prices are shared by replicas, and bear that their database is away.

use super::*;
use servers::Postgres;

/// Waits until `model` has this price for a thousand tokens.
async fn until(pannier: &Pannier, model: &str, input: Option<&str>) {
    let what = format!("{model} costs {input:?}");
    eventually(&what, || async {
        let now = pricing(pannier).await["models"][model]["input"].clone();
        let now = (!now.is_null()).then(|| now.to_string());
        (now.as_deref() == input).then_some(())
    })
    .await;
}

#[tokio::test]
async fn replicas_share_their_prices() {
    let Some(mut server) = Postgres::start() else { return };
    let upstream = Upstream::start().await;
    let launch = |server: &Postgres| {
        let launch = Launch::before(&upstream).set("prices.builtin", "false");
        launch.set("cache.database.enabled", "false").set("store.database", &server.url())
    };
    let (one, other) = (launch(&server).start().await, launch(&server).start().await);
    told(&one, &["set", "llama3", "--prompt", "1"]).await;
    until(&one, "llama3", Some("0.001")).await;
    until(&other, "llama3", Some("0.001")).await;
    told(&other, &["set", "qwen", "--prompt", "2"]).await;
    told(&other, &["remove", "llama3"]).await;
    until(&one, "qwen", Some("0.002")).await;
    until(&one, "llama3", None).await;

    server.stop_immediately();
    let away = house(&one, "PUT", PRICING, r#"{"model": "a", "input_cost": 1, "output_cost": 1}"#).await;
    assert_eq!((away.status(), away.code()), (503, Some("overloaded")));
    until(&one, "qwen", Some("0.002")).await;
    // One that starts now has those of the settings, until it can read the others.
    let late = launch(&server).start().await;
    until(&late, "qwen", None).await;
    server.start_again();
    until(&late, "qwen", Some("0.002")).await;
}
