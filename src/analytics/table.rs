//! Columns for people.

/// Which way a column leans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lean {
    Left,
    Right,
}

/// The columns of a table, each with its width.
pub struct Columns(Vec<(Lean, usize)>);

impl Columns {
    /// As wide as the widest cells of `rows`.
    pub fn of(leans: impl IntoIterator<Item = Lean>, rows: &[impl AsRef<[String]>]) -> Self {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.as_ref().get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        Columns(leans.into_iter().enumerate().map(|(column, lean)| (lean, width(column))).collect())
    }

    /// A line of the table, with its end.
    pub fn line(&self, cells: &[String]) -> String {
        let padded = self.0.iter().zip(cells).map(|((lean, width), cell)| match lean {
            Lean::Left => format!("{cell:<width$}"),
            Lean::Right => format!("{cell:>width$}"),
        });
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    }
}

/// What would move the cursor does not.
pub fn plain(cell: &str) -> String {
    cell.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}
