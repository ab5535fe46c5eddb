//! From records and trips to numbers.
//!
//! Requests are counted from records, tokens from trips: an answer that forty readers share has cost its
//! tokens once.

use super::RecordSink;
use super::metrics::{MEMORY, Metrics, OTHER};
use crate::domain::{
    CacheOutcome, CallFacts, Ending, FinishReason, Kind, Observed, Record, Route, Source, Trip,
};
use prometheus::{Counter, Histogram, IntCounter};
use std::time::Duration;

/// Everything that one more hit on one remembered answer counts into, found beforehand.
///
/// To count is some fifteen atomic additions: no look-up, no lock, no allocation.
#[derive(Debug, Clone)]
pub struct HitHandles {
    http: HttpHandles,
    call: CallHandles,
    saved: SavedHandles,
}

/// What every request counts into.
#[derive(Debug, Clone)]
struct HttpHandles {
    requests: IntCounter,
    duration: Histogram,
    request_body: Histogram,
    response_body: Histogram,
}

/// What a request for a model's answer counts into.
#[derive(Debug, Clone)]
struct CallHandles {
    cache: IntCounter,
    cache_of_model: IntCounter,
    llm: IntCounter,
}

/// What an answer that was not made again counts into, and how much.
#[derive(Debug, Clone)]
struct SavedHandles {
    tokens: IntCounter,
    seconds: Counter,
    tokens_each: u64,
    seconds_each: f64,
}

impl HitHandles {
    /// Counts one hit, exactly as a record with these figures, `CacheOutcome::Hit`, `POST`, status 200 and
    /// `Ending::Complete` would be counted. Sizes are those of the bodies, in bytes.
    pub fn count(&self, duration: Duration, bytes_in: u64, bytes_out: u64) {
        self.http.count(duration, bytes_in, bytes_out);
        self.call.count();
        self.saved.count();
    }
}

impl HttpHandles {
    fn count(&self, duration: Duration, bytes_in: u64, bytes_out: u64) {
        self.requests.inc();
        self.duration.observe(duration.as_secs_f64());
        self.request_body.observe(bytes_in as f64);
        self.response_body.observe(bytes_out as f64);
    }
}

impl CallHandles {
    fn count(&self) {
        self.cache.inc();
        self.cache_of_model.inc();
        self.llm.inc();
    }
}

impl SavedHandles {
    fn count(&self) {
        self.tokens.inc_by(self.tokens_each);
        self.seconds.inc_by(self.seconds_each);
    }
}

impl Metrics {
    /// So many trips for a model that had no price are in the ledger.
    pub fn unpriced(&self, model: &str, trips: u64) {
        self.families.unpriced.with_label_values(&[self.model_label(model)]).inc_by(trips);
    }

    /// The handles of one remembered answer to `POST` on `route`. Found once, when the answer is kept.
    pub fn hit_handles(&self, route: Route, call: &CallFacts, observed: &Observed) -> HitHandles {
        let hit = CacheOutcome::Hit;
        HitHandles {
            http: self.http_handles(route, "POST", 200, hit.label()),
            call: self.call_handles(route, call, hit, finish(200, Ending::Complete, Some(observed))),
            saved: self.saved_handles(call, observed),
        }
    }

    fn http_handles(&self, route: Route, method: &str, status: u16, outcome: &str) -> HttpHandles {
        let families = &self.families;
        let mut digits = itoa::Buffer::new();
        let code = if known_status(status) { digits.format(status) } else { OTHER };
        HttpHandles {
            requests: families.http_requests.with_label_values(&[route.template, method, code]),
            duration: families.http_duration.with_label_values(&[route.template, outcome]),
            request_body: families.http_request_body.with_label_values(&[route.template]),
            response_body: families.http_response_body.with_label_values(&[route.template]),
        }
    }

    fn call_handles(
        &self,
        route: Route,
        call: &CallFacts,
        cache: CacheOutcome,
        finish: FinishReason,
    ) -> CallHandles {
        let operation = call.operation.label();
        let stream = if call.streamed { "true" } else { "false" };
        // Whoever joined a trip had found nothing in memory; that it joined has a counter of its own, and
        // so have the tiers below.
        let result = match cache {
            CacheOutcome::Hit => "hit",
            CacheOutcome::Miss | CacheOutcome::Joined | CacheOutcome::HitBelow => "miss",
            CacheOutcome::Bypass => "bypass",
        };
        let model = self.model_label(&call.model);
        let llm = [operation, model, route.dialect, stream, finish.label()];
        let of_model = [operation, model, had(cache)];
        CallHandles {
            cache: self.families.cache_requests.with_label_values(&[MEMORY, result, operation]),
            cache_of_model: self.families.cache_calls.with_label_values(&of_model),
            llm: self.families.llm_requests.with_label_values(&llm),
        }
    }

