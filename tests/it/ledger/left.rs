//! Answers of which not all came, or not all was taken.

use super::*;
use pannier::store::ledger::{Column, Figure};
use std::time::Duration;

#[tokio::test]
async fn who_leaves_a_joined_trip_pays_nothing_and_saves_nothing() {
    let (ground, upstream, gate) = halfway(7).await;
    let pannier = ground.launch(&upstream).start().await;
    let (mut first, mut second) = (pannier.open().await, pannier.open().await);
    first.ask(&ask(7, true)).await;
    first.head("POST").await;
    second.ask(&ask(7, true)).await;
    let left = id_of(&second.head("POST").await.fields);
    drop(second);
    pannier.counts("pannier_http_requests_total", &[("code", "200"), ("route", CHAT)], 1.0).await;
    gate.open();
    while first.piece().await.is_ok() {}
    end(pannier).await;

    let book = ground.book().await;
    book.agrees();
    let row = &book.rows[&left];
    assert_eq!((row.get(Column::Cache), row.get(Column::Ending)), (Some(4), Some(3)), "{row:?}");
    assert_eq!((row.get(Column::Cost), row.get(Column::SavedCost)), (None, None), "{row:?}");
    assert_eq!((book.sum(Figure::Cost), book.sum(Figure::SavedCost)), (Figures::of(7).cost(), 0));
}

#[tokio::test]
async fn who_leaves_a_hit_pays_nothing_and_saves_nothing() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let upstream = Upstream::start().await;
    // More than sockets hold that nobody reads.
    let mut acts = Figures::of(3).acts(false);
    let Some(Act::Send(bytes)) = acts.pop() else { unreachable!() };
    let text = String::from_utf8(bytes).expect("UTF-8").replace("all of it", &"word ".repeat(2_500_000));
    let (_, body) = text.split_once("\r\n\r\n").expect("a head");
    upstream.always(CHAT, json(200, body));
    let pannier = ground.launch(&upstream).set("cache.hit_price", "0.000001").start().await;
    pannier.ask(&ask(3, false)).await.fine();
    pannier.remembered(&ask(3, false)).await;
    let taken = hits(&pannier).await;
    let mut client = pannier.open().await;
    client.ask(&ask(3, false)).await;
    let left = id_of(&client.head("POST").await.fields);
    drop(client);
    end_after_a_leaving(pannier).await;

    let book = ground.book().await;
    book.agrees();
    let row = &book.rows[&left];
    assert_eq!((row.get(Column::Cache), row.get(Column::Ending)), (Some(1), Some(3)), "{row:?}");
    assert_eq!((row.get(Column::Cost), row.get(Column::SavedCost)), (None, None), "{row:?}");
    let (cost, hit) = (Figures::of(3).cost(), 1_000);
    assert_eq!(book.sum(Figure::SavedCost), taken * (cost - hit), "a hit is credited less its price");
    assert_eq!(book.sum(Figure::Cost), cost + taken * hit);
    assert_eq!((book.sum(Figure::Hits), book.sum(Figure::Cancelled)), (taken + 1, 1));
}

/// Ends it once it has counted that a client left.
async fn end_after_a_leaving(pannier: Pannier) {
    pannier.counts("pannier_errors_total", &[("type", "client_gone")], 1.0).await;
    end(pannier).await;
}

/// Nobody knows what had been produced of it.
#[tokio::test]
async fn who_leaves_before_an_answer_that_is_told_whole_pays_nothing() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let (upstream, gate) = (Upstream::start().await, Gate::closed());
    upstream.always(CHAT, [vec![Act::Wait(gate)], Figures::of(2).acts(false)].concat());
    let pannier = ground.launch(&upstream).start().await;
    let mut client = pannier.open().await;
    client.ask(&ask(2, false)).await;
    upstream.visit(CHAT, 0).await;
    drop(client);
    end_after_a_leaving(pannier).await;

    let book = ground.book().await;
    book.agrees();
    let rows: Vec<&Row> = book.rows.values().collect();
    let [row] = rows[..] else { panic!("{rows:?}") };
    assert_eq!(book.failure(row)[0], "client_gone");
    assert_eq!((row.get(Column::Cost), row.get(Column::Prompt)), (None, None), "{row:?}");
    assert_eq!((book.sum(Figure::Cost), book.sum(Figure::Cancelled)), (0, 1));
}

/// Hits that were taken to their end.
async fn hits(pannier: &Pannier) -> i64 {
    let samples = pannier.metrics().await;
    samples.sum("pannier_cache_requests_total", &[("tier", "memory"), ("result", "hit")]) as i64
}

#[tokio::test]
async fn what_had_come_is_paid_for_when_the_upstream_breaks_off() {
    for streamed in [true, false] {
        let ground = Ground::File(TempDir::new().expect("a folder"));
        let upstream = Upstream::start().await;
        let mut acts = Figures::of(4).acts(streamed);
        match streamed {
            // The head, and two words of seven.
            true => acts.truncate(3),
            false => {
                let Some(Act::Send(bytes)) = acts.first_mut() else { unreachable!() };
                bytes.truncate(bytes.len() - 20);
            }
        }
        acts.extend([Act::Pause(Duration::from_millis(50)), Act::Rst]);
        upstream.always(CHAT, acts);
        let pannier = ground.launch(&upstream).start().await;
        let mut wire = pannier.open().await;
        wire.ask(&ask(4, streamed)).await;
        let broken = id_of(&wire.head("POST").await.fields);
        while wire.piece().await.is_ok() {}
        end(pannier).await;
        let book = ground.book().await;
        book.agrees();
        let row = &book.rows[&broken];
        assert_eq!(row.get(Column::Ending), Some(3), "{row:?}");
        assert_eq!(book.failure(row)[0], "upstream_aborted");
        if streamed {
            // Nobody has told the question's tokens: some four letters each.
            let prompt = row.get(Column::Prompt).expect("an estimate");
            assert!((3..=4).contains(&prompt), "{row:?}");
            let figures = Figures { prompt, completion: 2, prompt_ns: 0, eval_ns: 0 };
            assert_eq!((row.get(Column::Source), row.get(Column::Completion)), (Some(2), Some(2)), "{row:?}");
            assert_eq!(row.get(Column::Cost), Some(figures.cost()), "{row:?}");
        } else {
            assert_eq!((row.get(Column::Cost), row.get(Column::Prompt)), (None, None), "{row:?}");
        }
        assert_eq!((book.sum(Figure::Trips), book.sum(Figure::Failed)), (1, 1));
    }
}
