//! GemmaPy's figures of costs, in its shapes: of the last day, week (7 days), month (30), quarter (90) or year (365).

use super::amount::Amount;
use super::reports::{Reports, total};
use super::tellable::Span;
use crate::domain::{Error, Money};
use crate::store::ledger::{By, Figure, Filter, Line, Sums};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// How far back, or ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

/// `GET /api/costs/summary`
#[derive(Debug, Serialize)]
pub struct Summary {
    /// The key's name; nothing for an admin, who sees all of them.
    user_id: Option<String>,
    period: Period,
    period_days: i64,
    total_cost: Amount,
    currency: String,
    breakdown: Vec<Part>,
    total_saved: Amount,
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<Span>,
}

/// `GET /api/costs/projection`
#[derive(Debug, Serialize)]
pub struct Projection {
    user_id: Option<String>,
    projection_period: Period,
    projection_days: i64,
    daily_avg_cost: Amount,
    projected_total_cost: Amount,
    currency: String,
    based_on_days: i64,
    /// Trips of those days that nobody knows the cost of.
    unpriced: i64,
    breakdown: Vec<Projected>,
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<Span>,
}

/// `GET /api/admin/costs/all`
#[derive(Debug, Serialize)]
pub struct Overview {
    period: Period,
    period_days: i64,
    total_cost: Amount,
    currency: String,
    user_count: usize,
    users: Vec<User>,
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<Span>,
}

#[derive(Debug, Serialize)]
struct User {
    user_id: String,
    username: String,
    total_cost: Amount,
    breakdown: Vec<Part>,
}

/// Of one model.
#[derive(Debug, Serialize)]
struct Part {
    model: String,
    request_count: i64,
    prompt_tokens: i64,
    response_tokens: i64,
    prompt_cost: Amount,
    response_cost: Amount,
    total_cost: Amount,
    currency: String,
    gpu_seconds: f64,
    gpu_cost: Amount,
    saved_cost: Amount,
    /// Trips that nobody knows the cost of.
    unpriced: i64,
}

#[derive(Debug, Serialize)]
struct Projected {
    model: String,
    daily_avg_cost: Amount,
    projected_cost: Amount,
}

/// Days that a projection is made from.
const BASIS: i64 = 7;

impl Period {
    pub fn named(name: &str) -> Option<Period> {
        Some(match name {
            "day" => Period::Day,
            "week" => Period::Week,
            "month" => Period::Month,
            "quarter" => Period::Quarter,
            "year" => Period::Year,
            _ => return None,
        })
    }

    fn days(self) -> i64 {
        match self {
            Period::Day => 1,
            Period::Week => 7,
            Period::Month => 30,
            Period::Quarter => 90,
            Period::Year => 365,
        }
    }
}

impl Reports {
    /// # Errors
    /// `Overloaded` while the database is away.
    pub async fn summary(&self, filter: Filter, period: Period) -> Result<Summary, Error> {
        let user_id = filter.key.clone();
        let (told, lines) = self.all(self.of_days(filter, period.days(), None, vec![By::Model])).await?;
        let currency = self.terms().currency.to_string();
        Ok(Summary {
            user_id,
            period,
            period_days: period.days(),
            total_cost: sum(&lines, Figure::Cost),
            total_saved: sum(&lines, Figure::SavedCost),
            breakdown: breakdown(lines, &currency),
            currency,
            told: told.other(),
        })
    }

    /// # Errors
    /// `Overloaded` while the database is away.
    pub async fn projection(&self, filter: Filter, period: Period) -> Result<Projection, Error> {
        let user_id = filter.key.clone();
        let (told, mut lines) = self.all(self.of_days(filter, BASIS, None, vec![By::Model])).await?;
        lines.sort_by_key(|line| Reverse(line.sums[Figure::Cost as usize]));
        let days = period.days();
        let all = sum(&lines, Figure::Cost);
        let projected = |Line { mut names, sums, .. }: Line| {
            let cost = cost(&sums);
            Projected {
                model: names.pop().unwrap_or_default(),
                daily_avg_cost: share(cost, 1, BASIS),
                projected_cost: share(cost, days, BASIS),
            }
        };
        Ok(Projection {
            user_id,
            projection_period: period,
            projection_days: days,
            daily_avg_cost: share(all, 1, BASIS),
            projected_total_cost: share(all, days, BASIS),
            currency: self.terms().currency.to_string(),
            based_on_days: BASIS,
            unpriced: total(&lines)[Figure::Unpriced as usize],
            breakdown: of_models(lines).into_iter().map(projected).collect(),
            told: told.other(),
        })
    }

