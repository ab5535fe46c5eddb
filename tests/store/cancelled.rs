//! Callers that wait no longer, at every point where they may stop waiting.

use crate::stage::{Ground, PROMPTLY, Stage, entries, key, options, outsider, parcels};
use pannier::cache::{Selection, Tier};
use pannier::store::{Migration, Migrations, Store};
use sqlx::Executor;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// Polls `future` at most `times`, then drops it, done or not.
async fn at_most<F: Future>(times: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut polled = 0;
    std::future::poll_fn(|context| {
        if polled == times {
            return Poll::Ready(None);
        }
        polled += 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_open_on_sqlite() {
    let ground = Ground::file();
    let stage = Stage::open(ground.place()).await;
    everything_is_cut_short(&stage).await;
    // An outsider can write at once: nobody holds the lock.
    let mut outsider = outsider(&ground.path()).await;
    outsider.execute("PRAGMA busy_timeout = 1000").await.expect("pragma");
    outsider.execute("BEGIN IMMEDIATE").await.expect("nobody else writes");
    outsider.execute("ROLLBACK").await.expect("rollback");
    let (entries, bytes): (i64, i64) =
        sqlx::query_as("SELECT count(*), coalesce(sum(length(sealed)), 0) FROM query_cache")
            .fetch_one(&mut outsider)
            .await
            .expect("count");
    the_sums_are(&stage, entries as u64, bytes as u64).await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_open_on_postgres() {
    let Some(ground) = Ground::server() else { return };
    let stage = Stage::open(ground.place()).await;
    everything_is_cut_short(&stage).await;
    let postgres = ground.postgres();
    let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    stage.until("no transaction is left open", async |_| postgres.ask(open) == "0").await;
    let count = postgres.ask("SELECT count(*) || ' ' || coalesce(sum(length(sealed)), 0) FROM query_cache");
    let (entries, bytes) = count.split_once(' ').expect("two numbers");
    the_sums_are(&stage, entries.parse().expect("a number"), bytes.parse().expect("a number")).await;
    stage.stop().await;
}

/// S-08: each call, dropped after each number of polls until it is done before that.
async fn everything_is_cut_short(stage: &Stage) {
    let tier = &stage.tier;
    tier.keep(&parcels(0..100, 3000)).await.expect("keep");
    let asked: Vec<_> = (0..50).map(key).collect();
    let all = Selection::default();
    let one = Selection { key: Some(key(7)), ..Selection::default() };
    for round in 0..4 {
        for times in 0..40 {
            let new = parcels(1000 * round + times as u64..1000 * round + times as u64 + 70, 2000);
            at_most(times, tier.keep(&new)).await;
            at_most(times, tier.find(&asked)).await;
            at_most(times, tier.write_down()).await;
            at_most(times, tier.top(&all, 5)).await;
            at_most(times, tier.tally()).await;
            at_most(times, tier.remove(&one)).await;
        }
    }
    // And by the clock, as callers do.
    for microseconds in (0..4000).step_by(50) {
        let new = parcels(100_000 + microseconds..100_070 + microseconds, 2000);
        let _ = tokio::time::timeout(Duration::from_micros(microseconds), tier.keep(&new)).await;
        let _ = tokio::time::timeout(Duration::from_micros(microseconds), tier.find(&asked)).await;
    }
    // It is as good as before, and at once.
    let begun = Instant::now();
    tier.keep(&parcels(0..100, 3000)).await.expect("keep");
    let found = tier.find(&asked).await.expect("find");
    assert!(found.iter().all(Option::is_some));
    assert!(begun.elapsed() < PROMPTLY, "{:?}", begun.elapsed());
}

async fn the_sums_are(stage: &Stage, entries: u64, bytes: u64) {
    let tally = stage.tier.tally().await.expect("tally");
    let sums = tally.iter().fold((0, 0), |(n, b), kind| (n + kind.entries, b + kind.bytes));
    assert_eq!(sums, (entries, bytes), "what is noted, and what is counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_are_made_whole_or_not_at_all() {
    let mut grounds = vec![Ground::file()];
    grounds.extend(Ground::server());
    for ground in grounds {
        let step = |n: i32| {
            let text = format!("CREATE TABLE step_{n} (n BIGINT); INSERT INTO step_{n} VALUES ({n});");
            Migration { name: "a step", sqlite: text.clone(), postgres: text }
        };
        let migrations = Migrations { part: "steps".into(), steps: (1..=12).map(step).collect() };
        let mut times = 0;
        let store = loop {
            let (place, options) = (ground.place(), options());
            let open = Store::open(&place, &options, &migrations);
            if let Some(store) = at_most(times, open).await {
                // Whoever was cut off may still hold the file for a moment.
                match store {
                    Ok(store) => break store,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            } else {
                times += 1;
            }
        };
        assert!(times > 5, "it was cut off many times: {times}");
        let mut work = store.read().await.expect("read");
        let statement = pannier::store::Statement::new("SELECT n FROM step_12");
        assert_eq!(work.rows(statement).await.expect("the last table")[0].number(0).expect("a number"), 12);
        work.done().await.expect("done");
        store.close().await;
    }
}

/// A newer Pannier has been here and has gone again; and another part shares the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_a_newer_version_is_taken_as_it_is() {
    let ground = Ground::file();
    let step = |name| Migration { name, sqlite: format!("CREATE TABLE {name} (n)"), postgres: String::new() };
    let newer = Migrations { part: "ledger".into(), steps: vec![step("one"), step("two")] };
    let older = Migrations { part: "ledger".into(), steps: vec![step("one")] };
    for migrations in [&older, &newer, &older, &newer] {
        Store::open(&ground.place(), &options(), migrations).await.expect("open").close().await;
    }
    let cache = entries(&ground.place(), &options()).await.expect("another part's tables beside them");
    cache.store().close().await;
}
