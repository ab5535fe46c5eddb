//! `pannier prices what-if` and `reprice`

use super::sheet::Sheet;
use super::{COSTS, set};
use crate::cli::format::Format;
use crate::cli::house::{House, write_json};
use crate::cli::table::{self, Lean};
use anyhow::bail;
use bytes::Bytes;
use clap::Args;
use http::Method;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct WhatIf {
    /// CSV or JSON; `-` for standard input
    file: PathBuf,
    #[command(flatten)]
    period: Period,
    /// No other price holds; without, they stand in place of what the database has of the same models
    #[arg(long)]
    only: bool,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Args)]
pub(super) struct Reprice {
    #[command(flatten)]
    period: Period,
    /// Only show the difference
    #[arg(long)]
    dry_run: bool,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Args)]
struct Period {
    /// Requests that came from this day or moment on, as in 2027-01-31 or 2027-01-31T12:00:00Z (UTC)
    #[arg(long, value_name = "WHEN", value_parser = set::moment)]
    from: String,
    /// ... until before this; without, until now
    #[arg(long, value_name = "WHEN", value_parser = set::moment)]
    to: Option<String>,
}

const HEAD: [(&str, Lean); 10] = [
    ("model", Lean::Left),
    ("requests", Lean::Right),
    ("changed", Lean::Right),
    ("left", Lean::Right),
    ("cost before", Lean::Right),
    ("after", Lean::Right),
    ("difference", Lean::Right),
    ("saved before", Lean::Right),
    ("after", Lean::Right),
    ("unpriced", Lean::Right),
];

impl WhatIf {
    pub(super) async fn run(self, house: &House, out: &mut dyn Write) -> anyhow::Result<()> {
        let sheet = Sheet::read(&self.file)?;
        let mut order = self.period.order();
        order["prices"] = json!(sheet.prices);
        order["only"] = json!(self.only);
        let told = told(house, "what-if", &order).await.map_err(|error| sheet.placed(error))?;
        show(&told, self.format, out)
    }
}

impl Reprice {
    pub(super) async fn run(self, house: &House, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut order = self.period.order();
        order["dry_run"] = json!(self.dry_run);
        show(&told(house, "reprice", &order).await?, self.format, out)
    }
}

impl Period {
    fn order(&self) -> Value {
        json!({ "from": self.from, "to": self.to })
    }
}

/// What came of it; meanwhile, how far it has come.
async fn told(house: &House, what: &str, order: &Value) -> anyhow::Result<Value> {
    let target = format!("{COSTS}/{what}");
    let mut answer = house.ask(Method::POST, &target, Bytes::from(order.to_string())).await?;
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(100));
    while let Some(line) = answer.line().await? {
        if line["done"] == true {
            bar.finish_and_clear();
            return Ok(line);
        }
        let at = line["at"].as_str().unwrap_or_default().to_owned();
        if let Some(error) = line["error"].as_str() {
            bail!("at {at}: {error}; what was done so far is done, and the rest can be done again");
        }
        bar.set_message(at);
    }
    bail!("Pannier broke off: what was done so far is done, and the rest can be done again")
}

fn show(told: &Value, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
    if format == Format::Json {
        return write_json(out, told);
    }
    let mut rows: Vec<_> = told["models"].as_array().into_iter().flatten().map(row).collect();
    let mut total = row(&told["total"]);
    total[0] = format!("all, in {}", cell(&told["currency"]));
    rows.push(total);
    Ok(table::write(out, HEAD, &rows)?)
}

fn row(model: &Value) -> [String; 10] {
    let unpriced = &model["unpriced"];
    let [cost, saved] = [&model["cost"], &model["saved"]];
    let cells = [
        &model["model"],
        &model["requests"],
        &model["changed"],
        &model["left"],
        &cost["before"],
        &cost["after"],
        &cost["difference"],
        &saved["before"],
        &saved["after"],
    ];
    let unpriced = format!("{} > {}", cell(&unpriced["before"]), cell(&unpriced["after"]));
    let mut cells = cells.into_iter().map(cell).chain([unpriced]);
    std::array::from_fn(|_| cells.next().unwrap_or_default())
}

/// A text, or a number. Requests that asked no model have no name there.
fn cell(value: &Value) -> String {
    match value.as_str() {
        Some("") => "-".to_owned(),
        Some(text) => text.to_owned(),
        None => value.to_string(),
    }
}
