//! The ledger's tables, on both databases: each batch comes in once, parts add up, and rows are small.

use crate::stage::{Ground, PATIENCE};
use pannier::domain::RequestId;
use pannier::store::ledger::{
    self, Batch, Bucket, By, Column, Cut, Figure, Filter, Line, MOST, NARROW, Period, Piece, Row, Shifts,
    Stretch, Sums, Void,
};
use pannier::store::{Damaged, Migrations, Options, Place, Start, Statement, Store};
use servers::{Answers, Detour, Weather};
use std::time::{Duration, SystemTime};

pub fn grounds() -> Vec<Ground> {
    [Some(Ground::file()), Ground::server()].into_iter().flatten().collect()
}

pub fn options() -> Options {
    Options {
        readers: 2,
        patience: PATIENCE,
        durable: true,
        largest_file: None,
        start: Start::AsItIs,
        damaged: Damaged::Refuse,
    }
}

pub async fn open(ground: &Ground) -> Store {
    Store::open(&ground.place(), &options(), &ledger::migrations()).await.expect("open")
}

pub fn row(id: u64, values: &[(Column, i64)]) -> Row {
    let mut row = Row { id: [0; 16], values: [None; Column::COUNT] };
    row.id[..8].copy_from_slice(&id.to_be_bytes());
    for (column, value) in [(Column::Account, 0), (Column::Subject, 0)].iter().chain(values) {
        row.values[*column as usize] = Some(*value);
    }
    row
}

pub fn sums(values: &[(Figure, i64)]) -> Sums {
    let mut sums = [0; Figure::COUNT];
    values.iter().for_each(|(figure, value)| sums[*figure as usize] = *value);
    sums
}

pub fn batch(from: i64, to: i64, rows: Vec<Row>, all: Sums) -> Batch {
    let bucket = |period: Period| Bucket { period, start: 86_400, account: 0, subject: 0 };
    let texts = |texts: [&str; 6]| texts.map(str::to_owned);
    Batch {
        spool: [7; 16],
        from,
        to,
        accounts: vec![["alice".to_owned(), "lab".to_owned()]],
        subjects: vec![texts(["llama3:latest", "d1", "/api/chat", "ollama", "chat", "stream"])],
        prices: vec![["llama3 USD".to_owned()]],
        failures: vec![["client_gone".to_owned(), "the client left".to_owned()]],
        void: Vec::new(),
        rows,
        sums: Period::ALL.map(|period| (bucket(period), all)).to_vec(),
    }
}

/// The sums of one kind of period, over all that began in that time.
pub async fn lines(store: &Store, period: Period, from: i64, until: i64) -> Vec<Line> {
    let stretch = Stretch { pieces: vec![Piece { period, from, until }], cut: Cut::Whole { start: 0 } };
    ledger::lines(store, &stretch, &By::ALL, &Filter::default(), None, usize::MAX).await.expect("lines")
}

async fn read(store: &Store, column: Column, id: u64) -> Option<i64> {
    let text =
        format!("SELECT COALESCE(CAST({} AS BIGINT), -1) FROM ledger_row WHERE id_head = ", column.name());
    let statement = Statement::new(text).value(id as i64).text(" AND id_tail = 0");
    let mut work = store.read().await.expect("read");
    let rows = work.rows(statement).await.expect("rows");
    work.done().await.expect("done");
    rows.first().map(|row| row.number(0).expect("a number")).filter(|value| *value >= 0)
}

/// A number that the server tells comes through as another: nothing is written then, rather than into another's books.
#[tokio::test]
async fn numbers_that_are_told_wrong_put_nothing_into_others_books() {
    let Some(ground) = Ground::server() else { return };
    let detour = Detour::to_socket(&ground.postgres().socket().join(".s.PGSQL.5432")).await;
    let url = format!("postgres://pannier@127.0.0.1:{}/postgres?sslmode=disable", detour.port());
    let place = Place::parse(&url).expect("a place");
    let store = Store::open(&place, &options(), &ledger::migrations()).await.expect("open");
    let all = sums(&[(Figure::Requests, 1), (Figure::Cost, 5)]);
    let batch = |from, to, id: u64| batch(from, to, vec![row(id, &[(Column::Cost, 5)])], all);
    assert!(batch(0, 1, 1).write(&store).await.expect("write"));
    for _ in 0..3 {
        detour.weather(Weather { answers: Answers::Misnumbered, ..Weather::default() });
        let error = batch(1, 2, 2).write(&store).await.expect_err("its numbers are others");
        assert!(error.to_string().contains("came back as others"), "{error}");
        detour.weather(Weather::default());
        let told = lines(&store, Period::Minute, 0, i64::MAX).await;
        assert_eq!((told.len(), told[0].sums[Figure::Requests as usize]), (1, 1));
    }
    // Of more names than are compared at once, some of which are new.
    let mut many = batch(1, 2, 2);
    many.accounts.extend((0..150).map(|n| [format!("key {n}"), "lab".to_owned()]));
    assert!(many.write(&store).await.expect("write"));
    let told = lines(&store, Period::Minute, 0, i64::MAX).await;
    assert_eq!((told.len(), told[0].sums[Figure::Requests as usize]), (1, 2));
    store.close().await;
}

