//! A statement with its values, and the rows that come back: the same for either database.

use super::Error;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, Type};
use std::fmt::Write;

/// Something that stands in a row.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    Bytes(&'a [u8]),
    Text(&'a str),
    Number(i64),
    /// No number.
    Nothing,
}

/// Text that was written here, and values from anywhere: a value is never part of the text.
#[derive(Debug)]
pub struct Statement<'a> {
    text: String,
    /// Each with its place in the text.
    values: Vec<(usize, Value<'a>)>,
}

/// One row of what was found; columns count from 0.
pub enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl<'a> Statement<'a> {
    pub fn new(text: impl Into<String>) -> Self {
        Statement { text: text.into(), values: Vec::new() }
    }

    /// More text.
    pub fn text(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// One value.
    pub fn value(mut self, value: impl Into<Value<'a>>) -> Self {
        self.push(value.into());
        self
    }

    /// `(value, value, …)`
    pub fn list<V: Into<Value<'a>>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        self.push_list(values.into_iter().map(Into::into));
        self
    }

    /// `(value, value), (value, value), …`
    pub fn tuples<const N: usize>(mut self, rows: impl IntoIterator<Item = [Value<'a>; N]>) -> Self {
        let rows = rows.into_iter();
        self.values.reserve(N * rows.size_hint().0);
        for (n, row) in rows.enumerate() {
            if n > 0 {
                self.text.push_str(", ");
            }
            self.push_list(row);
        }
        self
    }

    fn push_list(&mut self, values: impl IntoIterator<Item = Value<'a>>) {
        self.text.push('(');
        for (n, value) in values.into_iter().enumerate() {
            if n > 0 {
                self.text.push_str(", ");
            }
            self.push(value);
        }
        self.text.push(')');
    }

    fn push(&mut self, value: Value<'a>) {
        self.values.push((self.text.len(), value));
    }

    /// The text with `$1`, `$2` … where the values stand.
    pub(super) fn numbered(&self) -> String {
        self.written(|text, n| {
            // Writing to a string cannot fail.
            let _ = write!(text, "${n}");
        })
    }

    /// The text with `?` in each of their places. SQLite understands numbers as well, but takes them for names, and
    /// looks for each name among all: thousands of them took longer than everything else.
    pub(super) fn in_turn(&self) -> String {
        self.written(|text, _| text.push('?'))
    }

    pub(super) fn values(self) -> impl Iterator<Item = Value<'a>> {
        self.values.into_iter().map(|(_, value)| value)
    }

    fn written(&self, value: impl Fn(&mut String, usize)) -> String {
        let mut written = String::with_capacity(self.text.len() + 6 * self.values.len());
        let mut from = 0;
        for (n, (place, _)) in self.values.iter().enumerate() {
            written.push_str(&self.text[from..*place]);
            value(&mut written, n + 1);
            from = *place;
        }
        written.push_str(&self.text[from..]);
        written
    }
}

impl Row {
    pub fn bytes(&self, column: usize) -> Result<Vec<u8>, Error> {
        self.read(column)
    }

    pub fn text(&self, column: usize) -> Result<String, Error> {
        self.read(column)
    }

    pub fn number(&self, column: usize) -> Result<i64, Error> {
        self.read(column)
    }

    /// `None` where there is none.
    pub fn number_or_none(&self, column: usize) -> Result<Option<i64>, Error> {
        self.read(column)
    }

    /// A number of things: none that is less than nothing.
    pub fn count(&self, column: usize) -> Result<u64, Error> {
        let number = self.number(column)?;
        u64::try_from(number).map_err(|_| Error::nonsense("a number below zero"))
    }

    fn read<T>(&self, column: usize) -> Result<T, Error>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Sqlite> + Type<sqlx::Sqlite>,
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + Type<sqlx::Postgres>,
    {
        match self {
            Row::Sqlite(row) => Ok(row.try_get(column)?),
            Row::Postgres(row) => Ok(row.try_get(column)?),
        }
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Value::Bytes(bytes)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(text)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Value::Number(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_through() {
        let statement = Statement::new("a = ").value(7).text(" AND b IN ").list(["x", "y"]).text(" VALUES ");
        let statement = statement.tuples([[1.into(), "p".into()], [2.into(), "q".into()]]);
        assert_eq!(statement.numbered(), "a = $1 AND b IN ($2, $3) VALUES ($4, $5), ($6, $7)");
        assert_eq!(statement.in_turn(), "a = ? AND b IN (?, ?) VALUES (?, ?), (?, ?)");
        assert_eq!(statement.values().count(), 7);
    }
}