    fn saved_handles(&self, call: &CallFacts, observed: &Observed) -> SavedHandles {
        SavedHandles {
            tokens: self.families.cache_saved_tokens.with_label_values(&[call.operation.label()]),
            seconds: self.families.cache_saved_seconds.clone(),
            tokens_each: observed.usage.prompt.saturating_add(observed.usage.completion),
            seconds_each: observed.durations.total.as_secs_f64(),
        }
    }

    fn count_tokens(&self, trip: &Trip) {
        let usage = &trip.observed.usage;
        if usage.source == Source::None {
            return;
        }
        let model = self.model_label(&trip.call.model);
        let kinds = [
            ("input", usage.prompt),
            ("output", usage.completion),
            ("cached_input", usage.cached_prompt),
            ("reasoning", usage.reasoning),
        ];
        for (kind, tokens) in kinds {
            let labels = [kind, model, usage.source.label()];
            self.families.llm_tokens.with_label_values(&labels).inc_by(tokens);
        }
        if trip.implausible {
            self.families.llm_implausible.with_label_values(&[model]).inc();
        }
        for (kind, tokens) in &kinds[..2] {
            self.families.llm_request_tokens.with_label_values(&[kind, model]).observe(*tokens as f64);
        }
    }

    fn time_tokens(&self, trip: &Trip) {
        let families = &self.families;
        let model = self.model_label(&trip.call.model);
        if trip.call.streamed
            && let Some(first) = trip.first_token
        {
            let labels = [trip.call.operation.label(), model];
            families.llm_first_token.with_label_values(&labels).observe(first.as_secs_f64());
        }
        if let Some(each) = time_per_token(trip) {
            families.llm_per_token.with_label_values(&[model]).observe(each);
        }
    }

    fn time_phases(&self, trip: &Trip) {
        let told = &trip.observed.durations;
        if told.total.is_zero() {
            return;
        }
        let phases = [
            ("load", told.load),
            ("prompt_eval", told.prompt_eval),
            ("eval", told.eval),
            ("total", told.total),
        ];
        for (phase, time) in phases {
            self.families.upstream_duration.with_label_values(&[phase]).observe(time.as_secs_f64());
        }
    }
}

impl RecordSink for Metrics {
    fn record(&self, record: &Record) {
        self.http_handles(record.route, record.method, record.status, outcome(record)).count(
            record.total,
            record.bytes_in,
            record.bytes_out,
        );
        if let Ending::Refused(kind) | Ending::Broken(kind) = record.ending {
            self.families.errors.with_label_values(&[kind.code()]).inc();
        }
        if record.cache == CacheOutcome::Joined {
            self.families.coalesced.inc();
        }
        let Some(call) = &record.call else { return };
        let finish = finish(record.status, record.ending, record.observed.as_ref());
        self.call_handles(record.route, call, record.cache, finish).count();
        if let Some(why) = record.why {
            let labels = [why.label(), call.operation.label()];
            self.families.cache_reasons.with_label_values(&labels).inc();
        }
        if let Some(observed) = &record.observed
            && record.cache.is_given()
            && record.ending == Ending::Complete
        {
            self.saved_handles(call, observed).count();
        }
    }

    fn trip(&self, trip: &Trip) {
        let mut digits = itoa::Buffer::new();
        let code = match trip.status {
            0 => "none",
            status if known_status(status) => digits.format(status),
            _ => OTHER,
        };
        self.families.upstream_requests.with_label_values(&[code]).inc();
        self.count_tokens(trip);
        self.time_tokens(trip);
        self.time_phases(trip);
    }
}

/// What the whole cache had for a call: the label `result`.
pub(super) fn had(cache: CacheOutcome) -> &'static str {
    match cache {
        CacheOutcome::HitBelow => "hit_below",
        other => other.label(),
    }
}

