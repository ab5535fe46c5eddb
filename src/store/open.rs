//! A database, opened and in shape.

use super::error::Trouble;
use super::file::{self, Number};
use super::work::{Connection, Work};
use super::{Error, Migrations, Place, Server, shrink};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection as _};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// An open database. Several may write to a PostgreSQL server; a file belongs to one process.
pub struct Store {
    pools: Pools,
    options: Options,
    /// Where a damaged file went that stood in the way.
    put_aside: Option<PathBuf>,
    file: Option<Held>,
}

#[derive(Debug, Clone)]
pub struct Options {
    /// How many may read at the same time.
    pub readers: u32,
    /// How long to wait for a connection, and for another process that writes.
    pub patience: Duration,
    /// What is committed survives the loss of power. Otherwise the last moments may be lost, never more,
    /// and nothing is ever torn.
    pub durable: bool,
    /// Bytes beyond which a file does not grow, whatever is in it.
    pub largest_file: Option<u64>,
    /// What becomes of the file that is there, before it is opened.
    pub start: Start,
    /// What becomes of it when opening shows that it is damaged.
    pub damaged: Damaged,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Start {
    #[default]
    AsItIs,
    /// It is known to be damaged: it is put aside for a new one.
    PutAside,
    /// It is given up, with all that was put aside, for the room that it takes.
    Discard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damaged {
    /// It stays as it is, and closed.
    Refuse,
    /// It is put aside for a new one.
    PutAside,
}

/// A file that is open.
struct Held {
    path: PathBuf,
    /// Which one it is, whatever is called so later.
    number: Number,
    /// Until it is closed.
    claim: Mutex<Option<File>>,
}

enum Pools {
    Sqlite { readers: SqlitePool, writer: SqlitePool },
    Postgres { pool: PgPool, pooled: bool },
}

/// A connection that has been idle for longer may have died of old age or with its server: ask it first.
const SURELY_ALIVE: Duration = Duration::from_secs(1);
/// How long a statement on a server may take, and how long a transaction may stand idle.
const STATEMENT_LIMIT: Duration = Duration::from_secs(10);
/// How long to stand in the queue of those here who write to a file. It always moves.
const QUEUE: Duration = Duration::from_secs(10);
/// How long a claim may be in the hands of somebody who does not know of it: of a process that was begun here and is
/// not yet another program, or of one that is ending.
const UNAWARES: Duration = Duration::from_millis(500);
const RETRY: Duration = Duration::from_millis(10);
/// The write-ahead log is cut back to this after it has grown behind a long reader.
const LARGEST_WAL: &str = "67108864";
/// One that is longer takes nothing more in before it has been taken up: whoever stops that (a reader from outside who
/// does not leave) shall not fill the disk.
const LONGEST_WAL: u64 = 2 * (64 << 20);
/// Bytes of a page: SQLite's own default.
const PAGE: u64 = 4096;
/// Pages in memory, for each connection to a file, in SQLite's way of writing KiB. What is read again the system has
/// in memory as well; what is written stays in the connection's until it is committed.
const READ_PAGES: &str = "-256";
const WRITTEN_PAGES: &str = "-4096";

async fn claim(path: &Path) -> Result<File, Error> {
    let began = Instant::now();
    loop {
        match file::claim(path) {
            Err(error) if error.trouble == Trouble::InUse && began.elapsed() < UNAWARES => {
                tokio::time::sleep(RETRY).await;
            }
            claimed => return claimed,
        }
    }
}

impl Store {
    /// Opens what is there, makes what is not, and brings its tables into shape.
    pub async fn open(place: &Place, options: &Options, migrations: &Migrations) -> Result<Store, Error> {
        match place {
            Place::File(path) => Store::open_file(path, options, migrations).await,
            Place::Postgres(server) => {
                let pools = server_pool(server, options).await?;
                Store { pools, options: options.clone(), put_aside: None, file: None }
                    .in_shape(migrations)
                    .await
            }
        }
    }

    async fn open_file(path: &Path, options: &Options, migrations: &Migrations) -> Result<Store, Error> {
        // A name that begins with "file:" would be an address to SQLite.
        let path = std::path::absolute(path)?;
        let claim = claim(&path).await?;
        let mut put_aside = None;
        match options.start {
            Start::AsItIs => {}
            Start::PutAside => put_aside = Some(file::put_aside(&path)?),
            Start::Discard => file::discard(&path)?,
        }
        loop {
            file::create(&path)?;
            let opened = match file_pools(&path, options).await {
                Ok(pools) => {
                    let (number, claim) = (file::number(&path)?, Mutex::new(Some(claim.try_clone()?)));
                    let file = Some(Held { path: path.clone(), number, claim });
                    let store = Store { pools, options: options.clone(), put_aside: put_aside.clone(), file };
                    store.in_shape(migrations).await
                }
                Err(error) => Err(error),
            };
            match opened {
                Err(error)
                    if error.trouble == Trouble::Damaged
                        && options.damaged == Damaged::PutAside
                        && put_aside.is_none() =>
                {
                    put_aside = Some(file::put_aside(&path)?);
                }
                other => return other,
            }
        }
    }

    async fn in_shape(self, migrations: &Migrations) -> Result<Store, Error> {
        match migrations.apply(&self).await {
            Ok(()) => Ok(self),
            Err(error) => {
                self.close().await;
                Err(error)
            }
        }
    }

    /// Where the damaged file went that was found here, if there was one.
    pub fn put_aside(&self) -> Option<&Path> {
        self.put_aside.as_deref()
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self.pools, Pools::Postgres { .. })
    }

    /// A connection to read with.
    pub async fn read(&self) -> Result<Work, Error> {
        match &self.pools {
            Pools::Sqlite { readers, .. } => Ok(Work::reading(Connection::Sqlite(readers.acquire().await?))),
            Pools::Postgres { pool, pooled } => {
                let connection = Connection::Postgres { connection: pool.acquire().await?, pooled: *pooled };
                if *pooled {
                    return Work::begin(connection, "BEGIN READ ONLY".into()).await;
                }
                Ok(Work::reading(connection))
            }
        }
    }

    /// A connection for one statement that writes: a transaction of its own.
    pub(super) async fn single(&self) -> Result<Work, Error> {
        match &self.pools {
            Pools::Postgres { pool, pooled: false } => {
                let connection = Connection::Postgres { connection: pool.acquire().await?, pooled: false };
                Ok(Work::reading(connection))
            }
            _ => self.write().await,
        }
    }

    /// A transaction to write in.
    pub async fn write(&self) -> Result<Work, Error> {
        match &self.pools {
            // A transaction that only later finds out that it writes fails at once when another was faster,
            // however patient it is.
            Pools::Sqlite { writer, .. } => {
                self.file.iter().try_for_each(Held::is_in_place)?;
                Work::begin(Connection::Sqlite(writer.acquire().await?), "BEGIN IMMEDIATE".into()).await
            }
            Pools::Postgres { pool, pooled } => {
                let connection = Connection::Postgres { connection: pool.acquire().await?, pooled: *pooled };
                Work::begin(connection, self.begin_on_server()).await
            }
        }
    }

    /// A connection to write with outside of a transaction, for what SQLite does only there; `None` on a
    /// server.
    pub(super) async fn maintain(&self) -> Result<Option<Work>, Error> {
        match &self.pools {
            Pools::Sqlite { writer, .. } => {
                Ok(Some(Work::reading(Connection::Sqlite(writer.acquire().await?))))
            }
            Pools::Postgres { .. } => Ok(None),
        }
    }

    /// Whether a file's write-ahead log has become too long to be written to.
    pub fn log_is_full(&self) -> bool {
        let Some(Held { path, .. }) = &self.file else { return false };
        file::log_of(path).metadata().is_ok_and(|log| log.len() > LONGEST_WAL)
    }

    /// Takes a file's write-ahead log up, as far as those who read allow it.
    pub async fn take_up_log(&self) -> Result<(), Error> {
        match self.maintain().await? {
            Some(work) => shrink::take_up(work).await,
            None => Ok(()),
        }
    }

    /// Whether it is there and answers.
    pub async fn probe(&self) -> Result<(), Error> {
        self.file.iter().try_for_each(Held::is_in_place)?;
        let mut work = self.read().await?;
        work.script("SELECT 1").await?;
        work.done().await
    }

    /// Waits for whoever still works, closes all connections, and leaves a file to others.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite { readers, writer } => {
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres { pool, .. } => pool.close().await,
        }
        if let Some(held) = &self.file {
            held.claim.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }

