//! Where a database is.

use sqlx::postgres::PgConnectOptions;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Clone)]
pub enum Place {
    /// A SQLite file; it need not be there yet.
    File(PathBuf),
    Postgres(Box<Server>),
}

/// A PostgreSQL server, as its URL describes it.
#[derive(Clone)]
pub struct Server {
    pub(super) options: PgConnectOptions,
    /// Each transaction may get another of the server's connections, as behind pgbouncer: statements are
    /// not prepared by name, and no query stands outside of a transaction.
    pub(super) pooled: bool,
}

/// Says nothing of the text itself: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a database: expected a file, sqlite://file, or postgresql://user:password@host:port/database")]
pub struct InvalidPlace;

impl Place {
    /// A path, `sqlite:PATH`, `sqlite://PATH`, or a PostgreSQL URL. There `?pgbouncer=true` or
    /// `?statement-cache-capacity=0` say that a pooler in transaction mode stands in between.
    pub fn parse(text: &str) -> Result<Place, InvalidPlace> {
        let text = text.trim();
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Server::parse(text).map(|server| Place::Postgres(Box::new(server)));
        }
        let path = match text.strip_prefix("sqlite:") {
            Some(rest) => {
                let rest = rest.strip_prefix("//").unwrap_or(rest);
                rest.split_once('?').map_or(rest, |(path, _)| path)
            }
            None => text,
        };
        if path.is_empty() || path.contains("://") || path.contains(":memory:") || path.contains('\0') {
            return Err(InvalidPlace);
        }
        Ok(Place::File(path.into()))
    }
}

impl Server {
    fn parse(url: &str) -> Result<Server, InvalidPlace> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let (ours, theirs): (Vec<&str>, Vec<&str>) =
            query.split('&').filter(|pair| !pair.is_empty()).partition(|pair| pair.starts_with("pgbouncer="));
        let pooled = ours.iter().any(|pair| matches!(*pair, "pgbouncer=true" | "pgbouncer=1"))
            || theirs.contains(&"statement-cache-capacity=0");
        let url = format!("{address}?{}", theirs.join("&"));
        let options = PgConnectOptions::from_str(&url).map_err(|_| InvalidPlace)?;
        // A pooler refuses a start with settings that it does not know; no floats are read here.
        let options = options.extra_float_digits(None);
        Ok(Server { options, pooled })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => path.display().fmt(f),
            Place::Postgres(server) => {
                let options = &server.options;
                let host =
                    options.get_socket().map_or(options.get_host().into(), |path| path.to_string_lossy());
                write!(
                    f,
                    "postgresql://{host}:{}/{}",
                    options.get_port(),
                    options.get_database().unwrap_or("")
                )
            }
        }
    }
}

impl fmt::Debug for Place {
    /// As shown: the options' own would tell the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        for (text, path) in [
            ("cache.db", "cache.db"),
            ("/var/lib/p/cache.db", "/var/lib/p/cache.db"),
            ("sqlite:cache.db", "cache.db"),
            ("sqlite://data/cache.db?mode=rwc", "data/cache.db"),
            ("sqlite:///abs/cache.db", "/abs/cache.db"),
        ] {
            assert!(
                matches!(Place::parse(text), Ok(Place::File(found)) if *found == *std::path::Path::new(path)),
                "{text}"
            );
        }
        for text in ["", "sqlite:", "sqlite::memory:", ":memory:", "mysql://h/d", "redis://h"] {
            assert!(Place::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn servers() {
        let server = |text: &str| match Place::parse(text) {
            Ok(Place::Postgres(server)) => *server,
            other => panic!("{text}: {other:?}"),
        };
        let plain = server("postgresql://u:secret@db:5433/cache?sslmode=disable");
        assert_eq!((plain.options.get_host(), plain.options.get_port(), plain.pooled), ("db", 5433, false));
        assert!(server("postgres://u@db/cache?pgbouncer=true&sslmode=disable").pooled);
        assert!(server("postgres://u@db/cache?statement-cache-capacity=0").pooled);
        assert!(!server("postgres://u@db/cache?pgbouncer=false").pooled);
        assert!(Place::parse("postgres://u@db:port/cache").is_err());
    }

    #[test]
    fn a_password_is_never_shown() {
        let place = Place::parse("postgresql://u:secret@db:5433/cache").unwrap();
        assert_eq!(format!("{place} {place:?}"), "postgresql://db:5433/cache postgresql://db:5433/cache");
    }
}
