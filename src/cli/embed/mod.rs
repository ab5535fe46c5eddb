//! `pannier embed`: a vector for each of many texts, from a running Pannier.
//!
//! Goes through the texts in windows, so that neither side ever holds all of them; what was embedded once is kept
//! there, so that whoever begins again goes on where he stopped.

mod input;
mod output;
mod window;

use super::house::{House, wait_for};
use crate::config::Config;
use crate::domain::Hidden;
use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use input::Texts;
use output::Sheet;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use window::{Fate, Question, Window};

#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub(super) struct Options {
    /// One text a line, or JSON lines with a text under `text` or `input`, and perhaps an `id`; `-`, or nothing,
    /// for standard input. Empty lines are passed over
    file: Option<PathBuf>,
    /// The model that makes the vectors
    #[arg(long, short)]
    model: String,
    /// How the texts are written; when it is not said, a first line that is a JSON object tells
    #[arg(long, value_enum)]
    input: Option<input::Kind>,
    /// How the vectors are written
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Where to, in place of standard output; an .npy goes nowhere else
    #[arg(long, short, value_name = "FILE", required_if_eq("format", "npy"))]
    output: Option<PathBuf>,
    /// Only the first so many numbers of each vector
    #[arg(long)]
    dimensions: Option<u32>,
    /// Refuse a text that is too long for the model, instead of cutting it
    #[arg(long)]
    no_truncate: bool,
    /// How long the model stays loaded afterwards, as in 10m
    #[arg(long, value_name = "TIME")]
    keep_alive: Option<String>,
    /// Texts in one request
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,
    /// The key that says who asks
    #[arg(long, value_name = "KEY", env = "PANNIER_API_KEY", hide_env_values = true)]
    api_key: Option<Hidden>,
}

const NOTES: &str = "\
A text that has no vector is named on standard error with its line, stands in the output as an
error (in an .npy as a row of NaN), and loses nothing else: the exit code is then 6.

Ctrl-C ends it with what is written so far, which is whole; the exit code is then 130. What has
been embedded is known to Pannier for as long as it keeps it (cache.embedding_ttl): the same
command again gets to where it was without asking the model.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// {"line": 1, "id": …, "embedding": […]}, a text a line
    Jsonl,
    /// line,id,error and a column a number
    Csv,
    /// float32, a row a text, for numpy.load
    Npy,
}

/// Some texts have no vector: exit code 6.
#[derive(Debug, thiserror::Error)]
#[error("{failed} of {of} texts have no vector")]
pub struct Incomplete {
    failed: u64,
    of: u64,
}

/// Ctrl-C: exit code 130.
#[derive(Debug, thiserror::Error)]
#[error("stopped; what was embedded is kept by Pannier: the same command goes on from there")]
pub struct Stopped;

/// What it came to.
#[derive(Default)]
struct Sums {
    done: u64,
    failed: u64,
    known: u64,
    /// Of those, the ones that are over.
    stale: u64,
    /// Of the model, as the first window was told it.
    digest: Option<String>,
}

impl Options {
    pub(super) fn run(self, config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
        let house = House::of_clients(config, self.api_key.clone())?;
        let texts = Texts::open(self.file.as_deref(), self.input)?;
        let mut sheet = self.sheet(out)?;
        let bar = bar(texts.lines())?;
        let (begun, mut sums) = (Instant::now(), Sums::default());
        let outcome = wait_for(async {
            tokio::select! {
                biased;
                stopped = tokio::signal::ctrl_c() => stopped.map_err(Into::into).and(Err(Stopped.into())),
                done = self.go_through(&house, texts, &mut *sheet, &bar, &mut sums) => done,
            }
        });
        bar.finish_and_clear();
        // Also what was stopped, or broke off, is a whole file.
        sheet.finish().context("cannot write the vectors")?;
        if sums.done > 0 || outcome.is_ok() {
            eprintln!("{}", sums.tell(begun.elapsed()));
        }
        outcome?;
        match sums.failed {
            0 => Ok(()),
            failed => Err(Incomplete { failed, of: sums.done }.into()),
        }
    }

    async fn go_through(
        &self,
        house: &House,
        texts: Texts,
        sheet: &mut dyn Sheet,
        bar: &ProgressBar,
        sums: &mut Sums,
    ) -> anyhow::Result<()> {
        let question = Question {
            model: &self.model,
            dimensions: self.dimensions,
            truncate: self.no_truncate.then_some(false),
            keep_alive: self.keep_alive.as_deref(),
            base64: self.format == Format::Npy,
        };
        let mut windows = texts.windows(self.window as usize);
        while let Some(rows) = windows.recv().await {
            let mut window = Window::new(rows?);
            while let Some((row, fate)) = window.next(house, &question).await? {
                sums.heed_model(window.digest())?;
                sums.done += 1;
                if let Fate::Failed { code, message } = &fate {
                    sums.failed += 1;
                    bar.suspend(|| eprintln!("line {}: {message} ({code})", row.line));
                }
                sheet.write(&row, &fate).context("cannot write the vectors")?;
                bar.inc(1);
            }
            sums.known += window.known();
            sums.stale += window.stale();
            bar.set_message(format!("{} known, {} failed", sums.known, sums.failed));
        }
        Ok(())
    }

    fn sheet<'a>(&self, out: &'a mut dyn Write) -> anyhow::Result<Box<dyn Sheet + 'a>> {
        let Some(path) = &self.output else {
            ensure!(self.format != Format::Npy, "an .npy is written to a file: --output FILE");
            return Ok(output::sheet(self.format, out));
        };
        ensure!(!self.reads(path), "{} is what is read: it would be lost", path.display());
        output::sheet_in(self.format, create(path)?)
    }

    /// Whether the texts come from the file at `path`, under whatever name.
    fn reads(&self, path: &Path) -> bool {
        let given = self.file.as_deref().filter(|file| *file != Path::new("-"));
        let file = |path: &Path| std::fs::metadata(path).ok().filter(|file| file.is_file());
        let texts = file(given.unwrap_or(Path::new("/dev/stdin")));
        texts.zip(file(path)).is_some_and(|(one, other)| (one.dev(), one.ino()) == (other.dev(), other.ino()))
    }
}

impl Sums {
    /// Vectors of two models must not stand in one file.
    fn heed_model(&mut self, digest: Option<&str>) -> anyhow::Result<()> {
        let Some(digest) = digest else { return Ok(()) };
        let first = self.digest.get_or_insert_with(|| digest.to_owned());
        ensure!(first == digest, "the model has changed meanwhile: the vectors so far are of another one");
        Ok(())
    }

    fn tell(&self, took: Duration) -> String {
        let Sums { done, failed, known, stale, .. } = self;
        let over = match stale {
            0 => String::new(),
            stale => format!(" ({stale} of them over: the upstream is down)"),
        };
        let rate = (done - failed) as f64 / took.as_secs_f64().max(1e-3);
        format!(
            "{done} texts in {:.1} s, {rate:.1} embeddings/s: {known} known before{over}, {failed} failed",
            took.as_secs_f64()
        )
    }
}

fn create(path: &Path) -> anyhow::Result<std::fs::File> {
    std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))
}

/// Shown where standard error is a terminal.
fn bar(of: Option<u64>) -> anyhow::Result<ProgressBar> {
    let (bar, template) = match of {
        Some(of) => (ProgressBar::new(of), "{bar:30} {pos}/{len}  {per_sec}, {eta} left  {msg}"),
        None => (ProgressBar::no_length(), "{spinner} {pos}  {per_sec}  {msg}"),
    };
    bar.set_style(ProgressStyle::with_template(template)?);
    Ok(bar)
}
