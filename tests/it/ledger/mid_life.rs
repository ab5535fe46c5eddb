//! S-01 to S-12: what befalls the database in mid-life. Requests go on, the spool keeps what comes, and all of it is
//! in the books once the trouble is over.

use super::trouble::{becomes, endures, is_all_of, is_complete, is_logged, is_up};
use super::*;
use pannier::store::ledger::Figure;
use servers::{Answers, Detour, Disk, Weather};
use sqlx::{ConnectOptions, Executor, SqliteConnection};
use std::fs;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, chown};
use std::time::Duration;

const FIRST: Range<u64> = 0..10;
const MEANWHILE: Range<u64> = 10..40;

/// The connection of an outsider who knows nothing of Pannier.
async fn outsider(path: &Path) -> SqliteConnection {
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut outside = file.busy_timeout(PATIENCE).connect().await.expect("connect");
    outside.execute("PRAGMA busy_timeout = 20000").await.expect("patience");
    outside
}

/// Waits until so many requests are in the file.
async fn is_in(path: &Path, requests: i64) {
    let mut outside = outsider(path).await;
    let count = || sqlx::query_scalar::<_, i64>("SELECT count(*) FROM ledger_row");
    for _ in 0..PATIENCE.as_millis() / 10 {
        if count().fetch_one(&mut outside).await.is_ok_and(|rows| rows >= requests) {
            return;
        }
        pause(10).await;
    }
    panic!("never in the file: {requests} requests");
}

/// Asks until the database is known not to take it.
async fn asks_until_behind(pannier: &Pannier) {
    for number in MEANWHILE.end..MEANWHILE.end + 4_000 {
        if !is_up(pannier).await {
            return;
        }
        pannier.ask(&ask(number, false)).await.fine();
    }
    panic!("the database takes all of it");
}

#[tokio::test]
async fn a_disk_that_becomes_full_is_waited_for() {
    let Some(disk) = Disk::new("4m") else { return };
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let (upstream, served) = upstream().await;
    let path = disk.path().join("books.db");
    let launch = ground.launch(&upstream).set("store.database", &path.to_string_lossy());
    let pannier = launch.start().await;
    endures(&pannier, FIRST).await;
    is_in(&path, 1).await;
    let ballast = disk.fill();
    endures(&pannier, MEANWHILE).await;
    asks_until_behind(&pannier).await;
    is_logged(&pannier, "the ledger waits in its spool").await;
    is_logged(&pannier, "there is no room").await;
    drop(ballast);
    becomes(&pannier, true).await;
    end(pannier).await;
    let book = Book::read(&path.to_string_lossy()).await;
    is_all_of(&book, &served);
}

#[tokio::test]
async fn a_disk_that_may_not_be_written_at_the_start_is_waited_for() {
    let Some(disk) = Disk::new("4m") else { return };
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let (upstream, served) = upstream().await;
    let path = disk.path().join("books.db");
    let launch = || ground.launch(&upstream).set("store.database", &path.to_string_lossy());
    // Once with nothing there, and once with books that were begun.
    for first in [0, 50] {
        disk.remount("remount,ro");
        let pannier = launch().start().await;
        endures(&pannier, first..first + 10).await;
        becomes(&pannier, false).await;
        disk.remount("remount,rw");
        becomes(&pannier, true).await;
        endures(&pannier, first + 10..first + 20).await;
        end(pannier).await;
        is_all_of(&Book::read(&path.to_string_lossy()).await, &served);
    }
}

