//! One line of a log, field by field.
//!
//! Whatever a value holds, the line stays one line and one JSON object: values are escaped here and
//! nowhere else.

use super::Format;
use serde::Serialize;
use std::time::SystemTime;

/// A line that is being written. The first four fields are the same in every line: time, level, message,
/// and where it comes from.
pub struct Line<'a> {
    out: &'a mut Vec<u8>,
    format: Format,
}

impl<'a> Line<'a> {
    /// Begins a line at the end of `out`. `level` and `target` are plain words.
    pub fn begin(
        out: &'a mut Vec<u8>,
        format: Format,
        at: SystemTime,
        level: &str,
        msg: &str,
        target: &str,
    ) -> Self {
        let at = humantime::format_rfc3339_micros(at).to_string();
        let mut line = Line { out, format };
        match format {
            Format::Json => {
                line.out.extend_from_slice(b"{\"ts\":");
                line.value(&at);
                line.field("level", level);
                line.field("msg", msg);
                line.field("target", target);
            }
            Format::Text => {
                line.out.extend_from_slice(format!("{at} {:5} ", level.to_ascii_uppercase()).as_bytes());
                line.out.extend_from_slice(target.as_bytes());
                line.out.extend_from_slice(b": ");
                line.out.extend(msg.bytes().map(|b| if b.is_ascii_control() { b' ' } else { b }));
            }
        }
        line
    }

    /// Adds a field. `key` is a plain word.
    pub fn field(&mut self, key: &str, value: impl Serialize) {
        match self.format {
            Format::Json => {
                self.out.extend_from_slice(b",\"");
                self.out.extend_from_slice(key.as_bytes());
                self.out.extend_from_slice(b"\":");
            }
            Format::Text => {
                self.out.push(b' ');
                self.out.extend_from_slice(key.as_bytes());
                self.out.push(b'=');
            }
        }
        self.value(&value);
    }

    /// Ends the line.
    pub fn end(self) {
        self.out.extend_from_slice(if self.format == Format::Json { b"}\n" } else { b"\n" });
    }

    fn value(&mut self, value: &impl Serialize) {
        let begin = self.out.len();
        if serde_json::to_writer(&mut *self.out, value).is_err() {
            self.out.truncate(begin);
            self.out.extend_from_slice(b"null");
        }
        if self.format == Format::Text && is_bare(&self.out[begin..]) {
            self.out.remove(begin);
            self.out.pop();
        }
    }
}

/// Whether a JSON string reads the same without its quotes.
fn is_bare(json: &[u8]) -> bool {
    match json {
        [b'"', text @ .., b'"'] => {
            !text.is_empty() && text.iter().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b'='))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn line(format: Format, msg: &str, value: &str) -> String {
        let mut out = Vec::new();
        let mut line = Line::begin(&mut out, format, UNIX_EPOCH, "info", msg, "test");
        line.field("value", value);
        line.end();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_breaks_out_of_its_line() {
        for evil in
            ["a\r\nb", "\",\"level\":\"error", "\x1b[31mred\x1b[0m", "nul\0", "back\\slash", "größe", ""]
        {
            let json = line(Format::Json, evil, evil);
            let read: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!((read["msg"].as_str(), read["value"].as_str()), (Some(evil), Some(evil)));
            assert_eq!(read["level"], "info");
            for line in [json, line(Format::Text, evil, evil)] {
                assert_eq!(line.lines().count(), 1, "{line:?}");
                assert!(!line.trim_end().contains(|c: char| c.is_ascii_control()), "{line:?}");
            }
        }
    }

    #[test]
    fn text_quotes_only_what_would_be_read_otherwise() {
        assert!(line(Format::Text, "said", "llama3:latest").ends_with("test: said value=llama3:latest\n"));
        assert!(line(Format::Text, "said", "two words").ends_with(" value=\"two words\"\n"));
        assert!(line(Format::Text, "said", "a=b").ends_with(" value=\"a=b\"\n"));
        assert!(line(Format::Text, "said", "").ends_with(" value=\"\"\n"));
    }
}
