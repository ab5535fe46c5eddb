//! What is kept, and for how long, as configured: live.

use super::{Completions, Config, Rule};
use crate::domain::{Call, Certainty, Operation, Reason, Storable};
use std::time::Duration;
use wildmatch::WildMatch;

/// `[cache]`, ready to be asked.
#[derive(Debug, Clone)]
pub struct Policy {
    config: Config,
}

/// What holds for one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub ttl: Duration,
    pub max_entry: usize,
    /// Bytes of the largest question that is kept with its answer.
    pub max_question: usize,
}

impl Policy {
    pub fn new(config: &Config) -> Self {
        Policy { config: config.clone() }
    }

    /// The operator's salt.
    pub fn epoch(&self) -> &str {
        &self.config.epoch
    }

    /// Whether answers to `call` of `model` (by its canonical name) may be looked up and kept.
    ///
    /// # Errors
    /// Why not.
    pub fn terms(&self, call: &Call, model: &str) -> Result<Terms, Reason> {
        if !self.config.enabled {
            return Err(Reason::Off);
        }
        if let Storable::No(why) = call.storable {
            return Err(why);
        }
        let rule = self.config.rules.iter().find(|rule| rule.matches(model, call.operation));
        let completions = rule.and_then(|rule| rule.completions).unwrap_or(self.config.completions);
        let (usual, kept) = match call.operation {
            Operation::Embed => (self.config.embedding_ttl, true),
            Operation::Chat | Operation::Text => {
                let kept = match completions {
                    Completions::All => true,
                    Completions::Deterministic => call.certainty != Certainty::Sampled,
                    Completions::Off => false,
                };
                (self.config.completion_ttl, kept)
            }
        };
        let ttl = rule.and_then(|rule| rule.ttl).unwrap_or(usual);
        match (kept, completions) {
            (false, Completions::Deterministic) => Err(Reason::Temperature),
            (false, _) => Err(Reason::Off),
            (true, _) if ttl.is_zero() => Err(Reason::Ttl),
            (true, _) => {
                Ok(Terms { ttl, max_entry: self.config.max_entry, max_question: self.config.max_question })
            }
        }
    }
}

impl Rule {
    fn matches(&self, model: &str, operation: Operation) -> bool {
        self.operation.is_none_or(|wanted| wanted == operation)
            && self
                .model
                .as_deref()
                .is_none_or(|pattern| WildMatch::new_case_insensitive(pattern).matches(model))
    }
}
