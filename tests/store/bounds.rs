//! What upkeep holds within bounds, and that a hit costs no write.

use crate::stage::{Ground, HOUR, Stage, key, parcel, parcels};
use pannier::cache::{Fault, Parcel, Prefix, Selection, Tier};
use servers::Postgres;
use std::time::{Duration, SystemTime};

/// Of the sealed bytes, in these tests.
const SIZE: usize = 2000;
const CAPACITY: u64 = 4 << 20;
const EXPIRED: &str = "pannier_cache_evictions_total{cause=\"expired\",tier=\"database\"}";
/// What an entry costs: its bytes, and what the tier adds for its row.
const COST: u64 = SIZE as u64 + 256;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_within_its_capacity() {
    within_capacity(&Ground::file()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_keeps_within_its_capacity() {
    let Some(ground) = Ground::server() else { return };
    within_capacity(&ground).await;
}

async fn within_capacity(ground: &Ground) {
    let stage = Stage::running(ground.place(), CAPACITY).await;
    let favourites = parcels(0..50, SIZE);
    stage.tier.keep(&favourites).await.expect("keep");
    let asked: Vec<_> = favourites.iter().map(|parcel| parcel.key).collect();
    let mut refused = 0;
    for batch in 1..100 {
        // Three times what fits comes in; 50 entries are of use all the time.
        let from = batch * 60;
        while let Err(fault) = stage.tier.keep(&parcels(from..from + 60, SIZE)).await {
            assert_eq!(fault, Fault::Refused, "only because it is full");
            refused += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stage.tier.find(&asked).await.expect("find");
        if batch % 10 == 0 {
            stage.tier.write_down().await.expect("write down");
        }
        let tally = stage.tier.tally().await.expect("tally");
        let cost: u64 = tally.iter().map(|kind| kind.entries * COST).sum();
        assert!(cost <= CAPACITY + CAPACITY / 10, "{cost} after {batch} batches, {refused} refused");
    }
    stage.until("it is within", async |stage| stage.tier.held().entries * COST <= CAPACITY).await;
    for favourite in &favourites {
        assert!(stage.has(favourite).await, "what is used stays");
    }
    let newest = stage.tier.find(&(5940..6000).map(key).collect::<Vec<_>>()).await.expect("find");
    assert!(newest.iter().all(Option::is_some), "what is new stays");
    let oldest = stage.tier.find(&(60..560).map(key).collect::<Vec<_>>()).await.expect("find");
    assert!(oldest.iter().all(Option::is_none), "what is old and of no use has gone");
    let held = stage.tier.held().entries;
    assert!(held * COST > CAPACITY / 2, "{held}: no more than must be");
    // A step may be under way.
    stage
        .until("what has gone was counted", async |stage| {
            let evicted = stage.metric("pannier_cache_evictions_total{cause=\"size\",tier=\"database\"}");
            evicted as u64 == 50 + 99 * 60 - stage.tier.held().entries
        })
        .await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_ended_goes_by_itself() {
    let mut grounds = vec![Ground::file()];
    grounds.extend(Ground::server());
    for ground in grounds {
        let stage = Stage::running(ground.place(), 1 << 30).await;
        let expires = SystemTime::now() + Duration::from_millis(200);
        let brief: Vec<Parcel> =
            parcels(0..1300, 100).into_iter().map(|parcel| Parcel { expires, ..parcel }).collect();
        stage.tier.keep(&brief).await.expect("keep");
        stage.tier.keep(&parcels(5000..5010, 100)).await.expect("keep");
        stage.until("only ten are left", async |stage| stage.tier.held().entries == 10).await;
        let tally = stage.tier.tally().await.expect("tally");
        assert_eq!((tally.len(), tally[0].entries, tally[0].bytes), (1, 10, 1000));
        assert_eq!(stage.metric(EXPIRED), 1300.0);
        stage.stop().await;
    }
}

/// Each in a transaction of its own, so that others may write in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_ended_goes_in_small_steps() {
    use sqlx::Executor;
    let mut grounds = vec![Ground::file()];
    grounds.extend(Ground::server());
    for ground in grounds {
        let stage = Stage::open(ground.place()).await;
        let ended: Vec<Parcel> = parcels(0..1300, 100)
            .into_iter()
            .map(|parcel| Parcel { expires: SystemTime::now() - HOUR, ..parcel })
            .collect();
        stage.tier.keep(&ended).await.expect("keep");
        stage.stop().await;
        let sizes = "SELECT count(*) FROM gone GROUP BY step ORDER BY step";
        match &ground {
            Ground::File(_) => {
                // Of SQLite's clock all that one statement does happens at one time; between two of them are pauses.
                let mut outside = crate::stage::outsider(&ground.path()).await;
                let notes = "CREATE TABLE gone (step TEXT); CREATE TRIGGER noted AFTER DELETE ON query_cache \
                     BEGIN INSERT INTO gone VALUES (strftime('%Y-%m-%d %H:%M:%f', 'now')); END";
                outside.execute(notes).await.expect("a trigger");
            }
            Ground::Server(server) => {
                server.ask(
                    "CREATE TABLE gone (step bigint); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
                     $$ BEGIN INSERT INTO gone VALUES (txid_current()); RETURN NULL; END $$; \
                     CREATE TRIGGER noted AFTER DELETE ON query_cache FOR EACH ROW EXECUTE FUNCTION note()",
                );
            }
        }
        let stage = Stage::running(ground.place(), 1 << 30).await;
        stage.until("nothing is left", async |stage| stage.metric(EXPIRED) == 1300.0).await;
        let steps: Vec<i64> = match &ground {
            Ground::File(_) => {
                let mut outside = crate::stage::outsider(&ground.path()).await;
                sqlx::query_scalar(sizes).fetch_all(&mut outside).await.expect("the steps")
            }
            Ground::Server(server) => {
                server.ask(sizes).lines().map(|size| size.trim().parse().expect("a number")).collect()
            }
        };
        assert_eq!(steps, [500, 500, 300]);
        stage.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_gives_back_what_is_free() {
    let ground = Ground::file();
    let stage = Stage::running(ground.place(), 1 << 30).await;
    stage.tier.keep(&parcels(0..4000, 4000)).await.expect("keep");
    let all = Selection { prefix: Some(Prefix::Embedding), ..Selection::default() };
    assert_eq!(stage.tier.remove(&all).await, Ok(4000));
    let size = || std::fs::metadata(ground.path()).expect("the file").len();
    stage.until("it has shrunk", async |_| size() < 8 << 20).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hit_writes_nothing_to_a_server() {
    let Some(server) = Postgres::start_with(&["autovacuum=off"]) else { return };
    let ground = Ground::Server(Box::new(server));
    let stage = Stage::open(ground.place()).await;
    stage.tier.keep(&parcels(0..10, 100)).await.expect("keep");
    // Whoever writes gets a number, and no two have the same.
    let next = || ground.postgres().ask("SELECT pg_snapshot_xmax(pg_current_snapshot())");
    let before = next();
    let asked: Vec<_> = (0..10).map(key).collect();
    for _ in 0..500 {
        stage.tier.find(&asked).await.expect("find");
    }
    assert_eq!(next(), before);
    stage.tier.write_down().await.expect("write down");
    assert_ne!(next(), before);
    let top = stage.tier.top(&Selection::default(), 10).await.expect("top");
    assert!(top.len() == 10 && top.iter().all(|listing| listing.hits == 500));
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hit_writes_nothing_to_a_file() {
    let ground = Ground::file();
    let stage = Stage::open(ground.place()).await;
    stage.tier.keep(&parcels(0..10, 100)).await.expect("keep");
    let log = ground.path().with_file_name("cache.db-wal");
    let written = || std::fs::metadata(&log).expect("the log").len();
    let before = written();
    let asked: Vec<_> = (0..10).map(key).collect();
    for _ in 0..500 {
        stage.tier.find(&asked).await.expect("find");
    }
    assert_eq!(written(), before);
    stage.tier.write_down().await.expect("write down");
    assert!(written() > before);
    let top = stage.tier.top(&Selection::default(), 1).await.expect("top");
    assert_eq!(top[0].hits, 500);
    stage.stop().await;
}

/// S-13: a reader that stays keeps the log from being taken up: a million entries are to be written meanwhile, and
/// those that would make it longer than it may be are not. What has piled up goes when the reader has left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_bounded_and_shrinks_after_a_long_reader() {
    use sqlx::Executor;
    const GROUP: u64 = 500;
    let ground = Ground::file();
    let stage = Stage::running(ground.place(), 1 << 30).await;
    stage.tier.keep(&[parcel(0, 10)]).await.expect("keep");
    let mut reader = crate::stage::outsider(&ground.path()).await;
    reader.execute("BEGIN").await.expect("begin");
    reader.execute("SELECT count(*) FROM query_cache").await.expect("read");
    let log = ground.path().with_file_name("cache.db-wal");
    let size = || std::fs::metadata(&log).expect("the log").len();
    let groups: Vec<_> = (1..41).map(|group| parcels(group * GROUP..(group + 1) * GROUP, 8000)).collect();
    let (mut kept, mut longest) = (0, 0);
    for written in 0..1_000_000 / GROUP {
        match stage.tier.keep(&groups[written as usize % groups.len()]).await {
            Ok(()) => kept += 1,
            Err(fault) => assert_eq!(fault, Fault::Refused),
        }
        longest = longest.max(size());
    }
    assert!(kept > 10 && longest > 128 << 20 && longest < 160 << 20, "{longest} bytes after {kept} groups");
    assert!(stage.has(&groups[0][0]).await, "it still answers");
    reader.execute("COMMIT").await.expect("commit");
    let more = Parcel { expires: SystemTime::now() + HOUR, ..parcel(90_000, 8000) };
    let more = [more];
    stage.until("it keeps again", async |stage| stage.tier.keep(&more).await.is_ok()).await;
    assert!(size() <= 64 << 20, "{}", size());
    assert!(stage.has(&more[0]).await && stage.has(&groups[0][0]).await);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_goes_at_once_while_others_work() {
    let mut grounds = vec![Ground::file()];
    grounds.extend(Ground::server());
    for ground in grounds {
        let stage = Stage::running(ground.place(), 1 << 30).await;
        stage.tier.keep(&parcels(0..2000, 1000)).await.expect("keep");
        let tier = stage.tier.clone();
        let worker = tokio::spawn(async move {
            for n in 0..400 {
                // For a moment there may be nothing to ask; there is never anything wrong.
                let found = tier.find(&[key(n)]).await;
                assert!(matches!(found, Ok(_) | Err(Fault::Unreachable)), "{found:?}");
                let _ = tier.keep(&[parcel(10_000 + n, 100)]).await;
            }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        let gone = stage.tier.remove(&Selection::default()).await.expect("remove");
        assert!((2000..=2400).contains(&gone), "{gone}");
        let found = stage.tier.find(&(0..2000).map(key).collect::<Vec<_>>()).await.expect("find");
        assert!(found.iter().all(Option::is_none));
        worker.await.expect("no panic");
        stage.tier.keep(&parcels(0..10, 100)).await.expect("keep");
        assert!(stage.has(&parcel(3, 100)).await);
        let held = "entries and their sums agree";
        let tally = async |stage: &Stage| stage.tier.tally().await.expect("tally")[0].entries;
        let listed =
            async |stage: &Stage| stage.tier.top(&Selection::default(), 9999).await.expect("top").len();
        stage.until(held, async |stage| tally(stage).await == listed(stage).await as u64).await;
        assert_eq!(stage.metric("pannier_cache_files_put_aside_total"), 0.0);
        stage.stop().await;
    }
}
