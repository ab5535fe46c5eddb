//! HydroChat's export, in its shape. Times are in seconds.

use super::amount::Amount;
use super::bill::of_models;
use super::dashboard::ratio;
use super::reports::{Question, Reports, now, total};
use super::tellable::Span;
use super::time::Stay;
use super::upkeep::Retention;
use crate::domain::Error;
use crate::store::ledger::{By, Figure, Filter};
use serde::Serialize;
use std::time::Duration;

/// `GET /metrics/export`: of the time of which there are rows.
#[derive(Debug, Serialize)]
pub struct Export {
    timestamp: String,
    performance_metrics: Performance,
    llm_api_metrics: Calls,
    retention_policy: Policy,
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<Span>,
}

#[derive(Debug, Serialize)]
struct Performance {
    metrics_count: i64,
    max_response_time: f64,
    avg_response_time: f64,
    threshold_violations: i64,
}

#[derive(Debug, Serialize)]
struct Calls {
    total_calls: i64,
    successful_calls: i64,
    failed_calls: i64,
    total_tokens_used: i64,
    prompt_tokens: i64,
    completion_tokens: i64,
    total_cost_usd: Amount,
    saved_cost_usd: Amount,
    gpu_seconds: f64,
    /// Trips that nobody knows the cost of.
    unpriced: i64,
}

/// Nothing where there is no bound.
#[derive(Debug, Serialize)]
struct Policy {
    max_entries: Option<u64>,
    ttl_hours: Option<f64>,
    current_entries: i64,
    storage_utilization_percent: f64,
}

/// What takes longer is a violation.
const THRESHOLD: Duration = Duration::from_secs(2);

impl Reports {
    /// # Errors
    /// `Overloaded` while the database is away.
    pub async fn export(&self, retention: &Retention) -> Result<Export, Error> {
        let (now, terms) = (now(), self.terms());
        let performance = self.performance(THRESHOLD).await?;
        let rows = self.rows().await?;
        let from = self.oldest_row().await?.unwrap_or(now);
        let stay = Stay::new(from, now + 1).unwrap_or_else(|| Stay::last(1, now));
        let filter = Filter::default();
        let question = Question { stay, zone: terms.zone.clone(), grain: None, by: vec![By::Model], filter };
        let (told, lines) = self.all(question).await?;
        let sums = total(&of_models(lines));
        let figure = |figure: Figure| sums[figure as usize];
        let (prompt, completion) = (figure(Figure::Prompt), figure(Figure::Completion));
        Ok(Export {
            timestamp: Stay::show(now),
            performance_metrics: Performance {
                metrics_count: performance.requests,
                max_response_time: performance.slowest as f64 / 1e6,
                avg_response_time: ratio(performance.total, performance.requests) / 1e6,
                threshold_violations: performance.slow,
            },
            llm_api_metrics: Calls {
                total_calls: figure(Figure::Requests),
                successful_calls: figure(Figure::Requests)
                    - figure(Figure::Failed)
                    - figure(Figure::Cancelled),
                failed_calls: figure(Figure::Failed),
                total_tokens_used: prompt.saturating_add(completion),
                prompt_tokens: prompt,
                completion_tokens: completion,
                total_cost_usd: Amount::nanos(figure(Figure::Cost)),
                saved_cost_usd: Amount::nanos(figure(Figure::SavedCost)),
                gpu_seconds: figure(Figure::Gpu) as f64 / 1e6,
                unpriced: figure(Figure::Unpriced),
            },
            retention_policy: Policy {
                max_entries: retention.max_rows(),
                ttl_hours: retention.rows().map(|rows| rows.as_secs_f64() / 3_600.0),
                current_entries: rows,
                storage_utilization_percent: retention.utilisation(rows) * 100.0,
            },
            told: told.other(),
        })
    }
}
