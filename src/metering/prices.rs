//! The price list: what holds for a model at a moment.
//!
//! Never rounds, and never guesses: a model that nothing holds for has no price.

use super::bill::TOO_MUCH;
use super::config::{Per, PriceConfig, PriceEntry, Unknown};
use super::price::Rates;
use crate::domain::Money;
use crate::store::prices::PriceRow;
use std::cmp::Reverse;
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wildmatch::WildMatch;

/// All prices, of all times.
#[derive(Debug)]
pub struct Prices {
    /// Tells this list from all others in this process; never 0.
    number: u64,
    /// Most wanted first: whoever holds and fits first, holds.
    list: Vec<Price>,
    /// Kept in the database in another currency than the books: they hold nowhere. Only a database can have any
    /// whose books were begun before they had one currency.
    idle: Vec<Price>,
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
    pub currency: Arc<str>,
    pub origin: Origin,
    /// All of it, as rows refer to it: two prices are the same when this is.
    pub version: Arc<str>,
}

/// Where a price stands. Of two that are as specific the later of these holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Pannier brought it along.
    Builtin,
    Settings,
    /// In the database.
    Store,
}

/// Why a price list is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrices {
    #[error(
        "\"{0}\" is no model's name: that is of letters, digits, any of `._@+-:/`, and `*` and `?` for what is left \
         open"
    )]
    Model(String),
    #[error("the price of \"{0}\" is too large")]
    TooLarge(String),
    #[error("an answer of the cache's cannot cost {0}")]
    Hit(Money),
    #[error("the price of \"{0}\" is in {1}, and the books are in {2}")]
    Currency(String, String, String),
}

/// What the predecessors charged, in dollars for a thousand tokens of question and of answer.
const BUILTIN: [(&str, &str, &str); 3] =
    [("llama2", "0.0001", "0.0002"), ("llama3", "0.00015", "0.0003"), ("mistral", "0.0001", "0.0002")];

static LISTS: AtomicU64 = AtomicU64::new(1);

/// Longer than any batch of requests takes to come.
const FOR_EVER: Duration = Duration::from_secs(1 << 32);
/// Letters of a pattern.
const LONGEST_PATTERN: usize = 256;

impl Prices {
    /// Those of the settings, and those that Pannier brings along.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn new(config: &PriceConfig) -> Result<Prices, InvalidPrices> {
        Prices::with(config, &[])
    }

    /// ... and those of the database.
    ///
    /// # Errors
    /// What is wrong with one of the settings.
    pub fn with(config: &PriceConfig, stored: &[PriceRow]) -> Result<Prices, InvalidPrices> {
        if config.hit >= TOO_MUCH {
            return Err(InvalidPrices::Hit(config.hit));
        }
        let currency: Arc<str> = config.currency.as_str().into();
        let own = config.models.iter().map(|entry| Price::read(entry, &currency, Origin::Settings));
        let mut list = own.collect::<Result<Vec<_>, _>>()?;
        let (in_force, idle): (Vec<_>, Vec<_>) =
            stored.iter().map(Price::stored).partition(|price| price.currency == currency);
        list.extend(in_force);
        if config.builtin {
            list.extend(builtin(&currency));
        }
        list.sort_by_key(|price| {
            Reverse((price.origin != Origin::Builtin, specificity(&price.model), price.origin, price.from))
        });
        let number = LISTS.fetch_add(1, Ordering::Relaxed);
        Ok(Prices { number, list, idle, unknown: config.unknown, hit: config.hit, currency })
    }

    /// What holds for `model` at `at`: the operator's own before those brought along, of these the most
    /// specific pattern, of that the database before the settings, and there the latest that had begun.
    pub fn find(&self, model: &str, at: SystemTime) -> Option<&Price> {
        self.list.iter().find(|price| price.from <= at && price.fits(model))
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    /// Around `at`, as far as no price begins.
    pub fn steady(&self, at: SystemTime) -> Range<SystemTime> {
        let begins = || self.list.iter().map(|price| price.from);
        let from = begins().filter(|from| *from <= at).max().unwrap_or(at.min(UNIX_EPOCH));
        let until = begins().filter(|from| *from > at).min();
        from..until.unwrap_or(at + FOR_EVER)
    }

    /// In the order in which they are asked; then those that hold nowhere.
    pub fn iter(&self) -> impl Iterator<Item = &Price> {
        self.list.iter().chain(&self.idle)
    }
}

