//! Texts that are embedded: one by one, and many in one request.

use super::*;
use pannier::store::ledger::{Column, Figure};

pub const EMBED: &str = "/api/embed";
pub const MODEL: &str = MODELS[1].0;
/// Billionths for a token.
pub const TOKEN: i64 = 130;

pub async fn embedding_upstream() -> Upstream {
    let upstream = Upstream::start().await;
    upstream.on(EMBED, |visit| embedder::embeds(visit, MODELS[1].1));
    upstream
}

pub fn launch(ground: &Ground, upstream: &Upstream) -> Launch {
    let prices = "[prices]\nmodels = [{ model = \"*\", embedding = \"0.13\" }]\n";
    let launch = Launch::before(upstream).data_dir(ground.folder()).file(prices);
    launch.set("cache.database.enabled", "false").set("embeddings.batch", "1")
}

pub fn embed(texts: &[&str]) -> Ask {
    Ask::post(EMBED, &json!({ "model": MODEL, "input": texts }))
}

pub fn tokens(texts: &[&str]) -> i64 {
    texts.iter().map(|text| embedder::tokens(text) as i64).sum()
}

#[track_caller]
fn paid(row: &Row, cache: i64, texts: &[&str]) {
    assert_eq!((row.get(Column::Cache), row.get(Column::Ending)), (Some(cache), Some(1)), "{row:?}");
    assert_eq!(row.get(Column::Prompt), Some(tokens(texts)), "{row:?}");
    let (cost, saved) = (row.get(Column::Cost), row.get(Column::SavedCost));
    let amount = Some(tokens(texts) * TOKEN);
    assert_eq!((cost, saved), if row.is_given() { (None, amount) } else { (amount, None) }, "{row:?}");
}

#[tokio::test]
async fn only_the_texts_that_went_up_are_paid_for() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let upstream = embedding_upstream().await;
    let pannier = launch(&ground, &upstream).start().await;
    let first = id(&pannier.ask(&embed(&["one", "a second text"])).await.fine());
    pannier.remembered(&embed(&["one"])).await;
    pannier.remembered(&embed(&["a second text"])).await;
    let partly = id(&pannier.ask(&embed(&["one", "some third text", "one"])).await.fine());
    pannier.remembered(&embed(&["some third text"])).await;
    let all = ["some third text", "one", "one"];
    let known = id(&pannier.ask(&embed(&all)).await.fine());
    end(pannier).await;

    let book = ground.book().await;
    book.agrees();
    paid(&book.rows[&first], 3, &["one", "a second text"]);
    paid(&book.rows[&partly], 3, &["some third text"]);
    paid(&book.rows[&known], 1, &all);
    let each = tokens(&["one", "a second text", "some third text"]);
    assert_eq!((book.sum(Figure::Trips), book.sum(Figure::Prompt)), (3, each));
    assert_eq!(book.sum(Figure::Cost), each * TOKEN);
    // Of its time Ollama says only the whole: a millisecond a text, less what it had to load.
    assert_eq!(book.sum(Figure::Gpu), 3 * 999);
}

#[tokio::test]
async fn a_batch_pays_for_the_texts_that_nobody_knew() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let upstream = embedding_upstream().await;
    let pannier = launch(&ground, &upstream).start().await;
    let batch = |texts: &[&str]| Ask::post("/embeddings/batch", &json!({ "model": MODEL, "texts": texts }));
    pannier.ask(&embed(&["one"])).await.fine();
    pannier.remembered(&embed(&["one"])).await;
    let partly = id(&pannier.ask(&batch(&["one", "another", "a third"])).await.fine());
    pannier.remembered(&embed(&["another"])).await;
    pannier.remembered(&embed(&["a third"])).await;
    let known = id(&pannier.ask(&batch(&["a third", "one"])).await.fine());
    end(pannier).await;

    let book = ground.book().await;
    book.agrees();
    paid(&book.rows[&partly], 3, &["another", "a third"]);
    paid(&book.rows[&known], 1, &["a third", "one"]);
    assert_eq!(
        (book.sum(Figure::Trips), book.sum(Figure::Cost)),
        (3, tokens(&["one", "another", "a third"]) * TOKEN)
    );
}

/// What it has fetched itself it pays for; that it was another's trip which failed changes nothing of that.
#[tokio::test]
async fn who_has_begun_a_trip_is_no_guest_of_anothers() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let (upstream, gate) = (Upstream::start().await, Gate::closed());
    let held = gate.clone();
    upstream.on(EMBED, move |visit| {
        if embedder::texts(&embedder::body(visit)) != ["bad"] {
            return embedder::embeds(visit, MODELS[1].1);
        }
        let answer = json(500, r#"{"error":"no"}"#);
        [Act::Wait(held.clone())].into_iter().chain(answer).collect()
    });
    let pannier = launch(&ground, &upstream).start().await;
    let (mut first, mut second) = (pannier.open().await, pannier.open().await);
    first.ask(&embed(&["bad"])).await;
    upstream.visit(EMBED, 0).await;
    second.ask(&embed(&["one", "bad"])).await;
    upstream.visit(EMBED, 1).await;
    gate.open();
    let (first, second) = (first.reply("POST").await, second.reply("POST").await);
    assert_eq!((first.status(), second.status(), upstream.count(EMBED)), (500, 500, 2));
    end(pannier).await;

    let book = ground.book().await;
    book.agrees();
    let row = &book.rows[&id(&second)];
    assert_eq!((row.get(Column::Cache), row.get(Column::Status)), (Some(3), Some(500)), "{row:?}");
    let paid = tokens(&["one"]) * TOKEN;
    assert_eq!((row.get(Column::Cost), row.get(Column::SavedCost)), (Some(paid), None), "{row:?}");
    assert_eq!((book.sum(Figure::Cost), book.sum(Figure::Joined)), (paid, 0));
}

/// A batch that finds all its texts under way for somebody else has cost nothing, and saved as much.
#[tokio::test]
async fn a_batch_that_asks_nobody_is_a_guest() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let upstream = Upstream::start().await;
    let gate = embedder::embeds_late(&upstream, MODELS[1].1);
    let pannier = launch(&ground, &upstream).start().await;
    let (mut first, mut batch) = (pannier.open().await, pannier.open().await);
    first.ask(&embed(&["late"])).await;
    upstream.visit(EMBED, 0).await;
    batch.ask(&Ask::post("/embeddings/batch", &json!({ "model": MODEL, "texts": ["late", "late"] }))).await;
    pause(100).await;
    gate.open();
    let (_, batch) = (first.reply("POST").await.fine(), id(&batch.reply("POST").await.fine()));
    assert_eq!(upstream.count(EMBED), 1);
    end(pannier).await;

    let book = ground.book().await;
    book.agrees();
    let row = &book.rows[&batch];
    assert!(row.is_given(), "{row:?}");
    let saved = tokens(&["late", "late"]) * TOKEN;
    assert_eq!((row.get(Column::Cost), row.get(Column::SavedCost)), (None, Some(saved)), "{row:?}");
    assert_eq!((book.sum(Figure::Trips), book.sum(Figure::Cost)), (1, tokens(&["late"]) * TOKEN));
}
