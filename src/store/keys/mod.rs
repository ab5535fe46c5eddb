//! API keys: a row each, with a digest from which no key can be told; and a book that counts the changes, so that
//! others notice them by one number.
//!
//! Moments are milliseconds since 1970, and 0 where there is none.

mod changes;

pub use changes::Changed;

use super::ledger::accounts;
use super::{Error, Migration, Migrations, Row, Shared, Statement, Store, Value, Work};
use std::sync::Arc;

/// The tables of keys in a database that is shared with other parts.
pub struct Keys {
    shared: Arc<Shared>,
}

pub type Digest = [u8; 32];

/// One key, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    pub id: String,
    pub name: String,
    pub team: String,
    /// How it begins; safe to show.
    pub start: String,
    pub is_admin: bool,
    pub digest: Digest,
    /// Of the key that this one has replaced, and until when that one is good.
    pub old: Option<(Digest, i64)>,
    pub expires: i64,
    pub is_disabled: bool,
    pub created: i64,
    pub rotated: i64,
    pub used: i64,
    /// Patterns; none for all.
    pub models: Vec<String>,
    pub routes: Vec<String>,
}

/// What came of an attempt to change something.
#[derive(Debug, PartialEq, Eq)]
pub enum Change<T> {
    Done(T),
    NoSuchKey,
    NameTaken,
    /// There are figures under the name, and no key: they are of one that was there before.
    NameSpent,
}

/// Keys that are read at once. Rows lie between what is kept of them, and where they were stays empty for a while: of
/// a thousand at once that is as much as a third of all that is kept.
const PAGE: i64 = 50;

const COLUMNS: &str = "id, name, team, start, admin, digest, old_digest, old_until, expires, disabled, created, \
                       rotated, used, models, routes";

pub fn migrations() -> Migrations {
    let first = Migration {
        name: "keys",
        sqlite: include_str!("sqlite.sql").to_owned(),
        postgres: include_str!("postgres.sql").to_owned(),
    };
    let columns = ["models", "routes"]
        .map(|column| format!("ALTER TABLE pannier_key ADD COLUMN {column} TEXT NOT NULL DEFAULT '';"));
    let second = Migration { name: "rights", sqlite: columns.concat(), postgres: columns.concat() };
    let changes =
        "CREATE TABLE pannier_key_change (version BIGINT NOT NULL PRIMARY KEY, key_id TEXT NOT NULL)";
    let third = Migration { name: "changes", sqlite: changes.to_owned(), postgres: changes.to_owned() };
    Migrations { part: "pannier_key".to_owned(), steps: vec![first, second, third] }
}

impl Keys {
    /// Of a database whose parts [`migrations`] belong to, and those of the [ledger](super::ledger::migrations).
    pub fn new(shared: Arc<Shared>) -> Self {
        Keys { shared }
    }

    /// Makes `mark` the database's own, if it has none yet. Whether it is.
    pub async fn bears(&self, mark: &Digest) -> Result<bool, Error> {
        let store = self.shared.store().await?;
        self.heeded(&store, bears(&store, mark).await)
    }

    /// A number that every change makes another.
    pub async fn version(&self) -> Result<i64, Error> {
        let store = self.shared.store().await?;
        self.heeded(&store, version(&store).await)
    }

    /// How many there are.
    pub async fn count(&self) -> Result<u64, Error> {
        let store = self.shared.store().await?;
        self.heeded(&store, count(&store).await)
    }

    /// The next keys in the order of their names; none behind the last.
    pub async fn page(&self, after: &str) -> Result<Vec<KeyRow>, Error> {
        let store = self.shared.store().await?;
        self.heeded(&store, page(&store, after).await)
    }

    /// What has changed since the version `then`; `None` where only reading all tells.
    pub async fn changed_since(&self, then: i64) -> Result<Option<Changed>, Error> {
        let store = self.shared.store().await?;
        self.heeded(&store, changes::since(&store, then).await)
    }

    /// The key of this id or name.
    pub async fn find(&self, who: &str) -> Result<Option<KeyRow>, Error> {
        let store = self.shared.store().await?;
        self.heeded(&store, find(&store, who).await)
    }

