//! GemmaPy's figures of performance, in its shapes. A `days` there is twenty-four hours ago, a duration is in
//! milliseconds, a rate is a part of one.

use super::bill::of_models;
use super::reports::{Question, Reports, now, total};
use super::tellable::Span;
use super::time::{Grain, Stay};
use crate::domain::Error;
use crate::store::ledger::{By, Figure, Filter, Line, Sums};
use serde::Serialize;

/// `GET /api/metrics/dashboard`
#[derive(Debug, Serialize)]
pub struct Dashboard {
    total_requests: i64,
    errors: i64,
    error_rate: f64,
    avg_duration: f64,
    avg_tokens_per_sec: f64,
    cache_hits: i64,
    cache_hit_rate: f64,
    total_tokens: i64,
    by_model: Vec<Model>,
    ratings: Ratings,
    gpu_seconds: f64,
    saved_gpu_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<Span>,
}

#[derive(Debug, Serialize)]
struct Model {
    model: String,
    requests: i64,
    avg_duration: f64,
    avg_tps: f64,
    total_tokens: i64,
    errors: i64,
}

#[derive(Debug, Serialize)]
struct Ratings {
    positive: i64,
    negative: i64,
    total_rated: i64,
    satisfaction_rate: f64,
}

/// `GET /api/metrics/timeseries`
#[derive(Debug, Serialize)]
pub struct Series {
    data: Vec<Point>,
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<Span>,
}

#[derive(Debug, Serialize)]
struct Point {
    time_bucket: String,
    requests: i64,
    avg_duration: f64,
    total_tokens: i64,
    errors: i64,
    cache_hits: i64,
    gpu_seconds: f64,
}

/// `GET /api/metrics/endpoints`
#[derive(Debug, Serialize)]
pub struct Endpoints {
    endpoints: Vec<Endpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<Span>,
}

#[derive(Debug, Serialize)]
struct Endpoint {
    endpoint: String,
    requests: i64,
    avg_duration: f64,
    errors: i64,
}

impl Reports {
    /// # Errors
    /// `Overloaded` while the database is away.
    pub async fn dashboard(&self, filter: Filter, days: i64) -> Result<Dashboard, Error> {
        let (told, lines) = self.all(self.of_days(filter, days, None, vec![By::Model])).await?;
        let all = total(&lines);
        let figure = |figure: Figure| all[figure as usize];
        let (requests, errors) = (figure(Figure::Requests), figure(Figure::Failed));
        let rated = figure(Figure::Rated);
        Ok(Dashboard {
            total_requests: requests,
            errors,
            error_rate: ratio(errors, requests),
            avg_duration: avg_duration(&all),
            avg_tokens_per_sec: tokens_per_second(&all),
            cache_hits: figure(Figure::Hits),
            cache_hit_rate: ratio(figure(Figure::Hits), requests),
            total_tokens: tokens(&all),
            by_model: by_requests(of_models(lines)).into_iter().map(Model::of).collect(),
            ratings: Ratings {
                positive: figure(Figure::Liked),
                negative: figure(Figure::Disliked),
                total_rated: rated,
                satisfaction_rate: ratio(figure(Figure::Liked), rated),
            },
            gpu_seconds: seconds(figure(Figure::Gpu)),
            saved_gpu_seconds: seconds(figure(Figure::SavedGpu)),
            told: told.other(),
        })
    }

    /// # Errors
    /// `Overloaded` while the database is away.
    pub async fn series(&self, filter: Filter, days: i64, grain: Grain) -> Result<Series, Error> {
        let question = self.of_days(filter, days, Some(grain), Vec::new());
        let form = match grain {
            Grain::Hour => "%Y-%m-%d %H:00:00",
            Grain::Day => "%Y-%m-%d",
            Grain::Week => "%G-W%V",
            Grain::Month => "%Y-%m",
        };
        let zone = question.zone.clone();
        let point = |Line { start, sums, .. }: Line| Point {
            time_bucket: zone.show(start, form),
            requests: sums[Figure::Requests as usize],
            avg_duration: avg_duration(&sums),
            total_tokens: tokens(&sums),
            errors: sums[Figure::Failed as usize],
            cache_hits: sums[Figure::Hits as usize],
            gpu_seconds: seconds(sums[Figure::Gpu as usize]),
        };
        let (told, lines) = self.all(question).await?;
        Ok(Series { data: lines.into_iter().map(point).collect(), told: told.other() })
    }

    /// # Errors
    /// `Overloaded` while the database is away.
    pub async fn endpoints(&self, filter: Filter, days: i64) -> Result<Endpoints, Error> {
        let (told, lines) = self.all(self.of_days(filter, days, None, vec![By::Endpoint])).await?;
        let endpoint = |Line { mut names, sums, .. }: Line| Endpoint {
            endpoint: names.pop().unwrap_or_default(),
            requests: sums[Figure::Requests as usize],
            avg_duration: avg_duration(&sums),
            errors: sums[Figure::Failed as usize],
        };
        let endpoints = by_requests(lines).into_iter().map(endpoint).collect();
        Ok(Endpoints { endpoints, told: told.other() })
    }

    /// A question about the last so many days.
    pub(super) fn of_days(&self, filter: Filter, days: i64, grain: Option<Grain>, by: Vec<By>) -> Question {
        Question { stay: Stay::last(days, now()), zone: self.terms().zone.clone(), grain, by, filter }
    }
}

impl Model {
    fn of(Line { mut names, sums, .. }: Line) -> Self {
        Model {
            model: names.pop().unwrap_or_default(),
            requests: sums[Figure::Requests as usize],
            avg_duration: avg_duration(&sums),
            avg_tps: tokens_per_second(&sums),
            total_tokens: tokens(&sums),
            errors: sums[Figure::Failed as usize],
        }
    }
}

/// Those with most requests first.
fn by_requests(mut lines: Vec<Line>) -> Vec<Line> {
    lines.sort_by_key(|line| std::cmp::Reverse(line.sums[Figure::Requests as usize]));
    lines
}

/// Of the answers that were given, whoever gave them.
fn tokens(sums: &Sums) -> i64 {
    [Figure::Prompt, Figure::Completion, Figure::SavedPrompt, Figure::SavedCompletion]
        .iter()
        .fold(0, |all, figure| all.saturating_add(sums[*figure as usize]))
}

fn avg_duration(sums: &Sums) -> f64 {
    ratio(sums[Figure::Total as usize], sums[Figure::Requests as usize]) / 1e3
}

fn tokens_per_second(sums: &Sums) -> f64 {
    ratio(sums[Figure::Completion as usize], sums[Figure::CompletionTime as usize]) * 1e6
}

fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

pub(super) fn ratio(part: i64, whole: i64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
