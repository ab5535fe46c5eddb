//! Prices that are set while Pannier runs: over the admin routes, from the command line, and from replica to replica.

mod files;
mod replicas;
mod routes;

use crate::ask::command;
use crate::stage::*;
use serde_json::Value;

const PRICING: &str = "/api/admin/costs/pricing";

/// One before an upstream that nobody asks, and its settings.
async fn launched(settings: &str) -> (Upstream, Pannier) {
    let upstream = Upstream::start().await;
    let pannier =
        Launch::before(&upstream).file(settings).set("cache.database.enabled", "false").start().await;
    (upstream, pannier)
}

/// Asks with the admin key, in the body's own words.
async fn house(pannier: &Pannier, method: &str, target: &str, body: &str) -> Reply {
    let ask = Ask::new(method, target);
    pannier.administer(if body.is_empty() { ask } else { ask.bytes(body) }).await
}

/// All prices, as they are told.
async fn pricing(pannier: &Pannier) -> Value {
    house(pannier, "GET", PRICING, "").await.fine().json()
}

/// Those of the database.
async fn stored(pannier: &Pannier) -> Vec<Value> {
    let told = pricing(pannier).await;
    let prices = told["prices"].as_array().expect("prices");
    prices.iter().filter(|price| price["origin"] == "store").cloned().collect()
}

/// What a command of `pannier prices` tells that must work.
async fn told(pannier: &Pannier, arguments: &[&str]) -> String {
    let (code, told, said) = command(pannier, &[&["prices"], arguments].concat()).await;
    assert_eq!(code, 0, "{arguments:?}: {said}");
    told
}

/// What one says that must not.
async fn refused(pannier: &Pannier, arguments: &[&str]) -> String {
    let (code, _, said) = command(pannier, &[&["prices"], arguments].concat()).await;
    assert_eq!(code, 1, "{arguments:?}: {said}");
    said
}
