//! How long the books are kept: what is too old or too much goes, and no report from sums notices.

use crate::ledger::grounds;
use crate::rollups::{Chance, FIRST, database};
use pannier::analytics::{
    By, Filter, Grain, KeyMetrics, Question, Reports, Retention, RetentionConfig, Stay, Terms, Zone,
};
use pannier::store::ledger;
use std::sync::Arc;
use std::time::Duration;

const EVER: Duration = Duration::ZERO;

fn config(rows: Duration, max_rows: u64) -> RetentionConfig {
    RetentionConfig { rows, max_rows, minutes: EVER, hours: EVER, days: EVER }
}

fn zone(name: &str) -> Zone {
    Zone::named(name).expect("a zone")
}

fn question(zone_name: &str, grain: Option<Grain>) -> Question {
    let stay = Stay::new(FIRST + 3_000, FIRST + 2 * 86_400 + 5_000).expect("a stay");
    Question { stay, zone: zone(zone_name), grain, by: vec![By::Key, By::Model], filter: Filter::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_or_too_old_goes_and_no_report_notices() {
    for ground in grounds() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = database(&ground);
        let mut chance = Chance::new(folder.path(), &database, u32::MAX, 3);
        (0..1_300).for_each(|_| chance.request());
        chance.drain().await;
        let store = database.store().await.expect("a store");
        let terms = Terms { zone: zone("UTC"), currency: "USD".into(), key_metrics: KeyMetrics::Admin };
        let reports = Arc::new(Reports::new(database.clone(), terms));
        let questions = [
            question("UTC", None),
            question("Europe/Berlin", Some(Grain::Day)),
            question("Asia/Kolkata", Some(Grain::Day)),
            question("America/New_York", Some(Grain::Hour)),
            question("UTC", Some(Grain::Month)),
        ];
        let mut before = Vec::new();
        for question in &questions {
            let lines = reports.all(question).await.expect("lines");
            assert!(!lines.is_empty());
            before.push(lines);
        }

        let all = ledger::count(&store).await.expect("a number");
        let retention = Retention::new(database.clone(), reports.clone(), config(EVER, 1_000));
        assert!(all > 1_000 && retention.utilisation(all) > 1.0);
        retention.tidy().await.expect("tidy");
        assert_eq!(ledger::count(&store).await.expect("a number"), 1_000);
        assert_eq!((retention.counted(), retention.utilisation(1_000)), (1_000, 1.0));
        let oldest = reports.oldest_row().await.expect("asked").expect("a row");
        assert!(oldest > FIRST, "the oldest went");
        retention.tidy().await.expect("tidy");
        assert_eq!(ledger::count(&store).await.expect("a number"), 1_000, "and no more than that");

        retention.heed(config(Duration::from_secs(86_400), 0));
        retention.tidy().await.expect("tidy");
        assert_eq!(ledger::count(&store).await.expect("a number"), 0, "they are of long ago");
        assert_eq!((retention.counted(), retention.utilisation(0)), (0, 0.0));
        for (question, before) in questions.iter().zip(&before) {
            assert_eq!(&reports.all(question).await.expect("lines"), before, "{question:?}");
        }

        // Sums by the minute have gone: what begins and ends on the hour is told as before.
        let stay = Stay::new(FIRST + 3_600, FIRST + 2 * 86_400).expect("a stay");
        let hourly = Question { stay, ..question("Europe/Berlin", Some(Grain::Day)) };
        let told = reports.all(&hourly).await.expect("lines");
        retention.heed(RetentionConfig { minutes: Duration::from_secs(86_400), ..config(EVER, 0) });
        retention.tidy().await.expect("tidy");
        assert_eq!(reports.all(&hourly).await.expect("lines"), told);
        assert_ne!(&reports.all(&questions[0]).await.expect("lines"), &before[0], "its edges are gone");

        // Where days begin at half past, hours do not tell them: minutes are kept as long.
        reports.heed(Terms {
            zone: zone("Asia/Kolkata"),
            currency: "USD".into(),
            key_metrics: KeyMetrics::Admin,
        });
        chance.request();
        chance.drain().await;
        retention.tidy().await.expect("tidy");
        let whole = ledger::Stretch {
            pieces: vec![ledger::Piece { period: ledger::Period::Minute, from: 0, until: 1 << 40 }],
            cut: ledger::Cut::Whole { start: 0 },
        };
        assert_eq!(ledger::lines(&store, &whole, &[], &Filter::default()).await.expect("lines").len(), 1);
        database.close().await;
    }
}