    /// The limits hold for the transaction only: behind a pooler the connection is another's afterwards.
    fn begin_on_server(&self) -> String {
        let (patience, limit) = (self.options.patience.as_millis(), STATEMENT_LIMIT.as_millis());
        let commit = if self.options.durable { "" } else { "SET LOCAL synchronous_commit TO off;" };
        format!(
            "BEGIN; {commit} SET LOCAL lock_timeout TO {patience}; SET LOCAL statement_timeout TO {limit}; \
             SET LOCAL idle_in_transaction_session_timeout TO {limit}"
        )
    }
}

impl Held {
    /// What is written to a file that has lost its name is lost with it.
    fn is_in_place(&self) -> Result<(), Error> {
        let path = self.path.display();
        match file::number(&self.path) {
            Ok(number) if number == self.number => Ok(()),
            // Its companions may belong to either: who put it there knows, once nobody has it open.
            Ok(_) => Err(Error::new(Trouble::Replaced, path.to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::new(Trouble::Missing, format!("{path} is no longer there")))
            }
            Err(error) => Err(error.into()),
        }
    }
}

async fn file_pools(path: &Path, options: &Options) -> Result<Pools, Error> {
    let file =
        SqliteConnectOptions::new().filename(path).busy_timeout(options.patience).disable_statement_logging();
    let synchronous = if options.durable { SqliteSynchronous::Full } else { SqliteSynchronous::Normal };
    let writing = file
        .clone()
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .pragma("journal_size_limit", LARGEST_WAL)
        .pragma("cache_size", WRITTEN_PAGES);
    let writing = match options.largest_file {
        Some(bytes) => writing.pragma("max_page_count", (bytes / PAGE).max(1).to_string()),
        None => writing,
    };
    let pool = || {
        let pool = SqlitePoolOptions::new().acquire_timeout(options.patience).test_before_acquire(false);
        pool.idle_timeout(None).max_lifetime(None)
    };
    // SQLite lets one write at a time: they queue up here, where waiting costs no thread.
    let writer = pool().max_connections(1).acquire_timeout(QUEUE).connect_with(writing).await?;
    let reading = file.pragma("query_only", "ON").pragma("cache_size", READ_PAGES);
    let readers = pool().max_connections(options.readers).connect_lazy_with(reading);
    Ok(Pools::Sqlite { readers, writer })
}

async fn server_pool(server: &Server, options: &Options) -> Result<Pools, Error> {
    let pool = PgPoolOptions::new()
        .max_connections(options.readers + 1)
        .acquire_timeout(options.patience)
        .test_before_acquire(false)
        .before_acquire(|connection, age| {
            Box::pin(async move { Ok(age.idle_for < SURELY_ALIVE || connection.ping().await.is_ok()) })
        });
    let server_options = server.options.clone().disable_statement_logging();
    let pool = pool.connect_with(server_options).await.map_err(|error| match Error::from(error) {
        // It keeps trying while a server refuses; what then runs out is its patience.
        error if error.trouble == Trouble::Busy => Error::new(Trouble::Unreachable, "no connection in time"),
        error => error,
    })?;
    Ok(Pools::Postgres { pool, pooled: server.pooled })
}