impl Price {
    /// One that is written down, for books in `currency`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(entry: &PriceEntry, currency: &Arc<str>, origin: Origin) -> Result<Price, InvalidPrices> {
        if !is_pattern(&entry.model) {
            return Err(InvalidPrices::Model(entry.model.clone()));
        }
        if let Some(other) = entry.currency.as_deref().filter(|other| **other != **currency) {
            return Err(InvalidPrices::Currency(entry.model.clone(), other.into(), currency.to_string()));
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
        Ok(Price::new(&entry.model, entry.from, rates, currency.clone(), origin))
    }

    fn stored(row: &PriceRow) -> Price {
        let rates = Rates {
            prompt: Money::from_nanos(row.prompt),
            cached_prompt: row.cached_prompt.map(Money::from_nanos),
            completion: Money::from_nanos(row.completion),
            embedding: row.embedding.map(Money::from_nanos),
            image: Money::from_nanos(row.image),
            audio: Money::from_nanos(row.audio_second),
            gpu: Money::from_nanos(row.gpu_second),
        };
        let from = UNIX_EPOCH + Duration::from_secs(row.since.max(0).unsigned_abs());
        Price::new(&row.model, from, rates, row.currency.as_str().into(), Origin::Store)
    }

    fn new(model: &str, from: SystemTime, rates: Rates, currency: Arc<str>, origin: Origin) -> Price {
        let version = version(model, from, &rates, &currency).into();
        Price { model: model.into(), pattern: WildMatch::new(model), from, rates, currency, origin, version }
    }

    /// As the database keeps it. `changed`: milliseconds since 1970.
    pub fn row(&self, changed: i64) -> PriceRow {
        let Rates { prompt, cached_prompt, completion, embedding, image, audio, gpu } = self.rates;
        PriceRow {
            model: self.model.clone(),
            since: i64::try_from(self.since()).unwrap_or(i64::MAX),
            currency: self.currency.to_string(),
            prompt: prompt.nanos(),
            cached_prompt: cached_prompt.map(Money::nanos),
            completion: completion.nanos(),
            embedding: embedding.map(Money::nanos),
            image: image.nanos(),
            audio_second: audio.nanos(),
            gpu_second: gpu.nanos(),
            changed,
        }
    }

