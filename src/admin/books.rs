//! The books under the routes that the predecessors' users know: GemmaPy's metrics and costs, HydroChat's export.

use super::asked::Asked;
use super::guard::Viewer;
use super::problem::bad;
use super::reports::seen;
use super::{Parts, answer};
use crate::analytics::{Filter, Grain, Period};
use crate::domain::{Error, RequestId};
use axum::extract::{Extension, Path, State};
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

/// Days that are looked back where none are named, and at the most.
const DAYS: i64 = 7;
const MOST_DAYS: i64 = 36_500;

/// `{"rating": 1}`
#[derive(Deserialize)]
struct Rating {
    rating: i64,
}

/// `GET /api/metrics/dashboard?days=7`
pub async fn dashboard(
    State(parts): State<Parts>,
    Extension(viewer): Extension<Viewer>,
    asked: Asked,
) -> Response {
    let told = async { parts.reports.dashboard(filter(&viewer)?, days(&asked)?).await };
    answer(told.await)
}

/// `GET /api/metrics/timeseries?days=7&interval=hour|day|week`
pub async fn timeseries(
    State(parts): State<Parts>,
    Extension(viewer): Extension<Viewer>,
    asked: Asked,
) -> Response {
    let told = async {
        let grain = match asked.value("interval") {
            None | Some("hour" | "hourly") => Grain::Hour,
            Some("day" | "daily") => Grain::Day,
            Some("week" | "weekly") => Grain::Week,
            Some("month" | "monthly") => Grain::Month,
            Some(_) => return Err(bad("interval is hour, day, week or month")),
        };
        parts.reports.series(filter(&viewer)?, days(&asked)?, grain).await
    };
    answer(told.await)
}

/// `GET /api/metrics/endpoints?days=7`
pub async fn endpoints(
    State(parts): State<Parts>,
    Extension(viewer): Extension<Viewer>,
    asked: Asked,
) -> Response {
    let told = async { parts.reports.endpoints(filter(&viewer)?, days(&asked)?).await };
    answer(told.await)
}

/// `POST /api/metrics/{id}/rate`, where `id` is what `X-Request-Id` said.
pub async fn rate(
    State(parts): State<Parts>,
    Extension(viewer): Extension<Viewer>,
    Path(id): Path<String>,
    written: Bytes,
) -> Response {
    let rated = async {
        let wanted = serde_json::from_slice::<Rating>(&written).map(|Rating { rating }| rating);
        let rating = wanted.ok().filter(|rating| (-1..=1).contains(rating));
        let rating = rating.ok_or_else(|| bad("Rating must be -1, 0, or 1, as in {\"rating\": 1}"))?;
        let id = RequestId::read(&id).ok_or_else(|| bad("the id is not one of a request"))?;
        let owner = match &viewer {
            Viewer::Admin => None,
            Viewer::Key(own) => Some(&**own),
        };
        parts.reports.rate(id, owner, rating).await?;
        Ok(json!({ "message": "Rating recorded successfully" }))
    };
    answer(rated.await)
}

/// `GET /api/costs/summary?period=month`
pub async fn summary(
    State(parts): State<Parts>,
    Extension(viewer): Extension<Viewer>,
    asked: Asked,
) -> Response {
    let told = async { parts.reports.summary(filter(&viewer)?, period(&asked)?).await };
    answer(told.await)
}

/// `GET /api/costs/projection?period=month`
pub async fn projection(
    State(parts): State<Parts>,
    Extension(viewer): Extension<Viewer>,
    asked: Asked,
) -> Response {
    let told = async { parts.reports.projection(filter(&viewer)?, period(&asked)?).await };
    answer(told.await)
}

/// `GET /api/admin/costs/all?period=month`
pub async fn overview(State(parts): State<Parts>, asked: Asked) -> Response {
    let told = async { parts.reports.overview(Filter::default(), period(&asked)?).await };
    answer(told.await)
}

/// `GET /metrics/export`
pub async fn export(State(parts): State<Parts>) -> Response {
    answer(parts.reports.export(&parts.retention).await)
}

fn filter(viewer: &Viewer) -> Result<Filter, Error> {
    seen(viewer, Filter::default())
}

fn days(asked: &Asked) -> Result<i64, Error> {
    let days = asked.value("days").map_or(Ok(DAYS), str::parse);
    let days = days.ok().filter(|days| (1..=MOST_DAYS).contains(days));
    days.ok_or_else(|| bad("days is a whole number, and at least 1"))
}

fn period(asked: &Asked) -> Result<Period, Error> {
    let period = Period::named(asked.value("period").unwrap_or("month"));
    period.ok_or_else(|| bad("period is day, week, month, quarter or year"))
}
