//! Every metric there is, and the values that are not counted from records.
//!
//! A family is one documented line below: its comment is the `HELP` text. One `Metrics` has one registry,
//! so that several servers in one process do not count into each other.

use super::buckets;
use super::declare::Declare;
use crate::domain::Route;
use prometheus::{Counter, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError, RwLock};

/// Counts what passes, and shows it.
pub struct Metrics {
    pub(super) families: Families,
    pub(super) registry: Registry,
    /// Families that tell of single keys: not for everybody.
    pub(super) of_keys: Registry,
    models: RwLock<HashSet<Box<str>>>,
    sources: Mutex<Vec<Source>>,
}

/// A gauge that nobody keeps: its value is asked for whenever the metrics are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampled {
    /// Answers in memory.
    CacheEntries,
    /// Their weight in bytes.
    CacheBytes,
    /// Trips under way.
    Flights,
    /// 1 while the upstream can be reached, else 0.
    UpstreamUp,
    /// 1 while something that Pannier depends on can be used, else 0: the label `dep`.
    DependencyUp(&'static str),
    /// How full something bounded is: the label `what` of `pannier_internal_size`.
    Size(&'static str),
}

/// Where a connection came in: the label `listener`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// The clients'.
    Data,
    /// That of the house routes.
    Admin,
}

/// Why an answer left the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eviction {
    /// Its time was over.
    Expired,
    /// Room was needed.
    Size,
    /// A newer answer took its place.
    Replaced,
    /// It was thrown out by name.
    Explicit,
}

/// One of what a gauge counts; it is one fewer when this is dropped.
#[must_use]
pub struct Held(IntGauge);

struct Source {
    gauge: IntGauge,
    read: Box<dyn Fn() -> i64 + Send + Sync>,
}

/// The one tier that there is.
pub(super) const MEMORY: &str = "memory";
/// What stands for all names beyond those that may become label values.
pub(super) const OTHER: &str = "other";
/// Models that get series of their own.
const MAX_MODELS: usize = 100;
/// Bytes of a model's name that may become a label value.
const MAX_MODEL_NAME: usize = 128;

/// Declares the families: the struct that holds them and the function that registers them.
///
/// Labels with a closed set of values stand around the free one (`model`), never two free ones side by
/// side: the registry tells series apart by the run-together text of their labels.
macro_rules! families {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty = $name:literal, $labels:expr, $buckets:expr;)+) => {
        pub(super) struct Families {
            $($(#[doc = $help])+ pub(super) $field: $kind,)+
        }

        impl Families {
            /// How many there are.
            #[cfg(test)]
            const COUNT: usize = [$($name),+].len();

            fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
                Ok(Families {
                    $($field: {
                        let help = concat!($($help),+).trim_start();
                        let family = <$kind>::declare(Opts::new($name, help), &$labels, $buckets)?;
                        registry.register(Box::new(family.clone()))?;
                        family
                    },)+
                })
            }
        }
    };
}

const NONE: &[f64] = &[];
const FLAT: [&str; 0] = [];

