//! Lines as a table for people, as CSV for spreadsheets, as JSON for programs; told as they are read.

use super::columns::Column;
use super::csv;
use super::reports::{Question, Reports, add};
use super::table::{Columns, Lean, plain};
use super::tellable::{Span, Tellable};
use super::time::Stay;
use crate::domain::Error;
use crate::store::ledger::{Figure, Line, Sums};
use bytes::Bytes;
use serde_json::Value;
use std::fmt::Write;
use tokio::sync::mpsc;

/// How it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Table,
    Csv,
    Json,
}

/// Who reads it, and what was not handed over yet.
pub(super) struct Reader {
    told: mpsc::Sender<Bytes>,
    text: String,
}

/// Whoever reads has left.
pub(super) struct Gone;

/// Handed over at once, in bytes.
const HANDFUL: usize = 16 << 10;

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Table => "text/plain; charset=utf-8",
            Format::Csv => "text/csv; charset=utf-8; header=present",
            Format::Json => "application/json",
        }
    }

    pub fn named(name: &str) -> Option<Format> {
        match name {
            "table" => Some(Format::Table),
            "csv" => Some(Format::Csv),
            "json" => Some(Format::Json),
            _ => None,
        }
    }
}

impl Reader {
    pub fn new(told: mpsc::Sender<Bytes>) -> Self {
        Reader { told, text: String::new() }
    }

    /// Adds to what is told; hands it over when there is enough.
    pub async fn tell(&mut self, text: &str) -> Result<(), Gone> {
        self.text.push_str(text);
        if self.text.len() < HANDFUL { Ok(()) } else { self.flush().await }
    }

    pub async fn flush(&mut self) -> Result<(), Gone> {
        let text = std::mem::take(&mut self.text);
        self.told.send(text.into()).await.map_err(|_| Gone)
    }
}

impl Reports {
    /// Answers with `columns`, in `format`.
    ///
    /// # Errors
    /// `Overloaded` while the database is away; then not all has been told.
    pub async fn tell(
        &self,
        tellable: &Tellable,
        columns: &'static [Column],
        format: Format,
        told: mpsc::Sender<Bytes>,
    ) -> Result<(), Error> {
        let mut reader = Reader::new(told);
        let mut telling = Telling::new(&tellable.question, tellable.asked(), columns);
        let head = telling.head(format, &self.terms().currency);
        if reader.tell(&head).await.is_err() || reader.flush().await.is_err() {
            return Ok(());
        }
        let mut lines = self.lines(tellable);
        while let Some(lines) = lines.next().await? {
            for line in &lines {
                if reader.tell(&telling.line(format, line)).await.is_err() {
                    return Ok(());
                }
            }
        }
        // Whoever has left by now has all but the end.
        let _ = reader.tell(&telling.end(format)).await;
        let _ = reader.flush().await;
        Ok(())
    }
}

/// What has been told so far.
struct Telling<'a> {
    question: &'a Question,
    /// The time that was asked for, where it is another.
    asked: Option<Stay>,
    columns: &'static [Column],
    total: Sums,
    lines: usize,
    /// Columns are as wide as their widest cells: of a table nothing is told before the end ...
    table: Vec<Vec<String>>,
    /// ... or there is so much of it that those are known well enough.
    known: Option<Columns>,
}

/// Lines of a table that are held.
const TABLE: usize = 2_000;

impl<'a> Telling<'a> {
    fn new(question: &'a Question, asked: Option<Stay>, columns: &'static [Column]) -> Self {
        Telling {
            question,
            asked,
            columns,
            total: [0; Figure::COUNT],
            lines: 0,
            table: Vec::new(),
            known: None,
        }
    }

