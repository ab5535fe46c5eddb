//! `pannier models`: the weights that speech is listened to with.

use super::house::wait_for;
use crate::app::models::{pull, shelf};
use crate::config::Config;
use crate::media::voice::{Shelf, Weights, forget_part, kept_of, part_of};
use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The models that are here, and those that can be fetched
    List,
    /// Fetch models: tiny, base, small, medium, large, turbo, or one of `list`
    Pull {
        #[arg(required = true)]
        names: Vec<String>,
        /// From where: an address, or a folder with the files [audio.mirror]
        #[arg(long, value_name = "URL|FOLDER")]
        from: Option<String>,
    },
    /// Remove models
    #[command(visible_alias = "rm")]
    Remove {
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// Between two figures where nobody watches a bar.
const TELL_EVERY: Duration = Duration::from_secs(5);

impl Options {
    pub fn run(self, config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
        let shelf = shelf(config);
        match self.command {
            Command::List => list(&shelf, out),
            Command::Pull { names, from } => {
                let mirror = from.as_deref().unwrap_or(&config.audio.mirror);
                names.iter().try_for_each(|name| fetch(name, &shelf, mirror, out))
            }
            Command::Remove { names } => names.iter().try_for_each(|name| remove(name, &shelf, out)),
        }
    }
}

fn list(shelf: &Shelf, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut here = here(shelf)?;
    here.sort();
    for (name, bytes) in &here {
        writeln!(out, "{name:<24} {:>6} MiB  {}", bytes >> 20, shelf.path(name).display())?;
    }
    for (name, path) in shelf.own() {
        match fs::metadata(path) {
            Ok(file) => writeln!(out, "{name:<24} {:>6} MiB  {}", file.len() >> 20, path.display())?,
            Err(error) => writeln!(out, "{name:<24}      -      {}: {error}", path.display())?,
        }
    }
    for weights in Weights::all().filter(|weights| here.iter().all(|(name, _)| name != weights.name)) {
        writeln!(out, "{:<24}      -      can be fetched", weights.exact_name())?;
    }
    Ok(())
}

/// Names and sizes of the files that are there.
fn here(shelf: &Shelf) -> anyhow::Result<Vec<(String, u64)>> {
    let entries = match fs::read_dir(shelf.dir()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(shelf.dir().display().to_string()),
    };
    let mut here = Vec::new();
    for entry in entries {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        if let Some(name) = file.strip_prefix("ggml-").and_then(|file| file.strip_suffix(".bin")) {
            here.push((name.to_owned(), entry.metadata()?.len()));
        }
    }
    Ok(here)
}

fn fetch(name: &str, shelf: &Shelf, mirror: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    let weights = named(name, shelf)?;
    let path = shelf.path(weights.name);
    if path.is_file() {
        writeln!(out, "{} is there: {}", weights.name, path.display())?;
        return Ok(());
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
    {
        bar.set_style(style);
    }
    bar.set_message(weights.name);
    let (is_watched, mut told_at) = (std::io::stderr().is_terminal(), std::time::Instant::now());
    let told = |have: u64, of: Option<u64>| {
        bar.set_length(of.unwrap_or(have));
        bar.set_position(have);
        if !is_watched && told_at.elapsed() >= TELL_EVERY {
            told_at = std::time::Instant::now();
            eprintln!("{}: {} of {} MiB", weights.name, have >> 20, of.unwrap_or(have) >> 20);
        }
    };
    let pulled = wait_for(async { Ok(pull(weights, shelf, mirror, told).await) })?;
    bar.finish_and_clear();
    let path = pulled.map_err(|error| {
        let kept = if kept_of(&path) > 0 { "what has come is kept: call it again to go on; " } else { "" };
        let by_hand = format!("or put it there yourself as {}, or name a folder (--from)", path.display());
        anyhow!("{} from {mirror}: {}; {kept}{by_hand}", weights.name, error.message)
    })?;
    writeln!(out, "{} is there: {}", weights.name, path.display())?;
    Ok(())
}

/// The one that is called so, or else the only one that is meant by it. What lies elsewhere is the operator's, and
/// stays.
fn remove(name: &str, shelf: &Shelf, out: &mut dyn Write) -> anyhow::Result<()> {
    let is_there = |path: &PathBuf| path.is_file() || part_of(path).is_file();
    let exact = shelf.exactly(name).with_context(|| format!("{name} is no name of a model"))?;
    let path = if is_there(&exact) {
        exact
    } else {
        let meant = shelf.name_of(Some(name)).map(|meant| shelf.paths(&meant)).unwrap_or_default();
        let there: Vec<PathBuf> = meant.into_iter().filter(is_there).collect();
        match <[PathBuf; 1]>::try_from(there) {
            Ok([path]) => path,
            Err(none) if none.is_empty() => bail!("{name} is not in {}", shelf.dir().display()),
            Err(several) => {
                let files: Vec<_> = several.iter().filter_map(|path| path.file_name()?.to_str()).collect();
                bail!("{name} may be any of {}: say which", files.join(", "));
            }
        }
    };
    let context = || path.display().to_string();
    forget_part(&path).with_context(context)?;
    if path.is_file() {
        fs::remove_file(&path).with_context(context)?;
    }
    writeln!(out, "removed {}", path.display())?;
    Ok(())
}

fn named(name: &str, shelf: &Shelf) -> anyhow::Result<Weights> {
    let known = shelf.name_of(Some(name)).and_then(|name| Weights::of(&name));
    known.with_context(|| {
        format!("there is no model {name} to be fetched; `pannier models list` names those that are")
    })
}