    /// Of everybody, those who cost most first.
    ///
    /// # Errors
    /// `Overloaded` while the database is away.
    pub async fn overview(&self, filter: Filter, period: Period) -> Result<Overview, Error> {
        let question = self.of_days(filter, period.days(), None, vec![By::Key, By::Model]);
        let (told, lines) = self.all(question).await?;
        let currency = self.terms().currency.to_string();
        let total_cost = sum(&lines, Figure::Cost);
        let mut keys: BTreeMap<String, Vec<Line>> = BTreeMap::new();
        for mut line in lines {
            keys.entry(line.names.remove(0)).or_default().push(line);
        }
        let user = |(name, lines): (String, Vec<Line>)| User {
            user_id: name.clone(),
            username: name,
            total_cost: sum(&lines, Figure::Cost),
            breakdown: breakdown(lines, &currency),
        };
        let mut users: Vec<User> = keys.into_iter().map(user).collect();
        users.sort_by_key(|user| Reverse(user.total_cost));
        let (period_days, user_count) = (period.days(), users.len());
        Ok(Overview { period, period_days, total_cost, currency, user_count, users, told: told.other() })
    }
}

/// Lines by model: requests that ask none cost nothing, and are no part of a bill.
pub(super) fn of_models(mut lines: Vec<Line>) -> Vec<Line> {
    lines.retain(|line| line.names.last().is_some_and(|model| !model.is_empty()));
    lines
}

/// Models, those that cost most first.
fn breakdown(lines: Vec<Line>, currency: &str) -> Vec<Part> {
    let mut lines = of_models(lines);
    lines.sort_by_key(|line| Reverse(line.sums[Figure::Cost as usize]));
    let part = |Line { mut names, sums, .. }: Line| {
        let amount = |figure: Figure| Amount::nanos(sums[figure as usize]);
        Part {
            model: names.pop().unwrap_or_default(),
            request_count: sums[Figure::Requests as usize],
            prompt_tokens: sums[Figure::Prompt as usize],
            response_tokens: sums[Figure::Completion as usize],
            prompt_cost: amount(Figure::PromptCost),
            response_cost: amount(Figure::CompletionCost),
            total_cost: amount(Figure::Cost),
            currency: currency.to_owned(),
            gpu_seconds: sums[Figure::Gpu as usize] as f64 / 1e6,
            gpu_cost: amount(Figure::GpuCost),
            saved_cost: amount(Figure::SavedCost),
            unpriced: sums[Figure::Unpriced as usize],
        }
    };
    lines.into_iter().map(part).collect()
}

fn cost(sums: &Sums) -> Amount {
    Amount::nanos(sums[Figure::Cost as usize])
}

fn sum(lines: &[Line], figure: Figure) -> Amount {
    let amounts = lines.iter().map(|line| line.sums[figure as usize]);
    Amount::nanos(amounts.fold(0, i64::saturating_add))
}

/// So many parts of what `of` parts come to, to the nearest billionth.
fn share(Amount(all): Amount, parts: i64, of: i64) -> Amount {
    let exact = i128::from(all.nanos()) * i128::from(parts);
    let rounded = (exact * 2 + i128::from(of)).div_euclid(2 * i128::from(of));
    Amount(Money::from_nanos(i64::try_from(rounded).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_projection_is_rounded_once() {
        let week = Amount::nanos(10);
        assert_eq!(share(week, 1, 7), Amount::nanos(1));
        assert_eq!(share(week, 30, 7), Amount::nanos(43), "42.86, and not 30 times 1");
        assert_eq!(share(Amount::nanos(i64::MAX), 365, 7), Amount::nanos(i64::MAX));
    }
}
