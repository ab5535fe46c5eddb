//! Prices in a file. What is wrong with it is said with the line where that stands.

use crate::metering::PriceEntry;
use anyhow::{Context, bail};
use csv::{ReaderBuilder, StringRecord, Trim};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

/// A file that was read; nothing is known to be wrong with it.
#[derive(Debug)]
pub(super) struct Sheet {
    name: String,
    pub prices: Vec<Value>,
    /// Where each of them begins.
    lines: Vec<u64>,
}

/// What is wrong, and on which line.
#[derive(Debug, PartialEq, Eq)]
struct Wrong(u64, String);

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    prices: Vec<&'a RawValue>,
}

/// What is wrong that is told at once.
const MOST_TOLD: usize = 20;

impl Sheet {
    pub fn read(path: &Path) -> anyhow::Result<Sheet> {
        let is_input = path.as_os_str() == "-";
        let name = if is_input { "standard input".to_owned() } else { path.display().to_string() };
        let mut text = String::new();
        let read = match is_input {
            true => std::io::stdin().read_to_string(&mut text).map(drop),
            false => std::fs::read_to_string(path).map(|read| text = read),
        };
        read.with_context(|| format!("cannot read {name}"))?;
        match parse(&text) {
            Ok((lines, prices)) => Ok(Sheet { name, prices, lines }),
            Err(wrong) => {
                let told =
                    wrong.iter().take(MOST_TOLD).map(|Wrong(line, what)| format!("{name}:{line}: {what}"));
                let more =
                    wrong.len().checked_sub(MOST_TOLD + 1).map(|more| format!("... and {} more", more + 1));
                bail!("{}", told.chain(more).collect::<Vec<_>>().join("\n"))
            }
        }
    }

    /// What the house says of the nth price, with its line.
    pub fn placed(&self, error: anyhow::Error) -> anyhow::Error {
        let told = error.to_string();
        let place = told.split_once("prices[").and_then(|(_, rest)| rest.split_once("]: "));
        let line = place.and_then(|(nth, what)| Some((self.lines.get(nth.parse::<usize>().ok()?)?, what)));
        match line {
            Some((line, what)) => anyhow::anyhow!("{}:{line}: {what}", self.name),
            None => error,
        }
    }
}

/// The prices, and where each of them begins.
fn parse(text: &str) -> Result<(Vec<u64>, Vec<Value>), Vec<Wrong>> {
    let found = match text.trim_start().starts_with(['{', '[']) {
        true => of_json(text)?,
        false => of_csv(text)?,
    };
    let mut known: HashMap<(String, SystemTime), u64> = HashMap::new();
    let mut wrong = Vec::new();
    for (line, price) in &found {
        match PriceEntry::deserialize(price) {
            Ok(entry) => {
                if let Some(before) = known.insert((entry.model, entry.from), *line) {
                    wrong.push(Wrong(*line, format!("the same model and moment stand on line {before}")));
                }
            }
            Err(error) => wrong.push(Wrong(*line, error.to_string())),
        }
    }
    if wrong.is_empty() { Ok(found.into_iter().unzip()) } else { Err(wrong) }
}

fn of_json(text: &str) -> Result<Vec<(u64, Value)>, Vec<Wrong>> {
    let wrong = |error: serde_json::Error| vec![Wrong(error.line() as u64, error.to_string())];
    let prices = match text.trim_start().starts_with('{') {
        true => serde_json::from_str::<Document<'_>>(text).map(|document| document.prices),
        false => serde_json::from_str::<Vec<&RawValue>>(text),
    };
    let price = |price: &RawValue| {
        let before = &text.as_bytes()[..price.get().as_ptr() as usize - text.as_ptr() as usize];
        let line = 1 + memchr::memchr_iter(b'\n', before).count() as u64;
        Ok((line, serde_json::from_str(price.get()).map_err(wrong)?))
    };
    prices.map_err(wrong)?.into_iter().map(price).collect()
}

fn of_csv(text: &str) -> Result<Vec<(u64, Value)>, Vec<Wrong>> {
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(text.as_bytes());
    let wrong = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        vec![Wrong(line, error.to_string())]
    };
    let head = reader.headers().map_err(wrong)?.clone();
    let price = |record: Result<StringRecord, csv::Error>| {
        let record = record.map_err(wrong)?;
        let cells = head.iter().zip(&record).filter(|(_, cell)| !cell.is_empty());
        let price: Map<_, _> = cells.map(|(name, cell)| (name.to_owned(), Value::from(cell))).collect();
        Ok((record.position().map_or(1, |place| line(text, place)), Value::Object(price)))
    };
    reader.records().map(price).collect()
}

/// Of a record; to the reader it begins with the empty lines before it.
fn line(text: &str, place: &csv::Position) -> u64 {
    let rest = text.as_bytes().get(place.byte() as usize..).unwrap_or_default();
    let empty = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    place.line() + empty.filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> Vec<(u64, String)> {
        parse(text).unwrap_err().into_iter().map(|Wrong(line, what)| (line, what)).collect()
    }

    #[test]
    fn both_forms_are_read() {
        let csv = "model,prompt,per,from\nllama3*, 0.15 ,,2026-01-31\n\n# not a comment,,,\n";
        let (lines, prices) = parse(csv).unwrap();
        assert_eq!(lines, [2, 4]);
        assert_eq!(
            prices[0],
            serde_json::json!({"model": "llama3*", "prompt": "0.15", "from": "2026-01-31"})
        );
        let json = "{\"currency\": \"USD\",\n\"prices\": [\n{\"model\": \"a\"},\n  {\"model\": \"b\"}]}";
        assert_eq!(parse(json).unwrap().0, [3, 4]);
        assert_eq!(parse("\n[{\"model\": \"a\"}]").unwrap().0, [2]);
        assert_eq!(parse("").unwrap().1, Vec::<Value>::new());
    }

    #[test]
    fn what_is_wrong_is_said_of_each_line() {
        let csv = "model,prompt,from\na,x,\nb,1,\nc,1,soon\nb,2,\n";
        let [(2, amount), (4, date), (5, twice)] = &wrong(csv)[..] else { panic!("{:?}", wrong(csv)) };
        assert!(amount.contains("not an amount") && date.contains("expected a date"), "{amount} {date}");
        assert!(twice.contains("line 3"), "{twice}");
        assert_eq!(wrong("model,prompt\na,1,2\n")[0].0, 2, "a cell too many");
        assert!(wrong("model,promt\na,1\n")[0].1.contains("promt"));
        let json = "{\"prices\": [\n{\"model\": \"a\", \"prompt\": 0.1},\n{\"model\": \"b\"},\n{}]}";
        let [(2, number), (4, nameless)] = &wrong(json)[..] else { panic!("{:?}", wrong(json)) };
        assert!(number.contains("string") && nameless.contains("model"), "{number} {nameless}");
        assert_eq!(wrong("{\"prices\": [\n{\"model\": \"a\"},\n]}")[0].0, 3);
    }
}
