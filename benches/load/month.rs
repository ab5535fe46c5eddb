//! A month of books: what a report over many requests takes, and how soon a list of all of them begins.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Row, SqliteConnection};

use crate::client::Connection;
use crate::contender::{Contender, Kind};
use crate::ground::Ground;
use crate::results::{Month, Results};
use crate::tiers::await_figure;
use crate::workload::Workload;

/// Keys and models that share the requests.
const KEYS: u64 = 50;
const MODELS: u64 = 4;
/// The report is asked for so often.
const REPORTS: usize = 5;
/// So much of the list is read.
const READ: usize = 256 << 20;
const PATIENCE: Duration = Duration::from_secs(120);

const DATABASE: &str = "PANNIER__STORE__DATABASE";
const ADMIN_KEY: &str = "pk-bench-admin-5d1c0f2e7b6a4938";
/// Nothing is removed meanwhile.
const KEPT: [(&str, &str); 2] =
    [("PANNIER__AUTH__ADMIN_KEY", ADMIN_KEY), ("PANNIER__RETENTION__MAX_ROWS", "0")];
const UP: &str = "pannier_dependency_up{dep=\"ledger\"}";

const REPORT: &str = "/usage?period=last-month&zone=UTC&by=key,model&format=json";
const LIST: &str = "/usage/requests?period=last-month&zone=UTC&format=csv";

pub fn measure(ground: &Ground, results: &mut Results) -> anyhow::Result<()> {
    let rows = match (ground.options.quick, ground.options.full) {
        (true, _) => 100_000,
        (false, false) => 1_000_000,
        (false, true) => 10_000_000,
    };
    let file = ground.dir().join("books.db");
    let place = file.to_string_lossy().into_owned();
    let settings = [KEPT[0], KEPT[1], (DATABASE, place.as_str())];
    begin(ground, &place)?;
    eprintln!("  filling the books with {rows} requests");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(fill(&file, rows)).context("cannot fill the books")?;

    let contender = Contender::start(ground, Kind::PannierBooks, &settings)?;
    await_figure(&contender, UP, "1")?;
    let mut reports = Vec::new();
    for _ in 0..REPORTS {
        reports.push(report(&contender, rows)?);
    }
    let (first_byte, grown) = list(&contender)?;
    eprintln!("  {rows} requests: a report {reports:?}, a list's first byte {first_byte:?}");
    results.month = Some(Month { rows, reports, first_byte, grown });
    Ok(())
}

