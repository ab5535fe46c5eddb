//! Keys for people. The key itself is not among what is known of it.

use super::Format;
use super::when::{Moment, shown};
use crate::cli::house::write_json;
use crate::cli::table::{self, Lean};
use serde_json::Value;
use std::io::Write;

const HEAD: [&str; 9] = ["name", "team", "start", "models", "routes", "state", "expires", "last used", "id"];

/// One that has just been made: the only time that anybody sees it.
pub(super) fn new(told: &Value, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
    if format == Format::Json {
        return write_json(out, told);
    }
    writeln!(out, "{}\n", cell(&told["key"]))?;
    rows(&[row(told)], out)?;
    Ok(writeln!(out, "\nThe key is shown this once: nobody can tell it again.")?)
}

pub(super) fn one(told: &Value, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
    match format {
        Format::Json => write_json(out, told),
        Format::Table => rows(&[row(told)], out),
    }
}

pub(super) fn all(told: &Value, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
    match format {
        Format::Json => write_json(out, told),
        Format::Table => {
            let keys: Vec<_> = told["keys"].as_array().into_iter().flatten().map(row).collect();
            rows(&keys, out)
        }
    }
}

fn rows(rows: &[[String; 9]], out: &mut dyn Write) -> anyhow::Result<()> {
    Ok(table::write(out, HEAD.map(|title| (title, Lean::Left)), rows)?)
}

fn row(key: &Value) -> [String; 9] {
    let moment = |name: &str| key[name].as_u64().map_or_else(|| "-".to_owned(), shown);
    let state = match key["origin"].as_str() {
        Some("settings") => "in the settings".to_owned(),
        _ => {
            let is_over = key["expires"].as_u64().is_some_and(|expires| Moment::now() >= Moment(expires));
            [("disabled", key["disabled"] == true), ("expired", is_over), ("admin", key["admin"] == true)]
                .into_iter()
                .filter_map(|(word, is_so)| is_so.then_some(word))
                .collect::<Vec<_>>()
                .join(", ")
        }
    };
    let state = if state.is_empty() { "good".to_owned() } else { state };
    let [name, team, start, id] = ["name", "team", "start", "id"].map(|name| cell(&key[name]));
    let patterns = |name: &str| {
        let patterns: Vec<_> = key[name].as_array().into_iter().flatten().map(cell).collect();
        if patterns.is_empty() { "all".to_owned() } else { patterns.join(", ") }
    };
    let (models, routes) = (patterns("models"), patterns("routes"));
    [name, team, start, models, routes, state, moment("expires"), moment("last_used"), id]
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        value => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
    }
}
