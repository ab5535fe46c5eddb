//! What the past would come to under other prices, and the change of it.

use super::listener::Lasting;
use super::problem::bad;
use super::why::{NDJSON, lines};
use super::{Parts, problem};
use crate::domain::{Error, Kind, Money};
use crate::metering::{Difference, PriceEntry, Repricing, instant};
use axum::extract::{Extension, State};
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// `{"from": "2026-01-01", "to": "2026-02-01T00:00:00Z", "dry_run": true}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reprice {
    from: String,
    /// Without, until now.
    to: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// `{"from": "2026-01-01", "prices": [{"model": "llama3", "prompt": "0.20"}]}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhatIf {
    from: String,
    to: Option<String>,
    /// They stand in place of what the database has of the same models.
    prices: Vec<PriceEntry>,
    /// No other price holds.
    #[serde(default)]
    only: bool,
}

/// What is told at the end.
struct Told {
    currency: String,
    dry_run: bool,
}

/// How often it is told how far it has come.
const EVERY: Duration = Duration::from_millis(500);

/// `POST /api/admin/costs/reprice`
pub async fn reprice(
    State(parts): State<Parts>,
    lasting: Option<Extension<Lasting>>,
    written: Bytes,
) -> Response {
    let begin = || {
        let Reprice { from, to, dry_run } = read(&written)?;
        let prices = parts.prices.in_force().load_full();
        let told = Told { currency: prices.currency.to_string(), dry_run };
        Ok((parts.prices.repricing(prices, span(&from, to.as_deref())?, dry_run), told))
    };
    run(begin(), lasting).await
}

/// `POST /api/admin/costs/what-if`
pub async fn what_if(
    State(parts): State<Parts>,
    lasting: Option<Extension<Lasting>>,
    written: Bytes,
) -> Response {
    let begin = || {
        let WhatIf { from, to, prices, only } = read(&written)?;
        let prices = parts.prices.as_if(&prices, only)?;
        let told = Told { currency: prices.currency.to_string(), dry_run: true };
        Ok((parts.prices.repricing(prices.into(), span(&from, to.as_deref())?, true), told))
    };
    run(begin(), lasting).await
}

async fn run(begun: Result<(Repricing, Told), Error>, lasting: Option<Extension<Lasting>>) -> Response {
    match begun {
        Ok((repricing, told)) => lines(lasting, NDJSON, |out| Box::pin(tell(repricing, told, out))).await,
        Err(error) => problem::response(&error),
    }
}

/// Says from time to time how far it has come, and what came of it. Ends early where nobody listens any more.
async fn tell(mut repricing: Repricing, told: Told, out: mpsc::Sender<Bytes>) -> Result<(), Error> {
    let line = |value: Value| Bytes::from(format!("{value}\n"));
    let (mut told_last, mut is_silent) = (Instant::now(), true);
    loop {
        match repricing.step().await {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                let why = format!("the database cannot be used: {}", error.trouble);
                if is_silent {
                    return Err(Error::new(Kind::Overloaded, why));
                }
                let _ = out.send(line(json!({ "error": why, "at": moment(repricing.at) }))).await;
                return Ok(());
            }
        }
        if told_last.elapsed() >= EVERY {
            (told_last, is_silent) = (Instant::now(), false);
            if out.send(line(json!({ "at": moment(repricing.at) }))).await.is_err() {
                return Ok(());
            }
        }
    }
    let sum = repricing.models.values().fold(Difference::default(), |sum, model| sum.and(*model));
    if !told.dry_run {
        tracing::info!(requests = sum.requests, changed = sum.changed, "requests of the past were repriced");
    }
    let models = repricing.models.iter().map(|(model, difference)| {
        let mut shown = shown(difference);
        shown["model"] = json!(model);
        shown
    });
    let models: Vec<Value> = models.collect();
    let whole = json!({
        "done": true, "dry_run": told.dry_run, "currency": told.currency, "models": models, "total": shown(&sum),
    });
    let _ = out.send(line(whole)).await;
    Ok(())
}

fn shown(difference: &Difference) -> Value {
    let Difference { requests, changed, left, cost, saved, unpriced, unbilled } = difference;
    let money = |[before, after]: &[i64; 2]| {
        let [before, after, more] = [*before, *after, after.saturating_sub(*before)].map(Money::from_nanos);
        let [before, after, more] = [before, after, more].map(|money| money.to_string());
        json!({ "before": before, "after": after, "difference": more })
    };
    let count = |[before, after]: &[i64; 2]| json!({ "before": before, "after": after });
    json!({
        "requests": requests, "changed": changed, "left": left, "cost": money(cost), "saved": money(saved),
        "unpriced": count(unpriced), "unbilled": count(unbilled),
    })
}

/// In seconds since 1970.
fn span(from: &str, to: Option<&str>) -> Result<(u64, u64), Error> {
    let second = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let read = |name: &str, text: &str| {
        let wrong = || bad(format!("{name}: expected a date like 2026-01-31 or 2026-01-31T12:00:00Z"));
        instant(text).map(second).ok_or_else(wrong)
    };
    let from = read("from", from)?;
    // What has come in this very second, too.
    let to = to.map_or(Ok(second(SystemTime::now()) + 1), |to| read("to", to))?;
    if from > to { Err(bad("the time ends before it begins")) } else { Ok((from, to)) }
}

fn moment(second: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(second)).to_string()
}

fn read<T: DeserializeOwned>(written: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(written).map_err(|error| bad(error.to_string()))
}
