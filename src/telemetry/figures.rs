//! What was counted of the cache, for those who want figures and no series.

use super::counting::had;
use super::metrics::{MEMORY, Metrics};
use crate::domain::{CacheOutcome, Operation};
use prometheus::IntCounterVec;
use prometheus::core::Collector;
use std::collections::BTreeMap;

/// What one tier had for one operation since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TierFigures {
    pub hits: u64,
    pub misses: u64,
    /// It failed, or was left out because it had failed.
    pub failed: u64,
}

/// What the whole cache had for the calls of one model and operation since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallFigures {
    pub hits: u64,
    /// Nothing was known; of these so many joined another's trip.
    pub misses: u64,
    pub joined: u64,
    pub bypassed: u64,
}

impl Metrics {
    /// By tier and operation.
    pub fn tier_figures(&self) -> BTreeMap<(String, Operation), TierFigures> {
        let mut figures: BTreeMap<_, TierFigures> = BTreeMap::new();
        for ([tier, result, operation], number) in
            series(&self.families.cache_requests, ["tier", "result", "operation"])
        {
            let Some(operation) = Operation::named(&operation) else { continue };
            let is_memory = tier == MEMORY;
            let of_tier = figures.entry((tier, operation)).or_default();
            match result.as_str() {
                "hit" => of_tier.hits += number,
                "miss" => of_tier.misses += number,
                "error" => of_tier.failed += number,
                // To the memory, that is a call for which nothing was to be looked up.
                "bypass" if !is_memory => of_tier.failed += number,
                _ => {}
            }
        }
        figures
    }

    /// Entries that had to go, by tier.
    pub fn evictions(&self) -> BTreeMap<String, u64> {
        let mut evictions = BTreeMap::new();
        for ([tier], number) in series(&self.families.cache_evictions, ["tier"]) {
            *evictions.entry(tier).or_default() += number;
        }
        evictions
    }

    /// By model and operation.
    pub fn call_figures(&self) -> BTreeMap<(String, Operation), CallFigures> {
        let mut figures: BTreeMap<_, CallFigures> = BTreeMap::new();
        for ([operation, model, result], number) in
            series(&self.families.cache_calls, ["operation", "model", "result"])
        {
            let Some(operation) = Operation::named(&operation) else { continue };
            let Some(outcome) = CacheOutcome::ALL.into_iter().find(|outcome| had(*outcome) == result) else {
                continue;
            };
            let calls = figures.entry((model, operation)).or_default();
            match outcome {
                CacheOutcome::Hit | CacheOutcome::HitBelow => calls.hits += number,
                CacheOutcome::Miss => calls.misses += number,
                CacheOutcome::Joined => {
                    calls.misses += number;
                    calls.joined += number;
                }
                CacheOutcome::Bypass => calls.bypassed += number,
            }
        }
        figures
    }
}

/// The values of these labels in each series of a family, and its number.
fn series<const N: usize>(family: &IntCounterVec, labels: [&str; N]) -> Vec<([String; N], u64)> {
    let families = family.collect();
    let metrics = families.iter().flat_map(|family| family.get_metric());
    let read = |metric: &prometheus::proto::Metric| {
        let value = |name: &str| {
            let pair = metric.get_label().iter().find(|pair| pair.name() == name);
            pair.map_or_else(String::new, |pair| pair.value().to_owned())
        };
        (labels.map(value), metric.get_counter().get_value() as u64)
    };
    metrics.map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{call, record};
    use super::super::{RecordSink, TierResult};
    use super::*;

    #[test]
    fn figures_are_what_was_counted() {
        let metrics = Metrics::new();
        for (outcome, times) in CacheOutcome::ALL.into_iter().zip(1..) {
            (0..times).for_each(|_| metrics.record(&record(outcome)));
        }
        let mut other = record(CacheOutcome::Miss);
        other.call = Some(call("another:latest"));
        metrics.record(&other);
        let calls = metrics.call_figures();
        // Hit 1, below 2, miss 3, joined 4, bypass 5.
        let expected = CallFigures { hits: 3, misses: 7, joined: 4, bypassed: 5 };
        assert_eq!(calls[&("llama3:latest".to_owned(), Operation::Chat)], expected);
        let expected = CallFigures { misses: 1, ..CallFigures::default() };
        assert_eq!(calls[&("another:latest".to_owned(), Operation::Chat)], expected);
        let memory = metrics.tier_figures()[&(MEMORY.to_owned(), Operation::Chat)];
        assert_eq!(memory, TierFigures { hits: 1, misses: 10, failed: 0 });
        for (result, number) in [(TierResult::Hit, 4), (TierResult::Error, 2), (TierResult::Bypass, 1)] {
            metrics.tier_asked("redis", result, Operation::Embed, number);
        }
        let redis = metrics.tier_figures()[&("redis".to_owned(), Operation::Embed)];
        assert_eq!(redis, TierFigures { hits: 4, misses: 0, failed: 3 });
    }
}