/// Makes the tables at `place`, and one real row with its sums, of which all others are copies.
pub fn begin(ground: &Ground, place: &str) -> anyhow::Result<()> {
    let settings = [KEPT[0], KEPT[1], (DATABASE, place)];
    let contender = Contender::start(ground, Kind::PannierBooks, &settings)?;
    let request = Workload::small().request(contender.kind, contender.port, ground.fresh(1));
    let answer = Connection::open(contender.port)?.exchange(&request)?;
    ensure!(answer.status == 200, "status {}", answer.status);
    await_figure(&contender, UP, "1")?;
    let begun = Instant::now();
    let asked = get(contender.port, "/usage?by=key&format=json");
    while !String::from_utf8_lossy(&Connection::open(contender.port)?.exchange(&asked)?.body)
        .contains("bench")
    {
        ensure!(begun.elapsed() < PATIENCE, "the request is not in the books");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Copies the one row all over the last month, and adds its sums up by hour and by day; whole days need no minutes.
async fn fill(file: &Path, rows: u64) -> anyhow::Result<()> {
    let options = SqliteConnectOptions::new().filename(file);
    let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Off);
    let mut books = options.connect().await?;
    let row = columns(&mut books, "ledger_row").await?;
    let sums = columns(&mut books, "ledger_day").await?;
    let copied: Vec<String> = row.iter().skip(4).map(|column| format!("r.{column}")).collect();
    let times: Vec<String> = sums.iter().skip(3).map(|sum| format!("COUNT(*) * t.{sum}")).collect();
    let added: Vec<String> = sums.iter().skip(3).map(|sum| format!("SUM({sum})")).collect();
    let first = "CAST(strftime('%s', 'now', 'start of month', '-1 month') AS INTEGER) * 1000";
    let last = "CAST(strftime('%s', 'now', 'start of month') AS INTEGER) * 1000";
    let (copied, times, added) = (copied.join(", "), times.join(", "), added.join(", "));
    let numbers = |many: u64| {
        format!("WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {many})")
    };
    let steps = [
        "BEGIN".to_owned(),
        format!("{} INSERT INTO ledger_account SELECT 1000 + i, 'key-' || i, 'lab' FROM n", numbers(KEYS)),
        format!(
            "{} INSERT INTO ledger_subject SELECT 1000 + i, 'model-' || i, s.digest, s.endpoint, s.dialect, \
             s.operation, s.mode FROM n, (SELECT * FROM ledger_subject LIMIT 1) AS s",
            numbers(MODELS)
        ),
        format!(
            "{} INSERT INTO ledger_row SELECT ({first} + i * ({last} - {first}) / {rows}) << 16, i, \
             1000 + i * 7919 % {KEYS}, 1000 + i * 104729 % {MODELS}, {copied} \
             FROM n, (SELECT * FROM ledger_row LIMIT 1) AS r",
            numbers(rows)
        ),
        format!(
            "INSERT INTO ledger_hour SELECT (r.id_head >> 16) / 3600000 * 3600, r.account, r.subject, {times} \
             FROM ledger_row AS r, (SELECT * FROM ledger_day LIMIT 1) AS t WHERE r.account >= 1000 GROUP BY 1, 2, 3"
        ),
        format!(
            "INSERT INTO ledger_day SELECT start / 86400 * 86400, account, subject, {added} FROM ledger_hour \
             WHERE account >= 1000 GROUP BY 1, 2, 3"
        ),
        "COMMIT".to_owned(),
        "PRAGMA wal_checkpoint(TRUNCATE)".to_owned(),
    ];
    for step in steps {
        sqlx::raw_sql(AssertSqlSafe(step)).execute(&mut books).await?;
    }
    Ok(())
}

pub async fn columns(books: &mut SqliteConnection, table: &str) -> anyhow::Result<Vec<String>> {
    let asked = format!("SELECT name FROM pragma_table_info('{table}')");
    let rows = sqlx::raw_sql(AssertSqlSafe(asked)).fetch_all(books).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn report(contender: &Contender, rows: u64) -> anyhow::Result<Duration> {
    let answer = Connection::open(contender.port)?.exchange(&get(contender.port, REPORT))?;
    let told = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == 200, "status {}: {told}", answer.status);
    let told: serde_json::Value = serde_json::from_str(&told)?;
    let lines = told["lines"].as_array().context("no lines in the report")?;
    let requests: u64 = lines.iter().filter_map(|line| line["requests"].as_u64()).sum();
    ensure!(requests == rows, "the report is about {requests} requests");
    Ok(answer.whole)
}

/// When the list's first byte came, and by how much the server grew while it was read.
fn list(contender: &Contender) -> anyhow::Result<(Duration, u64)> {
    let before = contender.process.resident();
    let mut stream = TcpStream::connect(("127.0.0.1", contender.port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&get(contender.port, LIST))?;
    let asked = Instant::now();
    let mut piece = vec![0; 256 << 10];
    let (mut first_byte, mut read, mut most) = (None, 0, before);
    while read < READ {
        match stream.read(&mut piece)? {
            0 => break,
            more => read += more,
        }
        first_byte.get_or_insert_with(|| asked.elapsed());
        most = most.max(contender.process.resident());
    }
    Ok((first_byte.context("nothing was told")?, most - before))
}

fn get(port: u16, target: &str) -> Vec<u8> {
    format!(
        "GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {ADMIN_KEY}\r\n\
         Connection: close\r\n\r\n"
    )
    .into_bytes()
}
