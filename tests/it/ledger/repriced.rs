//! Requests of the past under other prices: rows and sums to the billionth, on both databases.

use super::*;
use crate::ask::command;
use pannier::store::ledger::{Column, Figure};
use serde_json::Value;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

/// Nothing that is asked has a price.
const NONE: &str = "[prices]\nbuiltin = false\n";
const QUESTIONS: u64 = 12;

/// Billionths for a million tokens, and for a second.
#[derive(Debug, Clone, Copy)]
struct Price {
    prompt: i64,
    completion: i64,
    gpu: i64,
}

const FIRST: Price = Price { prompt: 150_000_001, completion: 600_000_007, gpu: 1_000_003 };
const SECOND: Price = Price { prompt: 99_999_999, completion: 1_234_567_891, gpu: 0 };

impl Price {
    /// In exact parts of a billionth of a billionth, rounded once.
    fn cost(self, figures: Figures) -> i64 {
        let tokens = i128::from(figures.prompt) * i128::from(self.prompt)
            + i128::from(figures.completion) * i128::from(self.completion);
        let sum = tokens * 1_000 + i128::from(figures.gpu_us()) * 1_000 * i128::from(self.gpu);
        i64::try_from((sum + 500_000_000) / 1_000_000_000).expect("an amount")
    }

    /// Of all questions, each once.
    fn of_all(self) -> i64 {
        (0..QUESTIONS).map(|number| self.cost(Figures::of(number))).sum()
    }

    fn amounts(self) -> [String; 3] {
        [self.prompt, self.completion, self.gpu].map(money)
    }

    /// Holds for all of time.
    async fn set(self, pannier: &Pannier) {
        let [prompt, completion, gpu] = self.amounts();
        let amounts = ["--prompt", &prompt, "--completion", &completion, "--gpu-second", &gpu];
        told(pannier, &[&["set", "smollm2", "--from", "ever"], &amounts[..]].concat()).await;
    }
}

