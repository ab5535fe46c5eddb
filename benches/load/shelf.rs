//! What the books take on the disk: a usual row, and a line of their sums, with what finds them again.

use std::path::Path;

use anyhow::{Context, ensure};
use servers::Postgres;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection};

use crate::ground::Ground;
use crate::month;
use crate::results::{Results, Shelf};

const SQLITE: &str = "SQLite";
const POSTGRES: &str = "PostgreSQL";
/// Rows for a line of sums.
const ROWS_A_LINE: usize = 10;

pub fn measure(ground: &Ground, results: &mut Results) {
    let rows = ground.options.scaled(100_000);
    for (name, shelf) in [(SQLITE, on_sqlite(ground, rows)), (POSTGRES, on_postgres(ground, rows))] {
        match shelf {
            Ok(shelf) => {
                eprintln!("  {shelf:?}");
                results.shelves.push(shelf);
            }
            Err(error) => results.fail(&format!("bytes of a row, {name}"), &error),
        }
    }
}

/// A file tells what it holds by how it grows.
fn on_sqlite(ground: &Ground, rows: usize) -> anyhow::Result<Shelf> {
    let file = ground.dir().join("shelf.db");
    month::begin(ground, &file.to_string_lossy())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(&file).journal_mode(SqliteJournalMode::Wal);
        let mut books = options.connect().await?;
        let mut grown = [0.0; 2];
        for ((table, many), grown) in [("ledger_row", rows), ("ledger_minute", rows / ROWS_A_LINE)].into_iter().zip(&mut grown) {
            let numbers = format!(
                "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {many}) SELECT i FROM n)"
            );
            let columns = month::columns(&mut books, table).await?;
            let before = settled(&mut books, &file).await?;
            let copy = copied(table, &columns, "random()", &numbers);
            sqlx::raw_sql(AssertSqlSafe(copy)).execute(&mut books).await?;
            *grown = (settled(&mut books, &file).await? - before) / many as f64;
        }
        // Rows lie in the order of their ids: there is no index beside them.
        Ok(Shelf { database: SQLITE, row: grown[0], row_index: 0.0, line: grown[1] })
    })
}

/// Bytes of the file, when nothing of it is only in its log.
async fn settled(books: &mut SqliteConnection, file: &Path) -> anyhow::Result<f64> {
    sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(books).await?;
    Ok(std::fs::metadata(file)?.len() as f64)
}

fn on_postgres(ground: &Ground, rows: usize) -> anyhow::Result<Shelf> {
    let server =
        Postgres::start().context("not installed: postgresql (Debian: apt-get install postgresql)")?;
    month::begin(ground, &server.url())?;
    let lines = rows / ROWS_A_LINE;
    for (table, many) in [("ledger_row", rows), ("ledger_minute", lines)] {
        let asked = format!(
            "SELECT column_name FROM information_schema.columns WHERE table_name = '{table}' ORDER BY 1"
        );
        let columns: Vec<String> = server.ask(&asked).lines().map(str::to_owned).collect();
        ensure!(!columns.is_empty(), "there is no {table}");
        let tail = "('x' || substr(md5(i::text), 1, 16))::bit(64)::bigint";
        server.ask(&copied(table, &columns, tail, &format!("(SELECT generate_series(1, {many}) AS i)")));
    }
    let size = |asked: &str| -> anyhow::Result<f64> { Ok(server.ask(&format!("SELECT {asked}")).parse()?) };
    Ok(Shelf {
        database: POSTGRES,
        row: size("pg_relation_size('ledger_row')")? / rows as f64,
        row_index: size("pg_indexes_size('ledger_row')")? / rows as f64,
        line: size("pg_total_relation_size('ledger_minute')")? / lines as f64,
    })
}

/// Copies of what stands first in a table, for each of the `numbers`: of a row with another id, of a line of sums of
/// another minute.
fn copied(table: &str, columns: &[String], tail: &str, numbers: &str) -> String {
    let value = |column: &String| match &**column {
        "id_head" => "r.id_head + CAST(n.i AS BIGINT) * 65536".to_owned(),
        "id_tail" => tail.to_owned(),
        "start" => "r.start + CAST(n.i AS BIGINT) * 60".to_owned(),
        same => format!("r.{same}"),
    };
    let values: Vec<String> = columns.iter().map(value).collect();
    let (names, values) = (columns.join(", "), values.join(", "));
    format!(
        "INSERT INTO {table} ({names}) SELECT {values} FROM {numbers} AS n, (SELECT * FROM {table} LIMIT 1) AS r"
    )
}
