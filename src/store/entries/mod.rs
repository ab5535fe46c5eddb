//! The entries of a cache: sealed bytes under a key, and beside them in the open what they are, when they
//! end, and how often they were of use.
//!
//! Moments are milliseconds since 1970.

mod keep;
mod leases;
mod notices;
mod upkeep;

use super::{Error, Migration, Migrations, Options, Place, Row, Statement, Store, Table, Value, Work};
use std::borrow::Cow;
use std::collections::HashMap;

/// The table of entries in an open database.
pub struct Entries {
    store: Store,
    table: Table,
}

pub type Key = [u8; 32];

/// What an entry is; the text of each is the caller's affair.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind<'a> {
    pub prefix: Cow<'a, str>,
    pub operation: Cow<'a, str>,
    pub model: Cow<'a, str>,
    pub digest: Cow<'a, str>,
    pub team: Cow<'a, str>,
}

/// An entry to be kept.
#[derive(Debug, Clone)]
pub struct NewEntry<'a> {
    pub key: &'a Key,
    pub kind: Kind<'a>,
    pub stored: i64,
    pub expires: i64,
    pub sealed: &'a [u8],
}

/// An entry without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownEntry {
    pub key: Key,
    pub kind: Kind<'static>,
    pub bytes: u64,
    pub hits: u64,
    pub stored: i64,
    pub expires: i64,
    pub used: i64,
}

/// How often an entry was of use since that was last written down, and when it was last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    pub hits: u32,
    pub last: i64,
}

/// Which entries are meant; what is `None` matches all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'a> {
    pub key: Option<&'a Key>,
    pub prefix: Option<&'a str>,
    pub model: Option<&'a str>,
    pub team: Option<&'a str>,
    /// Those that have ended at this moment.
    pub ended: Option<i64>,
    /// Those behind this one, in the order of [`Entries::page`].
    pub after: Option<i64>,
}

/// Entries of one kind, whatever their digest, or all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    pub entries: u64,
    /// Of the sealed bytes.
    pub bytes: u64,
}

/// Keys in one statement; more are asked for in several.
const KEYS_AT_ONCE: usize = 1024;