fn money(nanos: i64) -> String {
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

async fn told(pannier: &Pannier, arguments: &[&str]) -> String {
    let (code, told, said) = command(pannier, &[&["prices"], arguments].concat()).await;
    assert_eq!(code, 0, "{arguments:?}: {said}");
    told
}

/// What a repricing of all of time comes to.
async fn reprice(pannier: &Pannier, more: &[&str]) -> Value {
    let told = told(pannier, &[&["reprice", "--from", "ever", "--format", "json"], more].concat()).await;
    serde_json::from_str(&told).expect("JSON")
}

/// All questions once, the first a second time, and all of it in the books.
async fn asked_all(pannier: &Pannier) -> HashMap<String, Figures> {
    let mut asked = HashMap::new();
    for number in 0..QUESTIONS {
        let reply = pannier.ask(&ask(number, number % 2 == 0)).await.fine();
        asked.insert(id(&reply), Figures::of(number));
    }
    pannier.remembered(&ask(0, true)).await;
    booked(pannier).await;
    asked
}

/// Waits until nothing is in the spool that is not in the database.
async fn booked(pannier: &Pannier) {
    eventually("all is in the books", || async {
        let metrics = pannier.metrics_of_keys().await;
        let now = metrics.sum("pannier_key_requests_total", &[]);
        let asked = metrics.sum("pannier_http_requests_total", &[("route", CHAT)]);
        (now == asked).then_some(())
    })
    .await;
}

/// Waits until a server has ended what those who were killed had begun.
async fn left_alone(ground: &Ground) {
    let Ground::Server(server, _) = ground else { return };
    let others = "SELECT count(*) FROM pg_stat_activity \
                  WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    eventually("nobody is there", || async { (server.ask(others).trim() == "0").then_some(()) }).await;
}

/// Rows and sums say the same; and what is paid for questions, answers and hardware is all that is paid.
fn agrees(book: &Book) {
    book.agrees();
    let shares = [Figure::PromptCost, Figure::CompletionCost, Figure::GpuCost].map(|share| book.sum(share));
    assert_eq!(shares.iter().sum::<i64>(), book.sum(Figure::Cost), "{shares:?}");
    assert!(shares.iter().all(|share| *share >= 0), "{shares:?}");
    let rows = |column| book.rows.values().filter_map(|row| row.get(column)).sum::<i64>();
    assert_eq!(book.sum(Figure::Unpriced), rows(Column::Unpriced));
    assert_eq!(book.sum(Figure::Unbilled), rows(Column::Unbilled));
}

/// What is said of an amount.
fn amounts(of: &Value) -> [&str; 2] {
    ["before", "after"].map(|when| of[when].as_str().expect("an amount"))
}

/// Whether `told` says this many billionths.
fn same(told: &str, nanos: i64) -> bool {
    money(nanos).trim_end_matches('0') == told.trim_end_matches('0')
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_unpriced_is_priced_and_the_sums_follow() {
    for ground in Ground::all() {
        let (upstream, _) = upstream().await;
        let pannier = ground.launch_under(NONE, &upstream).start().await;
        let asked = asked_all(&pannier).await;
        let unpriced = [("model", "smollm2:135m")];
        pannier.counts("pannier_ledger_unpriced_trips_total", &unpriced, QUESTIONS as f64).await;
        assert_eq!(pannier.output().matches("the model has no price").count(), 1, "once a model");
        FIRST.set(&pannier).await;
        let planned = reprice(&pannier, &["--dry-run"]).await;
        end(pannier).await;
        let book = ground.book().await;
        agrees(&book);
        assert_eq!(
            (book.sum(Figure::Unpriced), book.sum(Figure::Cost)),
            (QUESTIONS as i64, 0),
            "only planned"
        );

        let pannier = ground.launch_under(NONE, &upstream).start().await;
        let done = reprice(&pannier, &[]).await;
        assert_eq!((&planned["models"], &planned["total"]), (&done["models"], &done["total"]));
        let total = &done["total"];
        assert_eq!(total["left"], 0, "{done}");
        let [before, after] = amounts(&total["cost"]);
        assert!(before == "0.00" && same(after, FIRST.of_all()), "{done}");
        assert_eq!(total["unpriced"], json!({ "before": QUESTIONS, "after": 0 }));
        let again = reprice(&pannier, &[]).await;
        assert_eq!(again["total"]["changed"], 0, "what is billed under a price stays: {again}");
        end(pannier).await;
        let book = ground.book().await;
        agrees(&book);
        assert_eq!((book.sum(Figure::Unpriced), book.sum(Figure::Cost)), (0, FIRST.of_all()));
        for (id, figures) in asked {
            assert_eq!(book.rows[&id].get(Column::Cost), Some(FIRST.cost(figures)));
            assert_eq!(book.rows[&id].get(Column::Unpriced), None);
        }
        let hits = book.rows.values().filter(|row| row.is_given()).count() as i64;
        assert_eq!(book.sum(Figure::SavedCost), hits * FIRST.cost(Figures::of(0)));
        assert_eq!(total["changed"], QUESTIONS as i64 + hits);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_past_keeps_its_price_whatever_it_would_be_under_another() {
    for ground in Ground::all() {
        let (upstream, _) = upstream().await;
        let pannier = ground.launch_under(NONE, &upstream).start().await;
        FIRST.set(&pannier).await;
        asked_all(&pannier).await;
        let file = tempfile::NamedTempFile::new().expect("a file");
        let [prompt, completion, gpu] = SECOND.amounts();
        let head = "model,prompt,completion,gpu_second";
        std::fs::write(file.path(), format!("{head}\nsmollm2,{prompt},{completion},{gpu}\n")).expect("write");
        let file = file.path().display().to_string();
        let what_if = async |more: &[&str]| -> Value {
            let arguments = ["what-if", &file, "--from", "ever", "--format", "json"];
            serde_json::from_str(&told(&pannier, &[&arguments[..], more].concat()).await).expect("JSON")
        };
        let whole = what_if(&[]).await;
        let [before, after] = amounts(&whole["total"]["cost"]);
        assert!(same(before, FIRST.of_all()) && same(after, SECOND.of_all()), "{whole}");
        assert_eq!(whole, what_if(&["--only"]).await);
        let early = what_if(&["--to", "1971-01-01"]).await;
        assert_eq!(early["total"]["requests"], 0);
        let from = SystemTime::now() + Duration::from_secs(2);
        let moment = humantime::format_rfc3339_seconds(from).to_string();
        told(&pannier, &["set", "smollm2", "--prompt", "1000", "--from", &moment]).await;
        assert_eq!(reprice(&pannier, &["--dry-run"]).await["total"]["changed"], 0, "it did not hold then");
        eventually("it holds", || async { (SystemTime::now() > from).then_some(()) }).await;
        let late = pannier.ask(&ask(77, false)).await.fine();
        booked(&pannier).await;
        end(pannier).await;
        let book = ground.book().await;
        agrees(&book);
        let dear = 1_000_000 * Figures::of(77).prompt;
        assert_eq!(book.rows[&id(&late)].get(Column::Cost), Some(dear));
        assert_eq!(book.sum(Figure::Cost), FIRST.of_all() + dear);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_only_what_has_a_price_is_answered_a_new_price_is_heard_of_at_once() {
    for ground in Ground::all() {
        let (upstream, served) = upstream().await;
        let settings = "[prices]\nbuiltin = false\nunknown = \"reject\"\n";
        let mut pannier = ground.launch_under(settings, &upstream).start().await;
        let refused = pannier.ask(&ask(1, false)).await;
        assert_eq!((refused.status(), refused.code()), (403, Some("unpriced")));
        FIRST.set(&pannier).await;
        let answered = pannier.ask(&ask(1, false)).await.fine();
        booked(&pannier).await;
        // One that has just started has read it before anybody comes in.
        pannier.signal("KILL");
        pannier.ended().await;
        left_alone(&ground).await;
        let pannier = ground.launch_under(settings, &upstream).start().await;
        pannier.ask(&ask(2, false)).await.fine();
        pannier.remembered(&ask(2, false)).await;
        assert!(pannier.ask(&ask(2, false)).await.fine().is_hit(), "by the shortest way");
        told(&pannier, &["remove", "smollm2"]).await;
        for number in [2, 3] {
            assert_eq!(pannier.ask(&ask(number, false)).await.status(), 403, "{number}");
        }
        assert_eq!(*served.lock().expect("served"), [1, 2]);
        end(pannier).await;
        let cost = ground.book().await.rows[&id(&answered)].get(Column::Cost);
        assert_eq!(cost, Some(FIRST.cost(Figures::of(1))));
    }
}

/// Rows for more than one step, clients that go on meanwhile, and an end in the midst of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repricing_that_is_cut_short_is_done_again() {
    for ground in Ground::all() {
        let (upstream, _) = upstream().await;
        let mut pannier = ground.launch_under(NONE, &upstream).start().await;
        FIRST.set(&pannier).await;
        asked_all(&pannier).await;
        let more = async |pannier: &Pannier, times: u64| {
            let mut wire = pannier.open().await;
            for number in 0..times {
                wire.exchange(&ask(number % QUESTIONS, number % 2 == 0)).await.fine();
            }
        };
        more(&pannier, 2_000).await;
        for (price, delay) in [(SECOND, 3), (FIRST, 30), (SECOND, 100)] {
            price.set(&pannier).await;
            tokio::join!(reprice(&pannier, &[]), more(&pannier, 200));
            let order = Ask::new("POST", "/api/admin/costs/reprice").bytes("{\"from\": \"2026-01-01\"}");
            let mut wire = Wire::open(pannier.admin).await;
            wire.ask(&order.with("X-API-Key", &pannier.admin_key())).await;
            pause(delay).await;
            pannier.signal("KILL");
            pannier.ended().await;
            left_alone(&ground).await;
            agrees(&ground.book().await);
            pannier = ground.launch_under(NONE, &upstream).start().await;
        }
        eventually("nothing is left of those that were killed", || async {
            (ground.spools() == 1).then_some(())
        })
        .await;
        reprice(&pannier, &[]).await;
        end(pannier).await;
        let book = ground.book().await;
        agrees(&book);
        let worth: HashMap<(i64, i64), i64> = (0..QUESTIONS)
            .map(Figures::of)
            .map(|figures| ((figures.prompt, figures.completion), SECOND.cost(figures)))
            .collect();
        for row in book.rows.values().filter(|row| row.get(Column::Prompt).is_some()) {
            let figure = |column| row.get(column).unwrap_or(0);
            let wanted = worth[&(figure(Column::Prompt), figure(Column::Completion))];
            let column = if row.is_given() { Column::SavedCost } else { Column::Cost };
            assert_eq!(row.get(column), Some(wanted), "{row:?}");
        }
    }
}