/// Who answered, or why nobody did: the label `outcome`.
fn outcome(record: &Record) -> &'static str {
    match record.ending {
        Ending::Complete if record.status >= 500 => "error",
        Ending::Complete => record.cache.label(),
        Ending::Refused(Kind::ClientGone) | Ending::Broken(_) => "error",
        Ending::Refused(Kind::Overloaded | Kind::NotCached) => "rejected",
        Ending::Refused(kind) if kind.status() < 500 => "rejected",
        Ending::Refused(_) => "error",
    }
}

/// Why an answer ended, as its reader saw it.
pub(super) fn finish(status: u16, ending: Ending, observed: Option<&Observed>) -> FinishReason {
    match ending {
        Ending::Refused(Kind::ClientGone) | Ending::Broken(Kind::ClientGone) => FinishReason::Cancelled,
        Ending::Refused(_) | Ending::Broken(_) => FinishReason::Error,
        Ending::Complete if status >= 400 => FinishReason::Error,
        Ending::Complete => match observed {
            Some(observed) if observed.failed => FinishReason::Error,
            Some(observed) => observed.finish,
            None => FinishReason::Unknown,
        },
    }
}

/// Seconds for one token: measured where frames could be watched, else the upstream's own figure.
fn time_per_token(trip: &Trip) -> Option<f64> {
    let tokens = trip.observed.usage.completion;
    match trip.first_token {
        Some(first) if trip.call.streamed && tokens > 1 => {
            Some(trip.total.saturating_sub(first).as_secs_f64() / (tokens - 1) as f64)
        }
        _ if !trip.observed.durations.eval.is_zero() && tokens > 0 => {
            Some(trip.observed.durations.eval.as_secs_f64() / tokens as f64)
        }
        _ => None,
    }
}

