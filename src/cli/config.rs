//! `pannier config`

use crate::config::{self, Sources};
use clap::Args;
use std::io::Write;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// As one JSON object
    #[arg(long)]
    json: bool,
    /// Print the built-in default file instead: every setting, with its meaning
    #[arg(long, conflicts_with = "json")]
    default: bool,
    /// Print the reference page docs/configuration.md instead
    #[arg(long, conflicts_with_all = ["json", "default"])]
    docs: bool,
}

impl Options {
    pub(super) fn run(self, sources: &Sources, out: &mut dyn Write) -> anyhow::Result<()> {
        if self.default {
            write!(out, "{}", config::DEFAULT)?;
        } else if self.docs {
            write!(out, "{}", config::document())?;
        } else if self.json {
            writeln!(out, "{:#}", super::load(sources)?.as_json())?;
        } else {
            write!(out, "{}", super::load(sources)?.as_text())?;
        }
        Ok(())
    }
}
