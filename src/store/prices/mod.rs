//! Prices of models that are set while Pannier runs: a row for a pattern and the moment from which it holds; and a
//! book that counts the changes, so that others notice them by one number.
//!
//! Amounts are billionths. Moments are seconds since 1970, but for `changed`: milliseconds.

use super::{Error, Migration, Migrations, Row, Shared, Statement, Store, Trouble, Value, Work};
use std::sync::Arc;

/// The tables of prices in a database that is shared with other parts.
pub struct PriceTable {
    shared: Arc<Shared>,
}

/// One price, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceRow {
    pub model: String,
    /// From when on it holds.
    pub since: i64,
    pub currency: String,
    /// Of a million tokens, here and below.
    pub prompt: i64,
    /// None for that of the prompt, here and below.
    pub cached_prompt: Option<i64>,
    pub completion: i64,
    pub embedding: Option<i64>,
    pub image: i64,
    pub audio_second: i64,
    pub gpu_second: i64,
    pub changed: i64,
}

/// What came of an attempt to set prices.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    Done,
    /// There would be more than [`MOST`] then: nothing was changed.
    TooMany,
}

/// That are kept: each trip is compared with them.
pub const MOST: usize = 10_000;
/// Rows in one statement.
const AT_ONCE: usize = 256;
/// In place of a price that nothing is said of.
const UNSAID: i64 = -1;

const COLUMNS: &str = "model, since, currency, prompt, cached_prompt, completion, embedding, image, audio_second, \
                       gpu_second, changed";

pub fn migrations() -> Migrations {
    let first = Migration {
        name: "prices",
        sqlite: include_str!("sqlite.sql").to_owned(),
        postgres: include_str!("postgres.sql").to_owned(),
    };
    // No currency: nobody has used it yet, or nobody who wrote down in which.
    let column = "ALTER TABLE pannier_price_book ADD COLUMN currency TEXT NOT NULL DEFAULT '';\n".to_owned();
    let second = Migration { name: "the currency of the books", sqlite: column.clone(), postgres: column };
    Migrations { part: "pannier_price".to_owned(), steps: vec![first, second] }
}

impl PriceTable {
    /// Of a database whose parts [`migrations`] belong to.
    pub fn new(shared: Arc<Shared>) -> Self {
        PriceTable { shared }
    }

