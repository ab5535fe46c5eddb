//! S-14: Pannier is killed while it brings older books into shape, and the next start finishes.

use super::*;
use pannier::store::Migrations;
use pannier::store::ledger::{self, Column, Figure, Period};
use sqlx::ConnectOptions;

/// By which a database is written on the disk.
const CALLS: [&str; 3] = ["pwrite64", "fsync", "fdatasync"];
/// Tables that a later step alters, in that order: the first of them in several steps.
const ALTERED: [&str; 4] = ["ledger_row", "ledger_minute", "ledger_hour", "ledger_day"];
/// Rows of the older books, and what each has cost.
const ROWS: i64 = 300;
const COST: i64 = 5;

/// Makes books as the first version left them.
async fn write_older(place: &str) {
    let all = ledger::migrations();
    let older = Migrations { part: all.part.clone(), steps: all.steps[..1].to_vec() };
    let store = books::opened(place, &older).await;
    let mut work = store.write().await.expect("write");
    let names = "INSERT INTO ledger_account (name, team) VALUES ('alice', 'lab'); \
        INSERT INTO ledger_subject (model, digest, endpoint, dialect, operation, mode) \
        VALUES ('llama3:latest', 'd1', '/api/chat', 'ollama', 'chat', 'stream'); \
        INSERT INTO ledger_price (version) VALUES ('unpriced');";
    work.script(names).await.expect("names");
    let from = "FROM ledger_account AS a, ledger_subject AS s";
    for row in 0..ROWS {
        let columns = "id_head, id_tail, account, subject, price, ending, cost";
        let row = format!(
            "INSERT INTO ledger_row ({columns}) SELECT {row}, 0, a.id, s.id, p.id, 1, {COST} {from}, ledger_price AS p"
        );
        work.script(row).await.expect("a row");
    }
    for period in Period::ALL {
        let known = Figure::ALL.iter().filter(|figure| !matches!(figure, Figure::Audio | Figure::Images));
        let (names, values): (Vec<_>, Vec<_>) = known
            .map(|figure| match figure {
                Figure::Requests => (figure.name(), ROWS),
                Figure::Cost => (figure.name(), ROWS * COST),
                _ => (figure.name(), 0),
            })
            .unzip();
        let (table, names) = (period.table(), names.join(", "));
        let values: Vec<_> = values.iter().map(i64::to_string).collect();
        let sums = format!(
            "INSERT INTO {table} (start, account, subject, {names}) SELECT 86400, a.id, s.id, {} {from}",
            values.join(", ")
        );
        work.script(sums).await.expect("sums");
    }
    work.done().await.expect("done");
    store.close().await;
}

/// That all that was there still is, in the shape of this version, and goes on.
async fn goes_on(ground: &Ground, upstream: &Upstream) {
    let pannier = ground.launch(upstream).start().await;
    pannier.ask(&ask(1, false)).await.fine();
    eventually("it is in the books", || async {
        let samples = pannier.metrics_of_keys().await;
        (samples.sum("pannier_key_requests_total", &[]) == 1.0).then_some(())
    })
    .await;
    end(pannier).await;
    let book = ground.book().await;
    book.agrees();
    assert_eq!((book.rows.len() as i64, book.sum(Figure::Requests)), (ROWS + 1, ROWS + 1));
    assert_eq!(book.sum(Figure::Cost), ROWS * COST + Figures::of(1).cost());
    let unpriced = book.rows.values().filter(|row| row.get(Column::Unpriced) == Some(1)).count();
    assert_eq!(unpriced as i64, ROWS, "of what a later version counts");
}

/// How many steps have been made in the file, and how many of the older rows are there.
async fn steps_and_rows(path: &Path) -> (i64, i64) {
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(path).busy_timeout(PATIENCE);
    let mut outside = file.connect().await.expect("connect");
    let mut ask = async |query: &'static str| {
        sqlx::query_scalar::<_, i64>(query).fetch_one(&mut outside).await.expect("a number")
    };
    let steps = ask("SELECT count(*) FROM pannier_schema WHERE part = 'ledger'").await;
    (steps, ask("SELECT count(*) FROM ledger_row WHERE id_head < 1000").await)
}

