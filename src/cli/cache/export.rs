//! `pannier cache export`

use super::{Which, target};
use crate::cli::house::House;
use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Args;
use http::Method;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    which: Which,
    /// With the answers
    #[arg(long, conflicts_with = "requests")]
    answers: bool,
    /// Only what was asked, as `warm` takes it
    #[arg(long)]
    requests: bool,
    /// Where to write it, in place of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Options {
    pub(super) async fn run(self, house: &House, out: &mut dyn Write) -> anyhow::Result<()> {
        let mut pairs = self.which.pairs();
        if self.answers {
            pairs.push(("answer", "true".to_owned()));
        }
        let target = target("/admin/cache/export", &pairs);
        let mut answer = house.ask(Method::GET, &target, Bytes::new()).await?;
        let mut file = match &self.output {
            Some(path) => {
                let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
                Some(BufWriter::new(file))
            }
            None => None,
        };
        let out: &mut dyn Write = match &mut file {
            Some(file) => file,
            None => out,
        };
        let mut end = None;
        while let Some(line) = answer.line().await? {
            if line.get("done").is_some() {
                end = Some(line);
            } else if let Some(line) = self.written(line) {
                writeln!(out, "{line}")?;
            }
        }
        out.flush()?;
        let end = end.context("the export broke off")?;
        ensure!(
            end["done"] == true,
            "not all of it: {}",
            end["fault"].as_str().unwrap_or("it does not say why")
        );
        Ok(())
    }

    /// `None` for a request that was not kept.
    fn written(&self, entry: Value) -> Option<Value> {
        if !self.requests {
            return Some(entry);
        }
        let question = entry["question"].as_object()?;
        Some(json!({ "path": question.get("path"), "body": question.get("body"), "team": entry["team"] }))
    }
}
