//! `pannier cache explain`: why a request would be a miss, or would not.

use super::{Format, cell, write_json};
use crate::cli::house::House;
use crate::cli::table::{self, Lean};
use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};
use std::io::{Read, Write};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The request's body; `-`, or nothing, for standard input
    file: Option<PathBuf>,
    /// The request's body, in place of a file
    #[arg(long, value_name = "JSON", conflicts_with = "file")]
    data: Option<String>,
    /// What is asked: /api/chat, /v1/embeddings …
    #[arg(long)]
    path: String,
    /// A field of the request's head, as in 'Cache-Control: no-cache'
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    #[command(flatten)]
    who: Who,
}

/// As whom.
#[derive(Debug, Args)]
pub(super) struct Who {
    /// As the owner of the key of this name; without, and without a team, as whoever has none
    #[arg(long, value_name = "NAME")]
    key_name: Option<String>,
    /// As somebody of this team
    #[arg(long)]
    team: Option<String>,
}

/// Letters of a value that have room in a table.
const ROOM: usize = 60;

impl Who {
    pub(super) fn say(&self, order: &mut Map<String, Value>) {
        for (name, value) in [("key_name", &self.key_name), ("team", &self.team)] {
            if let Some(value) = value {
                order.insert(name.to_owned(), json!(value));
            }
        }
    }
}

impl Options {
    pub(super) async fn run(self, house: &House, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
        let body = match self.data {
            Some(data) => data,
            None => read(self.file.as_ref())?,
        };
        let headers: Map<String, Value> =
            self.headers.into_iter().map(|(name, value)| (name, json!(value))).collect();
        // As a text, so that every byte of it arrives.
        let order = json!({"path": self.path, "body": body, "headers": headers});
        let Value::Object(mut order) = order else { return Ok(()) };
        self.who.say(&mut order);
        let order = Bytes::from(Value::Object(order).to_string());
        let told = house.ask(Method::POST, "/admin/cache/explain", order).await?.json().await?;
        match format {
            Format::Json => write_json(out, &told),
            Format::Table => Ok(write(out, &told)?),
        }
    }
}

/// A file, or standard input.
pub(super) fn read(file: Option<&PathBuf>) -> anyhow::Result<String> {
    match file.filter(|file| file.as_os_str() != "-") {
        Some(file) => {
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
        }
        None => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
            Ok(text)
        }
    }
}

fn header(written: &str) -> Result<(String, String), String> {
    let (name, value) = written.split_once(':').ok_or("a field has a name, a colon and a value")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn write(out: &mut dyn Write, told: &Value) -> std::io::Result<()> {
    let text = |name: &str| cell(&told[name]);
    for (nth, why) in told["because"].as_array().into_iter().flatten().enumerate() {
        let verdict = if nth == 0 { format!("{}:", text("verdict")) } else { String::new() };
        writeln!(out, "{verdict:<10}{}", cell(why))?;
    }
    let mode = if told["streamed"] == true { "streamed" } else { "whole" };
    let (route, consumer, team, scope) = (text("route"), text("consumer"), text("team"), text("scope"));
    writeln!(out, "\nrequest   {route}, {mode}, of {consumer} in team {team} (scope {scope})")?;
    let model = &told["model"];
    let upstream = text("upstream");
    match model.is_object() {
        true => {
            let [name, digest, version] = ["name", "digest", "version"].map(|name| cell(&model[name]));
            let digest = digest.chars().take(12).collect::<String>();
            writeln!(out, "model     {name}, digest {digest}, of Ollama {version} at {upstream}")?;
        }
        false => writeln!(out, "model     not known at {upstream}")?,
    }
    if let Some(key) = told["key"].as_str() {
        writeln!(out, "key       {key}")?;
    }
    let policy = &told["policy"];
    match policy["bypass"].as_str() {
        Some(why) => writeln!(out, "policy    past the cache: {why}")?,
        None => writeln!(out, "policy    kept for {} s, up to {}", cell(&policy["ttl"]), size(policy))?,
    }
    if let (None, Some(why)) = (policy["bypass"].as_str(), told["reason"].as_str()) {
        writeln!(out, "reason    {why}")?;
    }
    if policy["rule"].is_object() {
        let [number, says] = ["number", "says"].map(|name| cell(&policy["rule"][name]));
        writeln!(out, "rule      {number} of cache.rules: {says}")?;
    }
    let directives = policy["directives"].as_array().into_iter().flatten().map(cell).collect::<Vec<_>>();
    if !directives.is_empty() {
        writeln!(out, "it says   {}", directives.join(", "))?;
    }
    fields(out, told)?;
    tiers(out, told)?;
    nearest(out, &told["nearest"])
}

fn size(policy: &Value) -> String {
    table::bytes(policy["max_entry"].as_u64().unwrap_or(0))
}

fn fields(out: &mut dyn Write, told: &Value) -> std::io::Result<()> {
    let rows = |name: &str| told[name].as_array().cloned().unwrap_or_default();
    let counted: Vec<[String; 3]> = rows("counted")
        .iter()
        .map(|field| {
            let unknown = if field["unknown"] == true { " (of no known meaning)" } else { "" };
            [cell(&field["path"]) + unknown, cut(&field["value"]), cell(&field["hash"])]
        })
        .collect();
    let left_out: Vec<[String; 2]> =
        rows("left_out").iter().map(|left| [cell(&left["field"]), cell(&left["why"])]).collect();
    if !counted.is_empty() {
        writeln!(out)?;
        table::write(out, ["counts", "value", "hash"].map(|title| (title, Lean::Left)), &counted)?;
    }
    if !left_out.is_empty() {
        writeln!(out)?;
        table::write(out, ["left out", "why"].map(|title| (title, Lean::Left)), &left_out)?;
    }
    Ok(())
}

fn tiers(out: &mut dyn Write, told: &Value) -> std::io::Result<()> {
    let rows: Vec<[String; 5]> = told["tiers"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|says| ["tier", "says", "known", "age", "ttl"].map(|name| some(&says[name])))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let (left, right) = (Lean::Left, Lean::Right);
    let head = [("tier", left), ("says", left), ("texts", right), ("age, s", right), ("ttl, s", right)];
    table::write(out, head, &rows)
}

fn nearest(out: &mut dyn Write, nearest: &Value) -> std::io::Result<()> {
    let entry = &nearest["entry"];
    if !entry.is_object() {
        return Ok(());
    }
    let [tier, route, age] = ["tier", "route", "age"].map(|name| cell(&entry[name]));
    let (of, equal) = (cell(&nearest["looked_at"]), cell(&entry["equal"]));
    writeln!(out, "\nnearest of {of}: {route}, in {tier} for {age} s, the same in {equal} places")?;
    let rows: Vec<[String; 3]> = entry["differs"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|differs| [cell(&differs["field"]), cut(&differs["here"]), cut(&differs["there"])])
        .collect();
    table::write(out, ["differs", "here", "there"].map(|title| (title, Lean::Left)), &rows)
}

fn some(value: &Value) -> String {
    if value.is_null() { "-".to_owned() } else { cell(value) }
}

fn cut(value: &Value) -> String {
    let text = some(value);
    match text.char_indices().nth(ROOM) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
