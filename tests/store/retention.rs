//! How long the books are kept: what is too old or too much goes, and no report that sums can answer changes.

use crate::ledger::grounds;
use crate::rollups::{Chance, FIRST, database};
use crate::stage::Ground;
use pannier::analytics::{
    By, Filter, Grain, KeyMetrics, Question, Reports, Retention, RetentionConfig, Stay, Terms, Zone,
};
use pannier::store::ledger::{self, Line};
use pannier::store::{Shared, Store};
use pannier::telemetry::Metrics;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

const EVER: Duration = Duration::ZERO;
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
const ONE_DAY: Duration = Duration::from_secs(86_400);

/// Books of three days, and who looks after them by a clock of the test's own.
struct Scene {
    chance: Chance,
    database: Arc<Shared>,
    store: Arc<Store>,
    reports: Arc<Reports>,
    retention: Retention,
    clock: Arc<AtomicI64>,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn of(database: Arc<Shared>, requests: usize) -> Scene {
        let folder = tempfile::tempdir().expect("a folder");
        let mut chance = Chance::new(folder.path(), &database, u32::MAX, 3);
        (0..requests).for_each(|_| chance.request());
        chance.drain().await;
        let store = database.store().await.expect("a store");
        let reports = Arc::new(Reports::new(database.clone(), terms("UTC"), Arc::new(Metrics::new())));
        let clock = Arc::new(AtomicI64::new(FIRST + 3 * DAY));
        let told = clock.clone();
        let retention = Retention::new(database.clone(), reports.clone(), config(EVER, 0));
        let retention = retention.by(move || told.load(Ordering::Relaxed));
        Scene { chance, database, store, reports, retention, clock, _folder: folder }
    }

    /// Tidies under these settings when it is so late.
    async fn tidy(&self, config: RetentionConfig, now: i64) {
        self.retention.heed(config);
        self.clock.store(now, Ordering::Relaxed);
        self.retention.tidy().await.expect("tidy");
    }

    async fn rows(&self) -> i64 {
        ledger::count(&self.store).await.expect("a number")
    }

    async fn oldest(&self) -> i64 {
        self.reports.oldest_row().await.expect("asked").expect("a row")
    }

    /// The lines, where all is told that is asked for.
    async fn all(&self, question: &Question) -> Vec<Line> {
        let (told, lines) = self.reports.all(question.clone()).await.expect("lines");
        assert_eq!(told.other(), None, "{question:?}");
        lines
    }

    /// The lines, where another time is told of, and which one that is.
    async fn other(&self, question: &Question) -> (String, Vec<Line>) {
        let (told, lines) = self.reports.all(question.clone()).await.expect("lines");
        (told.other().unwrap_or_else(|| panic!("{question:?}")).interval(), lines)
    }
}

fn config(rows: Duration, max_rows: u64) -> RetentionConfig {
    RetentionConfig { rows, max_rows, minutes: EVER, hours: EVER, days: EVER }
}

fn zone(name: &str) -> Zone {
    Zone::named(name).expect("a zone")
}