    /// The one that it is in, with all of its parts.
    pub fn database(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// A number that every change makes another. From the first time on that this is asked, all amounts in the
    /// database are in `currency`.
    ///
    /// # Errors
    /// `Currency` where they are in another.
    pub async fn version(&self, currency: &str) -> Result<i64, Error> {
        let store = self.shared.store().await?;
        self.heeded(&store, version(&store, currency).await)
    }

    /// All of them.
    pub async fn all(&self) -> Result<Vec<PriceRow>, Error> {
        let store = self.shared.store().await?;
        self.heeded(&store, all(&store).await)
    }

    /// Keeps all of these, each in place of that of the same model and moment; `instead` of all that there are.
    pub async fn set(&self, new: &[PriceRow], instead: bool) -> Result<Change, Error> {
        let store = self.shared.store().await?;
        self.heeded(&store, set(&store, new, instead).await)
    }

    /// Forgets those of this very pattern, or the one of them from `since`. Returns how many.
    pub async fn remove(&self, model: &str, since: Option<i64>) -> Result<u64, Error> {
        let store = self.shared.store().await?;
        self.heeded(&store, remove(&store, model, since).await)
    }

    fn heeded<T>(&self, store: &Arc<Store>, done: Result<T, Error>) -> Result<T, Error> {
        done.inspect_err(|error| self.shared.heed(store, error))
    }
}

async fn version(store: &Store, currency: &str) -> Result<i64, Error> {
    let (version, kept) = match book(store).await? {
        (_, none) if none.is_empty() => {
            begin(store, currency).await?;
            // Another may have been faster.
            book(store).await?
        }
        book => book,
    };
    if kept == currency {
        return Ok(version);
    }
    let words = format!(
        "the books are in {kept} and prices.currency is \"{currency}\": set prices.currency = \"{kept}\", or give \
         books in {currency} a database of their own (store.database, or server.data_dir)"
    );
    Err(Error::new(Trouble::Currency, words))
}

async fn book(store: &Store) -> Result<(i64, String), Error> {
    let mut work = store.read().await?;
    let select = "SELECT version, currency FROM pannier_price_book WHERE one = 1";
    let rows = work.rows(Statement::new(select)).await?;
    work.done().await?;
    let row = rows.first().ok_or_else(|| Error::nonsense("a book of prices without a version"))?;
    Ok((row.number(0)?, row.text(1)?))
}

async fn begin(store: &Store, currency: &str) -> Result<(), Error> {
    let mut work = store.write().await?;
    let update = Statement::new("UPDATE pannier_price_book SET currency = ").value(currency);
    work.change(update.text(" WHERE one = 1 AND currency = ''")).await?;
    work.done().await
}

async fn all(store: &Store) -> Result<Vec<PriceRow>, Error> {
    let mut work = store.read().await?;
    let select = format!("SELECT {COLUMNS} FROM pannier_price ORDER BY model, since");
    let rows = work.rows(Statement::new(select)).await?;
    work.done().await?;
    rows.iter().map(price_row).collect()
}

/// A transaction in which something changes. On a server its first statement keeps other changers waiting.
async fn changing(store: &Store) -> Result<Work, Error> {
    let mut work = store.write().await?;
    work.change(Statement::new("UPDATE pannier_price_book SET version = version + 1 WHERE one = 1")).await?;
    Ok(work)
}

async fn set(store: &Store, new: &[PriceRow], instead: bool) -> Result<Change, Error> {
    let mut work = changing(store).await?;
    if instead {
        work.change(Statement::new("DELETE FROM pannier_price")).await?;
    }
    let replaced = COLUMNS.split(", ").skip(2).map(|column| format!("{column} = excluded.{column}"));
    let replaced = replaced.collect::<Vec<_>>().join(", ");
    for new in new.chunks(AT_ONCE) {
        let insert = Statement::new(format!("INSERT INTO pannier_price ({COLUMNS}) VALUES "));
        let insert = insert.tuples(new.iter().map(PriceRow::values));
        work.change(insert.text(&format!(" ON CONFLICT (model, since) DO UPDATE SET {replaced}"))).await?;
    }
    let count = work.rows(Statement::new("SELECT count(*) FROM pannier_price")).await?;
    if count.first().map_or(Ok(0), |row| row.count(0))? > MOST as u64 {
        return Ok(Change::TooMany);
    }
    work.done().await?;
    Ok(Change::Done)
}

async fn remove(store: &Store, model: &str, since: Option<i64>) -> Result<u64, Error> {
    let mut work = changing(store).await?;
    let delete = Statement::new("DELETE FROM pannier_price WHERE model = ").value(model);
    let delete = match since {
        Some(since) => delete.text(" AND since = ").value(since),
        None => delete,
    };
    let gone = work.change(delete).await?;
    if gone > 0 {
        work.done().await?;
    }
    Ok(gone)
}

impl PriceRow {
    /// In the order of [`COLUMNS`].
    fn values(&self) -> [Value<'_>; 11] {
        [
            self.model.as_str().into(),
            self.since.into(),
            self.currency.as_str().into(),
            self.prompt.into(),
            self.cached_prompt.unwrap_or(UNSAID).into(),
            self.completion.into(),
            self.embedding.unwrap_or(UNSAID).into(),
            self.image.into(),
            self.audio_second.into(),
            self.gpu_second.into(),
            self.changed.into(),
        ]
    }
}

fn price_row(row: &Row) -> Result<PriceRow, Error> {
    let said = |column| row.number(column).map(|price| (price != UNSAID).then_some(price));
    Ok(PriceRow {
        model: row.text(0)?,
        since: row.number(1)?,
        currency: row.text(2)?,
        prompt: row.number(3)?,
        cached_prompt: said(4)?,
        completion: row.number(5)?,
        embedding: said(6)?,
        image: row.number(7)?,
        audio_second: row.number(8)?,
        gpu_second: row.number(9)?,
        changed: row.number(10)?,
    })
}
