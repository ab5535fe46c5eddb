//! `pannier cache warm`: answers put into the memory before anybody asks.

use super::explain::{Who, read};
use super::{Format, write_json};
use crate::cli::house::House;
use crate::cli::table::{self, Lean};
use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Args;
use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Requests, one a line: {"path": "/api/chat", "body": {…}}; `-`, or nothing, for standard input
    file: Option<PathBuf>,
    /// What the requests ask, where their lines are bodies alone
    #[arg(long)]
    path: Option<String>,
    #[command(flatten)]
    who: Who,
    /// In place of requests: so many of the entries that were used most
    #[arg(long, conflicts_with_all = ["file", "path", "key_name", "team"])]
    most: Option<u32>,
    /// ... and those of one model alone, by its full name
    #[arg(long, requires = "most")]
    model: Option<String>,
    /// Requests a second that are asked at the most; 0 for as many as may be [cache.warm.rate]
    #[arg(long)]
    rate: Option<f64>,
    /// Only say what is known
    #[arg(long)]
    dry_run: bool,
}

/// Requests that go in one order, and their bytes.
const LINES: usize = 1000;
const BYTES: usize = 8 << 20;

const COUNTS: [&str; 6] = ["known", "loaded", "asked", "unknown", "unfit", "failed"];

impl Options {
    pub(super) async fn run(self, house: &House, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
        let orders = self.orders()?;
        let all: usize = orders.iter().map(|(count, _)| count).sum();
        let bar = ProgressBar::new(all as u64);
        bar.set_style(style()?);
        let mut sums = [0; COUNTS.len()];
        let mut before = 0;
        for (count, order) in orders {
            let mut answer = house.ask(Method::POST, "/admin/cache/warm", order).await?;
            let mut done = false;
            while let Some(line) = answer.line().await? {
                done |= heed(&line, before, &bar, &mut sums);
            }
            ensure!(done, "the warming broke off");
            before += count;
        }
        bar.finish_and_clear();
        let counts = COUNTS.into_iter().zip(sums);
        match format {
            Format::Json => {
                write_json(out, &counts.map(|(name, sum)| (name.to_owned(), json!(sum))).collect())?
            }
            Format::Table => {
                let rows = [sums.map(|sum| sum.to_string())];
                table::write(out, COUNTS.map(|name| (name, Lean::Right)), &rows)?;
            }
        }
        ensure!(sums[5] == 0, "{} failed", sums[5]);
        Ok(())
    }

    /// With the number of requests in each; of the most used nobody knows it yet.
    fn orders(&self) -> anyhow::Result<Vec<(usize, Bytes)>> {
        let mut order = Map::new();
        order.insert("dry_run".into(), json!(self.dry_run));
        for (name, value) in
            [("path", json!(self.path)), ("model", json!(self.model)), ("rate", json!(self.rate))]
        {
            if !value.is_null() {
                order.insert(name.into(), value);
            }
        }
        self.who.say(&mut order);
        if let Some(most) = self.most {
            order.insert("most".into(), json!(most));
            return Ok(vec![(0, Bytes::from(Value::Object(order).to_string()))]);
        }
        let text = read(self.file.as_ref())?;
        let mut orders = Vec::new();
        let mut lines = Vec::new();
        let mut bytes = 0;
        let lines_of_text = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        for (number, line) in lines_of_text {
            let line: &RawValue =
                serde_json::from_str(line).with_context(|| format!("line {} is not JSON", number + 1))?;
            if lines.len() == LINES || bytes + line.get().len() > BYTES && !lines.is_empty() {
                orders.push((lines.len(), with_requests(&order, &lines)?));
                lines.clear();
                bytes = 0;
            }
            bytes += line.get().len();
            lines.push(line);
        }
        orders.push((lines.len(), with_requests(&order, &lines)?));
        Ok(orders)
    }
}

fn with_requests(order: &Map<String, Value>, lines: &[&RawValue]) -> anyhow::Result<Bytes> {
    let order = Value::Object(order.clone()).to_string();
    let requests = serde_json::to_string(lines)?;
    Ok(format!("{},\"requests\":{requests}}}", &order[..order.len() - 1]).into())
}

/// Takes one line of what is told in: whether it was the last.
fn heed(line: &Value, before: usize, bar: &ProgressBar, sums: &mut [u64; COUNTS.len()]) -> bool {
    if let (Some(of), Some(0)) = (line["of"].as_u64(), bar.length()) {
        bar.set_length(of);
    }
    if line["done"] == true {
        for (sum, name) in sums.iter_mut().zip(COUNTS) {
            *sum += line[name].as_u64().unwrap_or(0);
        }
        return true;
    }
    if let Some(n) = line["n"].as_u64() {
        bar.inc(1);
        if let Some(why) = line["why"].as_str() {
            let number = before as u64 + n + 1;
            bar.suspend(|| eprintln!("request {number}: {}: {why}", line["result"].as_str().unwrap_or("?")));
        }
    }
    false
}

fn style() -> anyhow::Result<ProgressStyle> {
    Ok(ProgressStyle::with_template("{bar:30} {pos}/{len}  {per_sec}, {eta} left")?)
}