families! {
    /// 1; the labels say which Pannier this is.
    build_info: IntGaugeVec = "pannier_build_info", ["version", "revision", "rustc"], NONE;

    /// Requests that ended, by route template, method and the status that was sent.
    http_requests: IntCounterVec =
        "pannier_http_requests_total", ["route", "method", "code"], NONE;
    /// Time from a request's head to the last byte of its answer, by who answered.
    http_duration: HistogramVec =
        "pannier_http_request_duration_seconds", ["route", "outcome"], buckets::REQUEST;
    /// Size of request bodies.
    http_request_body: HistogramVec = "pannier_http_request_body_bytes", ["route"], buckets::BODY;
    /// Size of response bodies.
    http_response_body: HistogramVec = "pannier_http_response_body_bytes", ["route"], buckets::BODY;
    /// Requests being answered now.
    http_in_flight: IntGaugeVec = "pannier_http_requests_in_flight", ["route"], NONE;
    /// Open connections, of clients and of those who ask the house itself.
    connections: IntGaugeVec = "pannier_connections", ["listener"], NONE;
    /// Connections that were refused because one address had too many of them.
    connections_refused: IntCounterVec = "pannier_connections_refused_total", ["reason"], NONE;
    /// Answers that were Pannier's own errors, and requests whose client left, by stable code.
    errors: IntCounterVec = "pannier_errors_total", ["type"], NONE;

    /// Calls of a model, whoever answered them, by why the answer ended.
    llm_requests: IntCounterVec =
        "pannier_llm_requests_total", ["operation", "model", "dialect", "stream", "finish_reason"], NONE;
    /// Time from a trip's start to the first frame with content, where the upstream answered in frames.
    llm_first_token: HistogramVec =
        "pannier_llm_time_to_first_token_seconds", ["operation", "model"], buckets::FIRST_TOKEN;
    /// Time for each token after the first, as seen in a stream, else as the upstream tells it.
    llm_per_token: HistogramVec =
        "pannier_llm_time_per_output_token_seconds", ["model"], buckets::TOKEN;
    /// Tokens of all trips, as the upstream told them where source is upstream; cached_input is a part of
    /// input and reasoning a part of output.
    llm_tokens: IntCounterVec = "pannier_llm_tokens_total", ["type", "model", "source"], NONE;
    /// Tokens of one trip's question and of its answer.
    llm_request_tokens: HistogramVec =
        "pannier_llm_request_tokens", ["type", "model"], buckets::TOKENS;

    /// Trips of which the upstream's own counts cannot be those of what passed.
    llm_implausible: IntCounterVec = "pannier_llm_implausible_usage_total", ["model"], NONE;

    /// Trips for models that had no price, as the ledger has them: nobody knows what they cost.
    unpriced: IntCounterVec = "pannier_ledger_unpriced_trips_total", ["model"], NONE;

    /// The upstream's own time for a trip, by phase; total is the whole of it.
    upstream_duration: HistogramVec =
        "pannier_upstream_duration_seconds", ["phase"], buckets::REQUEST;
    /// Trips to the upstream, by the status of its answer; none where it gave no answer.
    upstream_requests: IntCounterVec = "pannier_upstream_requests_total", ["code"], NONE;
    /// 1 while the upstream can be reached, else 0.
    upstream_up: IntGauge = "pannier_upstream_up", FLAT, NONE;

    /// Calls, by what the cache had for them.
    cache_requests: IntCounterVec =
        "pannier_cache_requests_total", ["tier", "result", "operation"], NONE;
    /// Calls of each model, by what the whole cache had for them.
    cache_calls: IntCounterVec = "pannier_cache_calls_total", ["operation", "model", "result"], NONE;
    /// Calls that were not simply answered from the memory, by the reason, where there is more to say than that
    /// nothing was kept.
    cache_reasons: IntCounterVec = "pannier_cache_reasons_total", ["reason", "operation"], NONE;
    /// Answers that are remembered.
    cache_entries: IntGaugeVec = "pannier_cache_entries", ["tier"], NONE;
    /// Size of all answers that are remembered.
    cache_bytes: IntGaugeVec = "pannier_cache_bytes", ["tier"], NONE;
    /// Answers that were remembered no longer, by the reason.
    cache_evictions: IntCounterVec = "pannier_cache_evictions_total", ["tier", "cause"], NONE;
    /// Entries from outside of the process that could not be opened: damaged, forged, or of another secret or
    /// version.
    cache_unopened: IntCounterVec = "pannier_cache_unopened_total", ["tier"], NONE;
    /// Answers that were not written into a tier behind the memory, by the reason.
    cache_writes_lost: IntCounterVec = "pannier_cache_writes_lost_total", ["cause"], NONE;
    /// Damaged cache files that were put aside and begun anew.
    cache_put_aside: IntCounter = "pannier_cache_files_put_aside_total", FLAT, NONE;
    /// Tokens, of questions and answers, that the upstream need not have worked through again.
    cache_saved_tokens: IntCounterVec = "pannier_cache_saved_tokens_total", ["operation"], NONE;
    /// Upstream time that was not spent again, where the first answer told its time.
    cache_saved_seconds: Counter = "pannier_cache_saved_seconds_total", FLAT, NONE;
    /// Requests that joined the trip of another.
    coalesced: IntCounter = "pannier_coalesced_requests_total", FLAT, NONE;
    /// Trips, and texts, that waited for their turn among replicas, by what came of it.
    turns: IntCounterVec = "pannier_flight_turns_total", ["outcome"], NONE;
    /// Models that hits were to keep warm, by what came of it.
    touches: IntCounterVec = "pannier_model_touches_total", ["outcome"], NONE;
    /// Pictures and recordings that somebody has opened, by what became of them.
    media_decodes: IntCounterVec = "pannier_media_decodes_total", ["kind", "result"], NONE;
    /// Processes that listened to recordings and had to be ended, or ended by themselves.
    media_worker_restarts: IntCounter = "pannier_media_worker_restarts_total", FLAT, NONE;
    /// Trips under way.
    flights: IntGauge = "pannier_flights", FLAT, NONE;

    /// 1 while what Pannier depends on can be used, else 0.
    dependency_up: IntGaugeVec = "pannier_dependency_up", ["dep"], NONE;
    /// Time for one question to it, answered or not.
    dependency_duration: HistogramVec =
        "pannier_dependency_duration_seconds", ["dep", "op"], buckets::DEPENDENCY;
    /// Questions to it that failed or took too long.
    dependency_errors: IntCounterVec = "pannier_dependency_errors_total", ["dep", "op"], NONE;

    /// Questions of reports to the database that were refused because too many others waited.
    reports_refused: IntCounter = "pannier_reports_refused_total", FLAT, NONE;

    /// How full each of the bounded parts is.
    internal_size: IntGaugeVec = "pannier_internal_size", ["what"], NONE;
    /// Lines that the access log lost because its reader was too slow or gone.
    access_log_dropped: IntCounter = "pannier_access_log_dropped_total", FLAT, NONE;
    /// Lines of the log of Pannier's own doings that were lost because its reader was too slow.
    log_dropped: IntCounter = "pannier_log_dropped_total", FLAT, NONE;
    /// Label values that became other because there were too many, or one was too long.
    dropped_labels: IntCounter = "pannier_metrics_dropped_labels_total", FLAT, NONE;
}