#[tokio::test]
async fn a_batch_comes_in_once_and_parts_of_a_request_add_up() {
    for ground in grounds() {
        let store = open(&ground).await;
        let trip = [(Column::Prompt, 20), (Column::Cost, 5), (Column::Price, 0), (Column::FirstToken, 9)];
        let first = batch(0, 100, vec![row(1, &trip)], sums(&[(Figure::Trips, 1), (Figure::Cost, 5)]));
        assert!(first.write(&store).await.expect("write"));
        assert!(!first.write(&store).await.expect("write"), "it is in already");
        assert_eq!(ledger::position(&store, &[7; 16]).await.expect("a place"), 100);
        assert_eq!(ledger::position(&store, &[8; 16]).await.expect("a place"), 0);

        let answer =
            [(Column::Status, 499), (Column::Ending, 3), (Column::Error, 0), (Column::FirstToken, 1)];
        let figures = sums(&[(Figure::Requests, 1), (Figure::Trips, 1), (Figure::Cost, 2)]);
        let second = batch(100, 200, vec![row(1, &answer)], figures);
        assert!(second.write(&store).await.expect("write"));
        let more = [(Column::Prompt, 7), (Column::Cost, 2), (Column::Reasoning, NARROW)];
        let third = batch(200, 300, vec![row(1, &more)], sums(&[]));
        assert!(third.write(&store).await.expect("write"));
        let fourth = batch(300, 400, vec![row(1, &[(Column::Reasoning, NARROW)])], sums(&[]));
        assert!(fourth.write(&store).await.expect("write"));
        for (column, value) in [
            (Column::Reasoning, Some(NARROW)),
            (Column::Prompt, Some(27)),
            (Column::Cost, Some(7)),
            (Column::FirstToken, Some(9)),
            (Column::Status, Some(499)),
            (Column::Price, Some(1)),
            (Column::Completion, None),
        ] {
            assert_eq!(read(&store, column, 1).await, value, "{}", column.name());
        }
        for period in Period::ALL {
            let all = lines(&store, period, 0, i64::MAX).await;
            let [line] = &all[..] else { panic!("{all:?}") };
            assert_eq!(line.names, ["alice", "lab", "llama3:latest", "/api/chat"]);
            assert_eq!((line.sums[Figure::Trips as usize], line.sums[Figure::Cost as usize]), (2, 7));
            assert!(lines(&store, period, 86_401, i64::MAX).await.is_empty());
        }
        let void = Void { id: row(1, &[]).id, cost: 7, saved_cost: 0 };
        let void = Batch { void: vec![void], ..batch(400, 500, vec![row(1, &answer)], figures) };
        assert!(void.write(&store).await.expect("write"));
        assert_eq!(read(&store, Column::Prompt, 1).await, None);
        assert_eq!(read(&store, Column::Status, 1).await, Some(499));
        store.close().await;
    }
}

/// What cannot be added up any more ends at a bound, and nothing that follows is kept out by it.
#[tokio::test]
async fn sums_beyond_all_bounds_end_there_and_what_follows_comes_in() {
    const DAY: i64 = 86_400;
    for ground in grounds() {
        let store = open(&ground).await;
        let absurd = sums(&[(Figure::Cost, i64::MAX), (Figure::SavedCost, i64::MIN), (Figure::Trips, 1)]);
        let columns = [(Column::Cost, i64::MAX), (Column::SavedCost, i64::MIN), (Column::Unpriced, NARROW)];
        for (place, day) in (0..).zip([1, 1, 1, 2, 2, 3, 3]) {
            let batch = batch(place, place + 1, vec![row(1, &columns)], absurd);
            let of_day = |(bucket, sums): (Bucket, Sums)| (Bucket { start: day * DAY, ..bucket }, sums);
            let batch = Batch { sums: batch.sums.into_iter().map(of_day).collect(), ..batch };
            assert!(batch.write(&store).await.expect("write"));
        }
        let mut shifts = Shifts::default();
        shifts.add((DAY * 1_000) << 16, 1, 1, &absurd);
        let mut work = store.write().await.expect("write");
        shifts.apply(&mut work).await.expect("shift");
        work.done().await.expect("done");

        assert_eq!(read(&store, Column::Cost, 1).await, Some(MOST));
        assert_eq!(read(&store, Column::Unpriced, 1).await, Some(NARROW));
        let cost = async |until: i64| {
            let lines = lines(&store, Period::Day, 0, until).await;
            let [line] = &lines[..] else { panic!("{lines:?}") };
            [Figure::Cost, Figure::SavedCost, Figure::Trips].map(|figure| line.sums[figure as usize])
        };
        assert_eq!(cost(2 * DAY).await, [MOST, -MOST, 4]);
        assert_eq!(cost(3 * DAY).await, [2 * MOST, -2 * MOST, 6]);
        assert_eq!(cost(4 * DAY).await, [i64::MAX, i64::MIN, 8]);
        store.close().await;
    }
}

