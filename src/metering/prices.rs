//! The price list: what holds for a model at a moment.
//!
//! Never rounds, and never guesses: a model that nothing holds for has no price.

use super::config::{Per, PriceConfig, PriceEntry, Unknown};
use super::price::Rates;
use crate::domain::Money;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wildmatch::WildMatch;

/// All prices, of all times.
#[derive(Debug)]
pub struct Prices {
    /// Most wanted first: whoever holds and fits first, holds.
    list: Vec<Price>,
    pub unknown: Unknown,
    /// What an answer of the cache's costs.
    pub hit: Money,
    pub currency: Arc<str>,
}

/// What models cost from some moment on.
#[derive(Debug, Clone)]
pub struct Price {
    /// As it was written.
    pub model: String,
    pattern: WildMatch,
    pub from: SystemTime,
    pub rates: Rates,
    /// Pannier brought it along.
    pub builtin: bool,
    /// All of it, as rows refer to it: two prices are the same when this is.
    pub version: Arc<str>,
}

/// Why a price list is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrices {
    #[error("the price of \"{0}\" is too large")]
    TooLarge(String),
    #[error("the price of \"{0}\" is in {1}, and the books are in {2}")]
    Currency(String, String, String),
}

/// What the predecessors charged, in dollars for a thousand tokens of question and of answer.
const BUILTIN: [(&str, &str, &str); 3] =
    [("llama2", "0.0001", "0.0002"), ("llama3", "0.00015", "0.0003"), ("mistral", "0.0001", "0.0002")];

impl Prices {
    /// # Errors
    /// What is wrong with one of them.
    pub fn new(config: &PriceConfig) -> Result<Prices, InvalidPrices> {
        let own = config.models.iter().map(|entry| Price::read(entry, &config.currency));
        let mut list = own.collect::<Result<Vec<_>, _>>()?;
        if config.builtin {
            list.extend(builtin(&config.currency));
        }
        list.sort_by_key(|price| std::cmp::Reverse((!price.builtin, specificity(&price.model), price.from)));
        Ok(Prices {
            list,
            unknown: config.unknown,
            hit: config.hit,
            currency: config.currency.as_str().into(),
        })
    }

    /// What holds for `model` at `at`: the operator's own before those brought along, of these the most
    /// specific pattern, of that the latest that had begun.
    pub fn find(&self, model: &str, at: SystemTime) -> Option<&Price> {
        self.list.iter().find(|price| price.from <= at && price.fits(model))
    }

    /// In the order in which they are asked.
    pub fn iter(&self) -> impl Iterator<Item = &Price> {
        self.list.iter()
    }
}

impl Price {
    fn read(entry: &PriceEntry, currency: &str) -> Result<Price, InvalidPrices> {
        if let Some(other) = entry.currency.as_deref().filter(|other| *other != currency) {
            return Err(InvalidPrices::Currency(entry.model.clone(), other.into(), currency.into()));
        }
        let times = if entry.per == Per::Thousand { 1_000 } else { 1 };
        let tokens = |price: Money| {
            price.checked_mul(times).ok_or_else(|| InvalidPrices::TooLarge(entry.model.clone()))
        };
        let rates = Rates {
            prompt: tokens(entry.prompt)?,
            cached_prompt: entry.cached_prompt.map(tokens).transpose()?,
            completion: tokens(entry.completion)?,
            embedding: entry.embedding.map(tokens).transpose()?,
            image: entry.image,
            audio: entry.audio_second,
            gpu: entry.gpu_second,
        };
        Ok(Price::new(&entry.model, entry.from, rates, false, currency))
    }

    fn new(model: &str, from: SystemTime, rates: Rates, builtin: bool, currency: &str) -> Price {
        let version = version(model, from, &rates, currency).into();
        Price { model: model.into(), pattern: WildMatch::new(model), from, rates, builtin, version }
    }

    /// A pattern without a tag fits a model under any tag.
    fn fits(&self, model: &str) -> bool {
        let family = || model.rsplit_once(':').is_some_and(|(family, _)| self.pattern.matches(family));
        self.pattern.matches(model) || (!self.model.contains(':') && family())
    }
}

/// The predecessors' defaults were dollars; books in another currency have no use for them.
fn builtin(currency: &str) -> Vec<Price> {
    if currency != "USD" {
        return Vec::new();
    }
    let million = |thousand: &str| {
        thousand.parse::<Money>().ok().and_then(|price| price.checked_mul(1_000)).unwrap_or_default()
    };
    let price = |(model, prompt, completion): (&str, &str, &str)| {
        let rates = Rates { prompt: million(prompt), completion: million(completion), ..Rates::default() };
        Price::new(model, UNIX_EPOCH, rates, true, currency)
    };
    BUILTIN.into_iter().map(price).collect()
}

/// More letters that must be just so are more specific; of as many, the one with fewer gaps.
fn specificity(pattern: &str) -> (usize, std::cmp::Reverse<usize>) {
    let gaps = pattern.bytes().filter(|byte| *byte == b'*').count();
    let free = pattern.bytes().filter(|byte| matches!(byte, b'*' | b'?')).count();
    (pattern.len() - free, std::cmp::Reverse(gaps))
}

