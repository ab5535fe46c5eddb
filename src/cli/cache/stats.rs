//! `pannier cache stats`

use super::{Format, cell, write_json};
use crate::cli::house::House;
use crate::cli::table::{self, Lean};
use bytes::Bytes;
use http::Method;
use serde_json::Value;
use std::io::Write;

pub(super) async fn run(house: &House, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
    let told = house.ask(Method::GET, "/analytics/cache", Bytes::new()).await?.json().await?;
    let cache = &told["cache"];
    if format == Format::Json {
        return write_json(out, cache);
    }
    let numbers =
        ["hits", "misses", "rate", "evictions", "entries", "size"].map(|title| (title, Lean::Right));
    let [hits, misses, rate, evictions, entries, size] = numbers;
    let tiers: Vec<_> = list(&cache["tiers"]).map(tier).collect();
    table::write(out, [("tier", Lean::Left), hits, misses, rate, evictions, entries, size], &tiers)?;
    for (by, parts) in [("prefix", "prefixes"), ("operation", "operations"), ("model", "models")] {
        let rows: Vec<_> = list(&cache[parts]).map(|part| row(by, part)).collect();
        if !rows.is_empty() {
            writeln!(out)?;
            table::write(out, [(by, Lean::Left), hits, misses, rate, entries, size], &rows)?;
        }
    }
    Ok(())
}

fn tier(tier: &Value) -> [String; 7] {
    let [name, hits, misses, evictions] =
        ["tier", "hits", "misses", "evictions"].map(|name| cell(&tier[name]));
    let (entries, size) = match tier["fault"].as_str() {
        Some(fault) => ("-".to_owned(), fault.to_owned()),
        None => (cell(&tier["entries"]), table::bytes(tier["bytes"].as_u64().unwrap_or(0))),
    };
    [name, hits, misses, rate(tier), evictions, entries, size]
}

/// With what the tier has that has most of it.
fn row(by: &str, part: &Value) -> [String; 6] {
    let [name, hits, misses] = [by, "hits", "misses"].map(|name| cell(&part[name]));
    let most = |of: &Value| {
        let tiers = of.as_object().into_iter().flat_map(|tiers| tiers.values());
        tiers.filter_map(Value::as_u64).max().unwrap_or(0)
    };
    let (entries, bytes) = (most(&part["entries"]), most(&part["bytes"]));
    [name, hits, misses, rate(part), entries.to_string(), table::bytes(bytes)]
}

fn rate(of: &Value) -> String {
    format!("{:.1} %", of["hit_rate"].as_f64().unwrap_or(0.0))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
