//! Databases and what is put into them.

use bytes::Bytes;
use pannier::cache::{CacheKey, Database, DatabaseOptions, Label, Parcel, Prefix, Tier};
use pannier::domain::Operation;
use pannier::store::entries::{Entries, Key, Kind, NewEntry};
use pannier::store::{Damaged, Options, Place, Start, Table};
use pannier::telemetry::{Exposition, Metrics};
use servers::Postgres;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long anything may take that happens by itself.
/// No wait is longer: what takes this long hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// What waits for nothing is over by then, also on a busy machine.
pub const PROMPTLY: Duration = Duration::from_secs(10);
pub const HOUR: Duration = Duration::from_secs(3600);

/// Where a test keeps its entries: a file, or a server of its own.
pub enum Ground {
    File(TempDir),
    Server(Box<Postgres>),
}

/// A tier, and its upkeep where that runs.
pub struct Stage {
    pub tier: Arc<Database>,
    pub metrics: Arc<Metrics>,
    upkeep: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

impl Ground {
    pub fn file() -> Ground {
        Ground::File(TempDir::new().expect("a folder"))
    }

    /// `None` where there is no PostgreSQL.
    pub fn server() -> Option<Ground> {
        Some(Ground::Server(Box::new(Postgres::start()?)))
    }

    pub fn place(&self) -> Place {
        match self {
            Ground::File(_) => Place::File(self.path()),
            Ground::Server(server) => Place::parse(&server.url()).expect("a place"),
        }
    }

    /// Of a file.
    pub fn path(&self) -> PathBuf {
        match self {
            Ground::File(folder) => folder.path().join("cache.db"),
            Ground::Server(_) => panic!("a server has no file"),
        }
    }

    pub fn postgres(&self) -> &Postgres {
        match self {
            Ground::File(_) => panic!("a file has no server"),
            Ground::Server(server) => server,
        }
    }
}

impl Stage {
    /// A tier that is not open, and that nobody looks after.
    pub fn closed(place: Place, capacity: u64) -> Stage {
        let metrics = Arc::new(Metrics::new());
        let (table, timeout) = (Table::new("query_cache").expect("a name"), Duration::from_millis(50));
        let config = DatabaseOptions { place, table, capacity, timeout };
        Stage { tier: Arc::new(Database::new(config, metrics.clone())), metrics, upkeep: None }
    }

    pub async fn open(place: Place) -> Stage {
        let stage = Stage::closed(place, 1 << 30);
        stage.tier.open().await.expect("open");
        stage
    }

    /// One that is looked after, as in a running Pannier.
    pub async fn running(place: Place, capacity: u64) -> Stage {
        let mut stage = Stage::closed(place, capacity);
        let (stop, stopped) = watch::channel(false);
        let tier = stage.tier.clone();
        stage.upkeep = Some((stop, tokio::spawn(async move { tier.run(stopped).await })));
        stage.until("it is open", async |stage| stage.tier.probe().await.is_ok()).await;
        stage
    }

    /// Ends the upkeep, as at the end of a running Pannier, and closes the database.
    pub async fn stop(mut self) {
        if let Some((stop, upkeep)) = self.upkeep.take() {
            stop.send_replace(true);
            upkeep.await.expect("upkeep ends");
        }
        self.tier.close().await;
    }

    /// Waits until `true`.
    pub async fn until(&self, what: &str, mut true_: impl AsyncFnMut(&Stage) -> bool) {
        let begun = Instant::now();
        while !true_(self).await {
            assert!(begun.elapsed() < PATIENCE, "never: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The value of a series of `/metrics`.
    pub fn metric(&self, series: &str) -> f64 {
        let page = String::from_utf8(self.metrics.render(Exposition::Text).1).expect("text");
        let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Whether what `parcel` holds is found.
    pub async fn has(&self, parcel: &Parcel) -> bool {
        let found = self.tier.find(&[parcel.key]).await.expect("find");
        found[0].as_ref() == Some(&parcel.sealed)
    }
}

pub fn key(n: u64) -> CacheKey {
    CacheKey(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

/// An entry of `size` bytes that are like no other's.
pub fn parcel(n: u64, size: usize) -> Parcel {
    let mut sealed = vec![0; size];
    blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof().fill(&mut sealed);
    Parcel {
        key: key(n),
        label: label(Prefix::Embedding, "m", ""),
        sealed: Bytes::from(sealed),
        stored: SystemTime::now(),
        expires: SystemTime::now() + HOUR,
    }
}

pub fn parcels(numbers: std::ops::Range<u64>, size: usize) -> Vec<Parcel> {
    numbers.map(|n| parcel(n, size)).collect()
}

pub fn label(prefix: Prefix, model: &str, team: &str) -> Label {
    let operation = match prefix {
        Prefix::Embedding => Operation::Embed,
        Prefix::Inference => Operation::Text,
        Prefix::Chat => Operation::Chat,
        Prefix::Audio => Operation::Transcribe,
    };
    Label { prefix, operation, model: model.into(), digest: "sha256:1".into(), team: team.into() }
}

/// As the tier opens it, without the tier.
pub fn options() -> Options {
    Options {
        readers: 4,
        patience: Duration::from_millis(500),
        durable: false,
        largest_file: None,
        start: Start::AsItIs,
        damaged: Damaged::Refuse,
    }
}

pub async fn entries(place: &Place, options: &Options) -> Result<Entries, pannier::store::Error> {
    Entries::open(place, options, Table::new("query_cache").expect("a name")).await
}

/// A row for [`Entries::keep`].
pub fn new_entry<'a>(key: &'a Key, sealed: &'a [u8]) -> NewEntry<'a> {
    let text = Cow::Borrowed;
    let kind = Kind {
        prefix: text("chat"),
        operation: text("chat"),
        model: text("m"),
        digest: text("d"),
        team: text(""),
    };
    NewEntry { key, kind, stored: 1, expires: i64::MAX, sealed }
}

/// The connection of an outsider who knows nothing of Pannier.
pub async fn outsider(path: &Path) -> sqlx::SqliteConnection {
    use sqlx::ConnectOptions;
    sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.expect("connect")
}