fn terms(name: &str) -> Terms {
    Terms { zone: zone(name), currency: "USD".into(), key_metrics: KeyMetrics::Admin }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_counted_before_the_first_of_them_goes() {
    let ground = Ground::file();
    let scene = Scene::of(database(&ground), 50).await;
    let mut work = scene.store.write().await.expect("begin");
    let refuse = "CREATE TRIGGER stay BEFORE DELETE ON ledger_row BEGIN SELECT RAISE(ABORT, 'it stays'); END";
    work.script(refuse).await.expect("a trigger");
    work.done().await.expect("commit");
    scene.retention.heed(config(ONE_DAY, 0));
    scene.clock.store(FIRST + 5 * DAY, Ordering::Relaxed);
    scene.retention.tidy().await.expect_err("nothing goes");
    assert!(scene.rows().await > 0);
    assert_eq!(scene.retention.counted(), scene.rows().await);
    scene.database.close().await;
}

/// About what came from so many seconds behind the first on, until before so many.
fn question(zone_name: &str, grain: Option<Grain>, from: i64, until: i64) -> Question {
    let stay = Stay::new(FIRST + from, FIRST + until).expect("a stay");
    Question { stay, zone: zone(zone_name), grain, by: vec![By::Key, By::Model], filter: Filter::default() }
}

/// It begins and ends within an hour.
fn edged(zone_name: &str, grain: Option<Grain>) -> Question {
    question(zone_name, grain, 3_000, 2 * DAY + 5_040)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_or_too_old_goes_and_no_report_notices() {
    for ground in grounds() {
        let scene = Scene::of(database(&ground), 1_300).await;
        let questions = [
            edged("UTC", None),
            edged("Europe/Berlin", Some(Grain::Day)),
            edged("Asia/Kolkata", Some(Grain::Day)),
            edged("America/New_York", Some(Grain::Hour)),
            edged("UTC", Some(Grain::Month)),
        ];
        let mut before = Vec::new();
        for question in &questions {
            before.push(scene.all(question).await);
        }
        assert!(before.iter().all(|lines| !lines.is_empty()));

        let (all, retention) = (scene.rows().await, &scene.retention);
        retention.heed(config(EVER, 1_000));
        assert!(all > 1_000 && retention.utilisation(all) > 1.0);
        for _ in 0..2 {
            scene.tidy(config(EVER, 1_000), FIRST + 3 * DAY).await;
            assert_eq!(scene.rows().await, 1_000);
            assert_eq!((retention.counted(), retention.utilisation(1_000)), (1_000, 1.0));
        }
        assert!(scene.oldest().await > FIRST, "the oldest went");

        scene.tidy(config(ONE_DAY, 0), FIRST + 5 * DAY).await;
        assert!(scene.rows().await < 1_000 && scene.oldest().await >= FIRST + DAY);
        assert_eq!((retention.counted(), retention.utilisation(7)), (scene.rows().await, 0.0));
        for (question, before) in questions.iter().zip(&before) {
            assert_eq!(&scene.all(question).await, before, "{question:?}");
        }
        scene.database.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_forward_does_not_take_the_books() {
    for ground in grounds() {
        let mut scene = Scene::of(database(&ground), 200).await;
        let short = RetentionConfig { minutes: ONE_DAY, hours: ONE_DAY, ..config(ONE_DAY, 0) };
        let edged = question("UTC", None, DAY + 60, 3 * DAY);
        let told = scene.all(&edged).await;
        scene.tidy(short.clone(), FIRST + 5 * DAY).await;
        let rows = scene.rows().await;
        assert!(rows > 0 && scene.oldest().await >= FIRST + DAY);
        assert_eq!(scene.all(&edged).await, told);

        // Nobody has asked since.
        for late in [400, 40_000] {
            scene.tidy(short.clone(), FIRST + late * DAY).await;
            assert_eq!((scene.rows().await, scene.all(&edged).await), (rows, told.clone()), "{late}");
        }
        // It goes on like that, and somebody asks.
        scene.chance.first = FIRST + 400 * DAY;
        (0..50).for_each(|_| scene.chance.request());
        scene.chance.drain().await;
        scene.tidy(short.clone(), FIRST + 401 * DAY).await;
        assert_eq!((scene.oldest().await / DAY, scene.all(&edged).await), (FIRST / DAY + 1, told.clone()));
        // Nobody has set it right: so late it is.
        scene.tidy(short, FIRST + 404 * DAY).await;
        assert!(scene.oldest().await >= FIRST + 400 * DAY);
        assert_eq!(scene.other(&edged).await.0, "2024-10-05T00:00:00Z/2024-10-07T00:00:00Z");
        scene.database.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sums_cannot_tell_any_more_is_said() {
    for ground in grounds() {
        let mut scene = Scene::of(database(&ground), 400).await;
        let in_hours = question("Europe/Berlin", Some(Grain::Day), HOUR, 2 * DAY);
        let told = scene.all(&in_hours).await;
        let widened = scene.all(&question("UTC", None, 0, 2 * DAY + 2 * HOUR)).await;
        let in_days = scene.all(&question("UTC", None, 0, 3 * DAY)).await;

        let no_minutes = RetentionConfig { minutes: ONE_DAY, ..config(EVER, 0) };
        scene.tidy(no_minutes.clone(), FIRST + 5 * DAY).await;
        assert_eq!(scene.all(&in_hours).await, told);
        let edged_in_time = question("UTC", None, DAY + 60, 2 * DAY + 60);
        assert_eq!(scene.all(&edged_in_time).await.len(), 9, "those minutes are there yet");
        let (other, lines) = scene.other(&question("UTC", None, 3_000, 2 * DAY + 2 * HOUR)).await;
        assert_eq!((other.as_str(), &lines), ("2024-10-04T00:00:00Z/2024-10-06T02:00:00Z", &widened));
        // Its days begin at half past: those that are whole are told.
        let (other, lines) = scene.other(&edged("Asia/Kolkata", Some(Grain::Day))).await;
        assert_eq!(other, "2024-10-05T18:30:00Z/2024-10-06T01:24:00Z");
        let of_that = question("Asia/Kolkata", Some(Grain::Day), DAY + 18 * HOUR + 1_800, 2 * DAY + 5_040);
        assert_eq!(lines, scene.all(&of_that).await);

        // What came so late that its minute had gone tells nobody anything.
        scene.reports.heed(terms("Asia/Kolkata"));
        scene.chance.first = FIRST - 10 * DAY;
        scene.chance.request();
        scene.chance.drain().await;
        scene.tidy(no_minutes, FIRST + 5 * DAY).await;
        let minutes = ledger::Stretch {
            pieces: vec![ledger::Piece { period: ledger::Period::Minute, from: 0, until: FIRST }],
            cut: ledger::Cut::Whole { start: 0 },
        };
        let late =
            ledger::lines(&scene.store, &minutes, &[], &Filter::default(), None, 9).await.expect("lines");
        assert_eq!(late.len(), 1, "where days begin at half past, minutes are kept as long as hours");
        let (other, _) = scene.other(&question("UTC", None, -10 * DAY + 60, 2 * DAY)).await;
        assert_eq!(other, "2024-09-24T00:00:00Z/2024-10-06T00:00:00Z");

        let no_hours = RetentionConfig { hours: ONE_DAY, ..config(EVER, 0) };
        scene.reports.heed(terms("UTC"));
        scene.tidy(no_hours, FIRST + 5 * DAY).await;
        let (other, lines) = scene.other(&question("UTC", None, HOUR, 3 * DAY)).await;
        assert_eq!((other.as_str(), &lines), ("2024-10-04T00:00:00Z/2024-10-07T00:00:00Z", &in_days));
        scene.database.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn books_are_tidied_while_requests_come_and_reports_are_made() {
    for ground in grounds() {
        let Scene { mut chance, database, reports, retention, clock, store, _folder } =
            Scene::of(database(&ground), 600).await;
        let whole = question("Europe/Berlin", Some(Grain::Day), 0, 3 * DAY);
        let (exact, wide) = (edged("UTC", None), question("UTC", None, 0, 2 * DAY + 5_040));
        let mut expected = Vec::new();
        for question in [&whole, &exact, &wide] {
            expected.push(reports.all(question.clone()).await.expect("lines").1);
        }
        chance.first = FIRST + 10 * DAY;
        let is_over = AtomicBool::new(false);
        let comes = async {
            for _ in 0..12 {
                (0..40).for_each(|_| chance.request());
                chance.drain().await;
            }
            is_over.store(true, Ordering::Relaxed);
        };
        let goes = async {
            let mut now = FIRST + 3 * DAY;
            while !is_over.load(Ordering::Relaxed) {
                retention.heed(RetentionConfig { minutes: ONE_DAY, ..config(ONE_DAY, 300) });
                clock.store(now, Ordering::Relaxed);
                retention.tidy().await.expect("tidy");
                now = (now + HOUR).min(FIRST + 10 * DAY);
            }
        };
        let asks = async {
            while !is_over.load(Ordering::Relaxed) {
                let (told, lines) = reports.all(whole.clone()).await.expect("lines");
                assert_eq!((told.other(), &lines), (None, &expected[0]));
                // What goes right under a report is not told at all.
                if let Ok((told, lines)) = reports.all(exact.clone()).await {
                    let expected = if told.other().is_none() { &expected[1] } else { &expected[2] };
                    assert_eq!(&lines, expected, "{:?}", told.other());
                }
            }
        };
        tokio::join!(comes, goes, asks);
        retention.tidy().await.expect("tidy");
        assert!(ledger::count(&store).await.expect("a number") <= 300);
        database.close().await;
    }
}