    /// The second since 1970 from which it holds.
    pub fn since(&self) -> u64 {
        self.from.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    /// A pattern without a tag fits a model under any tag.
    fn fits(&self, model: &str) -> bool {
        let family = || model.rsplit_once(':').is_some_and(|(family, _)| self.pattern.matches(family));
        self.pattern.matches(model) || (!self.model.contains(':') && family())
    }
}

fn is_pattern(model: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-:/*?".contains(&byte);
    // What begins with one of these would be a formula to a spreadsheet.
    let begins_well = !model.starts_with(['@', '+', '-']);
    (1..=LONGEST_PATTERN).contains(&model.len()) && begins_well && model.bytes().all(is_fit)
}

/// The predecessors' defaults were dollars; books in another currency have no use for them.
fn builtin(currency: &Arc<str>) -> Vec<Price> {
    if **currency != *"USD" {
        return Vec::new();
    }
    let million = |thousand: &str| {
        thousand.parse::<Money>().ok().and_then(|price| price.checked_mul(1_000)).unwrap_or_default()
    };
    let price = |(model, prompt, completion): (&str, &str, &str)| {
        let rates = Rates { prompt: million(prompt), completion: million(completion), ..Rates::default() };
        Price::new(model, UNIX_EPOCH, rates, currency.clone(), Origin::Builtin)
    };
    BUILTIN.into_iter().map(price).collect()
}

/// More letters that must be just so are more specific; of as many, the one with fewer gaps.
fn specificity(pattern: &str) -> (usize, std::cmp::Reverse<usize>) {
    let gaps = pattern.bytes().filter(|byte| *byte == b'*').count();
    let free = pattern.bytes().filter(|byte| matches!(byte, b'*' | b'?')).count();
    (pattern.len().saturating_sub(free), std::cmp::Reverse(gaps))
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

impl Rates {
    /// Those that a version tells.
    pub fn of_version(version: &str) -> Option<Rates> {
        let mut rates = Rates::default();
        let named = version.split_once(" from ")?.1.split(' ').filter_map(|word| word.split_once('='));
        for (name, price) in named {
            let price: Money = price.parse().ok()?;
            match name {
                "prompt" => rates.prompt = price,
                "cached_prompt" => rates.cached_prompt = Some(price),
                "completion" => rates.completion = price,
                "embedding" => rates.embedding = Some(price),
                "image" => rates.image = price,
                "audio_second" => rates.audio = price,
                "gpu_second" => rates.gpu = price,
                _ => return None,
            }
        }
        Some(rates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        assert_eq!(found(&prices, "mistral", now).unwrap(), "1.00", "one's own, however general, come first");
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

    /// As if `entries` stood in the database, and `settings` there.
    fn both(settings: Vec<PriceEntry>, entries: &[PriceEntry]) -> Prices {
        let currency = "USD".into();
        let row = |entry| Price::read(entry, &currency, Origin::Store).unwrap().row(7);
        let stored: Vec<_> = entries.iter().map(row).collect();
        let (unknown, hit) = (Unknown::Unpriced, Money::ZERO);
        let config = PriceConfig { currency: "USD".into(), builtin: true, unknown, hit, models: settings };
        Prices::with(&config, &stored).unwrap()
    }

    #[test]
    fn the_database_comes_before_the_settings_where_both_are_as_specific() {
        let of_settings = vec![entry("llama3", "1", "2026-05-01"), entry("qwen:7b", "2", "1970-01-01")];
        let prices =
            both(of_settings, &[entry("llama3", "3", "2026-03-01"), entry("qwen*", "4", "1970-01-01")]);
        assert_eq!(found(&prices, "llama3:8b", "2026-02-01").unwrap(), "0.15", "neither has begun");
        assert_eq!(found(&prices, "llama3:8b", "2026-06-01").unwrap(), "3.00");
        assert_eq!(found(&prices, "qwen:7b", "2026-06-01").unwrap(), "2.00", "what is more specific holds");
        assert_eq!(found(&prices, "qwen:1b", "2026-06-01").unwrap(), "4.00");
        let fitting = prices.iter().filter(|price| price.fits("llama3:8b"));
        let origins: Vec<_> = fitting.map(|price| price.origin).collect();
        assert_eq!(origins, [Origin::Store, Origin::Settings, Origin::Builtin]);
    }

    #[test]
    fn what_is_kept_in_another_currency_holds_nowhere() {
        let dollars = both(Vec::new(), &[entry("a", "1", "1970-01-01")]);
        let rows: Vec<_> = dollars.iter().filter(|price| price.origin == Origin::Store).collect();
        let rows: Vec<_> = rows.into_iter().map(|price| price.row(7)).collect();
        let (unknown, hit) = (Unknown::Unpriced, Money::ZERO);
        let config = PriceConfig { currency: "EUR".into(), builtin: true, unknown, hit, models: Vec::new() };
        let euros = Prices::with(&config, &rows).unwrap();
        assert!(euros.find("a", day("2026-01-01")).is_none());
        assert_eq!(euros.iter().map(|price| &*price.currency).collect::<Vec<_>>(), ["USD"]);
    }

    proptest! {
        #[test]
        fn what_is_kept_is_the_same_price(
            prices in prop::array::uniform7(0..=i64::MAX), cached: bool, embedding: bool, since in 0..=1_u64 << 40,
        ) {
            let [prompt, cached_prompt, completion, embed, image, audio, gpu] = prices.map(Money::from_nanos);
            let rates = Rates {
                prompt,
                cached_prompt: cached.then_some(cached_prompt),
                completion,
                embedding: embedding.then_some(embed),
                image,
                audio,
                gpu,
            };
            let from = UNIX_EPOCH + Duration::from_secs(since);
            let price = Price::new("m*", from, rates, "USD".into(), Origin::Store);
            let kept = Price::stored(&price.row(7));
            prop_assert_eq!(Rates::of_version(&price.version), Some(rates));
            prop_assert_eq!((kept.rates, kept.from, kept.version), (price.rates, price.from, price.version));
        }
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
        for model in ["", "two words", "a\tb", "ä", "-1", &"a".repeat(257)] {
            let nameless = PriceEntry { model: model.into(), ..entry("a", "1", "1970-01-01") };
            assert_eq!(Prices::new(&config(nameless)).unwrap_err(), InvalidPrices::Model(model.into()));
        }
    }

    #[test]
    fn a_version_tells_prices_apart() {
        let one = prices(vec![entry("a", "1", "2026-01-01"), entry("a", "1", "2026-01-02")]);
        let versions: std::collections::BTreeSet<_> = one.iter().map(|price| price.version.clone()).collect();
        assert_eq!(versions.len(), 5);
    }
}
