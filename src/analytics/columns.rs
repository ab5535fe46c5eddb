//! What reports show of sums, each with its name.

use crate::domain::Money;
use crate::store::ledger::{Figure, Sums};

/// One figure.
pub struct Column {
    pub name: &'static str,
    pub cell: fn(&Sums) -> Cell,
}

/// As it is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell {
    Count(i64),
    Money(Money),
    /// Shown as seconds, exactly.
    Micros(i64),
    /// A quotient.
    Ratio(f64),
    /// A quotient of nothing.
    None,
}

/// Tokens and time, and what of it the cache has saved.
pub const USAGE: &[Column] = &[
    count("requests", |sums| of(sums, Figure::Requests)),
    count("hits", |sums| of(sums, Figure::Hits)),
    count("joined", |sums| of(sums, Figure::Joined)),
    count("failed", |sums| of(sums, Figure::Failed)),
    count("cancelled", |sums| of(sums, Figure::Cancelled)),
    count("trips", |sums| of(sums, Figure::Trips)),
    count("prompt_tokens", |sums| of(sums, Figure::Prompt)),
    count("cached_prompt_tokens", |sums| of(sums, Figure::CachedPrompt)),
    count("completion_tokens", |sums| of(sums, Figure::Completion)),
    count("reasoning_tokens", |sums| of(sums, Figure::Reasoning)),
    count("total_tokens", taken_tokens),
    count("gpu_seconds", |sums| Cell::Micros(sums[Figure::Gpu as usize])),
    count("avg_ms", avg_ms),
    count("tokens_per_second", tokens_per_second),
    count("saved_prompt_tokens", |sums| of(sums, Figure::SavedPrompt)),
    count("saved_completion_tokens", |sums| of(sums, Figure::SavedCompletion)),
    count("saved_gpu_seconds", |sums| Cell::Micros(sums[Figure::SavedGpu as usize])),
    count("audio_seconds", |sums| Cell::Micros(sums[Figure::Audio as usize].saturating_mul(1000))),
    count("images", |sums| of(sums, Figure::Images)),
];

/// Money, and what it was paid for.
pub const COSTS: &[Column] = &[
    count("requests", |sums| of(sums, Figure::Requests)),
    count("trips", |sums| of(sums, Figure::Trips)),
    count("prompt_tokens", |sums| of(sums, Figure::Prompt)),
    count("completion_tokens", |sums| of(sums, Figure::Completion)),
    count("gpu_seconds", |sums| Cell::Micros(sums[Figure::Gpu as usize])),
    count("prompt_cost", |sums| money(sums, Figure::PromptCost)),
    count("completion_cost", |sums| money(sums, Figure::CompletionCost)),
    count("gpu_cost", |sums| money(sums, Figure::GpuCost)),
    count("cost", |sums| money(sums, Figure::Cost)),
    count("saved_cost", |sums| money(sums, Figure::SavedCost)),
    count("unpriced", |sums| of(sums, Figure::Unpriced)),
    count("unbilled", |sums| of(sums, Figure::Unbilled)),
];

impl Cell {
    /// As a number, for programs; nothing where there is none.
    pub fn number(self) -> String {
        match self {
            Cell::Count(count) => count.to_string(),
            Cell::Money(money) => money.to_string(),
            Cell::Micros(micros) => seconds(micros),
            Cell::Ratio(ratio) => format!("{ratio:.3}"),
            Cell::None => String::new(),
        }
    }

    /// The same for people.
    pub fn text(self) -> String {
        match self {
            Cell::Micros(micros) => format!("{:.1}", micros as f64 / 1e6),
            Cell::Ratio(ratio) => format!("{ratio:.1}"),
            Cell::None => "-".to_owned(),
            cell => cell.number(),
        }
    }
}

const fn count(name: &'static str, cell: fn(&Sums) -> Cell) -> Column {
    Column { name, cell }
}

fn of(sums: &Sums, figure: Figure) -> Cell {
    Cell::Count(sums[figure as usize])
}

fn money(sums: &Sums, figure: Figure) -> Cell {
    Cell::Money(Money::from_nanos(sums[figure as usize]))
}

fn taken_tokens(sums: &Sums) -> Cell {
    Cell::Count(sums[Figure::Prompt as usize].saturating_add(sums[Figure::Completion as usize]))
}

fn avg_ms(sums: &Sums) -> Cell {
    quotient(sums[Figure::Total as usize] as f64 / 1e3, sums[Figure::Requests as usize])
}

/// While the model wrote.
fn tokens_per_second(sums: &Sums) -> Cell {
    quotient(sums[Figure::Completion as usize] as f64 * 1e6, sums[Figure::CompletionTime as usize])
}

fn quotient(amount: f64, by: i64) -> Cell {
    if by == 0 { Cell::None } else { Cell::Ratio(amount / by as f64) }
}

/// Exactly.
pub fn seconds(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    let text = format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_exactly_to_programs() {
        let mut sums = [0; Figure::COUNT];
        for (figure, amount) in [
            (Figure::Requests, 4),
            (Figure::Total, 10_000),
            (Figure::Gpu, 1_500_001),
            (Figure::Cost, 110_000),
            (Figure::SavedCost, -5),
        ] {
            sums[figure as usize] = amount;
        }
        let shown = |columns: &[Column], name: &str| {
            let cell = columns.iter().find(|column| column.name == name).map(|column| (column.cell)(&sums));
            cell.map(|cell| (cell.number(), cell.text())).unwrap()
        };
        let pair = |number: &str, text: &str| (number.to_owned(), text.to_owned());
        assert_eq!(shown(USAGE, "avg_ms"), pair("2.500", "2.5"));
        assert_eq!(shown(USAGE, "tokens_per_second"), pair("", "-"));
        assert_eq!(shown(USAGE, "gpu_seconds"), pair("1.500001", "1.5"));
        assert_eq!(shown(COSTS, "cost"), pair("0.00011", "0.00011"));
        assert_eq!(shown(COSTS, "saved_cost"), pair("-0.000000005", "-0.000000005"));
        assert_eq!([0, 2_000_000, -1].map(seconds), ["0", "2", "-0.000001"]);
    }
}