impl Entries {
    pub async fn open(place: &Place, options: &Options, table: Table) -> Result<Entries, Error> {
        let store = Store::open(place, options, &migrations(&table)).await?;
        Ok(Entries { store, table })
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The sealed bytes of each of `keys` that is there and has not ended at `now`.
    pub async fn find(&self, keys: &[&Key], now: i64) -> Result<HashMap<Key, Vec<u8>>, Error> {
        let mut found = HashMap::with_capacity(keys.len());
        if keys.is_empty() {
            return Ok(found);
        }
        let mut work = self.store.read().await?;
        for keys in keys.chunks(KEYS_AT_ONCE) {
            for row in work.rows(self.find_statement(keys, now)).await? {
                found.insert(key(&row, 0)?, row.bytes(1)?);
            }
        }
        work.done().await?;
        Ok(found)
    }

    fn find_statement<'a>(&self, keys: &[&'a Key], now: i64) -> Statement<'a> {
        // Filled up to a power of two with the last: eleven statements are prepared, not a thousand.
        let last = keys[keys.len() - 1];
        let filled = keys.iter().copied().chain(std::iter::repeat(last)).take(keys.len().next_power_of_two());
        let Entries { table, .. } = self;
        Statement::new(format!("SELECT key, sealed FROM \"{table}\" WHERE expires > "))
            .value(now)
            .text(" AND key IN ")
            .list(filled.map(|key| &key[..]))
    }

    /// How much there is of each kind, largest first; the digests of one model are taken together.
    pub async fn tally(&self) -> Result<Vec<(Kind<'static>, Amount)>, Error> {
        let Entries { table, .. } = self;
        let mut work = self.store.read().await?;
        let statement = Statement::new(format!(
            "SELECT prefix, operation, model, '', team, CAST(SUM(entries) AS BIGINT), \
             CAST(SUM(bytes) AS BIGINT) FROM \"{table}_tally\" WHERE entries > 0 \
             GROUP BY prefix, operation, model, team ORDER BY 7 DESC, 6 DESC"
        ));
        let rows = work.rows(statement).await?;
        work.done().await?;
        rows.iter().map(|row| Ok((kind(row, 0)?, amount(row, 5)?))).collect()
    }

    /// How much there is. Does not count entries: that is done as they come and go.
    pub async fn total(&self) -> Result<Amount, Error> {
        let mut work = self.store.read().await?;
        let total = self.sum(&mut work).await?;
        work.done().await?;
        Ok(total)
    }

    async fn sum(&self, work: &mut Work) -> Result<Amount, Error> {
        let Entries { table, .. } = self;
        let statement = Statement::new(format!(
            "SELECT CAST(COALESCE(SUM(entries), 0) AS BIGINT), CAST(COALESCE(SUM(bytes), 0) AS BIGINT) \
             FROM \"{table}_tally\""
        ));
        let rows = work.rows(statement).await?;
        rows.first().map_or(Ok(Amount::default()), |row| amount(row, 0))
    }

    /// The `most` entries of those that are meant that were used most often, and of those the latest.
    pub async fn top(&self, filter: &Filter<'_>, most: usize) -> Result<Vec<KnownEntry>, Error> {
        let Entries { table, .. } = self;
        let mut work = self.store.read().await?;
        // The inner query reads nothing but an index, unless ends are asked for.
        let statement = Statement::new(format!(
            "SELECT e.key, k.prefix, k.operation, k.model, k.digest, k.team, \
             e.bytes, e.hits, e.stored, e.expires, e.used \
             FROM \"{table}\" AS e JOIN \"{table}_kind\" AS k ON k.id = e.kind \
             WHERE e.id IN (SELECT id FROM \"{table}\""
        ));
        let statement = self.matching(statement, filter).text(" ORDER BY hits DESC LIMIT ");
        let statement = statement.value(i64::try_from(most).unwrap_or(i64::MAX));
        let statement = statement.text(") ORDER BY e.hits DESC, e.used DESC, e.key");
        let rows = work.rows(statement).await?;
        work.done().await?;
        rows.iter().map(known).collect()
    }

    /// The first `most` of those that are meant, in the order in which they were first kept, and where the next
    /// begin.
    pub async fn page(
        &self,
        filter: &Filter<'_>,
        most: usize,
    ) -> Result<(Vec<KnownEntry>, Option<i64>), Error> {
        let Entries { table, .. } = self;
        let mut work = self.store.read().await?;
        let statement = Statement::new(format!(
            "SELECT e.key, k.prefix, k.operation, k.model, k.digest, k.team, \
             e.bytes, e.hits, e.stored, e.expires, e.used, e.id \
             FROM \"{table}\" AS e JOIN \"{table}_kind\" AS k ON k.id = e.kind \
             WHERE e.id IN (SELECT id FROM \"{table}\""
        ));
        let statement = self.matching(statement, filter).text(" ORDER BY id LIMIT ");
        let statement = statement.value(i64::try_from(most).unwrap_or(i64::MAX)).text(") ORDER BY e.id");
        let rows = work.rows(statement).await?;
        work.done().await?;
        let last = rows.last().map(|row| row.number(11)).transpose()?;
        Ok((rows.iter().map(known).collect::<Result<_, _>>()?, last))
    }

    /// The first `most` keys behind `after`, in their order.
    pub async fn keys(&self, after: Option<&Key>, most: usize) -> Result<Vec<Key>, Error> {
        let Entries { table, .. } = self;
        let mut work = self.store.read().await?;
        let mut statement = Statement::new(format!("SELECT key FROM \"{table}\""));
        if let Some(after) = after {
            statement = statement.text(" WHERE key > ").value(&after[..]);
        }
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = work.rows(statement.text(" ORDER BY key LIMIT ").value(most)).await?;
        work.done().await?;
        rows.iter().map(|row| key(row, 0)).collect()
    }

    /// ` WHERE …`, where `filter` does not match everything.
    fn matching<'a>(&self, mut statement: Statement<'a>, filter: &Filter<'a>) -> Statement<'a> {
        let Filter { key, prefix, model, team, ended, after } = *filter;
        let mut joint = " WHERE ";
        if let Some(key) = key {
            statement = statement.text(joint).text("key = ").value(&key[..]);
            joint = " AND ";
        }
        if let Some(ended) = ended {
            statement = statement.text(joint).text("expires <= ").value(ended);
            joint = " AND ";
        }
        if let Some(after) = after {
            statement = statement.text(joint).text("id > ").value(after);
            joint = " AND ";
        }
        if prefix.is_some() || model.is_some() || team.is_some() {
            let Entries { table, .. } = self;
            statement = statement.text(joint).text(&format!("kind IN (SELECT id FROM \"{table}_kind\""));
            joint = " WHERE ";
            for (column, wanted) in [("prefix", prefix), ("model", model), ("team", team)] {
                if let Some(wanted) = wanted {
                    statement = statement.text(joint).text(column).text(" = ").value(wanted);
                    joint = " AND ";
                }
            }
            statement = statement.text(")");
        }
        statement
    }
}

fn migrations(table: &Table) -> Migrations {
    let of = |text: &str| text.replace("{table}", table.as_str());
    let first = Migration {
        name: "entries",
        sqlite: of(include_str!("sqlite.sql")),
        postgres: of(include_str!("postgres.sql")),
    };
    let second = Migration {
        name: "leases",
        // A file is nobody else's.
        sqlite: String::new(),
        postgres: of(include_str!("leases.sql")),
    };
    let third = Migration {
        name: "notices",
        // As above.
        sqlite: String::new(),
        postgres: of(include_str!("notices.sql")),
    };
    Migrations { part: table.to_string(), steps: vec![first, second, third] }
}

fn known(row: &Row) -> Result<KnownEntry, Error> {
    Ok(KnownEntry {
        key: key(row, 0)?,
        kind: kind(row, 1)?,
        bytes: row.count(6)?,
        hits: row.count(7)?,
        stored: row.number(8)?,
        expires: row.number(9)?,
        used: row.number(10)?,
    })
}

fn key(row: &Row, column: usize) -> Result<Key, Error> {
    Key::try_from(row.bytes(column)?).map_err(|_| Error::nonsense("a key that is none"))
}

/// From five columns in a row.
fn kind(row: &Row, first: usize) -> Result<Kind<'static>, Error> {
    let text = |n: usize| row.text(first + n).map(Cow::Owned);
    Ok(Kind { prefix: text(0)?, operation: text(1)?, model: text(2)?, digest: text(3)?, team: text(4)? })
}

/// From two columns in a row.
fn amount(row: &Row, first: usize) -> Result<Amount, Error> {
    Ok(Amount { entries: row.count(first)?, bytes: row.count(first + 1)? })
}

impl Kind<'_> {
    fn values(&self) -> [Value<'_>; 5] {
        let Kind { prefix, operation, model, digest, team } = self;
        [prefix, operation, model, digest, team].map(|text| Value::Text(text))
    }
}
