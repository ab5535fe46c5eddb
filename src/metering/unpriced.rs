//! Models without a price: their trips are counted, and each of them is named in the log once.

use crate::store::ledger::{Batch, Figure, Period};
use crate::telemetry::Metrics;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// What is known of them since the start.
pub struct Unpriced {
    metrics: Arc<Metrics>,
    named: Mutex<HashSet<Box<str>>>,
}

/// Models that are named.
const MOST: usize = 1_000;

impl Unpriced {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Unpriced { metrics, named: Mutex::default() }
    }

    /// How many have been named.
    pub fn named(&self) -> usize {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// This batch is in the database.
    pub fn heed(&self, batch: &Batch) {
        for (model, trips) in trips(batch) {
            self.metrics.unpriced(model, trips);
            let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
            if named.len() < MOST && named.insert(model.into()) {
                tracing::warn!(model, "the model has no price: its requests are counted as unpriced");
            }
        }
    }
}

/// By model, those in `batch` that had no price.
fn trips(batch: &Batch) -> BTreeMap<&str, u64> {
    let mut trips = BTreeMap::new();
    for (bucket, sums) in batch.sums.iter().filter(|(bucket, _)| bucket.period == Period::Day) {
        let Some([model, ..]) = batch.subjects.get(bucket.subject) else { continue };
        if let Some(count) = u64::try_from(sums[Figure::Unpriced as usize]).ok().filter(|count| *count > 0) {
            *trips.entry(model.as_str()).or_default() += count;
        }
    }
    trips
}
