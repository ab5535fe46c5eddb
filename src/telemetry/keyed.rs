//! What each key's requests came to. Told by the ledger once it has it, so that both say the same.

use super::metrics::{Metrics, OTHER};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, LabelPair, Metric, MetricFamily, MetricType};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// What some requests came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyUse {
    pub requests: i64,
    /// Tokens that trips took.
    pub input: i64,
    pub output: i64,
    /// Microseconds that the model's hardware was at work.
    pub gpu: i64,
    /// Billionths of the currency.
    pub cost: i64,
    pub saved_tokens: i64,
    pub saved_gpu: i64,
    pub saved_cost: i64,
}

/// Sums by key, as they are shown. Whole numbers; they become floats where they are read.
pub struct Keyed {
    families: Vec<Family>,
    keys: Mutex<BTreeMap<Box<str>, Sums>>,
}

/// Of one key.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    now: [i64; FIGURES],
    /// A counter never goes back: what was taken back is left out of what comes next.
    shown: [i64; FIGURES],
}

struct Family {
    desc: Desc,
    help: &'static str,
    /// The value of the label `type`, where there is one, and which figure it is.
    of: &'static [(Option<&'static str>, usize)],
    /// How many of the figure's units make one that is shown.
    unit: f64,
}

const FIGURES: usize = 8;
/// Keys that get series of their own; all others are one.
const MOST: usize = 200;
const LONGEST_NAME: usize = 128;
const MICROS: f64 = 1e6;
const NANOS: f64 = 1e9;

impl KeyUse {
    fn figures(self) -> [i64; FIGURES] {
        let KeyUse { requests, input, output, gpu, cost, saved_tokens, saved_gpu, saved_cost } = self;
        [requests, input, output, gpu, cost, saved_tokens, saved_gpu, saved_cost]
    }
}

impl Metrics {
    /// Shows what keys use, in families of their own. To be called once. `currency` is a part of names.
    pub fn keyed(&self, currency: &str) -> Arc<Keyed> {
        let keyed = Arc::new(Keyed { families: families(currency), keys: Mutex::default() });
        if let Err(error) = self.of_keys.register(Box::new(Shown(keyed.clone()))) {
            tracing::error!(%error, "what keys use is not shown");
        }
        keyed
    }
}

impl Keyed {
    /// `key` has used that much more; less where something was taken back.
    pub fn add(&self, key: &str, used: KeyUse) {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !keys.contains_key(key);
        let name = if is_new && (keys.len() >= MOST || key.len() > LONGEST_NAME) { OTHER } else { key };
        let sums = keys.entry(name.into()).or_default();
        for (at, figure) in used.figures().into_iter().enumerate() {
            sums.now[at] = sums.now[at].saturating_add(figure);
            sums.shown[at] = sums.shown[at].max(sums.now[at]);
        }
    }
}

/// As the registry wants it.
struct Shown(Arc<Keyed>);

impl Collector for Shown {
    fn desc(&self) -> Vec<&Desc> {
        self.0.families.iter().map(|family| &family.desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let keys = self.0.keys.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.0.families.iter().map(|family| family.collect(&keys)).collect()
    }
}

impl Family {
    fn collect(&self, keys: &BTreeMap<Box<str>, Sums>) -> MetricFamily {
        let series = keys.iter().flat_map(|(key, sums)| {
            self.of.iter().map(move |(kind, figure)| {
                let labels = [("key", Some(&**key)), ("type", *kind)];
                let labels = labels.into_iter().filter_map(|(name, value)| Some(label(name, value?)));
                let mut counter = Counter::default();
                counter.set_value(sums.shown[*figure] as f64 / self.unit);
                let mut metric = Metric::from_label(labels.collect());
                metric.set_counter(counter);
                metric
            })
        });
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.help.to_owned());
        family.set_field_type(MetricType::COUNTER);
        family.set_metric(series.collect());
        family
    }
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}

