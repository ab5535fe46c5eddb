//! What comes of the layers together.

mod defaults;
mod environment;
mod file;
mod sense;
mod shown;

use super::{Loaded, Problem, Problems, Sources};
use std::path::PathBuf;

/// A directory with one settings file in it.
struct File {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn with(text: &str) -> File {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pannier.toml");
        std::fs::write(&path, text).unwrap();
        File { _directory: directory, path }
    }

    fn load(&self) -> Result<Loaded, Problems> {
        Sources::new(Some(self.path.clone()), [], Vec::new()).load()
    }
}

fn sources(environment: &[(&str, &str)]) -> Sources {
    let owned = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Sources::new(None, owned, Vec::new())
}

fn loaded(environment: &[(&str, &str)]) -> Loaded {
    match sources(environment).load() {
        Ok(loaded) => loaded,
        Err(problems) => panic!("{problems}"),
    }
}

/// What is wrong, a problem an item, the directory taken off.
fn problems(result: Result<Loaded, Problems>) -> Vec<String> {
    let Err(Problems(problems)) = result else { panic!("nothing was found wrong") };
    let short = |problem: &Problem| match problem.to_string().rsplit_once("/pannier.toml") {
        Some((_, rest)) => format!("pannier.toml{rest}"),
        None => problem.to_string(),
    };
    problems.iter().map(short).collect()
}

fn origin(loaded: &Loaded, path: &str) -> String {
    loaded.settings.iter().find(|setting| setting.key.path() == path).unwrap().origin.to_string()
}