impl Metrics {
    /// All families, with every series that is known beforehand at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let families = Families::register(&registry).expect("names and labels are valid and used once");
        #[cfg(target_os = "linux")]
        registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect("the process is described once");
        families.begin_at_zero();
        let (models, sources) = (RwLock::default(), Mutex::default());
        Metrics { families, registry, of_keys: Registry::new(), models, sources }
    }

    /// Lets the series of a route exist before its first request, so that a rate sees that one too.
    pub fn expect_route(&self, method: &'static str, route: Route) {
        self.families.http_requests.with_label_values(&[route.template, method, "200"]);
        self.families.http_in_flight.with_label_values(&[route.template]);
    }

    /// Reads a gauge's value from `read` at each scrape. `read` must be quick, and must not call this.
    pub fn gauge_source(&self, gauge: Sampled, read: impl Fn() -> i64 + Send + Sync + 'static) {
        let families = &self.families;
        let gauge = match gauge {
            Sampled::CacheEntries => families.cache_entries.with_label_values(&[MEMORY]),
            Sampled::CacheBytes => families.cache_bytes.with_label_values(&[MEMORY]),
            Sampled::Flights => families.flights.clone(),
            Sampled::UpstreamUp => families.upstream_up.clone(),
            Sampled::DependencyUp(dep) => families.dependency_up.with_label_values(&[dep]),
            Sampled::Size(what) => families.internal_size.with_label_values(&[what]),
        };
        let source = Source { gauge, read: Box::new(read) };
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// Asks all sources for their values.
    pub(super) fn sample(&self) {
        for source in self.sources.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            source.gauge.set((source.read)());
        }
    }

    /// One more connection, until the value is dropped.
    pub fn connection(&self, listener: Listener) -> Held {
        Held::new(self.families.connections.with_label_values(&[listener.label()]))
    }

    /// A connection was refused, for one of a few reasons.
    pub fn connection_refused(&self, reason: &'static str) {
        self.families.connections_refused.with_label_values(&[reason]).inc();
    }

    /// One more request being answered, until the value is dropped.
    pub fn in_flight(&self, route: Route) -> Held {
        Held::new(self.families.http_in_flight.with_label_values(&[route.template]))
    }

    /// An answer left the memory.
    pub fn evicted(&self, cause: Eviction) {
        self.families.cache_evictions.with_label_values(&[MEMORY, cause.label()]).inc();
    }

    /// `count` answers left the tier of that name.
    pub fn evicted_from(&self, tier: &'static str, cause: Eviction, count: u64) {
        self.families.cache_evictions.with_label_values(&[tier, cause.label()]).inc_by(count);
    }

    /// Where the access log counts what it lost.
    pub fn access_log_dropped(&self) -> IntCounter {
        self.families.access_log_dropped.clone()
    }

    /// Where the log of Pannier's own doings counts what it lost.
    pub fn log_dropped(&self) -> IntCounter {
        self.families.log_dropped.clone()
    }

    /// `model` as a label value: itself while it is one of the first 100 and not absurdly long.
    pub(super) fn model_label<'a>(&self, model: &'a str) -> &'a str {
        if model == OTHER || self.models.read().unwrap_or_else(PoisonError::into_inner).contains(model) {
            return model;
        }
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        if models.contains(model) {
            return model;
        }
        if models.len() >= MAX_MODELS || model.is_empty() || model.len() > MAX_MODEL_NAME {
            self.families.dropped_labels.inc();
            return OTHER;
        }
        models.insert(model.into());
        model
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Listener {
    pub(super) fn label(self) -> &'static str {
        match self {
            Listener::Data => "data",
            Listener::Admin => "admin",
        }
    }
}