    /// What lines are told apart by.
    fn names(&self) -> impl Iterator<Item = &'static str> {
        let grain = self.question.grain.map(|grain| grain.name());
        grain.into_iter().chain(self.question.by.iter().map(|by| by.name()))
    }

    fn head(&mut self, format: Format, currency: &str) -> String {
        let titles = self.names().chain(self.columns.iter().map(|column| column.name));
        match format {
            Format::Csv => csv::record(titles),
            Format::Table => {
                self.table.push(titles.map(str::to_owned).collect());
                let show = |Stay { from, until }: Stay| {
                    let show = |second| self.question.zone.show(second, "%Y-%m-%d %H:%M");
                    format!("{} to {}", show(from), show(until))
                };
                let asked = self.asked.map_or_else(String::new, |asked| {
                    format!("asked for {}: of that, sums have gone\n", show(asked))
                });
                let (stay, zone) = (show(self.question.stay), self.question.zone.name());
                format!("{stay} ({zone}), money in {currency}\n{asked}\n")
            }
            Format::Json => {
                let text = |text: &str| Value::from(text).to_string();
                let by: Vec<_> = self.names().collect();
                let Stay { from, until } = self.question.stay;
                let asked = self.asked.map_or_else(String::new, |asked| {
                    format!("\"asked\":{},", serde_json::to_string(&Span::of(asked)).unwrap_or_default())
                });
                format!(
                    "{{\"from\":{},\"until\":{},{asked}\"time_zone\":{},\"currency\":{},\"by\":{},\"lines\":[",
                    text(&Stay::show(from)),
                    text(&Stay::show(until)),
                    text(&self.question.zone.name()),
                    text(currency),
                    Value::from(by),
                )
            }
        }
    }

    fn line(&mut self, format: Format, line: &Line) -> String {
        add(&mut self.total, &line.sums);
        self.lines += 1;
        let Question { grain, zone, .. } = self.question;
        let label = grain.map(|grain| zone.label(grain, line.start));
        let names = label.iter().chain(&line.names).map(String::as_str);
        match format {
            Format::Csv => {
                let figures = self.columns.iter().map(|column| (column.cell)(&line.sums).number());
                csv::line(names, figures)
            }
            Format::Table => {
                let figures = self.columns.iter().map(|column| (column.cell)(&line.sums).text());
                let row = names.map(plain).chain(figures).collect();
                self.row(row)
            }
            Format::Json => {
                let comma = if self.lines > 1 { "," } else { "" };
                let named = self.names().zip(names).fold(String::new(), |mut text, (by, name)| {
                    // Writing to a string cannot fail.
                    let _ = write!(text, "\"{by}\":{},", Value::from(name));
                    text
                });
                format!("{comma}\n{{{named}{}}}", figures(self.columns, &line.sums))
            }
        }
    }

    /// One more of the table; returns what can be told of it by now.
    fn row(&mut self, row: Vec<String>) -> String {
        if let Some(columns) = &self.known {
            return columns.line(&row);
        }
        self.table.push(row);
        if self.table.len() <= TABLE {
            return String::new();
        }
        let rows = std::mem::take(&mut self.table);
        let columns = columns(&rows, self.names().count());
        let text = rows.iter().map(|row| columns.line(row)).collect();
        self.known = Some(columns);
        text
    }

    fn end(&mut self, format: Format) -> String {
        match format {
            Format::Csv => String::new(),
            Format::Json => format!("\n],\"total\":{{{}}}}}\n", figures(self.columns, &self.total)),
            Format::Table => {
                let names = self.names().count();
                let mut text = String::new();
                if names > 0 {
                    let mut row = vec![String::new(); names];
                    row[0] = "total".to_owned();
                    row.extend(self.columns.iter().map(|column| (column.cell)(&self.total).text()));
                    text = self.row(row);
                }
                text + &whole(&without_empty(&self.table, names), names)
            }
        }
    }
}

/// As members of a JSON object; what is no number is null.
fn figures(columns: &[Column], sums: &Sums) -> String {
    let member = |column: &Column| {
        let number = (column.cell)(sums).number();
        format!("\"{}\":{}", column.name, if number.is_empty() { "null" } else { &number })
    };
    columns.iter().map(member).collect::<Vec<_>>().join(",")
}

/// The first `names` of them lean left, all others right.
fn columns(rows: &[Vec<String>], names: usize) -> Columns {
    let leans =
        (0..rows.first().map_or(0, Vec::len)).map(|at| if at < names { Lean::Left } else { Lean::Right });
    Columns::of(leans, rows)
}

fn whole(rows: &[Vec<String>], names: usize) -> String {
    let columns = columns(rows, names);
    rows.iter().map(|row| columns.line(row)).collect()
}

/// Less the figures of which there are none in any line. Requests are always told, and so is what they cost.
fn without_empty(rows: &[Vec<String>], names: usize) -> Vec<Vec<String>> {
    let Some((titles, lines)) = rows.split_first() else { return Vec::new() };
    let is_empty = |cell: &str| cell.bytes().all(|byte| b"0.-".contains(&byte));
    let is_told = |column: usize| {
        column < names
            || ["requests", "cost"].contains(&titles[column].as_str())
            || !lines.iter().all(|line| is_empty(&line[column]))
    };
    let told: Vec<usize> = (0..titles.len()).filter(|column| is_told(*column)).collect();
    rows.iter().map(|row| told.iter().map(|column| row[*column].clone()).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::{By, COSTS, Filter};

    /// Lines of two names, the later of them longer than any before.
    #[test]
    fn a_long_table_is_told_before_its_end() {
        let zone = crate::analytics::Zone::named("UTC").unwrap();
        let (stay, by) = (Stay { from: 0, until: 60 }, vec![By::Key]);
        let question = Question { stay, zone, grain: None, by, filter: Filter::default() };
        let mut telling = Telling::new(&question, None, COSTS);
        telling.head(Format::Table, "USD");
        let line = |names: &str| Line { start: 0, names: vec![names.to_owned()], sums: [1; Figure::COUNT] };
        for number in 1..TABLE {
            assert_eq!(telling.line(Format::Table, &line("ann")), "", "{number}");
        }
        let first = telling.line(Format::Table, &line("ann"));
        assert_eq!(first.lines().count(), TABLE + 1, "with its head");
        assert!(telling.line(Format::Table, &line("benjamin")).starts_with("benjamin"));
        assert!(telling.table.is_empty(), "nothing is held any more");
        let end = telling.end(Format::Table);
        assert!(end.starts_with("total") && end.lines().count() == 1, "{end}");
        assert!(end.contains(&(TABLE + 1).to_string()), "{end}");
    }

    #[test]
    fn a_table_shows_what_there_is() {
        let row = |cells: [&str; 5]| cells.map(str::to_owned).to_vec();
        let rows = [
            row(["key", "requests", "failed", "cost", "saved_cost"]),
            row(["0", "0", "0", "0.00", "-"]),
            row(["ann", "0", "0", "0.00", "0.25"]),
        ];
        let told = whole(&without_empty(&rows, 1), 1);
        assert_eq!(
            told,
            "key  requests  cost  saved_cost\n0           0  0.00           -\nann         0  0.00        0.25\n"
        );
    }
}
