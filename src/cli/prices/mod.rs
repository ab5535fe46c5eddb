//! `pannier prices`: what models cost, as a running Pannier has it; one file a subcommand that takes more than a line.

mod reprice;
mod set;
mod sheet;
mod show;

use super::format::LineFormat;
use super::house::{House, HouseKey, escaped, wait_for};
use crate::config::Config;
use anyhow::bail;
use bytes::Bytes;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};
use sheet::Sheet;
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    key: HouseKey,
}

#[derive(Debug, Subcommand)]
#[command(after_help = FORMS, after_long_help = FORMS)]
enum Command {
    /// All prices, in the order in which they are asked
    List {
        #[arg(long, value_enum, default_value_t = LineFormat::Table)]
        format: LineFormat,
    },
    /// What a model costs from some moment on; what is not given costs nothing
    Set(set::Options),
    /// Forget what the database has of a model
    Remove(Which),
    /// Set all prices of a file, or none
    Import(Import),
    /// Write the database's prices as a file that can be imported
    Export(Export),
    /// What a period would have cost under the prices of a file; nothing is changed
    WhatIf(reprice::WhatIf),
    /// Bill a period anew under the prices that are in force for it now
    Reprice(reprice::Reprice),
}

const FORMS: &str = "\
Files are CSV with the columns model, per, prompt, cached_prompt, completion, embedding, image,
audio_second, gpu_second, currency and from, of which only the first must be there; or JSON:
{\"prices\": [{\"model\": \"llama3*\", \"prompt\": \"0.15\", ...}]}. Amounts are decimal numbers; those
of tokens are for a million, or for a thousand where `per` is 1K. A price without `from` holds
since ever.

The database's prices come before those of the settings where both are as specific, and those
before the built-in ones. What was billed keeps its price, until `reprice` is asked for.";

/// A price in the database.
#[derive(Debug, Args)]
struct Which {
    /// As it was written: a name, or a pattern
    model: String,
    /// Only the one from this moment on; without, all of the model's
    #[arg(long, value_name = "WHEN", value_parser = set::moment)]
    from: Option<String>,
}

#[derive(Debug, Args)]
struct Import {
    /// CSV or JSON; `-` for standard input
    file: PathBuf,
    /// In place of all that the database has
    #[arg(long)]
    replace: bool,
    /// Only say what is wrong with the file
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct Export {
    /// Without, to standard output
    file: Option<PathBuf>,
    #[arg(long, value_enum)]
    format: Option<LineFormat>,
    /// With those of the settings, and the built-in ones
    #[arg(long)]
    all: bool,
}

const COSTS: &str = "/api/admin/costs";
const PRICING: &str = "/api/admin/costs/pricing";

impl Options {
    pub(super) fn run(self, config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
        let house = House::of(config, self.key)?;
        wait_for(async {
            match self.command {
                Command::List { format } => show::all(&told(&house).await?, format, out),
                Command::Set(options) => options.run(&house, out).await,
                Command::Remove(which) => which.remove(&house, out).await,
                Command::Import(options) => options.run(&house, out).await,
                Command::Export(options) => options.run(&house, out).await,
                Command::WhatIf(options) => options.run(&house, out).await,
                Command::Reprice(options) => options.run(&house, out).await,
            }
        })
    }
}

impl Which {
    async fn remove(self, house: &House, out: &mut dyn Write) -> anyhow::Result<()> {
        let from = self.from.map_or_else(String::new, |from| format!("&from={}", escaped(&from)));
        let target = format!("{PRICING}?model={}{from}", escaped(&self.model));
        say(&house.ask(Method::DELETE, &target, Bytes::new()).await?.json().await?, out)
    }
}

impl Import {
    async fn run(self, house: &House, out: &mut dyn Write) -> anyhow::Result<()> {
        let sheet = Sheet::read(&self.file)?;
        if self.dry_run {
            return Ok(writeln!(out, "{} prices, nothing wrong", sheet.prices.len())?);
        }
        let body = json!({ "prices": sheet.prices, "replace": self.replace });
        let set = house.ask(Method::PUT, PRICING, Bytes::from(body.to_string())).await;
        say(&set.map_err(|error| sheet.placed(error))?.json().await?, out)
    }
}

impl Export {
    async fn run(self, house: &House, out: &mut dyn Write) -> anyhow::Result<()> {
        let is_csv = self.file.as_ref().is_some_and(|file| file.extension().is_some_and(|end| end == "csv"));
        let format = self.format.unwrap_or(if is_csv { LineFormat::Csv } else { LineFormat::Json });
        let told = told(house).await?;
        let wanted = |price: &&Value| self.all || price["origin"] == "store";
        let prices: Vec<_> = show::prices(&told).filter(wanted).cloned().collect();
        let mut text = Vec::new();
        match format {
            LineFormat::Json => show::json(&prices, &mut text)?,
            LineFormat::Csv => show::csv(&prices, false, &mut text)?,
            LineFormat::Table => bail!("a table cannot be imported: csv or json"),
        }
        match self.file {
            Some(file) => Ok(std::fs::write(file, text)?),
            None => Ok(out.write_all(&text)?),
        }
    }
}

/// All that the house has.
async fn told(house: &House) -> anyhow::Result<Value> {
    house.ask(Method::GET, PRICING, Bytes::new()).await?.json().await
}

/// What the house says was done.
fn say(told: &Value, out: &mut dyn Write) -> anyhow::Result<()> {
    Ok(writeln!(out, "{}", told["message"].as_str().unwrap_or("done"))?)
}