/// Of a server also with the tokens that a model server had cached; there, a row of those takes a few more.
#[tokio::test]
async fn a_row_takes_at_most_120_bytes() {
    const ROWS: u64 = 20_000;
    const CACHED: (Column, i64) = (Column::CachedPrompt, 1_000);
    // A usual request: all but what few have.
    let usual = [
        (Column::Price, 0),
        (Column::Status, 200),
        (Column::Ending, 1),
        (Column::Cache, 3),
        (Column::Source, 1),
        (Column::Prompt, 1_234),
        (Column::Completion, 321),
        (Column::Total, 12_345_678),
        (Column::FirstToken, 345_678),
        (Column::Queue, 12_345),
        (Column::Load, 1_234_567),
        (Column::PromptTime, 234_567),
        (Column::CompletionTime, 9_876_543),
        (Column::Cost, 123_456_789),
    ];
    for (is_cached, of_server) in [(false, 120), (true, 128)] {
        for ground in grounds() {
            let store = open(&ground).await;
            let values: Vec<_> = usual.iter().chain(is_cached.then_some(&CACHED)).copied().collect();
            let id = |number| RequestId::new(SystemTime::now() + Duration::from_millis(number)).0;
            let rows = (0..ROWS).map(|number| Row { id: id(number), ..row(0, &values) }).collect();
            assert!(batch(0, 1, rows, sums(&[])).write(&store).await.expect("write"));
            let (bytes, most) = match &ground {
                Ground::File(_) => {
                    store.close().await;
                    (std::fs::metadata(ground.path()).expect("the file").len(), 120)
                }
                Ground::Server(_) => {
                    let mut work = store.read().await.expect("read");
                    let size = work.rows(Statement::new("SELECT pg_relation_size('ledger_row')")).await;
                    work.done().await.expect("done");
                    (size.expect("a size")[0].count(0).expect("a number"), of_server)
                }
            };
            println!("{} bytes a row", bytes / ROWS);
            assert!(bytes <= most * ROWS, "{} bytes a row", bytes / ROWS);
        }
    }
}

/// Books as any earlier version has left them: what stands in them stays, and goes on.
#[tokio::test]
async fn older_books_are_gone_on_with() {
    const NAMES: &str = "INSERT INTO ledger_account (name, team) VALUES ('alice', 'lab'); \
        INSERT INTO ledger_subject (model, digest, endpoint, dialect, operation, mode) \
        VALUES ('llama3:latest', 'd1', '/api/chat', 'ollama', 'chat', 'stream'); \
        INSERT INTO ledger_price (version) VALUES ('unpriced'); \
        INSERT INTO ledger_row (id_head, id_tail, account, subject, price, prompt, cost) SELECT 1, 0, a.id, s.id, p.id, 20, 5 \
        FROM ledger_account AS a, ledger_subject AS s, ledger_price AS p;";
    let all = ledger::migrations();
    let later = [Figure::Audio, Figure::Images];
    for versions in 1..=all.steps.len() {
        for ground in grounds() {
            let older = Migrations { part: all.part.clone(), steps: all.steps[..versions].to_vec() };
            let store = Store::open(&ground.place(), &options(), &older).await.expect("open");
            let mut work = store.write().await.expect("write");
            work.script(NAMES).await.expect("names");
            for period in Period::ALL {
                let known = |figure: &&Figure| !later.contains(figure);
                let columns: Vec<&str> =
                    Figure::ALL.iter().filter(known).map(|figure| figure.name()).collect();
                let ones = vec!["1"; columns.len()].join(", ");
                let (table, columns) = (period.table(), columns.join(", "));
                let sums = format!(
                    "INSERT INTO {table} (start, account, subject, {columns}) \
                     SELECT 86400, a.id, s.id, {ones} FROM ledger_account AS a, ledger_subject AS s"
                );
                work.script(sums).await.expect("sums");
            }
            work.done().await.expect("done");
            store.close().await;

            let store = open(&ground).await;
            for (column, value) in [(Column::Prompt, 20), (Column::Cost, 5), (Column::Unpriced, 1)] {
                let is_counted = versions > 1 && column == Column::Unpriced;
                let value = Some(value).filter(|_| !is_counted);
                assert_eq!(read(&store, column, 1).await, value, "{versions}: {}", column.name());
            }
            let more = [(Column::Prompt, 7), (Column::Images, 2)];
            let new = batch(0, 100, vec![row(1, &more)], sums(&Figure::ALL.map(|figure| (figure, 2))));
            assert!(new.write(&store).await.expect("write"));
            assert_eq!(read(&store, Column::Prompt, 1).await, Some(27));
            assert_eq!(read(&store, Column::Images, 1).await, Some(2));
            for period in Period::ALL {
                let all = lines(&store, period, 0, i64::MAX).await;
                let [line] = &all[..] else { panic!("{all:?}") };
                for figure in Figure::ALL {
                    let sum = if later.contains(&figure) { 2 } else { 3 };
                    assert_eq!(line.sums[figure as usize], sum, "{versions}: {}", figure.name());
                }
            }
            store.close().await;
        }
    }
}