fn families(currency: &str) -> Vec<Family> {
    let currency: String = currency.chars().filter(char::is_ascii_alphanumeric).collect();
    let currency = currency.to_ascii_lowercase();
    let family = |name: &str, help: &'static str, of: &'static [(Option<&'static str>, usize)], unit: f64| {
        let typed = of.iter().any(|(kind, _)| kind.is_some());
        let labels = ["key", "type"].into_iter().take(if typed { 2 } else { 1 }).map(str::to_owned);
        let name = format!("pannier_key_{name}_total");
        let desc = Desc::new(name, help.to_owned(), labels.collect(), HashMap::new());
        desc.map(|desc| Family { desc, help, of, unit })
    };
    let all = [
        family("requests", "Requests in the ledger, by the key's name.", &[(None, 0)], 1.0),
        family(
            "tokens",
            "Tokens of the trips that a key pays for.",
            &[(Some("input"), 1), (Some("output"), 2)],
            1.0,
        ),
        family("gpu_seconds", "Time of the model's hardware that a key pays for.", &[(None, 3)], MICROS),
        family(&format!("cost_{currency}"), "What a key is charged.", &[(None, 4)], NANOS),
        family("saved_tokens", "Tokens that the cache and joined trips saved a key.", &[(None, 5)], 1.0),
        family(
            "saved_gpu_seconds",
            "Time of the model's hardware that a key was saved.",
            &[(None, 6)],
            MICROS,
        ),
        family(&format!("saved_cost_{currency}"), "Money that a key was saved.", &[(None, 7)], NANOS),
    ];
    all.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::super::Exposition;
    use super::*;

    fn page(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render_with_keys(Exposition::Text).1).unwrap()
    }

    #[test]
    fn what_a_key_uses_is_shown_in_base_units() {
        let metrics = Metrics::new();
        let keyed = metrics.keyed("USD");
        let used =
            KeyUse { requests: 2, input: 30, output: 4, gpu: 1_500_000, cost: 4_100, ..KeyUse::default() };
        keyed.add("alice", used);
        keyed.add("alice", KeyUse { cost: 900, saved_cost: 7, ..KeyUse::default() });
        let open = String::from_utf8(metrics.render(Exposition::Text).1).unwrap();
        assert!(!open.contains("pannier_key_") && !open.contains("alice"), "{open}");
        let page = page(&metrics);
        for line in [
            "pannier_key_requests_total{key=\"alice\"} 2",
            "pannier_key_tokens_total{key=\"alice\",type=\"input\"} 30",
            "pannier_key_tokens_total{key=\"alice\",type=\"output\"} 4",
            "pannier_key_gpu_seconds_total{key=\"alice\"} 1.5",
            "pannier_key_cost_usd_total{key=\"alice\"} 0.000005",
            "pannier_key_saved_cost_usd_total{key=\"alice\"} 0.000000007",
            "# TYPE pannier_key_cost_usd_total counter",
        ] {
            assert!(page.contains(&format!("{line}\n")), "{line} in\n{page}");
        }
    }

    #[test]
    fn a_counter_never_goes_back() {
        let metrics = Metrics::new();
        let keyed = metrics.keyed("USD");
        let saved = |tokens| KeyUse { saved_tokens: tokens, ..KeyUse::default() };
        let is = |tokens: u64| {
            let line = format!("pannier_key_saved_tokens_total{{key=\"alice\"}} {tokens}\n");
            assert!(page(&metrics).contains(&line), "{line}");
        };
        for (more, shown) in [(10, 10), (-4, 10), (3, 10), (3, 12)] {
            keyed.add("alice", saved(more));
            is(shown);
        }
    }

    #[test]
    fn a_flood_of_keys_stays_within_the_bound() {
        let metrics = Metrics::new();
        let keyed = metrics.keyed("EUR");
        for number in 0..10_000 {
            keyed.add(&format!("key {number}"), KeyUse { requests: 1, ..KeyUse::default() });
        }
        keyed.add(&"k".repeat(10_000), KeyUse { requests: 1, ..KeyUse::default() });
        let page = page(&metrics);
        let series = page.lines().filter(|line| line.starts_with("pannier_key_requests_total")).count();
        assert_eq!(series, MOST + 1);
        assert!(page.contains("pannier_key_requests_total{key=\"other\"} 9801\n"));
        assert!(page.contains("pannier_key_cost_eur_total"));
    }
}
