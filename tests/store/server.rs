//! What befalls a server.

use crate::stage::{PROMPTLY, Stage, key, label, parcel, parcels};
use pannier::cache::{Fault, Parcel, Prefix, Selection, Tier};
use pannier::store::Place;
use servers::{Answers, Detour, Pooler, Postgres, Weather};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// As whoever asks a tier bounds it.
const BOUND: Duration = Duration::from_millis(500);

fn place(postgres: &Postgres) -> Place {
    Place::parse(&postgres.url()).expect("a place")
}

/// Asks all the time, as a loaded Pannier does; tells how long the longest wait was.
struct Load {
    stop: Arc<AtomicBool>,
    hits: Arc<AtomicU64>,
    askers: Vec<tokio::task::JoinHandle<Duration>>,
}

impl Load {
    fn on(stage: &Stage) -> Load {
        let (stop, hits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let askers = (0..16).map(|n| {
            let (tier, stop, hits) = (stage.tier.clone(), stop.clone(), hits.clone());
            tokio::spawn(async move {
                let mut longest = Duration::ZERO;
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    if let Ok(Ok(found)) = tokio::time::timeout(BOUND, tier.find(&[key(n)])).await
                        && found[0].is_some()
                    {
                        hits.fetch_add(1, Ordering::Relaxed);
                    }
                    let _ = tokio::time::timeout(BOUND, tier.keep(&[parcel(100 + n, 500)])).await;
                    longest = longest.max(begun.elapsed());
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                longest
            })
        });
        Load { askers: askers.collect(), stop, hits }
    }

    fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    async fn end(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let mut longest = Duration::ZERO;
        for asker in self.askers {
            longest = longest.max(asker.await.expect("no panic"));
        }
        longest
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_under_load_is_over_within_seconds() {
    let Some(mut postgres) = Postgres::start() else { return };
    let stage = Stage::running(place(&postgres), 1 << 30).await;
    stage.tier.keep(&parcels(0..16, 500)).await.expect("keep");
    let load = Load::on(&stage);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        postgres.stop_immediately();
        tokio::time::sleep(Duration::from_millis(700)).await;
        postgres.start_again();
        let before = load.hits();
        stage.until("hits again", async |_| load.hits() > before + 16).await;
    }
    let longest = load.end().await;
    assert!(longest < PROMPTLY, "nobody hangs: {longest:?}");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_used_again_when_it_moves() {
    let Some(postgres) = Postgres::start() else { return };
    let stage = Stage::running(place(&postgres), 1 << 30).await;
    stage.tier.keep(&parcels(0..16, 500)).await.expect("keep");
    let load = Load::on(&stage);
    tokio::time::sleep(Duration::from_millis(300)).await;
    postgres.freeze();
    tokio::time::sleep(Duration::from_secs(12)).await;
    postgres.thaw();
    let before = load.hits();
    stage.until("hits again", async |_| load.hits() > before + 16).await;
    let longest = load.end().await;
    assert!(longest < PROMPTLY, "nobody hangs: {longest:?}");
    let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    stage.until("no transaction is left open", async |_| postgres.ask(open) == "0").await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_may_come_later_than_pannier() {
    let Some(mut postgres) = Postgres::start() else { return };
    postgres.stop_immediately();
    let stage = Stage::closed(place(&postgres), 1 << 30);
    let begun = Instant::now();
    assert_eq!(stage.tier.open().await, Err(Fault::Unreachable));
    assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
    postgres.start_again();
    let stage = Stage::running(place(&postgres), 1 << 30).await;
    stage.tier.keep(&[parcel(1, 10)]).await.expect("keep");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_still_answers() {
    let Some(postgres) = Postgres::start() else { return };
    let stage = Stage::open(place(&postgres)).await;
    let kept = parcel(1, 1000);
    stage.tier.keep(std::slice::from_ref(&kept)).await.expect("keep");
    stage.stop().await;
    postgres.ask("ALTER SYSTEM SET default_transaction_read_only = on");
    postgres.ask("SELECT pg_reload_conf()");
    let stage = Stage::running(place(&postgres), 1 << 30).await;
    assert!(stage.has(&kept).await);
    assert_eq!(stage.tier.keep(&[parcel(2, 10)]).await, Err(Fault::Refused));
    assert_eq!(stage.tier.remove(&Selection::default()).await, Err(Fault::Refused));
    postgres.ask("ALTER SYSTEM RESET default_transaction_read_only");
    postgres.ask("SELECT pg_reload_conf()");
    stage.until("it keeps again", async |stage| stage.tier.keep(&[parcel(2, 10)]).await.is_ok()).await;
    stage.stop().await;
}

/// Numbers that the server tells come through as others, and each entry is still counted where it belongs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_number_that_is_told_wrong_puts_an_entry_elsewhere() {
    let Some(postgres) = Postgres::start() else { return };
    let detour = Detour::to_socket(&postgres.socket().join(".s.PGSQL.5432")).await;
    let url = format!("postgres://pannier@127.0.0.1:{}/postgres?sslmode=disable", detour.port());
    let stage = Stage::open(Place::parse(&url).expect("a place")).await;
    let of = |n: u64, model: &str| Parcel { label: label(Prefix::Chat, model, ""), ..parcel(n, 100) };
    let misnumbered = Weather { answers: Answers::Misnumbered, ..Weather::default() };
    detour.weather(misnumbered);
    for round in 0..3 {
        let n = round * 6;
        let new = [("a", 1), ("b", 2), ("c", 3)].map(|(model, more)| (n + more, model));
        let new = new.map(|(n, model)| of(n, model));
        stage.tier.keep(&new).await.expect("keep");
        stage.tier.keep(&[of(n + 4, "b"), of(n + 5, "c"), of(n + 6, "c")]).await.expect("keep");
    }
    detour.weather(Weather::default());
    let counted = "SELECT string_agg(model || ' ' || entries, ', ' ORDER BY model) FROM query_cache_tally";
    assert_eq!(postgres.ask(counted), "a 3, b 6, c 9");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_connections_are_enough() {
    let Some(postgres) = Postgres::start_with(&["max_connections=6", "superuser_reserved_connections=2"])
    else {
        return;
    };
    let stage = Stage::running(place(&postgres), 1 << 30).await;
    stage.tier.keep(&parcels(0..16, 500)).await.expect("keep");
    let load = Load::on(&stage);
    stage.until("there are hits", async |_| load.hits() > 100).await;
    load.end().await;
    stage.stop().await;
}

/// S-05: fifty who write the same entries at once, in every order, while others remove and make room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_the_same_do_not_lock_each_other_out() {
    // Before anybody's patience with a lock ends, so that each deadlock is found out as one.
    let Some(postgres) = Postgres::start_with(&["deadlock_timeout=50ms"]) else { return };
    let stage = Stage::running(place(&postgres), 1 << 30).await;
    let other = Stage::running(place(&postgres), 1 << 30).await;
    let writers = (0..50).map(|n| {
        let tier = if n % 2 == 0 { stage.tier.clone() } else { other.tier.clone() };
        tokio::spawn(async move {
            for round in 0..5 {
                let mut batch = parcels(0..150, 100);
                batch.rotate_left((n * 7 + round) % 150);
                // All connections may be taken for longer than one waits for them; that is no deadlock.
                while let Err(fault) = tier.keep(&batch).await {
                    assert_eq!(fault, Fault::TimedOut);
                }
                tier.find(&[key(n as u64)]).await.ok();
                let one = Selection { key: Some(key(n as u64)), ..Selection::default() };
                tier.remove(&one).await.ok();
                tier.write_down().await.ok();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("no panic");
    }
    assert!(!postgres.log().contains("deadlock detected"), "{}", postgres.log());
    let counted = postgres.ask("SELECT count(*) || ' ' || sum(bytes) FROM query_cache");
    let tally = stage.tier.tally().await.expect("tally");
    assert_eq!(counted, format!("{} {}", tally[0].entries, tally[0].bytes));
    let rows = async |_: &Stage| {
        postgres.ask("SELECT count(*) FROM query_cache_change").parse().unwrap_or(999) <= 64
    };
    stage.until("the sums are added up", rows).await;
    let tally = stage.tier.tally().await.expect("tally");
    assert_eq!(counted, format!("{} {}", tally[0].entries, tally[0].bytes), "and the same");
    stage.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_made_anew_gets_its_tables() {
    let Some(postgres) = Postgres::start() else { return };
    let stage = Stage::running(place(&postgres), 1 << 30).await;
    stage.tier.keep(&[parcel(1, 10)]).await.expect("keep");
    postgres.ask("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    // Whoever looks after it may have seen that before.
    let found = stage.tier.find(&[key(1)]).await;
    assert!(matches!(found, Err(Fault::Corrupt | Fault::Unreachable)), "{found:?}");
    stage.until("it keeps again", async |stage| stage.tier.keep(&[parcel(1, 10)]).await.is_ok()).await;
    // Emptied by hand: the sums know.
    postgres.ask("TRUNCATE query_cache");
    assert_eq!(stage.tier.tally().await, Ok(vec![]));
    stage.stop().await;
}

/// What Pannier did not make it does not touch: here a table of the predecessor's under the same name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_somebody_else_stays_as_it_is() {
    let Some(postgres) = Postgres::start() else { return };
    postgres.ask(
        "CREATE TABLE query_cache (query_hash TEXT, hit_count INT); INSERT INTO query_cache VALUES ('a', 1)",
    );
    let stage = Stage::closed(place(&postgres), 1 << 30);
    assert_eq!(stage.tier.open().await, Err(Fault::Corrupt));
    assert_eq!(postgres.ask("SELECT * FROM query_cache"), "a|1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_may_stand_in_between() {
    let Some(postgres) = Postgres::start() else { return };
    let Some(pooler) = Pooler::before(&postgres) else { return };
    // Two processes' worth, on three connections that go from hand to hand.
    let stage = Stage::running(Place::parse(&pooler.url()).expect("a place"), 1 << 30).await;
    let other = Stage::running(Place::parse(&pooler.url()).expect("a place"), 1 << 30).await;
    stage.tier.keep(&parcels(0..100, 500)).await.expect("keep");
    let askers = (0..16u64).map(|n| {
        let tier = if n % 2 == 0 { stage.tier.clone() } else { other.tier.clone() };
        tokio::spawn(async move {
            for round in 0..50 {
                let keys: Vec<_> = (0..1 + (n + round) % 20).map(key).collect();
                let found = tier.find(&keys).await.expect("find");
                assert!(found.iter().all(Option::is_some));
                tier.keep(&[parcel(1000 + n * 100 + round, 100)]).await.expect("keep");
            }
            tier.write_down().await.expect("write down");
        })
    });
    for asker in askers.collect::<Vec<_>>() {
        asker.await.expect("no fault");
    }
    assert_eq!(stage.tier.tally().await.expect("tally")[0].entries, 100 + 16 * 50);
    let top = stage.tier.top(&Selection::default(), 1).await.expect("top");
    assert_eq!(top[0].key, key(0));
    assert!(!postgres.log().contains("prepared statement"), "{}", postgres.log());
    stage.stop().await;
    other.stop().await;
}
