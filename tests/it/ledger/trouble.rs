//! The database is away, slow, locked or damaged, and requests do not hear of it.

use super::*;
use pannier::store::ledger::Figure;
use sqlx::{ConnectOptions, Executor};
use std::time::Instant;

const UP: &str = "pannier_dependency_up";

pub async fn is_up(pannier: &Pannier) -> bool {
    pannier.metrics().await.sum(UP, &[("dep", "ledger")]) == 1.0
}

pub async fn becomes(pannier: &Pannier, up: bool) {
    let what = if up { "the ledger has caught up" } else { "the ledger is behind" };
    eventually(what, || async { (is_up(pannier).await == up).then_some(()) }).await;
}

/// The log comes a moment after what it tells.
pub async fn is_logged(pannier: &Pannier, text: &str) {
    eventually_within(PATIENCE, text, || async { pannier.output().contains(text).then_some(()) }).await;
}

/// Questions are answered, and nobody waits for the database.
pub async fn endures(pannier: &Pannier, questions: std::ops::Range<u64>) {
    for number in questions {
        let begun = Instant::now();
        pannier.ask(&ask(number, number % 2 == 0)).await.fine();
        assert!(begun.elapsed() < PROMPTLY, "{number} took {:?}", begun.elapsed());
    }
}

/// All of it is in the books, once.
pub async fn is_complete(ground: &Ground, served: &Served) {
    is_all_of(&ground.book().await, served);
}

pub fn is_all_of(book: &Book, served: &Served) {
    book.agrees();
    let served = served.lock().expect("served").clone();
    let cost: i64 = served.iter().map(|number| Figures::of(*number).cost()).sum();
    assert_eq!(book.sum(Figure::Requests), served.len() as i64);
    assert_eq!((book.sum(Figure::Trips), book.sum(Figure::Cost)), (served.len() as i64, cost));
}

/// That a server is waited for from where it is taken away until it is back.
async fn is_waited_for(away: fn(&mut Postgres), back: fn(&mut Postgres)) {
    let Some(server) = Postgres::start() else { return };
    let mut ground = Ground::Server(Box::new(server), TempDir::new().expect("a folder"));
    let (upstream, served) = upstream().await;
    let pannier = ground.launch(&upstream).start().await;
    endures(&pannier, 0..1).await;
    away(ground.server());
    endures(&pannier, 1..30).await;
    becomes(&pannier, false).await;
    back(ground.server());
    becomes(&pannier, true).await;
    end(pannier).await;
    is_complete(&ground, &served).await;
}

#[tokio::test]
async fn a_database_that_is_away_is_waited_for() {
    is_waited_for(Postgres::stop_immediately, Postgres::start_again).await;
}

#[tokio::test]
async fn a_database_that_says_nothing_is_waited_for() {
    is_waited_for(|server| server.freeze(), |server| server.thaw()).await;
}

#[tokio::test]
async fn a_file_that_another_has_locked_is_waited_for() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let (upstream, served) = upstream().await;
    let pannier = ground.launch(&upstream).start().await;
    endures(&pannier, 0..1).await;
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(ground.folder().join("pannier.db"));
    let mut outside = file.connect().await.expect("connect");
    outside.execute("PRAGMA busy_timeout = 5000; BEGIN EXCLUSIVE").await.expect("lock");
    endures(&pannier, 1..30).await;
    becomes(&pannier, false).await;
    let probe = pannier.house("/readyz?verbose").await.fine().text();
    assert!(probe.contains("[-]ledger"), "{probe}");
    outside.execute("ROLLBACK").await.expect("unlock");
    drop(outside);
    becomes(&pannier, true).await;
    end(pannier).await;
    is_complete(&ground, &served).await;
}

#[tokio::test]
async fn a_damaged_file_is_left_as_it_is_and_the_spool_keeps_the_rest() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let (upstream, served) = upstream().await;
    let pannier = ground.launch(&upstream).start().await;
    endures(&pannier, 0..20).await;
    end(pannier).await;
    let path = ground.folder().join("pannier.db");
    let good = std::fs::read(&path).expect("the books");
    let damaged = vec![0xa5; good.len()];
    std::fs::write(&path, &damaged).expect("damage");

    let pannier = ground.launch(&upstream).start().await;
    endures(&pannier, 20..40).await;
    becomes(&pannier, false).await;
    assert!(pannier.output().contains("the ledger waits in its spool"), "{}", pannier.output());
    end(pannier).await;
    assert_eq!(std::fs::read(&path).expect("the books"), damaged, "somebody may want to mend it");

    std::fs::write(&path, &good).expect("mend");
    let pannier = ground.launch(&upstream).start().await;
    eventually("the rest is taken over", || async { (ground.spools() == 1).then_some(()) }).await;
    end(pannier).await;
    is_complete(&ground, &served).await;
}

#[tokio::test]
async fn while_the_spool_is_full_requests_are_answered_or_refused_as_is_wished() {
    for (when_full, status) in [("continue", 200), ("refuse", 503)] {
        let ground = Ground::File(TempDir::new().expect("a folder"));
        let (upstream, _) = upstream().await;
        // Nothing can be taken over: where the database should be is a folder.
        std::fs::create_dir(ground.folder().join("pannier.db")).expect("a folder");
        let launch = ground.launch(&upstream).set("ledger.max_spool", "128KiB");
        let pannier = launch.set("ledger.when_full", when_full).start().await;
        pannier.ask(&ask(1, false)).await;
        let mut wire = pannier.open().await;
        let mut last = 200;
        for _ in 0..4_000 {
            last = wire.exchange(&ask(1, false)).await.status();
            if last != 200 {
                break;
            }
        }
        assert_eq!(last, status, "{when_full}");
        let of = |what: &'static str| [("what", what)];
        let samples = pannier.metrics().await;
        let lost = samples.sum("pannier_internal_size", &of("ledger_lost_entries"));
        assert!(when_full == "refuse" || lost > 0.0, "{when_full}: {lost}");
        assert!(samples.sum("pannier_internal_size", &of("ledger_spool_bytes")) <= 128.0 * 1024.0);
        is_logged(&pannier, "the ledger's spool is full").await;
    }
}
