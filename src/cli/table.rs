//! Columns for people.

use std::io::{self, Write};

/// Which way a column leans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lean {
    Left,
    Right,
}

/// Writes `rows` below `head`, every column as wide as its widest cell. What would move the cursor does not.
pub(super) fn write<const N: usize>(
    out: &mut dyn Write,
    head: [(&str, Lean); N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| plain(cell))).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].0.chars().count()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let padded = (0..N).map(|at| match head[at].1 {
            Lean::Left => format!("{:<1$}", cells[at], widths[at]),
            Lean::Right => format!("{:>1$}", cells[at], widths[at]),
        });
        padded.collect::<Vec<_>>().join("  ")
    };
    writeln!(out, "{}", line(head.map(|(title, _)| title)).trim_end())?;
    for row in &rows {
        writeln!(out, "{}", line(row.each_ref().map(String::as_str)).trim_end())?;
    }
    Ok(())
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

fn plain(cell: &str) -> String {
    cell.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
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
