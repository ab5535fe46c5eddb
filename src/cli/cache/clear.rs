//! `pannier cache clear`

use super::{Format, Which, cell, target, write_json};
use crate::cli::house::House;
use crate::cli::table::{self, Lean};
use anyhow::{bail, ensure};
use bytes::Bytes;
use clap::Args;
use http::Method;
use serde_json::Value;
use std::io::{IsTerminal, Write};

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    which: Which,
    /// Only what is too old to be used
    #[arg(long)]
    expired: bool,
    /// Do not ask back
    #[arg(long, short)]
    yes: bool,
}

impl Options {
    pub(super) async fn run(self, house: &House, format: Format, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut pairs = self.which.pairs();
        if self.expired {
            pairs.push(("expired", "true".to_owned()));
        }
        if !self.yes && !self.expired {
            confirm(&pairs)?;
        }
        let target = target("/analytics/cache", &pairs);
        let told = house.ask(Method::DELETE, &target, Bytes::new()).await?.json().await?;
        match format {
            Format::Json => write_json(out, &told)?,
            Format::Table => {
                let rows: Vec<_> = told["tiers"].as_array().into_iter().flatten().map(row).collect();
                table::write(out, [("tier", Lean::Left), ("removed", Lean::Right)], &rows)?;
            }
        }
        ensure!(told["status"] == "success", "{}", cell(&told["message"]));
        Ok(())
    }
}

/// Asks whoever sits there; where nobody does, it must have been said beforehand.
fn confirm(pairs: &[(&'static str, String)]) -> anyhow::Result<()> {
    let named: Vec<String> = pairs.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let what = if named.is_empty() { "everything".to_owned() } else { named.join(", ") };
    if !std::io::stdin().is_terminal() {
        bail!("this removes {what} from every tier of the cache; --yes says that it is meant");
    }
    eprint!("Remove {what} from every tier of the cache? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    ensure!(matches!(answer.trim(), "y" | "Y" | "yes"), "nothing is removed");
    Ok(())
}

fn row(tier: &Value) -> [String; 2] {
    let removed =
        tier["fault"].as_str().map_or_else(|| cell(&tier["deleted"]), |fault| format!("not yet: {fault}"));
    [cell(&tier["tier"]), removed]
}
