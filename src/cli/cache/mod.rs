//! `pannier cache`: what a running Pannier keeps, one file a subcommand.

mod clear;
mod explain;
mod export;
mod show;
mod stats;
mod top;
mod warm;

use super::format::Format;
use super::house::{House, HouseOptions, escaped, wait_for, write_json};
use crate::config::Config;
use clap::{Args, Subcommand};
use serde_json::Value;
use std::io::Write;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    house: HouseOptions,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// How many hits and misses there were, and how much is kept
    Stats,
    /// The entries that were used most often
    Top(top::Options),
    /// Why a request would be a miss, or would not: nobody is asked, and nothing counted
    Explain(explain::Options),
    /// Put answers into the memory before anybody asks
    Warm(warm::Options),
    /// One entry: what it is, what was asked, and what the answer was
    Show(show::Options),
    /// All entries, one JSON object a line
    Export(export::Options),
    /// Remove entries from every tier
    Clear(clear::Options),
}

/// Which entries are meant; what is left out matches all.
#[derive(Debug, Args)]
struct Which {
    /// embedding, inference, chat or audio
    #[arg(long)]
    prefix: Option<String>,
    /// By its full name, as in llama3:latest
    #[arg(long)]
    model: Option<String>,
    /// Of the keys of this team; whoever has none is in `default`
    #[arg(long)]
    team: Option<String>,
}

impl Options {
    pub(super) fn run(self, config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
        let format = self.house.format;
        let house = House::of(config, self.house.key)?;
        wait_for(async {
            match self.command {
                Command::Stats => stats::run(&house, format, out).await,
                Command::Top(options) => options.run(&house, format, out).await,
                Command::Explain(options) => options.run(&house, format, out).await,
                Command::Warm(options) => options.run(&house, format, out).await,
                Command::Show(options) => options.run(&house, format, out).await,
                Command::Export(options) => options.run(&house, out).await,
                Command::Clear(options) => options.run(&house, format, out).await,
            }
        })
    }
}

impl Which {
    /// As names and values of a query.
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let all = [("prefix", &self.prefix), ("model", &self.model), ("team", &self.team)];
        all.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}

/// `path` with a query.
fn target(path: &str, pairs: &[(&str, String)]) -> String {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

/// A text or a number as it stands in a cell.
fn cell(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
