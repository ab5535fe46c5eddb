//! `pannier usage` and `pannier costs`: who used how much, and what it cost.

use super::format::LineFormat;
use super::house::{House, HouseKey, escaped, wait_for};
use crate::config::Config;
use crate::domain::Hidden;
use bytes::Bytes;
use clap::Args;
use http::Method;
use std::io::{IsTerminal, Write};
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct Usage {
    #[command(flatten)]
    options: Options,
    /// One line a request (CSV, or JSON), as far back as rows are kept
    #[arg(long, conflicts_with_all = ["by", "watch"])]
    requests: bool,
}

#[derive(Debug, Args)]
pub(super) struct Options {
    /// What lines are told apart by: any of key, team, model, endpoint, and one of hour, day, week, month
    #[arg(long, value_name = "WHAT,…", default_value = "key,model")]
    by: String,
    /// today, yesterday, week, month, quarter or year; last-week and so on [default: month]
    #[arg(long, conflicts_with_all = ["from", "to"])]
    period: Option<String>,
    /// A day (2026-11-30), a moment (2026-11-30T12:00:00Z), or how long ago (7d)
    #[arg(long, value_name = "WHEN")]
    from: Option<String>,
    /// The same; a day is included
    #[arg(long, value_name = "WHEN")]
    to: Option<String>,
    /// Whose days are meant, as in Europe/Berlin [default: reports.time_zone]
    #[arg(long)]
    zone: Option<String>,
    /// Only this key
    #[arg(long)]
    key: Option<String>,
    /// Only this team
    #[arg(long)]
    team: Option<String>,
    /// Only this model, by its full name
    #[arg(long)]
    model: Option<String>,
    /// Only this route, as in /api/chat
    #[arg(long)]
    endpoint: Option<String>,
    /// How to show it
    #[arg(long, value_enum, default_value_t = LineFormat::Table)]
    format: LineFormat,
    /// Show it again every two seconds
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    house_key: HouseKey,
    /// An API key, in place of the admin key: only what it has used itself is told
    #[arg(long, value_name = "KEY")]
    api_key: Option<Hidden>,
}

const AGAIN: Duration = Duration::from_secs(2);
/// To the upper left corner, and away with what stands below.
const CLEAR: &str = "\x1b[H\x1b[2J";

impl Usage {
    pub fn run(self, config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
        let path = if self.requests { "/usage/requests" } else { "/usage" };
        self.options.run(path, config, out)
    }
}

impl Options {
    /// What the route at `path` tells, as it comes.
    pub fn run(self, path: &str, config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
        let target = self.target(path);
        let house = match self.api_key {
            Some(key) => House::of_clients(config, Some(key))?,
            None => House::of(config, self.house_key)?,
        };
        wait_for(async {
            loop {
                let answer = house.ask(Method::GET, &target, Bytes::new()).await?;
                if self.watch && std::io::stdout().is_terminal() {
                    out.write_all(CLEAR.as_bytes())?;
                }
                // Tables and JSON say so themselves.
                if let (LineFormat::Csv, Some(told)) = (self.format, answer.field("x-pannier-told")) {
                    eprintln!("of the time that was asked for sums have gone; this is {told}");
                }
                answer.copy(out).await?;
                if !self.watch {
                    return Ok(());
                }
                tokio::time::sleep(AGAIN).await;
            }
        })
    }

    fn target(&self, path: &str) -> String {
        let pairs = [
            ("by", Some(self.by.as_str())),
            ("period", self.period.as_deref()),
            ("from", self.from.as_deref()),
            ("to", self.to.as_deref()),
            ("zone", self.zone.as_deref()),
            ("key", self.key.as_deref()),
            ("team", self.team.as_deref()),
            ("model", self.model.as_deref()),
            ("endpoint", self.endpoint.as_deref()),
            ("format", Some(self.format.name())),
        ];
        let pairs = pairs.iter().filter_map(|(name, value)| Some(format!("{name}={}", escaped((*value)?))));
        format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
    }
}
