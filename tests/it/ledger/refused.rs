//! What is not answered, and what an upstream says no to.

use super::*;
use pannier::store::ledger::{Column, Figure};
use std::sync::atomic::{AtomicUsize, Ordering};

#[tokio::test]
async fn an_upstream_that_refuses_is_paid_nothing() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let upstream = Upstream::start().await;
    let pannier = ground.launch(&upstream).start().await;
    let mut asked = Vec::new();
    // What it says is told in Pannier's own words: it may have a client's in it.
    for (status, error, message) in [
        (400, "no, said the question", "it answered 400"),
        (404, "model 'secret' not found", "there is no such model"),
        (
            500,
            "llama runner process has terminated: killed",
            "the model's process ended, or does not come up",
        ),
        (503, "server busy, please try again", "too busy"),
    ] {
        upstream.always(CHAT, json(status, &json!({ "error": error }).to_string()));
        let reply = pannier.ask(&ask(1, false)).await;
        assert_eq!(reply.status(), status);
        asked.push((id(&reply), status, message));
    }
    end(pannier).await;
    let book = ground.book().await;
    book.agrees();
    for (id, status, message) in &asked {
        let row = &book.rows[id];
        assert_eq!((row.get(Column::Status), row.get(Column::Ending)), (Some(i64::from(*status)), Some(1)));
        assert_eq!(book.failure(row), &["upstream_error", *message]);
        assert_eq!(
            (row.get(Column::Cost), row.get(Column::Prompt), row.get(Column::Price)),
            (None, None, None)
        );
    }
    assert_eq!([Figure::Failed, Figure::Trips, Figure::Unpriced].map(|figure| book.sum(figure)), [4, 4, 0]);
}

#[tokio::test]
async fn an_error_inside_an_answer_is_a_failure_that_is_paid_for() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let upstream = Upstream::start().await;
    let mut acts = Figures::of(4).acts(true);
    acts.truncate(3);
    acts.extend([Act::Chunk(b"{\"error\":\"the context length\"}\n".to_vec()), Act::Chunk(Vec::new())]);
    upstream.always(CHAT, acts);
    let pannier = ground.launch(&upstream).start().await;
    let failed = id(&pannier.ask(&ask(4, true)).await);
    end(pannier).await;
    let book = ground.book().await;
    book.agrees();
    let row = &book.rows[&failed];
    assert_eq!((row.get(Column::Status), row.get(Column::Completion)), (Some(200), Some(2)), "{row:?}");
    assert!(row.get(Column::Cost).is_some_and(|cost| cost > 0), "{row:?}");
    assert_eq!(book.failure(row), &["upstream_error", "longer than the model's context"]);
    assert_eq!((book.sum(Figure::Failed), book.sum(Figure::Cancelled)), (1, 0));
}

#[tokio::test]
async fn what_pannier_refuses_costs_nothing() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let mut upstream = Upstream::start().await;
    let pannier = ground.launch(&upstream).start().await;
    let only = ask(1, false).with("Cache-Control", "only-if-cached");
    assert_eq!(pannier.ask(&only).await.code(), Some("not_cached"));
    upstream.stop().await;
    let away = pannier.ask(&ask(2, false)).await;
    assert_eq!(away.code(), Some("upstream_unreachable"));
    end(pannier).await;
    let book = ground.book().await;
    book.agrees();
    let ended: Vec<_> =
        book.rows.values().map(|row| (row.get(Column::Ending), row.get(Column::Cost))).collect();
    assert_eq!(ended, [(Some(2), None), (Some(2), None)]);
    let row = &book.rows[&id(&away)];
    let [code, message] = book.failure(row);
    assert_eq!(code, "upstream_unreachable");
    assert!(!message.is_empty() && !message.contains("question"), "{message}");
    assert_eq!((book.sum(Figure::Failed), book.sum(Figure::Cost)), (2, 0));
}

/// A kept connection that was dead is replaced, and the request sent again.
#[tokio::test]
async fn what_was_sent_twice_is_paid_for_once() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let upstream = Upstream::start().await;
    let came = Arc::new(AtomicUsize::new(0));
    let counted = came.clone();
    upstream.on(CHAT, move |visit| {
        counted.fetch_add(1, Ordering::SeqCst);
        match visit.turn {
            0 => Figures::of(asked(visit).0).acts(false),
            _ => vec![Act::Rst],
        }
    });
    let pannier = ground.launch(&upstream).start().await;
    for number in 0..10 {
        pannier.ask(&ask(number, false)).await.fine();
    }
    end(pannier).await;
    assert!(came.load(Ordering::SeqCst) > 10, "nothing was sent twice");
    let book = ground.book().await;
    book.agrees();
    let figures = (0..10).map(Figures::of);
    assert_eq!(book.sum(Figure::Trips), 10);
    assert_eq!(book.sum(Figure::Cost), figures.map(|figures| figures.cost()).sum::<i64>());
}

#[tokio::test]
async fn figures_that_are_no_amount_are_an_error_in_the_books() {
    for ground in Ground::all() {
        let upstream = Upstream::start().await;
        // No number, and a million and a half.
        let absurd = [i64::MAX, 10_000_000_000_000].map(|prompt| Figures { prompt, ..Figures::of(1) });
        upstream.on(CHAT, move |visit| match asked(visit) {
            (number, _) if number < 20 => absurd[number as usize % 2].acts(false),
            (number, _) => Figures::of(number).acts(false),
        });
        let pannier = ground.launch(&upstream).start().await;
        for number in 0..21 {
            pannier.ask(&ask(number, false)).await.fine();
        }
        end(pannier).await;
        let book = ground.book().await;
        assert_eq!((book.sum(Figure::Unbilled), book.sum(Figure::Cost)), (20, Figures::of(20).cost()));
        assert_eq!(book.sum(Figure::Requests), 21, "all is taken over");
        let absurd: Vec<_> = book.rows.values().filter(|row| row.get(Column::Unbilled).is_some()).collect();
        assert_eq!(absurd.len(), 20);
        for row in absurd {
            assert_eq!((row.get(Column::Cost), row.get(Column::Prompt)), (None, Some(i64::from(i32::MAX))));
        }
    }
}
