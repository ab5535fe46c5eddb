//! `pannier cache show`

use super::{Format, cell, escaped, target, write_json};
use crate::cli::house::House;
use crate::cli::table::{self, Lean};
use bytes::Bytes;
use clap::Args;
use http::Method;
use serde_json::Value;
use std::io::Write;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// As `top` and `explain` show it
    key: String,
    /// With the answer
    #[arg(long)]
    answer: bool,
}

impl Options {
    pub(super) async fn run(self, house: &House, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
        let pairs = if self.answer { vec![("answer", "true".to_owned())] } else { Vec::new() };
        let place = format!("/admin/cache/entries/{}", escaped(&self.key));
        let told = house.ask(Method::GET, &target(&place, &pairs), Bytes::new()).await?.json().await?;
        match format {
            Format::Json => write_json(out, &told),
            Format::Table => write(out, &told),
        }
    }
}

fn write(out: &mut dyn Write, told: &Value) -> anyhow::Result<()> {
    let rows: Vec<_> = told["tiers"].as_array().into_iter().flatten().map(row).collect();
    let left = ["tier", "prefix", "model", "team"].map(|title| (title, Lean::Left));
    let right = ["hits", "size", "age, s", "ttl, s"].map(|title| (title, Lean::Right));
    let ([tier, prefix, model, team], [hits, size, age, ttl]) = (left, right);
    table::write(out, [tier, hits, size, age, ttl, prefix, model, team], &rows)?;
    if let Value::Object(question) = &told["question"] {
        writeln!(out, "\nasked   {} {}", text(&question["path"]), text(&question["body"]))?;
    }
    if let Some(answer) = told.get("answer") {
        writeln!(out, "\nanswer  {}", text(answer))?;
    }
    Ok(())
}

fn row(tier: &Value) -> [String; 8] {
    let [name, hits, age, ttl] = ["tier", "hits", "age", "ttl"].map(|name| cell(&tier[name]));
    let [prefix, model, team] = ["prefix", "model", "team"].map(|name| cell(&tier[name]));
    [name, hits, table::bytes(tier["bytes"].as_u64().unwrap_or(0)), age, ttl, prefix, model, team]
}

/// For a terminal, which what somebody asked must not steer.
fn text(value: &Value) -> String {
    let shown = cell(value);
    shown
        .chars()
        .map(|letter| if letter.is_control() && letter != '\n' { '\u{fffd}' } else { letter })
        .collect()
}
