//! Vectors as they are written down.

use super::Format;
use super::window::{Fate, Row};
use anyhow::ensure;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};

/// Something that takes a row a text, in their order.
pub(super) trait Sheet {
    fn write(&mut self, row: &Row, fate: &Fate) -> anyhow::Result<()>;

    /// Everything is written, and whole.
    fn finish(&mut self) -> anyhow::Result<()>;
}

/// Goes to `out`, line by line; an .npy cannot.
pub(super) fn sheet<'a>(format: Format, out: &'a mut dyn Write) -> Box<dyn Sheet + 'a> {
    match format {
        Format::Csv => Box::new(Csv { out: BufWriter::new(out), width: None, early: Vec::new() }),
        _ => Box::new(Jsonl { out: BufWriter::new(out) }),
    }
}

pub(super) fn sheet_in(format: Format, file: File) -> anyhow::Result<Box<dyn Sheet>> {
    let mut out = BufWriter::new(file);
    Ok(match format {
        Format::Jsonl => Box::new(Jsonl { out }),
        Format::Csv => Box::new(Csv { out, width: None, early: Vec::new() }),
        Format::Npy => {
            out.write_all(&npy_head(0, 0))?;
            Box::new(Npy { out, rows: 0, width: None })
        }
    })
}

struct Jsonl<W: Write> {
    out: BufWriter<W>,
}

impl<W: Write> Sheet for Jsonl<W> {
    fn write(&mut self, row: &Row, fate: &Fate) -> anyhow::Result<()> {
        write!(self.out, "{{\"line\":{}", row.line)?;
        if let Some(id) = &row.id {
            write!(self.out, ",\"id\":{id}")?;
        }
        match fate {
            Fate::Numbers(array) => write!(self.out, ",\"embedding\":{}", array.get())?,
            Fate::Bytes(_) => {}
            Fate::Failed { code, message } => {
                write!(self.out, ",\"error\":{},\"code\":\"{code}\"", serde_json::to_string(message)?)?;
            }
        }
        Ok(writeln!(self.out, "}}")?)
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        Ok(self.out.flush()?)
    }
}

/// Its head names a column for each number, so it waits for the first vector.
struct Csv<W: Write> {
    out: BufWriter<W>,
    width: Option<usize>,
    /// Rows that came before it.
    early: Vec<String>,
}

impl<W: Write> Csv<W> {
    fn begin(&mut self, width: usize) -> anyhow::Result<()> {
        write!(self.out, "line,id,error")?;
        for column in 0..width {
            write!(self.out, ",{column}")?;
        }
        self.out.write_all(b"\r\n")?;
        for row in self.early.drain(..) {
            write!(self.out, "{row}{}\r\n", ",".repeat(width))?;
        }
        self.width = Some(width);
        Ok(())
    }
}

