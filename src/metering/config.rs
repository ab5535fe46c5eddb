//! What requests cost, and how the books are kept, as it is written in the settings.

use crate::domain::{Money, units};
use serde::Deserialize;
use serde::de::{self, Deserializer};
use std::time::{Duration, SystemTime};

/// `[prices]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceConfig {
    pub currency: String,
    /// The prices that Pannier brings along hold where nothing else does.
    pub builtin: bool,
    pub unknown: Unknown,
    /// What an answer costs that the cache gave.
    #[serde(deserialize_with = "money")]
    pub hit: Money,
    pub models: Vec<PriceEntry>,
}

/// What becomes of a request for a model that has no price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// It is answered, and counted as having no known cost.
    Unpriced,
    /// It is answered, and costs nothing.
    Free,
    /// It is refused.
    Reject,
}

/// What models cost from some moment on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceEntry {
    /// A name, or a pattern with `*` and `?`.
    pub model: String,
    /// How many tokens the prices of tokens are for.
    #[serde(default)]
    pub per: Per,
    #[serde(default, deserialize_with = "money")]
    pub prompt: Money,
    #[serde(default, deserialize_with = "some_money")]
    pub cached_prompt: Option<Money>,
    #[serde(default, deserialize_with = "money")]
    pub completion: Money,
    #[serde(default, deserialize_with = "some_money")]
    pub embedding: Option<Money>,
    #[serde(default, deserialize_with = "money")]
    pub image: Money,
    #[serde(default, deserialize_with = "money")]
    pub audio_second: Money,
    #[serde(default, deserialize_with = "money")]
    pub gpu_second: Money,
    /// That of `[prices]`, where it is not said.
    #[serde(default)]
    pub currency: Option<String>,
    /// Since ever, where it is not said.
    #[serde(default = "ever", deserialize_with = "moment")]
    pub from: SystemTime,
}

/// How many tokens a price is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum Per {
    #[serde(rename = "1K", alias = "1k", alias = "1000")]
    Thousand,
    #[default]
    #[serde(rename = "1M", alias = "1m", alias = "1000000")]
    Million,
}

impl PriceEntry {
    /// Costs nothing, since ever.
    pub fn free(model: &str) -> Self {
        PriceEntry {
            model: model.to_owned(),
            per: Per::default(),
            prompt: Money::ZERO,
            cached_prompt: None,
            completion: Money::ZERO,
            embedding: None,
            image: Money::ZERO,
            audio_second: Money::ZERO,
            gpu_second: Money::ZERO,
            currency: None,
            from: ever(),
        }
    }
}

fn ever() -> SystemTime {
    SystemTime::UNIX_EPOCH
}

/// A decimal number in a text: as a number of TOML's own it would pass through a float.
pub fn money<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Money, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

fn some_money<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Money>, D::Error> {
    money(deserializer).map(Some)
}

fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    instant(&String::deserialize(deserializer)?)
        .ok_or_else(|| de::Error::custom("expected a date like 2026-01-31 or 2026-01-31T12:00:00Z"))
}

/// `2026-01-31`, `2026-01-31 12:00:00` or `2026-01-31T12:00:00Z`; always UTC.
pub fn instant(text: &str) -> Option<SystemTime> {
    let day = format!("{text}T00:00:00Z");
    let text = if text.len() == "2026-01-31".len() { &day } else { text };
    humantime::parse_rfc3339_weak(text).ok()
}

/// `[ledger]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerConfig {
    pub enabled: bool,
    #[serde(deserialize_with = "sync")]
    pub fsync: Sync,
    #[serde(deserialize_with = "units::size")]
    pub max_spool: usize,
    pub when_full: WhenFull,
    pub hit_rows_per_second: u32,
}

/// When what is in the spool is made safe from a power cut. From the death of the process it always is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Before the answer's last byte leaves.
    Each,
    /// All that has come meanwhile, so often.
    Every(Duration),
}

/// What becomes of requests while no more can be written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    /// They are answered, and missing from the books; a figure says how many.
    Continue,
    /// They are refused.
    Refuse,
}

fn sync<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Sync, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "each" {
        return Ok(Sync::Each);
    }
    match humantime::parse_duration(&text) {
        Ok(every) if !every.is_zero() && every <= Duration::from_secs(60) => Ok(Sync::Every(every)),
        _ => Err(de::Error::custom("expected \"each\", or a time up to a minute like \"100ms\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Written {
        models: Vec<PriceEntry>,
    }

    fn entry(text: &str) -> Result<PriceEntry, String> {
        let written: Result<Written, _> = toml::from_str(&format!("models = [{{ {text} }}]"));
        written.map(|mut written| written.models.remove(0)).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_price_is_read() {
        let entry = entry(r#"model = "llama3*", prompt = "0.15", per = "1K", from = "2026-01-31""#).unwrap();
        assert_eq!((entry.per, entry.prompt.to_string().as_str()), (Per::Thousand, "0.15"));
        let day = humantime::parse_rfc3339("2026-01-31T00:00:00Z").unwrap();
        assert_eq!((entry.from, entry.cached_prompt), (day, None));
    }

    #[test]
    fn what_is_wrong_says_so() {
        for (text, said) in [
            (r#"model = "a", prompt = "-1""#, "not an amount"),
            (r#"model = "a", prompt = 0.1"#, "string"),
            (r#"model = "a", from = "yesterday""#, "expected a date"),
            (r#"model = "a", per = "12""#, "unknown variant"),
            (r#"model = "a", promt = "1""#, "unknown field"),
        ] {
            let error = entry(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