/// S-12: pages are overwritten under the hands of whoever uses them.
#[tokio::test]
async fn a_file_that_is_damaged_in_mid_life_is_left_as_it_is_and_the_spool_keeps_the_rest() {
    let (ground, upstream, served, pannier) = begun_on_a_file().await;
    let path = ground.folder().join("pannier.db");
    // All of the log is in the file, and nobody remembers a page.
    let mut outside = outsider(&path).await;
    outside.execute("PRAGMA user_version = 1; PRAGMA wal_checkpoint(TRUNCATE)").await.expect("settle");
    drop(outside);
    let good = fs::read(&path).expect("the books");
    let damaged = [&good[..4096], &vec![0xa5; good.len() - 4096]].concat();
    let mut file = fs::OpenOptions::new().write(true).open(&path).expect("open");
    std::io::Write::write_all(&mut file, &damaged).expect("damage");

    endures(&pannier, MEANWHILE).await;
    becomes(&pannier, false).await;
    is_logged(&pannier, "the ledger waits in its spool").await;
    is_logged(&pannier, "it is damaged").await;
    end(pannier).await;
    let left: Vec<_> = fs::read_dir(ground.folder()).expect("list").flatten().collect();
    assert!(left.iter().all(|file| !file.file_name().to_string_lossy().contains("corrupt")), "{left:?}");
    assert_eq!(
        fs::metadata(&path).expect("the file").len(),
        good.len() as u64,
        "somebody may want to mend it"
    );

    // As whoever has a copy mends it.
    for companion in ["pannier.db-wal", "pannier.db-shm"] {
        let _ = fs::remove_file(ground.folder().join(companion));
    }
    fs::write(&path, &good).expect("mend");
    let pannier = ground.launch(&upstream).start().await;
    eventually("the rest is taken over", || async { (ground.spools() == 1).then_some(()) }).await;
    end(pannier).await;
    is_complete(&ground, &served).await;
}

/// What came before it went is gone with it, by whoever took it away; all that comes later is in a new one.
#[tokio::test]
async fn a_file_that_is_taken_away_in_mid_life_is_begun_anew() {
    let (ground, _upstream, served, pannier) = begun_on_a_file().await;
    let path = ground.folder().join("pannier.db");
    fs::remove_file(&path).expect("remove");
    endures(&pannier, MEANWHILE).await;
    is_logged(&pannier, "is no longer there").await;
    becomes(&pannier, true).await;
    is_in(&path, MEANWHILE.count() as i64).await;
    end(pannier).await;
    let book = ground.book().await;
    book.agrees();
    // The spool had kept what came before as well, as far as its file goes.
    let all = served.lock().expect("served").len();
    assert_eq!((book.rows.len(), book.sum(Figure::Requests)), (all, all as i64));
}

/// Nothing is written to a file that has lost its name to another's.
#[tokio::test]
async fn a_file_that_is_replaced_in_mid_life_is_not_written_to() {
    let (ground, _upstream, served, pannier) = begun_on_a_file().await;
    let path = ground.folder().join("pannier.db");
    let aside = ground.folder().join("aside.db");
    fs::rename(&path, &aside).expect("move");
    fs::write(&path, "another's").expect("another");
    endures(&pannier, MEANWHILE).await;
    becomes(&pannier, false).await;
    is_logged(&pannier, "another file stands in its place").await;
    fs::rename(&aside, &path).expect("move back");
    becomes(&pannier, true).await;
    end(pannier).await;
    is_complete(&ground, &served).await;
}

/// S-03
#[tokio::test]
async fn a_server_that_becomes_read_only_is_waited_for() {
    let Some((mut ground, upstream, served, pannier)) = begun().await else { return };
    let set = |ground: &mut Ground, how: &str| {
        ground.server().ask(&format!("ALTER SYSTEM {how}"));
        ground.server().ask("SELECT pg_reload_conf()");
    };
    set(&mut ground, "SET default_transaction_read_only = on");
    endures(&pannier, MEANWHILE).await;
    becomes(&pannier, false).await;
    is_logged(&pannier, "it may not be written").await;
    set(&mut ground, "RESET default_transaction_read_only");
    becomes(&pannier, true).await;
    end(pannier).await;
    is_complete(&ground, &served).await;
    drop(upstream);
}