    /// Keeps a new one, if no other has its name or has had it: whoever bears the name sees what is in the books of it.
    pub async fn add(&self, new: &KeyRow) -> Result<Change<()>, Error> {
        let store = self.shared.store().await?;
        self.heeded(&store, add(&store, new).await)
    }

    /// Changes the key of this id or name as `edit` says, but for its id and name, and for its last use, which is
    /// [noted](Keys::note_uses) by itself. Returns it as it is then.
    pub async fn change(
        &self,
        who: &str,
        edit: impl FnOnce(&mut KeyRow) + Send,
    ) -> Result<Change<KeyRow>, Error> {
        let store = self.shared.store().await?;
        self.heeded(&store, change(&store, who, edit).await)
    }

    /// Its name is never given to another.
    pub async fn remove(&self, who: &str) -> Result<Change<()>, Error> {
        let store = self.shared.store().await?;
        self.heeded(&store, remove(&store, who).await)
    }

    /// Writes down when each of these was used last, by its id. Nobody needs to notice.
    pub async fn note_uses(&self, uses: &[(&str, i64)]) -> Result<(), Error> {
        let store = self.shared.store().await?;
        self.heeded(&store, note_uses(&store, uses).await)
    }

    fn heeded<T>(&self, store: &Arc<Store>, done: Result<T, Error>) -> Result<T, Error> {
        done.inspect_err(|error| self.shared.heed(store, error))
    }
}

async fn bears(store: &Store, mark: &Digest) -> Result<bool, Error> {
    let book = || Statement::new("SELECT mark FROM pannier_key_book WHERE one = 1");
    let mut work = store.read().await?;
    let found = work.rows(book()).await?;
    work.done().await?;
    let found = found.first().map_or(Ok(Vec::new()), |row| row.bytes(0))?;
    if !found.is_empty() {
        return Ok(found == mark);
    }
    let mut work = store.write().await?;
    let claim = Statement::new("UPDATE pannier_key_book SET mark = ").value(&mark[..]);
    work.change(claim.text(" WHERE one = 1 AND length(mark) = 0")).await?;
    let found = work.rows(book()).await?;
    work.done().await?;
    Ok(found.first().map_or(Ok(Vec::new()), |row| row.bytes(0))? == mark)
}

async fn version(store: &Store) -> Result<i64, Error> {
    let mut work = store.read().await?;
    let rows = work.rows(Statement::new("SELECT version FROM pannier_key_book WHERE one = 1")).await?;
    work.done().await?;
    rows.first().ok_or_else(|| Error::nonsense("a book of keys without a version"))?.number(0)
}

async fn count(store: &Store) -> Result<u64, Error> {
    let mut work = store.read().await?;
    let rows = work.rows(Statement::new("SELECT count(*) FROM pannier_key")).await?;
    work.done().await?;
    rows.first().ok_or_else(|| Error::nonsense("a count of nothing"))?.count(0)
}

async fn page(store: &Store, after: &str) -> Result<Vec<KeyRow>, Error> {
    let mut work = store.read().await?;
    let select = Statement::new(format!("SELECT {COLUMNS} FROM pannier_key WHERE name > ")).value(after);
    let rows = work.rows(select.text(" ORDER BY name LIMIT ").value(PAGE)).await?;
    work.done().await?;
    rows.iter().map(key_row).collect()
}

async fn find(store: &Store, who: &str) -> Result<Option<KeyRow>, Error> {
    let mut work = store.read().await?;
    let found = find_in(&mut work, who).await?;
    work.done().await?;
    Ok(found)
}

async fn find_in(work: &mut Work, who: &str) -> Result<Option<KeyRow>, Error> {
    let select = Statement::new(format!("SELECT {COLUMNS} FROM pannier_key WHERE id = "));
    let rows = work.rows(select.value(who).text(" OR name = ").value(who)).await?;
    rows.first().map(key_row).transpose()
}

/// A transaction in which something changes. On a server its first statement keeps other changers waiting.
async fn changing(store: &Store) -> Result<Work, Error> {
    let mut work = store.write().await?;
    work.change(Statement::new("UPDATE pannier_key_book SET version = version + 1 WHERE one = 1")).await?;
    Ok(work)
}

