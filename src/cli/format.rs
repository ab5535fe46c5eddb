//! How what is told is shown.

use clap::ValueEnum;

/// For people, or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
}

/// The same, and for spreadsheets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LineFormat {
    Table,
    Csv,
    Json,
}

impl LineFormat {
    /// As the house calls it.
    pub fn name(self) -> &'static str {
        match self {
            LineFormat::Table => "table",
            LineFormat::Csv => "csv",
            LineFormat::Json => "json",
        }
    }
}
