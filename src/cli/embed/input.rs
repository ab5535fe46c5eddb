//! Texts as they are written in a file, read a window at a time.

use super::window::Row;
use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use tokio::sync::mpsc;

/// A window takes no more bytes of the input, unless a single text is larger.
const WINDOW: usize = 4 << 20;
/// A line is no longer than this.
const LONGEST: u64 = 64 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// A text a line
    Lines,
    /// A JSON object a line
    Jsonl,
}

/// What is left of the input.
pub(super) struct Texts {
    input: Box<dyn BufRead + Send>,
    kind: Option<Kind>,
    /// Of the line read last.
    number: u64,
    /// How many lines there are, where that could be counted.
    lines: Option<u64>,
}

#[derive(Deserialize)]
struct Written<'a> {
    #[serde(alias = "input")]
    text: String,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

impl Texts {
    pub fn open(file: Option<&Path>, kind: Option<Kind>) -> anyhow::Result<Self> {
        let Some(path) = file.filter(|path| *path != Path::new("-")) else {
            return Ok(Texts {
                input: Box::new(BufReader::new(std::io::stdin())),
                kind,
                number: 0,
                lines: None,
            });
        };
        let reading = || format!("cannot read {}", path.display());
        let mut file = File::open(path).with_context(reading)?;
        // What is no file of its own cannot be read twice.
        let lines = match file.metadata().with_context(reading)?.is_file() {
            true => Some(count(BufReader::new(&file)).with_context(reading)?),
            false => None,
        };
        if lines.is_some() {
            file.seek(SeekFrom::Start(0)).with_context(reading)?;
        }
        Ok(Texts { input: Box::new(BufReader::new(file)), kind, number: 0, lines })
    }

    /// How many texts there are, where that is known.
    pub fn lines(&self) -> Option<u64> {
        self.lines
    }

    /// All windows, one read ahead. By a thread of its own, for whoever waits at a terminal must be heard all the
    /// same; it ends with the process at the latest.
    pub fn windows(mut self, most: usize) -> mpsc::Receiver<anyhow::Result<Vec<Row>>> {
        let (out, windows) = mpsc::channel(1);
        std::thread::spawn(move || {
            loop {
                let window = self.window(most);
                let has_more = window.as_ref().is_ok_and(|rows| !rows.is_empty());
                let is_wanted = out.blocking_send(window).is_ok();
                if !has_more || !is_wanted {
                    return;
                }
            }
        });
        windows
    }

    /// The next texts, `most` at the most; none at the end.
    fn window(&mut self, most: usize) -> anyhow::Result<Vec<Row>> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while rows.len() < most && bytes < WINDOW {
            let Some(line) = self.line()? else { break };
            if line.trim_ascii().is_empty() {
                continue;
            }
            bytes += line.len();
            rows.push(self.row(&line));
        }
        Ok(rows)
    }

    /// The next line, without its end.
    fn line(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        self.number += 1;
        let read = (&mut self.input).take(LONGEST).read_until(b'\n', &mut line);
        if read.context("cannot read the texts")? == 0 {
            return Ok(None);
        }
        ensure!((line.len() as u64) < LONGEST, "line {} is too long", self.number);
        let end = line.strip_suffix(b"\n").unwrap_or(&line);
        let end = end.strip_suffix(b"\r").unwrap_or(end).len();
        line.truncate(end);
        Ok(Some(line))
    }

    fn row(&mut self, line: &[u8]) -> Row {
        let object =
            || line.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<Written>(line).is_ok();
        let kind = *self.kind.get_or_insert_with(|| if object() { Kind::Jsonl } else { Kind::Lines });
        let number = self.number;
        let (id, text) = match kind {
            Kind::Lines => (None, String::from_utf8(line.to_vec()).map_err(|_| "it is not UTF-8".to_owned())),
            Kind::Jsonl => match serde_json::from_slice::<Written>(line) {
                Ok(written) => (written.id.map(|id| id.get().to_owned()), Ok(written.text)),
                Err(error) => (None, Err(format!("it is no JSON object with a text: {error}"))),
            },
        };
        Row { line: number, id, text }
    }
}

/// Lines that are not empty.
fn count(mut input: impl BufRead) -> std::io::Result<u64> {
    let (mut lines, mut is_empty) = (0, true);
    loop {
        let read = input.fill_buf()?;
        if read.is_empty() {
            return Ok(lines + u64::from(!is_empty));
        }
        for byte in read {
            match byte {
                b'\n' => {
                    lines += u64::from(!is_empty);
                    is_empty = true;
                }
                byte => is_empty &= byte.is_ascii_whitespace(),
            }
        }
        let len = read.len();
        input.consume(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &'static str, kind: Option<Kind>) -> Texts {
        Texts { input: Box::new(text.as_bytes()), kind, number: 0, lines: None }
    }

    #[test]
    fn lines_keep_their_numbers_and_empty_ones_are_passed_over() {
        let text = "one\r\n\n  \n two \nthree";
        let mut read = texts(text, None);
        let first = read.window(2).unwrap();
        let shown: Vec<_> = first.iter().map(|row| (row.line, row.text.clone().unwrap())).collect();
        assert_eq!(shown, [(1, "one".to_owned()), (4, " two ".to_owned())]);
        assert_eq!(read.window(9).unwrap()[0].line, 5);
        assert!(read.window(9).unwrap().is_empty());
        assert_eq!(count(text.as_bytes()).unwrap(), 3);
    }

    #[test]
    fn json_lines_are_known_by_the_first() {
        let text = "{\"text\":\"a\",\"id\":{\"n\": 1},\"more\":2}\n{\"input\":\"b\"}\nc\n{\"text\":3}\n";
        let rows = texts(text, None).window(9).unwrap();
        assert_eq!(rows[0].id.as_deref(), Some("{\"n\": 1}"));
        let read: Vec<_> = rows.iter().map(|row| row.text.as_deref().ok()).collect();
        assert_eq!(read, [Some("a"), Some("b"), None, None]);
        let as_lines = texts(text, Some(Kind::Lines)).window(1).unwrap();
        assert!(as_lines[0].text.as_deref().unwrap().starts_with("{\"text\""));
        assert_eq!(texts("{no json\n", None).window(1).unwrap()[0].text.as_deref(), Ok("{no json"));
    }
}