/// S-04
#[tokio::test]
async fn a_server_whose_disk_becomes_full_is_waited_for() {
    let Some(disk) = Disk::new("4m") else { return };
    let Some((mut ground, upstream, served, pannier)) = begun().await else { return };
    let server = ground.server();
    let owner = fs::metadata(server.socket()).expect("its folder");
    chown(disk.path(), Some(owner.uid()), Some(owner.gid())).expect("give it away");
    server.ask(&format!("CREATE TABLESPACE small LOCATION '{}'", disk.path().display()));
    server.ask("ALTER TABLE ledger_row SET TABLESPACE small");
    let ballast = disk.fill();
    endures(&pannier, MEANWHILE).await;
    asks_until_behind(&pannier).await;
    is_logged(&pannier, "there is no room").await;
    drop(ballast);
    becomes(&pannier, true).await;
    ground.server().ask("ALTER TABLE ledger_row SET TABLESPACE pg_default");
    ground.server().ask("DROP TABLESPACE small");
    end(pannier).await;
    is_complete(&ground, &served).await;
    drop(upstream);
}

/// Each answer comes late, or half of one and then nothing: whether what was committed last has come is not known then.
#[tokio::test]
async fn a_server_that_is_slow_or_torn_away_is_waited_for() {
    let slow = Weather { latency: Duration::from_secs(1), ..Weather::default() };
    let torn = Weather { answers: Answers::Cut, ..Weather::default() };
    is_waited_for_in(&[slow, torn], PATIENCE).await;
}

/// Nobody hears that nothing comes through: what waits for an answer is given up after a minute.
#[tokio::test]
async fn a_server_that_falls_silent_is_asked_anew() {
    let silent = Weather { swallows: true, ..Weather::default() };
    is_waited_for_in(&[silent], 4 * PATIENCE).await;
}

async fn is_waited_for_in(weathers: &[Weather], patience: Duration) {
    let Some(server) = Postgres::start() else { return };
    let detour = Detour::to_socket(&server.socket().join(".s.PGSQL.5432")).await;
    let ground = Ground::Server(Box::new(server), TempDir::new().expect("a folder"));
    let (upstream, served) = upstream().await;
    let url = format!("postgresql://pannier@127.0.0.1:{}/postgres?sslmode=disable", detour.port());
    let pannier = ground.launch(&upstream).set("store.database", &url).start().await;
    endures(&pannier, FIRST).await;
    are_in(&pannier, FIRST.end).await;
    for (round, weather) in (1..).zip(weathers) {
        detour.weather(*weather);
        endures(&pannier, round * 100..round * 100 + 20).await;
        becomes(&pannier, false).await;
        detour.weather(Weather::default());
        let caught_up = || async { is_up(&pannier).await.then_some(()) };
        eventually_within(patience, "the ledger has caught up", caught_up).await;
    }
    end(pannier).await;
    is_complete(&ground, &served).await;
}

/// A file with books that have been begun.
async fn begun_on_a_file() -> (Ground, Upstream, Served, Pannier) {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let (upstream, served) = upstream().await;
    let pannier = ground.launch(&upstream).start().await;
    endures(&pannier, FIRST).await;
    is_in(&ground.folder().join("pannier.db"), FIRST.end as i64).await;
    (ground, upstream, served, pannier)
}

/// The same on a server.
async fn begun() -> Option<(Ground, Upstream, Served, Pannier)> {
    let ground = Ground::Server(Box::new(Postgres::start()?), TempDir::new().expect("a folder"));
    let (upstream, served) = upstream().await;
    let pannier = ground.launch(&upstream).start().await;
    endures(&pannier, FIRST).await;
    are_in(&pannier, FIRST.end).await;
    Some((ground, upstream, served, pannier))
}

/// Waits until so many requests are in the books.
async fn are_in(pannier: &Pannier, requests: u64) {
    eventually("they are in the books", || async {
        let samples = pannier.metrics_of_keys().await;
        (samples.sum("pannier_key_requests_total", &[]) == requests as f64).then_some(())
    })
    .await;
}