/// Whether a status is one of the few that have a name: an upstream cannot make up new series.
fn known_status(status: u16) -> bool {
    status == Kind::ClientGone.status()
        || http::StatusCode::from_u16(status).is_ok_and(|status| status.canonical_reason().is_some())
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, CHAT};
    use super::*;
    use crate::telemetry::Exposition;

    /// The page without what the process itself changes.
    fn page(metrics: &Metrics) -> String {
        let (_, page) = metrics.render(Exposition::Text);
        let page = String::from_utf8(page).unwrap();
        page.lines().filter(|line| !line.contains("process_")).map(|line| format!("{line}\n")).collect()
    }

    fn value(metrics: &Metrics, series: &str) -> f64 {
        let page = page(metrics);
        let line =
            page.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        let line = line.unwrap_or_else(|| panic!("no {series} in\n{page}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn a_hit_counts_the_same_by_its_handles_and_by_its_record() {
        let (by_record, by_handles) = (Metrics::new(), Metrics::new());
        let record = samples::record(CacheOutcome::Hit);
        let (call, observed) = (record.call.clone().unwrap(), record.observed.unwrap());
        let handles = by_handles.hit_handles(CHAT, &call, &observed);
        for _ in 0..3 {
            by_record.record(&record);
            handles.count(record.total, record.bytes_in, record.bytes_out);
        }
        assert_eq!(page(&by_record), page(&by_handles));
        let hits = r#"pannier_cache_requests_total{operation="chat",result="hit",tier="memory"}"#;
        assert_eq!(value(&by_handles, hits), 3.0);
        let saved = r#"pannier_cache_saved_tokens_total{operation="chat"}"#;
        assert_eq!(value(&by_handles, saved), 3.0 * 37.0);
        assert_eq!(value(&by_handles, "pannier_cache_saved_seconds_total"), 3.75);
    }

    #[test]
    fn tokens_are_those_of_trips_however_many_read_them() {
        let metrics = Metrics::new();
        metrics.trip(&samples::trip("llama3:latest"));
        metrics.record(&samples::record(CacheOutcome::Miss));
        for _ in 0..39 {
            metrics.record(&samples::record(CacheOutcome::Joined));
        }
        let tokens = |kind: &str| {
            let labels = format!("{{model=\"llama3:latest\",source=\"upstream\",type=\"{kind}\"}}");
            value(&metrics, &format!("pannier_llm_tokens_total{labels}"))
        };
        let all = ["input", "output", "cached_input", "reasoning"].map(tokens);
        assert_eq!(all, [26.0, 11.0, 20.0, 4.0]);
        assert_eq!(value(&metrics, "pannier_coalesced_requests_total"), 39.0);
        let saved = r#"pannier_cache_saved_tokens_total{operation="chat"}"#;
        assert_eq!(value(&metrics, saved), 39.0 * 37.0);
        let missed = r#"pannier_cache_requests_total{operation="chat",result="miss",tier="memory"}"#;
        assert_eq!(value(&metrics, missed), 40.0);
    }

    #[test]
    fn a_trip_tells_its_times() {
        let metrics = Metrics::new();
        metrics.trip(&samples::trip("m"));
        let first = r#"pannier_llm_time_to_first_token_seconds_sum{model="m",operation="chat"}"#;
        assert_eq!(value(&metrics, first), 0.25);
        let each = r#"pannier_llm_time_per_output_token_seconds_sum{model="m"}"#;
        assert_eq!(value(&metrics, each), 0.1);
        assert_eq!(value(&metrics, r#"pannier_upstream_duration_seconds_sum{phase="load"}"#), 0.2);
        assert_eq!(value(&metrics, r#"pannier_upstream_duration_seconds_sum{phase="total"}"#), 1.25);
    }

    #[test]
    fn an_answer_that_was_not_streamed_has_no_first_token() {
        let metrics = Metrics::new();
        let mut trip = samples::trip("m");
        trip.call.streamed = false;
        trip.observed.durations.eval = Duration::from_millis(2200);
        metrics.trip(&trip);
        assert!(!page(&metrics).contains("pannier_llm_time_to_first_token_seconds_sum"));
        let each = r#"pannier_llm_time_per_output_token_seconds_sum{model="m"}"#;
        assert_eq!(value(&metrics, each), 0.2);
    }

    #[test]
    fn a_trip_without_figures_counts_no_tokens() {
        let metrics = Metrics::new();
        let mut trip = samples::trip("m");
        (trip.status, trip.observed, trip.first_token) = (0, Observed::default(), None);
        metrics.trip(&trip);
        assert!(!page(&metrics).contains("pannier_llm_tokens_total"));
        assert_eq!(value(&metrics, r#"pannier_upstream_requests_total{code="none"}"#), 1.0);
    }

    #[test]
    fn nothing_is_saved_for_a_reader_who_left() {
        let metrics = Metrics::new();
        let mut record = samples::record(CacheOutcome::Joined);
        record.ending = Ending::Broken(Kind::ClientGone);
        metrics.record(&record);
        assert_eq!(value(&metrics, r#"pannier_cache_saved_tokens_total{operation="chat"}"#), 0.0);
        assert_eq!(value(&metrics, r#"pannier_errors_total{type="client_gone"}"#), 1.0);
        let labels = r#"{dialect="ollama",finish_reason="cancelled",model="llama3:latest",operation="chat",stream="true"}"#;
        assert_eq!(value(&metrics, &format!("pannier_llm_requests_total{labels}")), 1.0);
    }

    #[test]
    fn the_outcome_says_who_answered_or_why_nobody_did() {
        let cases = [
            (samples::record(CacheOutcome::Hit), "hit"),
            (samples::record(CacheOutcome::Miss), "miss"),
            (samples::record(CacheOutcome::Joined), "coalesced"),
            (samples::forwarded(), "bypass"),
            (Record { status: 404, ..samples::forwarded() }, "bypass"),
            (Record { status: 500, ..samples::forwarded() }, "error"),
            (samples::refused(Kind::TooLarge), "rejected"),
            (samples::refused(Kind::Overloaded), "rejected"),
            (samples::refused(Kind::NotCached), "rejected"),
            (samples::refused(Kind::UpstreamUnreachable), "error"),
            (samples::refused(Kind::Loop), "error"),
            (samples::refused(Kind::ClientGone), "error"),
        ];
        for (record, expected) in cases {
            assert_eq!(outcome(&record), expected, "{record:?}");
        }
    }

    #[test]
    fn a_status_that_nobody_knows_is_other() {
        let metrics = Metrics::new();
        for status in 100..=999 {
            metrics.record(&Record { status, ..samples::forwarded() });
        }
        let page = page(&metrics);
        let codes = page.lines().filter(|line| line.starts_with("pannier_http_requests_total{")).count();
        assert!(codes < 70, "{codes}");
        assert!(page.contains(r#"code="other""#) && page.contains(r#"code="404""#));
    }
}
