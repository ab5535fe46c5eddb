//! Where a value was written, and what is wrong with it.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// Line and column count from one; the column in characters.
    File {
        path: PathBuf,
        line: usize,
        column: usize,
    },
    /// The variable's name.
    Environment(String),
    /// The flag as it is written, with its dashes.
    Flag(&'static str),
}

/// One thing that is wrong. Never shows a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// A file with line and column, a variable, a flag.
    pub place: String,
    pub message: String,
}

/// All that was found wrong at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

// === impl Origin ===

impl Origin {
    /// The place of an offset (in bytes) in a file's text.
    pub(super) fn in_file(path: &Path, text: &str, offset: usize) -> Origin {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Origin::File {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        let place = match self {
            Origin::Default => "default".to_owned(),
            Origin::File { path, line, column } => format!("{}:{line}:{column}", path.display()),
            Origin::Environment(name) => name.clone(),
            Origin::Flag(name) => (*name).to_owned(),
        };
        Problem { place, message: message.into() }
    }
}

/// As `pannier config` shows it: `default`, `pannier.toml:3`, `env OLLAMA_HOST`, `flag --listen`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line, .. } => write!(f, "{}:{line}", path.display()),
            Origin::Environment(name) => write!(f, "env {name}"),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

// === impl Problem ===

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// One a line.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}