fn version(model: &str, from: SystemTime, rates: &Rates, currency: &str) -> String {
    let since = from.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let mut text = format!("{model} from {}", since.as_secs());
    let said = |price: Money| (price != Money::ZERO).then_some(price);
    let named = [
        ("prompt", said(rates.prompt)),
        ("cached_prompt", rates.cached_prompt),
        ("completion", said(rates.completion)),
        ("embedding", rates.embedding),
        ("image", said(rates.image)),
        ("audio_second", said(rates.audio)),
        ("gpu_second", said(rates.gpu)),
    ];
    for (name, price) in named {
        if let Some(price) = price {
            // Writing to a string cannot fail.
            let _ = write!(text, " {name}={price}");
        }
    }
    format!("{text} {currency}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(model: &str, prompt: &str, from: &str) -> PriceEntry {
        let text = format!("model = \"{model}\"\nprompt = \"{prompt}\"\nfrom = \"{from}\"");
        toml::from_str(&text).unwrap()
    }

    fn prices(models: Vec<PriceEntry>) -> Prices {
        let (unknown, hit) = (Unknown::Unpriced, Money::ZERO);
        Prices::new(&PriceConfig { currency: "USD".into(), builtin: true, unknown, hit, models }).unwrap()
    }

    fn day(text: &str) -> SystemTime {
        humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).unwrap()
    }

    fn found(prices: &Prices, model: &str, at: &str) -> Option<String> {
        prices.find(model, day(at)).map(|price| price.rates.prompt.to_string())
    }

    #[test]
    fn the_predecessors_prices_hold_where_nothing_else_does() {
        let prices = prices(Vec::new());
        for (model, prompt, completion) in [
            ("llama2:latest", "0.10", "0.20"),
            ("llama3:8b", "0.15", "0.30"),
            ("mistral:latest", "0.10", "0.20"),
        ] {
            let rates = prices.find(model, day("2026-01-01")).unwrap().rates;
            assert_eq!(
                (rates.prompt.to_string(), rates.completion.to_string()),
                (prompt.into(), completion.into())
            );
        }
        assert!(prices.find("llama3.2:1b", day("2026-01-01")).is_none());
        assert!(prices.find("other", day("2026-01-01")).is_none());
    }

    #[test]
    fn the_most_specific_pattern_holds() {
        let ever = "1970-01-01";
        let prices = prices(vec![
            entry("*", "1", ever),
            entry("llama*", "2", ever),
            entry("llama3.2*", "3", ever),
            entry("llama3.2:1b", "4", ever),
        ]);
        let now = "2026-01-01";
        assert_eq!(found(&prices, "qwen:7b", now).unwrap(), "1.00");
        assert_eq!(found(&prices, "llama2:latest", now).unwrap(), "2.00", "one's own come first");
        assert_eq!(found(&prices, "llama3.2:3b", now).unwrap(), "3.00");
        assert_eq!(found(&prices, "llama3.2:1b", now).unwrap(), "4.00");
    }

    #[test]
    fn a_price_holds_from_its_moment_until_the_next() {
        let prices = prices(vec![
            entry("gemma", "1", "2026-01-01"),
            entry("gemma", "2", "2026-03-01"),
            entry("gemma", "3", "2026-02-01"),
        ]);
        let at = |text| found(&prices, "gemma:2b", text);
        assert_eq!(at("2025-12-31"), None);
        assert_eq!(at("2026-01-01").unwrap(), "1.00");
        assert_eq!(at("2026-02-28").unwrap(), "3.00");
        assert_eq!(at("2030-01-01").unwrap(), "2.00");
    }

    #[test]
    fn a_thousand_tokens_are_a_thousandth_of_a_million() {
        let thousand = PriceEntry { per: Per::Thousand, ..entry("a", "0.00015", "1970-01-01") };
        let million = entry("a", "0.15", "1970-01-01");
        let rates = |entry| prices(vec![entry]).find("a", day("2026-01-01")).unwrap().rates;
        assert_eq!(rates(thousand), rates(million));
    }

    #[test]
    fn what_is_no_price_is_refused() {
        let config = |entry| PriceConfig {
            currency: "USD".into(),
            builtin: false,
            unknown: Unknown::Free,
            hit: Money::ZERO,
            models: vec![entry],
        };
        let dear = PriceEntry { per: Per::Thousand, ..entry("a", "9223372036", "1970-01-01") };
        assert_eq!(Prices::new(&config(dear)).unwrap_err(), InvalidPrices::TooLarge("a".into()));
        let other = PriceEntry { currency: Some("EUR".into()), ..entry("a", "1", "1970-01-01") };
        assert!(matches!(Prices::new(&config(other)).unwrap_err(), InvalidPrices::Currency(..)));
    }

    #[test]
    fn a_version_tells_prices_apart() {
        let one = prices(vec![entry("a", "1", "2026-01-01"), entry("a", "1", "2026-01-02")]);
        let versions: std::collections::BTreeSet<_> = one.iter().map(|price| price.version.clone()).collect();
        assert_eq!(versions.len(), 5);
    }
}
