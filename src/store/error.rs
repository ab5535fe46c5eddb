//! Why the database could not do it: the codes of SQLite and of PostgreSQL, and what they come to.

use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;
use std::io;

/// What is wrong, and the database's own words for it. Shown to operators only.
#[derive(Debug, thiserror::Error)]
#[error("{trouble}: {words}")]
pub struct Error {
    pub trouble: Trouble,
    words: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    #[error("it cannot be reached")]
    Unreachable,
    /// Locked by another, chosen to give way to another, or all connections are taken.
    #[error("it is busy")]
    Busy,
    #[error("there is no room")]
    Full,
    #[error("it may not be written")]
    ReadOnly,
    #[error("another process uses it")]
    InUse,
    /// The file does not hold together.
    #[error("it is damaged")]
    Damaged,
    #[error("its tables are gone")]
    Missing,
    /// Under the file's name there is another.
    #[error("another file stands in its place")]
    Replaced,
    /// What is to be written breaks a rule of its own, and will whenever it is tried.
    #[error("it refuses what is to be written")]
    Refused,
    #[error("its amounts are in another currency")]
    Currency,
    #[error("it answers nonsense")]
    Nonsense,
}

impl Error {
    pub(super) fn new(trouble: Trouble, words: impl Into<Box<str>>) -> Self {
        Error { trouble, words: words.into() }
    }

    pub(super) fn nonsense(words: &'static str) -> Self {
        Error::new(Trouble::Nonsense, words)
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let trouble = match &error {
            sqlx::Error::Database(error) => {
                if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
                    of_postgres(error.code())
                } else if error.try_downcast_ref::<SqliteError>().is_some() {
                    of_sqlite(error.code().and_then(|code| code.parse().ok()), error.message())
                } else {
                    Trouble::Nonsense
                }
            }
            sqlx::Error::Io(error) => of_io(error),
            sqlx::Error::PoolTimedOut => Trouble::Busy,
            sqlx::Error::Tls(_)
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Configuration(_) => Trouble::Unreachable,
            _ => Trouble::Nonsense,
        };
        Error::new(trouble, error.to_string())
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::new(of_io(&error), error.to_string())
    }
}

fn of_io(error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Trouble::Full,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Trouble::ReadOnly,
        _ => Trouble::Unreachable,
    }
}

/// By SQLite's extended result code (<https://www.sqlite.org/rescode.html>).
fn of_sqlite(code: Option<i32>, message: &str) -> Trouble {
    const SHORT_READ: i32 = 522;
    const CHECKSUM: i32 = 8202;
    const FILE_SYSTEM: i32 = 8458;
    let Some(code) = code else { return Trouble::Nonsense };
    match (code, code & 0xff) {
        (SHORT_READ | CHECKSUM | FILE_SYSTEM, _) => Trouble::Damaged,
        // BUSY, LOCKED, NOMEM, INTERRUPT, PROTOCOL (too many tries at the lock), SCHEMA.
        (_, 5 | 6 | 7 | 9 | 15 | 17) => Trouble::Busy,
        // PERM, READONLY, AUTH.
        (_, 3 | 8 | 23) => Trouble::ReadOnly,
        // FULL, TOOBIG, NOLFS.
        (_, 13 | 18 | 22) => Trouble::Full,
        // IOERR, CANTOPEN.
        (_, 10 | 14) => Trouble::Unreachable,
        // CORRUPT, NOTADB.
        (_, 11 | 26) => Trouble::Damaged,
        // CONSTRAINT, MISMATCH.
        (_, 19 | 20) => Trouble::Refused,
        // ERROR says no more than that; only its words tell this case from a mistake of ours.
        (_, 1) if message.starts_with("no such table") => Trouble::Missing,
        _ => Trouble::Nonsense,
    }
}

/// By PostgreSQL's code (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
fn of_postgres(code: &str) -> Trouble {
    match code {
        // serialization_failure, deadlock_detected, lock_not_available, query_canceled, and the time limits
        // on a transaction and on an idle one.
        "40001" | "40P01" | "55P03" | "57014" | "25P03" | "25P04" => Trouble::Busy,
        // read_only_sql_transaction, insufficient_privilege.
        "25006" | "42501" => Trouble::ReadOnly,
        // disk_full, out_of_memory.
        "53100" | "53200" => Trouble::Full,
        // undefined_table, undefined_function, invalid_schema_name.
        "42P01" | "42883" | "3F000" => Trouble::Missing,
        // data_corrupted, index_corrupted.
        "XX001" | "XX002" => Trouble::Nonsense,
        // Data that cannot be, broken constraints, and what a trigger raises.
        _ if ["22", "23", "P0"].contains(&&code[..code.len().min(2)]) => Trouble::Refused,
        // Connections, refused passwords, unknown databases, too many clients, shutdown and start-up.
        _ if ["08", "28", "3D", "53", "57", "58"].contains(&&code[..code.len().min(2)]) => {
            Trouble::Unreachable
        }
        _ => Trouble::Nonsense,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_sqlite() {
        let of = |code| of_sqlite(Some(code), "");
        assert_eq!(of(5), Trouble::Busy);
        assert_eq!(of(517), Trouble::Busy, "BUSY_SNAPSHOT");
        assert_eq!(of(11), Trouble::Damaged);
        assert_eq!(of(779), Trouble::Damaged, "CORRUPT_INDEX");
        assert_eq!(of(26), Trouble::Damaged);
        assert_eq!(of(522), Trouble::Damaged, "IOERR_SHORT_READ");
        assert_eq!(of(266), Trouble::Unreachable, "IOERR_READ");
        assert_eq!(of(1032), Trouble::ReadOnly, "READONLY_DBMOVED");
        assert_eq!(of(13), Trouble::Full);
        assert_eq!(of(1811), Trouble::Refused, "CONSTRAINT_TRIGGER");
        assert_eq!(of_sqlite(Some(1), "no such table: query_cache"), Trouble::Missing);
        assert_eq!(of(1), Trouble::Nonsense);
    }

    #[test]
    fn codes_of_postgres() {
        assert_eq!(of_postgres("40P01"), Trouble::Busy);
        assert_eq!(of_postgres("57P01"), Trouble::Unreachable);
        assert_eq!(of_postgres("53300"), Trouble::Unreachable);
        assert_eq!(of_postgres("53100"), Trouble::Full);
        assert_eq!(of_postgres("25006"), Trouble::ReadOnly);
        assert_eq!(of_postgres("42P01"), Trouble::Missing);
        assert_eq!(of_postgres("22003"), Trouble::Refused, "numeric_value_out_of_range");
        assert_eq!(of_postgres("23514"), Trouble::Refused, "check_violation");
        assert_eq!(of_postgres("42601"), Trouble::Nonsense);
        assert_eq!(of_postgres(""), Trouble::Nonsense);
    }
}
