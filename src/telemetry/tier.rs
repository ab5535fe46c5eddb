//! Counts what the tiers behind the memory had, and how all that Pannier depends on does.

use super::metrics::Metrics;
use crate::domain::Operation;
use std::time::Duration;

/// What a tier behind the memory had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierResult {
    Hit,
    Miss,
    /// It failed, or took too long.
    Error,
    /// It was left out, because it had failed before.
    Bypass,
}

/// Why an answer was not written into the tiers behind the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteLoss {
    /// Too many waited already.
    QueueFull,
    /// It is larger than anything that is kept outside of the process.
    TooLarge,
    /// A tier was left out, because it had failed before.
    TierDown,
    /// A tier failed, or took too long.
    TierFailed,
    /// Another may have asked meanwhile, and kept what is newer.
    Overtaken,
    /// Pannier ended before it was written.
    Stopping,
}

/// What came of waiting for one's turn to ask the upstream, among replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnOutcome {
    /// It has come, and nobody else asks meanwhile.
    Held,
    /// Another has asked, and kept the answer.
    Found,
    /// The others could not be asked, or kept nothing.
    Alone,
}

/// What became of a model that a hit was to keep warm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TouchOutcome {
    Touched,
    /// The upstream does not have it loaded, or will not for long enough: it is left alone.
    NotLoaded,
    /// It stays for ever.
    Pinned,
    /// It is loaded otherwise than those who ask for it want it.
    Otherwise,
    /// The upstream did not answer, or not well.
    Failed,
}

impl Metrics {
    /// Lets the series of a tier behind the memory exist before it is asked.
    pub fn expect_tier(&self, tier: &'static str) {
        for operation in Operation::ALL {
            for result in TierResult::ALL {
                self.tier_asked(tier, result, operation, 0);
            }
        }
        self.families.cache_unopened.with_label_values(&[tier]);
        self.families.dependency_up.with_label_values(&[tier]);
        for op in ["find", "keep"] {
            self.families.dependency_duration.with_label_values(&[tier, op]);
            self.families.dependency_errors.with_label_values(&[tier, op]);
        }
    }

    /// Calls for whose answers `tier` was asked, by what it had.
    pub fn tier_asked(&self, tier: &'static str, result: TierResult, operation: Operation, number: u64) {
        let labels = [tier, result.label(), operation.label()];
        self.families.cache_requests.with_label_values(&labels).inc_by(number);
    }

    /// An entry that `tier` had could not be opened.
    pub fn unopened(&self, tier: &'static str) {
        self.families.cache_unopened.with_label_values(&[tier]).inc();
    }

    /// Answers were not written into a tier behind the memory.
    pub fn write_lost(&self, cause: WriteLoss, number: u64) {
        self.families.cache_writes_lost.with_label_values(&[cause.label()]).inc_by(number);
    }

    /// A damaged cache file was put aside.
    pub fn put_aside(&self) {
        self.families.cache_put_aside.inc();
    }

    /// Somebody has waited for his turn among replicas.
    pub fn turn(&self, outcome: TurnOutcome) {
        self.families.turns.with_label_values(&[outcome.label()]).inc();
    }

    /// A hit was to keep a model warm.
    pub fn touched(&self, outcome: TouchOutcome) {
        self.families.touches.with_label_values(&[outcome.label()]).inc();
    }

    /// One question to something that Pannier depends on, and whether it was answered.
    pub fn dependency_asked(&self, dep: &'static str, op: &'static str, took: Duration, answered: bool) {
        let labels = [dep, op];
        self.families.dependency_duration.with_label_values(&labels).observe(took.as_secs_f64());
        let errors = self.families.dependency_errors.with_label_values(&labels);
        errors.inc_by(u64::from(!answered));
    }

    /// A report was refused a question to the database.
    pub fn report_refused(&self) {
        self.families.reports_refused.inc();
    }

