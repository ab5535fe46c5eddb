//! All rows, one line a request, in the order in which they came; told as they are read.

use super::columns::seconds;
use super::csv;
use super::reports::{Question, Reports};
use super::told::{Format, Reader};
use crate::domain::{CacheOutcome, Ended, Error, Money, RequestId, Source};
use crate::store::ledger::{Column, Row, RowLine};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use std::fmt::Write;
use tokio::sync::mpsc;

/// Rows that are read at once: few, for each takes some kilobytes until it is told.
const PAGE: usize = 200;

/// Names, and then numbers.
const TEXTS: [&str; 16] = [
    "time",
    "request_id",
    "key",
    "team",
    "model",
    "digest",
    "endpoint",
    "dialect",
    "operation",
    "mode",
    "ending",
    "cache",
    "tokens_from",
    "error",
    "error_message",
    "price",
];
const NUMBERS: [(&str, Number); 21] = [
    ("status", Number::Plain(Column::Status)),
    ("prompt_tokens", Number::Plain(Column::Prompt)),
    ("cached_prompt_tokens", Number::Plain(Column::CachedPrompt)),
    ("completion_tokens", Number::Plain(Column::Completion)),
    ("reasoning_tokens", Number::Plain(Column::Reasoning)),
    ("total_seconds", Number::Time(Column::Total)),
    ("first_token_seconds", Number::Time(Column::FirstToken)),
    ("queue_seconds", Number::Time(Column::Queue)),
    ("load_seconds", Number::Time(Column::Load)),
    ("prompt_seconds", Number::Time(Column::PromptTime)),
    ("completion_seconds", Number::Time(Column::CompletionTime)),
    ("gpu_seconds", Number::Gpu),
    ("tokens_per_second", Number::Speed),
    ("rating", Number::Plain(Column::Rating)),
    ("cost", Number::Money(Column::Cost)),
    ("saved_cost", Number::Money(Column::SavedCost)),
    ("unpriced", Number::Plain(Column::Unpriced)),
    ("unbilled", Number::Plain(Column::Unbilled)),
    ("hit_below", Number::Below),
    ("audio_seconds", Number::Milliseconds(Column::Audio)),
    ("images", Number::Plain(Column::Images)),
];

/// How a number is shown; nothing where the row has none.
enum Number {
    Plain(Column),
    Time(Column),
    Milliseconds(Column),
    Money(Column),
    /// How long the model's hardware was at work for the answer.
    Gpu,
    /// Tokens, while the model wrote.
    Speed,
    /// 1 where a tier behind the memory had the answer.
    Below,
}

impl Number {
    fn show(&self, row: &RowLine) -> String {
        let value = |column: &Column| row.values[*column as usize];
        match self {
            Number::Plain(column) => value(column).map(|number| number.to_string()),
            Number::Time(column) => value(column).map(seconds),
            Number::Milliseconds(column) => value(column).map(|time| seconds(time.saturating_mul(1000))),
            Number::Gpu => {
                let times = [Column::Load, Column::PromptTime, Column::CompletionTime];
                times.iter().filter_map(value).reduce(i64::saturating_add).map(seconds)
            }
            Number::Below => {
                let below = |cache| CacheOutcome::numbered(cache) == Some(CacheOutcome::HitBelow);
                value(&Column::Cache).map(|cache| i64::from(below(cache)).to_string())
            }
            Number::Money(column) => value(column).map(|nanos| Money::from_nanos(nanos).to_string()),
            Number::Speed => match (value(&Column::Completion), value(&Column::CompletionTime)) {
                (Some(tokens), Some(micros @ 1..)) => {
                    Some(format!("{:.3}", tokens as f64 * 1e6 / micros as f64))
                }
                _ => None,
            },
        }
        .unwrap_or_default()
    }
}

impl Reports {
    /// Tells the rows that `question` is about, as CSV, or one JSON object a line.
    ///
    /// # Errors
    /// `Overloaded` while the database is away; then not all has been told.
    pub async fn tell_requests(
        &self,
        question: &Question,
        format: Format,
        told: mpsc::Sender<Bytes>,
    ) -> Result<(), Error> {
        let mut page = self.page(question.stay, None, &question.filter, PAGE).await?;
        let mut reader = Reader::new(told);
        let titles = TEXTS.into_iter().chain(NUMBERS.iter().map(|(name, _)| *name));
        let head = if format == Format::Json { String::new() } else { csv::record(titles) };
        if reader.tell(&head).await.is_err() {
            return Ok(());
        }
        while let Some(last) = page.last() {
            let after = last.id;
            for row in &page {
                if reader.tell(&line(row, format)).await.is_err() {
                    return Ok(());
                }
            }
            if reader.flush().await.is_err() {
                return Ok(());
            }
            page = self.page(question.stay, Some(after), &question.filter, PAGE).await?;
        }
        let _ = reader.flush().await;
        Ok(())
    }
}

fn line(row: &RowLine, format: Format) -> String {
    let texts = texts(row);
    let numbers = NUMBERS.iter().map(|(_, number)| number.show(row));
    if format != Format::Json {
        return csv::line(texts.iter().map(String::as_str), numbers);
    }
    let mut line = String::from("{");
    // Writing to a string cannot fail.
    for (name, text) in TEXTS.iter().zip(&texts) {
        let _ = write!(line, "\"{name}\":{},", Value::from(text.as_str()));
    }
    for ((name, _), number) in NUMBERS.iter().zip(numbers) {
        let _ = write!(line, "\"{name}\":{},", if number.is_empty() { "null" } else { &number });
    }
    line.pop();
    line + "}\n"
}

fn texts(row: &RowLine) -> [String; 16] {
    let milliseconds = Row::halves(&row.id)[0] >> 16;
    let time =
        Timestamp::from_millisecond(milliseconds).map_or_else(|_| String::new(), |at| format!("{at:.3}"));
    let number = |column: Column| row.values[column as usize];
    let ending = number(Column::Ending).and_then(Ended::numbered).map(Ended::label);
    let cache = number(Column::Cache).and_then(CacheOutcome::numbered).map(CacheOutcome::label);
    let source = number(Column::Source).and_then(Source::numbered).map(Source::label);
    let [ending, cache, source] = [ending, cache, source].map(|label| label.unwrap_or_default().to_owned());
    let [key, team, model, digest, endpoint, dialect, operation, mode] = row.names.clone();
    let [error, message] = row.failure.clone();
    [
        time,
        RequestId(row.id).to_string(),
        key,
        team,
        model,
        digest,
        endpoint,
        dialect,
        operation,
        mode,
        ending,
        cache,
        source,
        error,
        message,
        row.price.clone(),
    ]
}
