//! A table's name, as far as an operator may choose it.

use serde::{Deserialize, Deserializer, de};
use std::fmt;

/// A plain identifier that can stand in a statement, and be the beginning of others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Table(Box<str>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a table's name is 1 to 40 letters, digits and underscores, begins with no digit and not with `sqlite_`"
)]
pub struct InvalidTable;

/// PostgreSQL cuts names after 63 bytes; indexes and triggers need room for an ending of their own.
const LONGEST: usize = 40;

impl Table {
    pub fn new(name: &str) -> Result<Table, InvalidTable> {
        let fits = (1..=LONGEST).contains(&name.len());
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let begins_well = !name.starts_with(|c: char| c.is_ascii_digit());
        let taken = name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sqlite_"));
        if fits && plain && begins_well && !taken { Ok(Table(name.into())) } else { Err(InvalidTable) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Table {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Table::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names() {
        for name in ["query_cache", "_x", "Cache2", "select", &"a".repeat(40)] {
            assert_eq!(Table::new(name).unwrap().as_str(), name);
        }
        let refused = [
            "",
            "2cache",
            "a-b",
            "a.b",
            "a\"b",
            "a;drop table x",
            "a b",
            "sqlite_x",
            "SQLite_x",
            "ä",
            "äöüäöüß",
        ];
        for name in refused.into_iter().chain([&*"a".repeat(41)]) {
            assert_eq!(Table::new(name), Err(InvalidTable), "{name}");
        }
    }
}