impl<W: Write> Sheet for Csv<W> {
    fn write(&mut self, row: &Row, fate: &Fate) -> anyhow::Result<()> {
        let id = row.id.as_deref().map_or(String::new(), |id| cell(&plain(id)));
        let start = format!("{},{id},", row.line);
        match fate {
            Fate::Numbers(array) => {
                let numbers = array.get().trim_start_matches('[').trim_end_matches(']');
                let width = numbers.split(',').count();
                if self.width.is_none() {
                    self.begin(width)?;
                }
                ensure!(self.width == Some(width), "line {}: a vector of another length", row.line);
                write!(self.out, "{start},{numbers}\r\n")?;
            }
            Fate::Bytes(_) => {}
            Fate::Failed { code, message } => {
                let failed = format!("{start}{}", cell(&format!("{code}: {message}")));
                match self.width {
                    Some(width) => write!(self.out, "{failed}{}\r\n", ",".repeat(width))?,
                    None => self.early.push(failed),
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        if self.width.is_none() {
            self.begin(0)?;
        }
        Ok(self.out.flush()?)
    }
}

/// What a JSON value says: a text without its quotes.
fn plain(json: &str) -> String {
    serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned())
}

/// As RFC 4180 wants it.
fn cell(text: &str) -> String {
    match text.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// numpy's own format, version 1.0. How many rows there are is written at the end.
struct Npy {
    out: BufWriter<File>,
    rows: u64,
    /// Numbers in a row, once there is one.
    width: Option<usize>,
}

/// Large enough for any shape.
const NPY_HEAD: usize = 128;

impl Npy {
    fn blank(&mut self, rows: u64) -> anyhow::Result<()> {
        for _ in 0..rows * self.width.unwrap_or(0) as u64 {
            self.out.write_all(&f32::NAN.to_le_bytes())?;
        }
        Ok(())
    }
}

impl Sheet for Npy {
    fn write(&mut self, row: &Row, fate: &Fate) -> anyhow::Result<()> {
        match fate {
            Fate::Bytes(bytes) => {
                let width = bytes.len() / size_of::<f32>();
                if self.width.is_none() {
                    self.width = Some(width);
                    // Those that came before had none.
                    self.blank(self.rows)?;
                }
                ensure!(self.width == Some(width), "line {}: a vector of another length", row.line);
                self.out.write_all(bytes)?;
            }
            _ => self.blank(1)?,
        }
        self.rows += 1;
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&npy_head(self.rows, self.width.unwrap_or(0)))?;
        Ok(self.out.flush()?)
    }
}

fn npy_head(rows: u64, width: usize) -> Vec<u8> {
    let shape = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
    let text = NPY_HEAD - 10;
    let mut head = b"\x93NUMPY\x01\x00".to_vec();
    head.extend_from_slice(&(text as u16).to_le_bytes());
    head.extend_from_slice(format!("{shape:<width$}\n", width = text - 1).as_bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;

    fn row(line: u64, id: Option<&str>) -> Row {
        Row { line, id: id.map(str::to_owned), text: Ok(String::new()) }
    }

    fn numbers(array: &str) -> Fate {
        Fate::Numbers(RawValue::from_string(array.to_owned()).unwrap())
    }

    fn failed() -> Fate {
        Fate::Failed { code: "refused".into(), message: "too \"long\", it says".into() }
    }

    fn written(format: Format, rows: &[(Row, Fate)]) -> String {
        let mut out = Vec::new();
        let mut sheet = sheet(format, &mut out);
        rows.iter().for_each(|(row, fate)| sheet.write(row, fate).unwrap());
        sheet.finish().unwrap();
        drop(sheet);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let rows = [
            (row(1, None), failed()),
            (row(2, Some("\"a,\\\"b\\\"\"")), numbers("[0.5,-1e-7]")),
            (row(4, Some("7")), failed()),
        ];
        assert_eq!(
            written(Format::Csv, &rows),
            "line,id,error,0,1\r\n1,,\"refused: too \"\"long\"\", it says\",,\r\n\
             2,\"a,\"\"b\"\"\",,0.5,-1e-7\r\n4,7,\"refused: too \"\"long\"\", it says\",,\r\n"
        );
        assert_eq!(written(Format::Csv, &[]), "line,id,error\r\n");
    }

    #[test]
    fn json_lines_keep_numbers_and_ids_as_they_came() {
        let rows = [(row(1, Some("{\"n\": 1}")), numbers("[0.5,-1e-7]")), (row(3, None), failed())];
        assert_eq!(
            written(Format::Jsonl, &rows),
            "{\"line\":1,\"id\":{\"n\": 1},\"embedding\":[0.5,-1e-7]}\n\
             {\"line\":3,\"error\":\"too \\\"long\\\", it says\",\"code\":\"refused\"}\n"
        );
    }

    #[test]
    fn an_npy_has_the_head_that_numpy_reads() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("v.npy");
        let mut sheet = sheet_in(Format::Npy, File::create(&path).unwrap()).unwrap();
        sheet.write(&row(1, None), &failed()).unwrap();
        let bytes: Vec<u8> = [0.5f32, -2.0].iter().flat_map(|number| number.to_le_bytes()).collect();
        sheet.write(&row(2, None), &Fate::Bytes(bytes.clone())).unwrap();
        assert!(sheet.write(&row(3, None), &Fate::Bytes(bytes[4..].to_vec())).is_err());
        sheet.finish().unwrap();
        let file = std::fs::read(&path).unwrap();
        let (head, body) = file.split_at(NPY_HEAD);
        assert_eq!(&head[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let text = std::str::from_utf8(&head[10..]).unwrap();
        let shape = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }";
        assert!(text.starts_with(shape) && text.ends_with(" \n"), "{text:?}");
        assert!(body[..8].chunks(4).all(|word| f32::from_le_bytes(word.try_into().unwrap()).is_nan()));
        assert_eq!(&body[8..], bytes);
        assert_eq!(npy_head(u64::MAX, usize::MAX).len(), NPY_HEAD);
    }
}
