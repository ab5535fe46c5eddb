//! The last tier when it is full: what a hit takes among a million entries, in a SQLite file and on a real
//! PostgreSQL.
//!
//!     cargo bench --bench database [-- --entries 1000000 --hits 20000]

use bytes::Bytes;
use pannier::cache::{CacheKey, Database, DatabaseOptions, Label, Parcel, Prefix, Selection, Tier};
use pannier::domain::Operation;
use pannier::store::{Place, Table};
use pannier::telemetry::Metrics;
use servers::Postgres;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;

/// Of one sealed vector of 384 numbers.
const SIZE: usize = 1600;
/// Entries kept at once while it is filled.
const BATCH: u64 = 1000;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let (entries, hits) = (argument("--entries").unwrap_or(1_000_000), argument("--hits").unwrap_or(20_000));
    println!("{:<12} {:>28} {:>10} {:>10} {:>10}", "", "", "p50", "p99", "worst");
    let folder = TempDir::new().expect("a folder");
    measure("SQLite", Place::File(folder.path().join("cache.db")), entries, hits).await;
    drop(folder);
    if let Some(server) = Postgres::start_with(&["shared_buffers=256MB", "max_wal_size=4GB"]) {
        measure("PostgreSQL", Place::parse(&server.url()).expect("a place"), entries, hits).await;
    }
}

fn argument(name: &str) -> Option<u64> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next()?.parse().ok()
}

async fn measure(database: &'static str, place: Place, entries: u64, hits: u64) {
    let table = Table::new("query_cache").expect("a name");
    let config = DatabaseOptions { place, table, capacity: 1 << 40, timeout: Duration::from_secs(1) };
    let tier = Arc::new(Database::new(config, Arc::new(Metrics::new())));
    tier.open().await.expect("open");
    let begun = Instant::now();
    for from in (0..entries).step_by(BATCH as usize) {
        let batch: Vec<Parcel> = (from..(from + BATCH).min(entries)).map(parcel).collect();
        tier.keep(&batch).await.expect("keep");
    }
    let rate = entries as f64 / begun.elapsed().as_secs_f64();
    println!("{database:<12} {:>28} {rate:>10.0} entries a second", format!("{entries} kept"));

    // As it runs: with its upkeep, which writes down what was of use meanwhile.
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let upkeep = tokio::spawn({
        let tier = tier.clone();
        async move { tier.run(stopped).await }
    });
    one_at_a_time(&tier, entries, hits / 10).await;
    print(database, "a hit", one_at_a_time(&tier, entries, hits).await);
    let askers: Vec<_> = (0..8)
        .map(|_| {
            let tier = tier.clone();
            tokio::spawn(async move { one_at_a_time(&tier, entries, hits / 8).await })
        })
        .collect();
    let mut together = Vec::new();
    for asker in askers {
        together.extend(asker.await.expect("no panic"));
    }
    print(database, "a hit, eight at a time", together);
    let mut hundreds = Vec::new();
    for _ in 0..hits / 100 {
        let keys: Vec<CacheKey> = (0..100).map(|_| key(fastrand::u64(..entries))).collect();
        let asked = Instant::now();
        let found = tier.find(&keys).await.expect("find");
        hundreds.push(asked.elapsed());
        assert!(found.iter().all(Option::is_some));
    }
    print(database, "a hundred hits in one call", hundreds);
    let mut kept = Vec::new();
    for n in 0..hits / 20 {
        let new = [parcel(entries + n)];
        let asked = Instant::now();
        tier.keep(&new).await.expect("keep");
        kept.push(asked.elapsed());
    }
    print(database, "one more kept", kept);
    let asked = Instant::now();
    tier.tally().await.expect("tally");
    print(database, "the tally", vec![asked.elapsed()]);
    let asked = Instant::now();
    tier.top(&Selection::default(), 20).await.expect("top");
    print(database, "the most used", vec![asked.elapsed()]);
    let asked = Instant::now();
    tier.remove(&Selection::default()).await.expect("remove");
    print(database, "all removed", vec![asked.elapsed()]);
    stop.send_replace(true);
    upkeep.await.expect("upkeep ends");
    tier.close().await;
}

/// Hits of entries anywhere.
async fn one_at_a_time(tier: &Database, entries: u64, hits: u64) -> Vec<Duration> {
    let mut took = Vec::with_capacity(hits as usize);
    for _ in 0..hits {
        let key = key(fastrand::u64(..entries));
        let asked = Instant::now();
        let found = tier.find(&[key]).await.expect("find");
        took.push(asked.elapsed());
        assert!(found[0].is_some());
    }
    took
}

fn print(database: &str, what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |share: f64| {
        format!("{:.3} ms", took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3)
    };
    println!("{database:<12} {what:>28} {:>10} {:>10} {:>10}", at(0.5), at(0.99), at(1.0));
}

fn key(n: u64) -> CacheKey {
    CacheKey(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

fn parcel(n: u64) -> Parcel {
    let mut sealed = vec![0; SIZE];
    blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof().fill(&mut sealed);
    Parcel {
        key: key(n),
        label: Label {
            prefix: Prefix::Embedding,
            operation: Operation::Embed,
            model: "all-minilm:latest".into(),
            digest: "sha256:1".into(),
            team: "default".into(),
        },
        sealed: Bytes::from(sealed),
        stored: SystemTime::now(),
        expires: SystemTime::now() + Duration::from_secs(86_400),
    }
}
