//! Models without a price: their trips are counted, and each of them is named in the log once.

use crate::store::ledger::{Batch, Figure, Period};
use crate::telemetry::Metrics;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is known of them since the start.
pub struct Unpriced {
    metrics: Arc<Metrics>,
    named: Once,
}

/// Names that the log tells, each once.
#[derive(Default)]
pub(super) struct Once(Mutex<HashSet<Box<str>>>);

/// Names that are told.
const MOST: usize = 1_000;
/// All models that the upstream does not list: clients can make up any number of names.
const OTHER: &str = "other";

impl Unpriced {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Unpriced { metrics, named: Once::default() }
    }

    /// How many have been named.
    pub fn named(&self) -> usize {
        self.named.count()
    }

    /// This batch is in the database.
    pub fn heed(&self, batch: &Batch) {
        for ((model, is_listed), trips) in trips(batch) {
            self.metrics.unpriced(if is_listed { model } else { OTHER }, trips);
            if self.named.is_new(model) {
                tracing::warn!(model, "the model has no price: its requests are counted as unpriced");
            }
        }
    }
}

impl Once {
    /// Whether `name` is to be told now.
    pub fn is_new(&self, name: &str) -> bool {
        let mut told = self.told();
        !told.contains(name) && told.len() < MOST && told.insert(name.into())
    }

    pub fn count(&self) -> usize {
        self.told().len()
    }

    fn told(&self) -> MutexGuard<'_, HashSet<Box<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By model, and whether the upstream lists it, those in `batch` that had no price.
fn trips(batch: &Batch) -> BTreeMap<(&str, bool), u64> {
    let mut trips = BTreeMap::new();
    for (bucket, sums) in batch.sums.iter().filter(|(bucket, _)| bucket.period == Period::Day) {
        let Some([model, digest, ..]) = batch.subjects.get(bucket.subject) else { continue };
        if let Some(count) = u64::try_from(sums[Figure::Unpriced as usize]).ok().filter(|count| *count > 0) {
            // What is not listed has no digest.
            *trips.entry((model.as_str(), !digest.is_empty())).or_default() += count;
        }
    }
    trips
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ledger::Bucket;
    use crate::telemetry::Exposition;

    #[test]
    fn only_what_the_upstream_lists_is_a_label() {
        let metrics = Arc::new(Metrics::new());
        let unpriced = Unpriced::new(metrics.clone());
        let mut batch = Batch::default();
        for (subject, (model, digest)) in [("m", "d"), ("n", ""), ("o", "")].into_iter().enumerate() {
            batch.subjects.push([model, digest, "/api/chat", "ollama", "chat", "whole"].map(str::to_owned));
            let mut sums = [0; Figure::COUNT];
            sums[Figure::Unpriced as usize] = 1;
            batch.sums.push((Bucket::around(0, Period::Day, 0, subject), sums));
        }
        unpriced.heed(&batch);
        let page = String::from_utf8(metrics.render(Exposition::Text).1).unwrap();
        let counted: Vec<_> =
            page.lines().filter(|line| line.starts_with("pannier_ledger_unpriced")).collect();
        let family = "pannier_ledger_unpriced_trips_total";
        assert_eq!(counted, [format!("{family}{{model=\"m\"}} 1"), format!("{family}{{model=\"other\"}} 2")]);
        assert_eq!(unpriced.named(), 3, "the log tells all");
    }
}
