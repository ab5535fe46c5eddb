//! What sums that have gone would have told is not told, and that is said.

use super::*;
use pannier::store::ledger::{self, Period};
use serde_json::Value;
use std::time::Duration;

/// By the minute there is nothing any more, and there will not be for a while.
async fn lose_minutes(folder: &Path) {
    let place = folder.join("pannier.db");
    let store = books::opened(&place.to_string_lossy(), &ledger::migrations()).await;
    let went = ledger::remove_sums(&store, Period::Minute, tomorrow(), 1_000).await.expect("removed");
    assert!(went > 0);
    store.close().await;
}

fn tomorrow() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    (now + Duration::from_secs(86_400)).as_secs() as i64
}

#[tokio::test]
async fn a_report_whose_edges_have_gone_is_wider_and_says_so() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let (upstream, _) = upstream().await;
    let pannier = ground.launch(&upstream).start().await;
    for number in 0..3 {
        pannier.ask(&ask(number, false)).await.fine();
    }
    end(pannier).await;
    lose_minutes(ground.folder()).await;

    let pannier = ground.launch(&upstream).start().await;
    let told = async |target: &str| pannier.administer(Ask::get(target)).await.fine();
    let reply = told("/usage?by=&from=90m&zone=UTC").await;
    let json = reply.json();
    let text = |value: &Value| value.as_str().expect("a moment").to_owned();
    let (from, until) = (text(&json["from"]), text(&json["until"]));
    assert!(from.ends_with(":00:00Z") && until.ends_with(":00:00Z"), "{json}");
    assert!(from < text(&json["asked"]["from"]) || until > text(&json["asked"]["until"]), "{json}");
    assert_eq!(json["total"]["requests"], 3);
    assert_eq!(reply.field("x-pannier-told"), Some(&*format!("{from}/{until}")));

    let csv = told("/costs?by=&from=90m&format=csv").await;
    assert!(csv.field("x-pannier-told").is_some() && csv.text().starts_with("requests,"), "{}", csv.text());
    let table = told("/usage?by=&from=90m&format=table").await.text();
    let second = table.lines().nth(1).expect("a line");
    assert!(second.starts_with("asked for ") && second.ends_with(": of that, sums have gone"), "{table}");

    // Whole hours are told as ever.
    let whole = told("/usage?by=&period=year").await;
    assert_eq!((whole.field("x-pannier-told"), &whole.json()["asked"]), (None, &Value::Null));
    assert_eq!(whole.json()["total"]["requests"], 3);
    let old = told("/api/metrics/dashboard").await.json();
    assert_eq!((&old["total_requests"], &old["told"]), (&json!(3), &Value::Null));
    let export = told("/metrics/export").await.json();
    assert!(text(&export["told"]["from"]).ends_with(":00:00Z"), "{export}");
    assert_eq!(export["llm_api_metrics"]["total_calls"], 3);
}