async fn add(store: &Store, new: &KeyRow) -> Result<Change<()>, Error> {
    let mut work = changing(store).await?;
    if find_in(&mut work, &new.name).await?.is_some() {
        return Ok(Change::NameTaken);
    }
    if accounts::knows(&mut work, &new.name).await? {
        return Ok(Change::NameSpent);
    }
    let insert = Statement::new(format!("INSERT INTO pannier_key ({COLUMNS}) VALUES "));
    let (models, routes) = new.patterns();
    work.change(insert.tuples([new.values(&models, &routes)])).await?;
    changes::note(&mut work, &new.id).await?;
    work.done().await?;
    Ok(Change::Done(()))
}

async fn change(store: &Store, who: &str, edit: impl FnOnce(&mut KeyRow)) -> Result<Change<KeyRow>, Error> {
    let mut work = changing(store).await?;
    let Some(mut row) = find_in(&mut work, who).await? else { return Ok(Change::NoSuchKey) };
    edit(&mut row);
    let mut update = Statement::new("UPDATE pannier_key SET ");
    let (models, routes) = row.patterns();
    let columns = COLUMNS.split(", ").zip(row.values(&models, &routes));
    let kept = ["id", "name", "used"];
    for (nth, (column, value)) in columns.filter(|(column, _)| !kept.contains(column)).enumerate() {
        update = update.text(if nth > 0 { ", " } else { "" }).text(column).text(" = ").value(value);
    }
    work.change(update.text(" WHERE id = ").value(row.id.as_str())).await?;
    changes::note(&mut work, &row.id).await?;
    work.done().await?;
    Ok(Change::Done(row))
}

async fn remove(store: &Store, who: &str) -> Result<Change<()>, Error> {
    let mut work = changing(store).await?;
    let Some(row) = find_in(&mut work, who).await? else { return Ok(Change::NoSuchKey) };
    work.change(Statement::new("DELETE FROM pannier_key WHERE id = ").value(row.id.as_str())).await?;
    changes::note(&mut work, &row.id).await?;
    accounts::note(&mut work, [row.name, row.team]).await?;
    work.done().await?;
    Ok(Change::Done(()))
}

async fn note_uses(store: &Store, uses: &[(&str, i64)]) -> Result<(), Error> {
    let mut work = store.write().await?;
    for (id, at) in uses {
        let update = Statement::new("UPDATE pannier_key SET used = ").value(*at).text(" WHERE id = ");
        work.change(update.value(*id).text(" AND used < ").value(*at)).await?;
    }
    work.done().await
}

impl KeyRow {
    /// In the order of [`COLUMNS`].
    fn values<'a>(&'a self, models: &'a str, routes: &'a str) -> [Value<'a>; 15] {
        let (old, old_until) =
            self.old.as_ref().map_or((&[][..], 0), |(digest, until)| (&digest[..], *until));
        [
            self.id.as_str().into(),
            self.name.as_str().into(),
            self.team.as_str().into(),
            self.start.as_str().into(),
            i64::from(self.is_admin).into(),
            self.digest[..].into(),
            old.into(),
            old_until.into(),
            self.expires.into(),
            i64::from(self.is_disabled).into(),
            self.created.into(),
            self.rotated.into(),
            self.used.into(),
            models.into(),
            routes.into(),
        ]
    }

    /// A line each: no pattern has two.
    fn patterns(&self) -> (String, String) {
        (self.models.join("\n"), self.routes.join("\n"))
    }
}

fn key_row(row: &Row) -> Result<KeyRow, Error> {
    let digest =
        |bytes: Vec<u8>| Digest::try_from(bytes).map_err(|_| Error::nonsense("a digest that is none"));
    let (old, old_until) = (row.bytes(6)?, row.number(7)?);
    Ok(KeyRow {
        id: row.text(0)?,
        name: row.text(1)?,
        team: row.text(2)?,
        start: row.text(3)?,
        is_admin: row.number(4)? != 0,
        digest: digest(row.bytes(5)?)?,
        old: if old.is_empty() { None } else { Some((digest(old)?, old_until)) },
        expires: row.number(8)?,
        is_disabled: row.number(9)? != 0,
        created: row.number(10)?,
        rotated: row.number(11)?,
        used: row.number(12)?,
        models: lines(&row.text(13)?),
        routes: lines(&row.text(14)?),
    })
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