    /// Whether something that Pannier depends on can be used.
    pub fn dependency_up(&self, dep: &'static str, up: bool) {
        self.families.dependency_up.with_label_values(&[dep]).set(i64::from(up));
    }
}

impl TierResult {
    const ALL: [TierResult; 4] = [TierResult::Hit, TierResult::Miss, TierResult::Error, TierResult::Bypass];

    fn label(self) -> &'static str {
        match self {
            TierResult::Hit => "hit",
            TierResult::Miss => "miss",
            TierResult::Error => "error",
            TierResult::Bypass => "bypass",
        }
    }
}

impl TouchOutcome {
    pub(super) const ALL: [TouchOutcome; 5] = [
        TouchOutcome::Touched,
        TouchOutcome::NotLoaded,
        TouchOutcome::Pinned,
        TouchOutcome::Otherwise,
        TouchOutcome::Failed,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            TouchOutcome::Touched => "touched",
            TouchOutcome::NotLoaded => "not_loaded",
            TouchOutcome::Pinned => "pinned",
            TouchOutcome::Otherwise => "otherwise",
            TouchOutcome::Failed => "failed",
        }
    }
}

impl TurnOutcome {
    pub(super) const ALL: [TurnOutcome; 3] = [TurnOutcome::Held, TurnOutcome::Found, TurnOutcome::Alone];

    pub(super) fn label(self) -> &'static str {
        match self {
            TurnOutcome::Held => "held",
            TurnOutcome::Found => "found",
            TurnOutcome::Alone => "alone",
        }
    }
}

impl WriteLoss {
    pub(super) const ALL: [WriteLoss; 6] = [
        WriteLoss::QueueFull,
        WriteLoss::TooLarge,
        WriteLoss::TierDown,
        WriteLoss::TierFailed,
        WriteLoss::Overtaken,
        WriteLoss::Stopping,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            WriteLoss::QueueFull => "queue_full",
            WriteLoss::TooLarge => "too_large",
            WriteLoss::TierDown => "tier_down",
            WriteLoss::TierFailed => "tier_failed",
            WriteLoss::Overtaken => "overtaken",
            WriteLoss::Stopping => "stopping",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Exposition;

    fn value(page: &str, series: &str) -> Option<f64> {
        let line =
            page.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
        line?.rsplit(' ').next()?.parse().ok()
    }

    #[test]
    fn what_tiers_had_is_counted_by_tier() {
        let metrics = Metrics::new();
        metrics.expect_tier("redis");
        metrics.tier_asked("redis", TierResult::Hit, Operation::Embed, 3);
        metrics.unopened("redis");
        metrics.write_lost(WriteLoss::TierFailed, 2);
        metrics.dependency_up("redis", true);
        metrics.dependency_asked("redis", "find", Duration::from_millis(2), true);
        metrics.dependency_asked("redis", "find", Duration::from_millis(50), false);
        let (_, page) = metrics.render(Exposition::Text);
        let page = String::from_utf8(page).unwrap();
        for (series, expected) in [
            (r#"pannier_cache_requests_total{operation="embeddings",result="hit",tier="redis"}"#, 3.0),
            (r#"pannier_cache_requests_total{operation="chat",result="bypass",tier="redis"}"#, 0.0),
            (r#"pannier_cache_unopened_total{tier="redis"}"#, 1.0),
            (r#"pannier_cache_writes_lost_total{cause="tier_failed"}"#, 2.0),
            (r#"pannier_dependency_up{dep="redis"}"#, 1.0),
            (r#"pannier_dependency_duration_seconds_count{dep="redis",op="find"}"#, 2.0),
            (r#"pannier_dependency_errors_total{dep="redis",op="find"}"#, 1.0),
            (r#"pannier_dependency_errors_total{dep="redis",op="keep"}"#, 0.0),
        ] {
            assert_eq!(value(&page, series), Some(expected), "{series}");
        }
    }
}
