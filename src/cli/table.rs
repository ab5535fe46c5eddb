//! Columns for people.

pub(super) use crate::analytics::Lean;
use crate::analytics::{Columns, plain};
use std::io::{self, Write};

/// Writes `rows` below `head`, every column as wide as its widest cell. What would move the cursor does not.
pub(super) fn write<const N: usize>(
    out: &mut dyn Write,
    head: [(&str, Lean); N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let titles = head.map(|(title, _)| title.to_owned());
    let rows = rows.iter().map(|row| row.each_ref().map(|cell| plain(cell)));
    let rows: Vec<[String; N]> = std::iter::once(titles).chain(rows).collect();
    let columns = Columns::of(head.map(|(_, lean)| lean), &rows);
    rows.iter().try_for_each(|row| out.write_all(columns.line(row).as_bytes()))
}

/// 1.2 MiB
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut amount, mut unit) = (count as f64, 0);
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        (amount, unit) = (amount / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{count} B") } else { format!("{amount:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let mut out = Vec::new();
        let rows =
            [["llama3:latest".to_owned(), "7".to_owned()], ["é\x1b[2J".to_owned(), "12345".to_owned()]];
        write(&mut out, [("model", Lean::Left), ("hits", Lean::Right)], &rows).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "model           hits\nllama3:latest      7\né\u{fffd}[2J          12345\n");
    }

    #[test]
    fn amounts_are_short() {
        let shown = [0, 1023, 1024, 1536 << 20, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 GiB", "16777216.0 TiB"]);
    }
}
