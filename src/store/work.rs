//! A connection at work.

use super::{Error, Row, Statement, Value};
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Database, Encode, Executor, Postgres, Sqlite, Type};

/// A connection, for reading or within a transaction, until [`done`](Work::done).
///
/// What is dropped before (an error, or a caller who waits no longer) is cut off: the connection is closed,
/// which undoes its transaction, and never goes back half-read to where another would take it.
pub struct Work {
    connection: Option<Connection>,
    in_transaction: bool,
}

pub(super) enum Connection {
    Sqlite(PoolConnection<Sqlite>),
    Postgres {
        connection: PoolConnection<Postgres>,
        /// See [`Server`](super::Server).
        pooled: bool,
    },
}

impl Work {
    pub(super) fn reading(connection: Connection) -> Self {
        Work { connection: Some(connection), in_transaction: false }
    }

    /// Begins a transaction with the statements in `begin`.
    pub(super) async fn begin(connection: Connection, begin: String) -> Result<Self, Error> {
        let mut work = Work { connection: Some(connection), in_transaction: true };
        work.script(begin).await?;
        Ok(work)
    }

    /// Whether what is asked, and what is told, goes over a wire.
    pub fn is_remote(&self) -> bool {
        matches!(self.connection, Some(Connection::Postgres { .. }))
    }

    /// What the statement finds.
    pub async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, Error> {
        match self.connection() {
            Connection::Sqlite(connection) => {
                let rows =
                    bound::<Sqlite>(statement.in_turn(), statement).fetch_all(&mut **connection).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Connection::Postgres { connection, pooled } => {
                let query = bound::<Postgres>(statement.numbered(), statement).persistent(!*pooled);
                let rows = query.fetch_all(&mut **connection).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// How many rows the statement has changed.
    pub async fn change(&mut self, statement: Statement<'_>) -> Result<u64, Error> {
        match self.connection() {
            Connection::Sqlite(connection) => Ok(bound::<Sqlite>(statement.in_turn(), statement)
                .execute(&mut **connection)
                .await?
                .rows_affected()),
            Connection::Postgres { connection, pooled } => {
                let query = bound::<Postgres>(statement.numbered(), statement).persistent(!*pooled);
                Ok(query.execute(&mut **connection).await?.rows_affected())
            }
        }
    }

    /// Several statements without values, one after the other.
    pub async fn script(&mut self, text: impl Into<String>) -> Result<(), Error> {
        let script = sqlx::raw_sql(AssertSqlSafe(text.into()));
        match self.connection() {
            Connection::Sqlite(connection) => connection.execute(script).await.map(drop)?,
            Connection::Postgres { connection, .. } => connection.execute(script).await.map(drop)?,
        }
        Ok(())
    }

    /// Commits what is to be committed, and gives the connection back.
    pub async fn done(mut self) -> Result<(), Error> {
        if self.in_transaction {
            self.script("COMMIT").await?;
        }
        self.connection = None;
        Ok(())
    }

    fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("it is there until the work is done or dropped")
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        match connection {
            Connection::Sqlite(connection) => cut_off(connection),
            Connection::Postgres { connection, .. } => cut_off(connection),
        }
    }
}

fn cut_off<DB: Database>(mut connection: PoolConnection<DB>) {
    // A polite end takes a task, and a task a runtime; where it is gone, so is the politeness.
    if tokio::runtime::Handle::try_current().is_ok() {
        connection.close_on_drop();
    } else {
        drop(connection.detach());
    }
}

fn bound<'q, DB: Database>(text: String, statement: Statement<'q>) -> Query<'q, DB, DB::Arguments>
where
    &'q [u8]: Encode<'q, DB> + Type<DB>,
    &'q str: Encode<'q, DB> + Type<DB>,
    i64: Encode<'q, DB> + Type<DB>,
    Option<i64>: Encode<'q, DB> + Type<DB>,
    DB::Arguments: sqlx::IntoArguments<DB>,
{
    let query = sqlx::query(AssertSqlSafe(text));
    statement.values().fold(query, |query, value| match value {
        Value::Bytes(bytes) => query.bind(bytes),
        Value::Text(text) => query.bind(text),
        Value::Number(number) => query.bind(number),
        Value::Nothing => query.bind(None::<i64>),
    })
}
