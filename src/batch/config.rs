//! How texts are dealt out.

use serde::Deserialize;

/// `[embeddings]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Calls at a time at each upstream. Never zero.
    pub workers: usize,
    /// Texts a call. Never zero.
    pub batch: usize,
    /// Texts in one `POST /embeddings/batch`, at the most.
    pub max_texts: usize,
    pub shorten: Shorten,
}

/// Whether a vector with fewer `dimensions` is made from a remembered whole one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shorten {
    /// Where it is known to come out bit for bit as Ollama makes it: on x86-64.
    Auto,
    On,
    Off,
}

impl Shorten {
    pub fn holds(self) -> bool {
        match self {
            Shorten::Auto => cfg!(target_arch = "x86_64"),
            Shorten::On => true,
            Shorten::Off => false,
        }
    }
}