impl Eviction {
    pub(super) const ALL: [Eviction; 4] =
        [Eviction::Expired, Eviction::Size, Eviction::Replaced, Eviction::Explicit];

    pub(super) fn label(self) -> &'static str {
        match self {
            Eviction::Expired => "expired",
            Eviction::Size => "size",
            Eviction::Replaced => "replaced",
            Eviction::Explicit => "explicit",
        }
    }
}

impl Held {
    fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Held(gauge)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, CHAT};
    use super::super::{Exposition, RecordSink};
    use super::*;

    fn page(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render(Exposition::Text).1).unwrap()
    }

    #[test]
    fn every_family_says_what_it_is() {
        let metrics = Metrics::new();
        metrics.trip(&crate::domain::Trip { implausible: true, ..samples::trip("m") });
        metrics.record(&samples::record(crate::domain::CacheOutcome::Miss));
        metrics.gauge_source(Sampled::Size("table"), || 1);
        metrics.unpriced("m", 1);
        metrics.expect_tier("redis");
        let _held = metrics.in_flight(CHAT);
        let families = metrics.registry.gather();
        let own = families.iter().filter(|family| family.name().starts_with("pannier_")).count();
        assert_eq!(own, Families::COUNT);
        for family in families {
            let help = family.help();
            assert!(help.len() > 10 && help.ends_with('.'), "{}: {help:?}", family.name());
        }
    }

    #[test]
    fn what_is_known_beforehand_begins_at_zero() {
        let metrics = Metrics::new();
        metrics.expect_route("POST", CHAT);
        let page = page(&metrics);
        for series in [
            r#"pannier_http_requests_total{code="200",method="POST",route="/api/chat"}"#,
            r#"pannier_errors_total{type="upstream_timeout"}"#,
            r#"pannier_cache_requests_total{operation="embeddings",result="hit",tier="memory"}"#,
            r#"pannier_cache_evictions_total{cause="size",tier="memory"}"#,
            r#"pannier_upstream_duration_seconds_count{phase="eval"}"#,
            "pannier_coalesced_requests_total",
            "pannier_access_log_dropped_total",
            "pannier_log_dropped_total",
            "pannier_reports_refused_total",
            r#"pannier_cache_writes_lost_total{cause="queue_full"}"#,
        ] {
            assert!(page.contains(&format!("\n{series} 0\n")), "{series} in\n{page}");
        }
    }

    #[test]
    fn gauges_are_read_when_the_page_is() {
        let metrics = Metrics::new();
        let entries = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(3));
        let read = entries.clone();
        metrics.gauge_source(Sampled::CacheEntries, move || read.load(std::sync::atomic::Ordering::Relaxed));
        metrics.gauge_source(Sampled::Size("routes"), || 12);
        assert!(page(&metrics).contains("pannier_cache_entries{tier=\"memory\"} 3\n"));
        entries.store(5, std::sync::atomic::Ordering::Relaxed);
        let page = page(&metrics);
        assert!(page.contains("pannier_cache_entries{tier=\"memory\"} 5\n"), "{page}");
        assert!(page.contains("pannier_internal_size{what=\"routes\"} 12\n"), "{page}");
    }

    #[test]
    fn what_is_held_is_counted_until_it_is_dropped() {
        let metrics = Metrics::new();
        let (connection, request) = (metrics.connection(Listener::Data), metrics.in_flight(CHAT));
        assert!(page(&metrics).contains("\npannier_connections{listener=\"data\"} 1\n"));
        assert!(page(&metrics).contains("pannier_http_requests_in_flight{route=\"/api/chat\"} 1\n"));
        drop((connection, request));
        assert!(page(&metrics).contains("\npannier_connections{listener=\"data\"} 0\n"));
        assert!(page(&metrics).contains("pannier_http_requests_in_flight{route=\"/api/chat\"} 0\n"));
    }

    #[test]
    fn evictions_are_counted_by_cause() {
        let metrics = Metrics::new();
        metrics.evicted(Eviction::Size);
        let evicted = "pannier_cache_evictions_total{cause=\"size\",tier=\"memory\"} 1\n";
        assert!(page(&metrics).contains(evicted));
    }

    #[test]
    fn a_flood_of_names_stays_within_the_bound() {
        let metrics = Metrics::new();
        for n in 0..100_000 {
            metrics.trip(&samples::trip(&format!("model-{n}")));
        }
        let page = page(&metrics);
        let models = page.lines().filter(|line| line.starts_with("pannier_llm_request_tokens_count")).count();
        assert_eq!(models, 2 * (MAX_MODELS + 1));
        assert!(page.lines().count() < 20_000, "{}", page.lines().count());
        let others = r#"pannier_llm_tokens_total{model="other",source="upstream",type="output"} 1098900"#;
        assert!(page.contains(others));
        assert!(!page.contains("pannier_metrics_dropped_labels_total 0"));
    }

    #[test]
    fn a_name_of_absurd_length_is_other() {
        let metrics = Metrics::new();
        assert_eq!(metrics.model_label(&"m".repeat(10_240)), OTHER);
        assert_eq!(metrics.model_label(&"m".repeat(128)).len(), 128);
        assert_eq!(metrics.model_label(""), OTHER);
        assert_eq!(metrics.families.dropped_labels.get(), 2);
    }

    #[test]
    fn names_that_run_into_their_neighbours_stay_apart() {
        let metrics = Metrics::new();
        metrics.trip(&samples::trip("x"));
        metrics.trip(&samples::trip("xcached_"));
        let page = page(&metrics);
        let of = |model: &str, kind: &str| {
            format!("pannier_llm_tokens_total{{model=\"{model}\",source=\"upstream\",type=\"{kind}\"}}")
        };
        assert!(page.contains(&format!("{} 20\n", of("x", "cached_input"))), "{page}");
        assert!(page.contains(&format!("{} 26\n", of("xcached_", "input"))), "{page}");
    }
}
