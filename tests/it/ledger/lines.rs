//! The lines of docs/billing.md, on a whole Pannier.

use super::*;
use pannier::store::ledger::{Column, Figure};

#[tokio::test]
async fn a_day_of_requests_is_in_the_books_to_the_last_token() {
    for ground in Ground::all() {
        let (upstream, served) = upstream().await;
        let pannier = ground.launch(&upstream).start().await;
        let mut misses = Vec::new();
        for number in 0..40 {
            misses.push((number, id(&pannier.ask(&ask(number, number % 2 == 0)).await.fine())));
        }
        let mut hits = Vec::new();
        for number in 0..10 {
            hits.push((number, id(&pannier.remembered(&ask(number, number % 2 == 0)).await)));
        }
        end(pannier).await;
        let book = ground.book().await;
        book.agrees();
        for (number, id) in &misses {
            let (row, figures) = (&book.rows[id], Figures::of(*number));
            assert_eq!(row.get(Column::Cost), Some(figures.cost()), "{number}: {row:?}");
            assert_eq!(row.get(Column::Prompt), Some(figures.prompt));
            assert_eq!(row.get(Column::Completion), Some(figures.completion));
            assert_eq!(row.get(Column::CompletionTime).unwrap_or(0), figures.eval_ns / 1_000);
            assert_eq!((row.get(Column::Ending), row.get(Column::Status)), (Some(1), Some(200)));
            assert_eq!((row.get(Column::Cache), row.get(Column::SavedCost)), (Some(3), None));
        }
        for (number, id) in &hits {
            let (row, figures) = (&book.rows[id], Figures::of(*number));
            assert_eq!((row.get(Column::Cache), row.get(Column::Cost)), (Some(1), None), "{row:?}");
            assert_eq!(row.get(Column::SavedCost), Some(figures.cost()));
            assert_eq!(row.get(Column::Prompt), Some(figures.prompt));
        }
        let served = served.lock().expect("served").clone();
        let sum = |of: fn(Figures) -> i64| served.iter().map(|number| of(Figures::of(*number))).sum::<i64>();
        assert_eq!(book.sum(Figure::Trips), served.len() as i64);
        assert_eq!(book.sum(Figure::Prompt), sum(|of| of.prompt));
        assert_eq!(book.sum(Figure::Completion), sum(|of| of.completion));
        assert_eq!(book.sum(Figure::Gpu), sum(|of| of.gpu_us()));
        assert_eq!(book.sum(Figure::Cost), sum(|of| of.cost()));
    }
}

#[tokio::test]
async fn whoever_began_a_trip_pays_for_it_also_when_another_reads_its_end() {
    let (ground, upstream, gate) = halfway(7).await;
    let pannier = ground.launch(&upstream).start().await;
    let (mut first, mut second) = (pannier.open().await, pannier.open().await);
    first.ask(&ask(7, true)).await;
    let began = id_of(&first.head("POST").await.fields);
    second.ask(&ask(7, true)).await;
    second.head("POST").await;
    drop(first);
    pannier.counts("pannier_http_requests_total", &[("code", "200"), ("route", CHAT)], 1.0).await;
    gate.open();
    while second.piece().await.is_ok() {}
    end(pannier).await;

    let book = ground.book().await;
    let figures = Figures::of(7);
    let row = &book.rows[&began];
    assert_eq!((row.get(Column::Cost), row.get(Column::Ending)), (Some(figures.cost()), Some(3)), "{row:?}");
    let (_, other) = book.rows.iter().find(|(id, _)| **id != began).expect("another");
    assert_eq!(
        (other.get(Column::Cost), other.get(Column::SavedCost)),
        (None, Some(figures.cost())),
        "{other:?}"
    );
    assert_eq!(book.sum(Figure::Cost), figures.cost(), "once");
    assert_eq!((book.sum(Figure::Joined), book.sum(Figure::Cancelled)), (1, 1));
}

#[tokio::test]
async fn what_had_been_produced_is_paid_for_when_nobody_waits_any_more() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let upstream = Upstream::start().await;
    let mut acts = Figures::of(4).acts(true);
    acts.insert(3, Act::Wait(Gate::closed()));
    upstream.always(CHAT, acts);
    let pannier = ground.launch(&upstream).start().await;
    let mut client = pannier.open().await;
    client.ask(&ask(4, true)).await;
    client.head("POST").await;
    let mut had = String::new();
    while had.matches("word ").count() < 2 {
        had += &String::from_utf8_lossy(&client.piece().await.expect("a word"));
    }
    upstream.visit(CHAT, 0).await;
    drop(client);
    pannier.counts("pannier_upstream_requests_total", &[("code", "200")], 1.0).await;
    end(pannier).await;
    let book = ground.book().await;
    let [row] = book.rows.values().collect::<Vec<_>>()[..] else { panic!("{:?}", book.rows) };
    assert_eq!(row.get(Column::Source), Some(2), "estimated: {row:?}");
    assert_eq!(row.get(Column::Completion), Some(2));
    assert!(row.get(Column::Cost).is_some_and(|cost| cost > 0), "{row:?}");
    book.agrees();
}

#[tokio::test]
async fn hits_beyond_those_that_get_rows_are_summed() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let (upstream, _) = upstream().await;
    let pannier = ground.launch(&upstream).set("ledger.hit_rows_per_second", "1").start().await;
    pannier.ask(&ask(1, false)).await.fine();
    pannier.remembered(&ask(1, false)).await;
    let mut wire = pannier.open().await;
    let begun = std::time::Instant::now();
    for _ in 0..50 {
        assert!(wire.exchange(&ask(1, false)).await.fine().is_hit());
    }
    let seconds = begun.elapsed().as_secs() + 2;
    let asked =
        pannier.metrics().await.sum("pannier_http_requests_total", &[("route", CHAT), ("code", "200")]);
    end(pannier).await;
    let book = ground.book().await;
    let hits = asked as i64 - 1;
    assert_eq!(book.sum(Figure::Hits), hits);
    assert_eq!(book.sum(Figure::SavedCost), hits * Figures::of(1).cost());
    let rows = book.rows.values().filter(|row| row.is_given()).count() as u64;
    assert!((1..=seconds).contains(&rows), "{rows} rows in {seconds} s");
}

#[tokio::test]
async fn a_model_without_a_price_may_be_refused_and_else_says_so() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let (upstream, served) = upstream().await;
    let start = |unknown: &str| {
        let launch = Launch::before(&upstream).data_dir(ground.folder());
        launch.set("cache.database.enabled", "false").set("prices.unknown", unknown).start()
    };
    let pannier = start("reject").await;
    assert_eq!(pannier.ask(&ask(1, false)).await.code(), Some("unpriced"));
    assert!(served.lock().expect("served").is_empty());
    end(pannier).await;
    let pannier = start("unpriced").await;
    pannier.ask(&ask(1, false)).await.fine();
    end(pannier).await;
    let book = ground.book().await;
    assert_eq!((book.sum(Figure::Unpriced), book.sum(Figure::Cost)), (1, 0));
    assert_eq!((book.sum(Figure::Requests), book.sum(Figure::Failed)), (2, 1));
    assert_eq!(book.sum(Figure::Prompt), Figures::of(1).prompt);
}
