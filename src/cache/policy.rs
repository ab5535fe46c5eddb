//! What is kept, and for how long, as configured: live.

use super::{Completions, Config, Rule};
use crate::domain::{Call, Certainty, Consumer, Operation, Reason, Storable};
use std::time::Duration;
use wildmatch::WildMatch;

/// `[cache]`, ready to be asked.
#[derive(Debug, Clone)]
pub struct Policy {
    config: Config,
    tells_keys_apart: bool,
}

/// A call that is to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub call: &'a Call,
    /// The model's canonical name.
    pub model: &'a str,
    /// The path of the call's route.
    pub route: &'a str,
    pub consumer: &'a Consumer,
}

/// What holds for one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub ttl: Duration,
    pub max_entry: usize,
    /// Bytes of the largest question that is kept with its answer.
    pub max_question: usize,
    /// How long after its time it may be used while the upstream is down.
    pub stale: Duration,
}

impl Policy {
    pub fn new(config: &Config) -> Self {
        // Teams share answers as well, if they are told to.
        let tells_keys_apart = config.rules.iter().any(|rule| rule.key.is_some() || rule.team.is_some());
        Policy { config: config.clone(), tells_keys_apart }
    }

    /// The operator's salt.
    pub fn epoch(&self) -> &str {
        &self.config.epoch
    }

    /// Whether anything is kept, but for what the rules say.
    pub fn is_enabled(&self) -> bool {
        self.config.enabled
    }

    /// Whether what is over may be used while the upstream is down.
    pub fn may_be_stale(&self) -> bool {
        !self.config.stale_if_error.is_zero()
    }

    /// How long after its time.
    pub fn stale_if_error(&self) -> Duration {
        self.config.stale_if_error
    }

    /// Whether a hit keeps its model warm.
    pub fn keeps_warm(&self) -> bool {
        self.config.touch_keep_alive
    }

    /// Whether two keys that share answers may be under different rules.
    pub fn tells_keys_apart(&self) -> bool {
        self.tells_keys_apart
    }

    /// The exception that holds for a call, and its number among them, from 1 on.
    pub fn rule(&self, subject: &Subject<'_>) -> Option<(usize, &Rule)> {
        (1..).zip(&self.config.rules).find(|(_, rule)| rule.matches(subject))
    }

    /// Whether answers to a call may be looked up and kept.
    ///
    /// # Errors
    /// Why not.
    pub fn terms(&self, subject: Subject<'_>) -> Result<Terms, Reason> {
        let call = subject.call;
        let rule = self.rule(&subject).map(|(_, rule)| rule);
        if !rule.and_then(|rule| rule.enabled).unwrap_or(self.config.enabled) {
            return Err(Reason::Off);
        }
        if let Storable::No(why) = call.storable {
            return Err(why);
        }
        let completions = rule.and_then(|rule| rule.completions).unwrap_or(self.config.completions);
        let (usual, kept) = match call.operation {
            Operation::Embed => (self.config.embedding_ttl, true),
            Operation::Transcribe => (self.config.transcript_ttl, true),
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
                let max_entry = rule.and_then(|rule| rule.max_entry).unwrap_or(self.config.max_entry);
                let (max_question, stale) = (self.config.max_question, self.config.stale_if_error);
                Ok(Terms { ttl, max_entry, max_question, stale })
            }
        }
    }
}

impl Rule {
    /// Whether it is this rule that keeps a call from the cache for that reason.
    pub fn decides(&self, why: Reason) -> bool {
        match why {
            Reason::Off => self.enabled.is_some() || self.completions.is_some(),
            Reason::Temperature => self.completions.is_some(),
            Reason::Ttl => self.ttl.is_some(),
            _ => false,
        }
    }

    /// About as it is written in the settings.
    pub fn words(&self) -> String {
        let Rule { model, route, key, team, operation, ttl, completions, enabled, max_entry } = self;
        let quoted = |text: &str| format!("\"{text}\"");
        let words = [
            ("model", model.as_deref().map(quoted)),
            ("route", route.as_deref().map(quoted)),
            ("key", key.as_deref().map(quoted)),
            ("team", team.as_deref().map(quoted)),
            ("operation", operation.map(|operation| quoted(operation.label()))),
            ("enabled", enabled.map(|enabled| enabled.to_string())),
            ("ttl", ttl.map(|ttl| quoted(&humantime::format_duration(ttl).to_string()))),
            ("completions", completions.map(|completions| quoted(completions.label()))),
            ("max_entry", max_entry.map(|bytes| bytes.to_string())),
        ];
        let given = words.into_iter().filter_map(|(name, value)| Some(format!("{name} = {}", value?)));
        format!("{{ {} }}", given.collect::<Vec<_>>().join(", "))
    }

    fn matches(&self, subject: &Subject<'_>) -> bool {
        let &Subject { call, model, route, consumer } = subject;
        let fits = |pattern: &Option<String>, text: &str| {
            pattern.as_deref().is_none_or(|pattern| WildMatch::new(pattern).matches(text))
        };
        self.operation.is_none_or(|wanted| wanted == call.operation)
            && fits(&self.route, route)
            && fits(&self.key, &consumer.name)
            && fits(&self.team, &consumer.team)
            && self
                .model
                .as_deref()
                .is_none_or(|pattern| WildMatch::new_case_insensitive(pattern).matches(model))
    }
}
