//! What is counted and written down: metrics, the access log, and the log of Pannier's own doings.
//!
//! Everything here is told what happened; nothing here decides. No prompt, answer, key or header value is
//! ever handed in, so that none can come out.

mod access_log;
mod buckets;
mod config;
mod counting;
mod declare;
mod exposition;
mod figures;
mod keyed;
mod line;
mod media;
mod metrics;
mod queue;
#[cfg(test)]
mod samples;
mod start;
mod tier;
mod zero;

pub use access_log::AccessLog;
pub use config::{Format, LogConfig};
pub use counting::HitHandles;
pub use exposition::Exposition;
pub use figures::{CallFigures, TierFigures};
pub use keyed::{KeyUse, Keyed};
pub use media::{PictureOutcome, RecordingOutcome};
pub use metrics::{Eviction, Held, Listener, Metrics, Sampled};
pub use start::{Log, StartError, start};
pub use tier::{TierResult, TouchOutcome, TurnOutcome, WriteLoss};

use crate::domain::{Record, Trip};
use std::sync::Arc;

/// Whoever reads what happened. Called on the way of a request: must neither wait nor fail.
pub trait RecordSink: Send + Sync {
    /// One request has ended.
    fn record(&self, record: &Record);

    /// One trip upstream has ended.
    fn trip(&self, trip: &Trip);

    /// The last byte of an answer is about to leave. Only for those who must know before the client does:
    /// the record is told again when the request has ended.
    fn settle(&self, _record: &Record) {}

    /// All of a trip's answer is there, and nobody has read its end. It is told again when the trip has ended.
    fn settle_trip(&self, _trip: &Trip) {}
}

/// All readers, each told of everything, in order. A clone is one reference more.
#[derive(Clone)]
pub struct Sinks(Arc<[Arc<dyn RecordSink>]>);

impl Sinks {
    /// They are told in the order in which they come.
    pub fn new(sinks: impl IntoIterator<Item = Arc<dyn RecordSink>>) -> Self {
        Sinks(sinks.into_iter().collect())
    }

    pub fn record(&self, record: &Record) {
        for sink in &*self.0 {
            sink.record(record);
        }
    }

    pub fn trip(&self, trip: &Trip) {
        for sink in &*self.0 {
            sink.trip(trip);
        }
    }

    pub fn settle(&self, record: &Record) {
        for sink in &*self.0 {
            sink.settle(record);
        }
    }

    pub fn settle_trip(&self, trip: &Trip) {
        for sink in &*self.0 {
            sink.settle_trip(trip);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::CacheOutcome;

    #[test]
    fn every_sink_hears_of_everything() {
        let metrics = [Arc::new(Metrics::new()), Arc::new(Metrics::new())];
        let sinks = Sinks::new(metrics.iter().map(|metrics| metrics.clone() as Arc<dyn RecordSink>));
        sinks.clone().record(&samples::record(CacheOutcome::Miss));
        sinks.trip(&samples::trip("llama3:latest"));
        for metrics in metrics {
            let (_, page) = metrics.render(Exposition::Text);
            let page = String::from_utf8(page).unwrap();
            let request = r#"pannier_http_requests_total{code="200",method="POST",route="/api/chat"} 1"#;
            assert!(page.contains(request), "{page}");
            assert!(page.contains(r#"pannier_upstream_requests_total{code="200"} 1"#), "{page}");
        }
    }
}
