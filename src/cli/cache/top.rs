//! `pannier cache top`

use super::{Format, Which, cell, target, write_json};
use crate::cli::house::House;
use crate::cli::table::{self, Lean};
use bytes::Bytes;
use clap::Args;
use http::Method;
use serde_json::Value;
use std::io::Write;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    which: Which,
    /// Of each tier
    #[arg(long, default_value_t = 20)]
    most: u32,
}

impl Options {
    pub(super) async fn run(self, house: &House, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
        let pairs = [self.which.pairs(), vec![("most", self.most.to_string())]].concat();
        let target = target("/admin/cache/top", &pairs);
        let told = house.ask(Method::GET, &target, Bytes::new()).await?.json().await?;
        if format == Format::Json {
            return write_json(out, &told);
        }
        let rows: Vec<_> = told["tiers"].as_array().into_iter().flatten().flat_map(rows).collect();
        let left = ["tier", "prefix", "model", "team"].map(|title| (title, Lean::Left));
        let [tier, prefix, model, team] = left;
        let head =
            [tier, ("hits", Lean::Right), ("size", Lean::Right), prefix, model, team, ("key", Lean::Left)];
        Ok(table::write(out, head, &rows)?)
    }
}

/// Of one tier.
fn rows(tier: &Value) -> Vec<[String; 7]> {
    let name = cell(&tier["tier"]);
    if let Some(fault) = tier["fault"].as_str() {
        let [a, b, c, d, e] = std::array::from_fn(|_| "-".to_owned());
        return vec![[name, a, b, c, d, e, format!("not told: {fault}")]];
    }
    let row = |entry: &Value| {
        let [prefix, model, team, key] = ["prefix", "model", "team", "key"].map(|name| cell(&entry[name]));
        let size = table::bytes(entry["bytes"].as_u64().unwrap_or(0));
        [name.clone(), cell(&entry["hits"]), size, prefix, model, team, key]
    };
    tier["entries"].as_array().into_iter().flatten().map(row).collect()
}
