//! Prices, for people and for files.

use crate::cli::format::LineFormat;
use crate::cli::house::write_json;
use crate::cli::table::{self, Lean};
use serde_json::Value;
use std::io::Write;

/// The columns of a file.
const COLUMNS: [&str; 11] = [
    "model",
    "per",
    "prompt",
    "cached_prompt",
    "completion",
    "embedding",
    "image",
    "audio_second",
    "gpu_second",
    "currency",
    "from",
];
/// Where a price stands.
const ORIGIN: &str = "origin";

const HEAD: [(&str, Lean); 11] = [
    ("model", Lean::Left),
    ("prompt/1M", Lean::Right),
    ("cached", Lean::Right),
    ("completion", Lean::Right),
    ("embedding", Lean::Right),
    ("image", Lean::Right),
    ("audio s", Lean::Right),
    ("GPU s", Lean::Right),
    ("currency", Lean::Left),
    ("from", Lean::Left),
    ("origin", Lean::Left),
];

pub(super) fn all(told: &Value, format: LineFormat, out: &mut dyn Write) -> anyhow::Result<()> {
    let prices: Vec<_> = prices(told).cloned().collect();
    match format {
        LineFormat::Json => write_json(out, told),
        LineFormat::Csv => csv(&prices, true, out),
        LineFormat::Table => Ok(table::write(out, HEAD, &prices.iter().map(row).collect::<Vec<_>>())?),
    }
}

/// Of what the house has told.
pub(super) fn prices(told: &Value) -> impl Iterator<Item = &Value> {
    told["prices"].as_array().into_iter().flatten()
}

/// A line a price, and nothing but what can be set.
pub(super) fn json(prices: &[Value], out: &mut dyn Write) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    for price in prices {
        let mut price = price.clone();
        if let Some(price) = price.as_object_mut() {
            price.remove(ORIGIN);
        }
        lines.push(price.to_string());
    }
    Ok(writeln!(out, "{{\"prices\": [\n{}\n]}}", lines.join(",\n"))?)
}

pub(super) fn csv(prices: &[Value], with_origin: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let columns = COLUMNS.into_iter().chain(with_origin.then_some(ORIGIN));
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(columns.clone())?;
    for price in prices {
        writer.write_record(columns.clone().map(|column| cell(price, column)))?;
    }
    Ok(writer.flush()?)
}

fn row(price: &Value) -> [String; 11] {
    let columns = COLUMNS.into_iter().filter(|column| *column != "per").chain([ORIGIN]);
    let mut cells = columns.map(|column| match (column, cell(price, column)) {
        ("from", "1970-01-01T00:00:00Z") => "ever".to_owned(),
        (_, "") => "-".to_owned(),
        (_, text) => text.to_owned(),
    });
    std::array::from_fn(|_| cells.next().unwrap_or_default())
}

fn cell<'a>(price: &'a Value, column: &str) -> &'a str {
    price[column].as_str().unwrap_or_default()
}