#[tokio::test]
async fn a_file_is_brought_into_shape_however_often_that_is_killed() {
    if !can_trace("a kill in each migration") {
        return;
    }
    let all = ledger::migrations().steps.len() as i64;
    let every: Option<u32> = std::env::var("SWEEP").ok().map(|_| 1);
    let mut midway = 0;
    // All in turn, or a few by chance.
    let most = every.map_or(3, |_| u32::MAX);
    for call in CALLS {
        let (upstream, _) = upstream().await;
        let mut nth = every.unwrap_or_else(|| fastrand::u32(1..4));
        for _ in 0..most {
            let ground = Ground::File(TempDir::new().expect("a folder"));
            let path = ground.folder().join("pannier.db");
            write_older(&path.to_string_lossy()).await;
            let started = ground.launch(&upstream).killed_at(call, nth).try_start().await;
            let (steps, rows) = match started {
                Err(said) => {
                    assert!(said.contains("SIGKILL"), "{call} {nth}: {said}");
                    steps_and_rows(&path).await
                }
                Ok(mut pannier) => {
                    let mut found = steps_and_rows(&path).await;
                    while found.0 != all && pannier.runs() {
                        pause(10).await;
                        found = steps_and_rows(&path).await;
                    }
                    if pannier.runs() {
                        pannier.signal("KILL");
                    }
                    pannier.ended().await;
                    found
                }
            };
            assert!(steps == 1 || steps == all, "{call} {nth}: {steps} steps of {all} are half a shape");
            assert_eq!(rows, ROWS, "{call} {nth}");
            midway += u32::from(steps == 1);
            goes_on(&ground, &upstream).await;
            if steps == all {
                break;
            }
            nth += every.unwrap_or_else(|| fastrand::u32(4..12));
        }
    }
    println!("{midway} times killed before it was done");
}

/// Each time in the midst of a step: a table that it would alter is another's.
#[tokio::test]
async fn a_server_is_brought_into_shape_however_often_that_is_killed() {
    let Some(server) = Postgres::start() else { return };
    let mut ground = Ground::Server(Box::new(server), TempDir::new().expect("a folder"));
    let url = ground.server().url();
    write_older(&url).await;
    let (upstream, _) = upstream().await;
    for table in ALTERED {
        let lock = format!("BEGIN; LOCK TABLE {table} IN ACCESS SHARE MODE; SELECT pg_sleep(600)");
        let locker = ground.server().session("pannier", &lock);
        let count = |of: &str| format!("SELECT count(*) FROM pg_stat_activity WHERE {of}");
        let locked = count("application_name = 'another' AND wait_event = 'PgSleep'");
        until(&mut ground, &locked, "1").await;
        let mut pannier = ground.launch(&upstream).start().await;
        let waiting = count("wait_event_type = 'Lock' AND query LIKE '%ALTER TABLE%'");
        until(&mut ground, &waiting, "1").await;
        pannier.signal("KILL");
        pannier.ended().await;
        drop(locker);
        ground.server().ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
        );
        until(&mut ground, &count("backend_type = 'client backend'"), "1").await;
        let steps = "SELECT count(*) FROM pannier_schema WHERE part = 'ledger'";
        assert_eq!(ground.server().ask(steps), "1", "{table}: half a shape");
        assert_eq!(ground.server().ask("SELECT count(*) FROM ledger_row"), ROWS.to_string());
    }
    goes_on(&ground, &upstream).await;
}

/// Waits until the server answers so.
async fn until(ground: &mut Ground, query: &str, answer: &str) {
    let server = ground.server();
    eventually(query, || std::future::ready((server.ask(query) == answer).then_some(()))).await;
}
