//! The kinds that a family of metrics can be of.

use prometheus::core::Collector;
use prometheus::{
    Counter, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};

/// A kind of family, made from its declaration. What a kind has no use for is left empty there.
pub(super) trait Declare: Collector + Clone + Sized {
    fn declare(opts: Opts, labels: &[&str], buckets: &[f64]) -> Result<Self, prometheus::Error>;
}

impl Declare for IntCounter {
    fn declare(opts: Opts, _: &[&str], _: &[f64]) -> Result<Self, prometheus::Error> {
        IntCounter::with_opts(opts)
    }
}

impl Declare for IntCounterVec {
    fn declare(opts: Opts, labels: &[&str], _: &[f64]) -> Result<Self, prometheus::Error> {
        IntCounterVec::new(opts, labels)
    }
}

impl Declare for Counter {
    fn declare(opts: Opts, _: &[&str], _: &[f64]) -> Result<Self, prometheus::Error> {
        Counter::with_opts(opts)
    }
}

impl Declare for IntGauge {
    fn declare(opts: Opts, _: &[&str], _: &[f64]) -> Result<Self, prometheus::Error> {
        IntGauge::with_opts(opts)
    }
}

impl Declare for IntGaugeVec {
    fn declare(opts: Opts, labels: &[&str], _: &[f64]) -> Result<Self, prometheus::Error> {
        IntGaugeVec::new(opts, labels)
    }
}

impl Declare for HistogramVec {
    fn declare(opts: Opts, labels: &[&str], buckets: &[f64]) -> Result<Self, prometheus::Error> {
        HistogramVec::new(HistogramOpts::from(opts).buckets(buckets.to_vec()), labels)
    }
}
