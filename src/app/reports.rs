//! What tells of the books, sees to how long they are kept, and whether they agree.

use crate::analytics::{Audit, Reports, Retention, Terms, Zone};
use crate::config::Config;
use crate::store::Shared;
use crate::telemetry::{Metrics, Sampled};
use std::sync::Arc;

/// All of it.
#[derive(Clone)]
pub struct Told {
    pub reports: Arc<Reports>,
    pub retention: Arc<Retention>,
    pub audit: Arc<Audit>,
}

impl Told {
    pub fn build(config: &Config, database: &Arc<Shared>, metrics: &Arc<Metrics>) -> Self {
        let reports = Arc::new(Reports::new(database.clone(), terms(config), metrics.clone()));
        let seen = reports.clone();
        metrics.gauge_source(Sampled::Size("reports_waiting"), move || seen.waiting() as i64);
        let retention = Retention::new(database.clone(), reports.clone(), config.retention.clone());
        let retention = Arc::new(retention);
        let seen = retention.clone();
        metrics.gauge_source(Sampled::Size("ledger_rows"), move || seen.counted());
        let audit = Arc::new(Audit::new(database.clone()));
        let seen = audit.clone();
        metrics.gauge_source(Sampled::Size("ledger_odd_hours"), move || seen.odd() as i64);
        Told { reports, retention, audit }
    }

    /// The settings are others now.
    pub fn heed(&self, config: &Config) {
        self.reports.heed(terms(config));
        self.retention.heed(config.retention.clone());
    }
}

fn terms(config: &Config) -> Terms {
    // It has been checked.
    let zone = Zone::named(&config.reports.time_zone).unwrap_or_default();
    let currency = config.prices.currency.as_str().into();
    Terms { zone, currency, key_metrics: config.reports.key_metrics }
}
