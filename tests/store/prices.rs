//! Prices in a table, and rows of the ledger that are billed anew, on both databases.

use crate::ledger::{batch, grounds, lines, open, options, row, sums};
use crate::stage::Ground;
use pannier::store::ledger::{
    Anew, Bill, Billed, Column, Figure, Line, Period, PriceNumbers, Span, look, rebill,
};
use pannier::store::prices::{Change, MOST, PriceRow, PriceTable, migrations};
use pannier::store::{Shared, Statement, Store};
use std::sync::Arc;

fn shared(ground: &Ground) -> Arc<Shared> {
    Arc::new(Shared::new(ground.place(), options(), vec![migrations()]))
}

fn price(model: &str, since: i64, prompt: i64) -> PriceRow {
    PriceRow {
        model: model.into(),
        since,
        currency: "USD".into(),
        prompt,
        cached_prompt: None,
        completion: i64::MAX,
        embedding: Some(0),
        image: 1,
        audio_second: 2,
        gpu_second: 3,
        changed: 1_800_000_000_000,
    }
}

#[tokio::test]
async fn what_is_kept_comes_back_as_it_was() {
    for ground in grounds() {
        let shared = shared(&ground);
        let table = PriceTable::new(shared.clone());
        let begun = table.version("USD").await.expect("a version");
        let first = [price("a*", 0, 1), price("a*", 7, 2), price("b", 0, 3)];
        assert_eq!(table.set(&first, false).await.expect("set"), Change::Done);
        assert_eq!(table.all().await.expect("all"), first);
        assert_ne!(table.version("USD").await.expect("a version"), begun);
        let other = PriceRow { cached_prompt: Some(9), embedding: None, ..price("a*", 7, 20) };
        table.set(&[other.clone(), price("c", 0, 4)], false).await.expect("set");
        let all = [first[0].clone(), other, first[2].clone(), price("c", 0, 4)];
        assert_eq!(table.all().await.expect("all"), all);
        let before = table.version("USD").await.expect("a version");
        assert_eq!(table.remove("a*", Some(8)).await.expect("remove"), 0);
        assert_eq!(table.version("USD").await.expect("a version"), before, "nothing has changed");
        assert_eq!(table.remove("a*", Some(7)).await.expect("remove"), 1);
        assert_eq!(table.remove("a*", None).await.expect("remove"), 1);
        assert_eq!(table.all().await.expect("all"), all[2..]);

        let many: Vec<_> = (0..MOST as i64).map(|since| price("m", since, since)).collect();
        assert_eq!(table.set(&many, false).await.expect("set"), Change::TooMany);
        assert_eq!(table.all().await.expect("all"), all[2..], "all of it, or nothing");
        assert_eq!(table.set(&many, true).await.expect("set"), Change::Done);
        assert_eq!(table.all().await.expect("all"), many);
        shared.close().await;
    }
}

/// When the requests of a batch came.
const AT: u64 = 86_400;

/// The id of a request of that second.
fn id(second: u64, number: u64) -> u64 {
    (second * 1_000) << 16 | number
}

/// All under one price, and twice what they cost: what is more is for the answer.
fn twice(row: &Billed) -> Option<Anew> {
    let cost = row.bill.cost.expect("a cost");
    let bill = Bill { price: Some("new".into()), cost: Some(cost * 2), ..Bill::default() };
    (row.bill.price.as_deref() != Some("new")).then_some(Anew { bill, shares: [0, cost, 0] })
}

async fn rows_cost(store: &Store) -> i64 {
    let mut work = store.read().await.expect("read");
    let sum = work.rows(Statement::new("SELECT CAST(SUM(cost) AS BIGINT) FROM ledger_row")).await;
    work.done().await.expect("done");
    sum.expect("a sum")[0].number(0).expect("a number")
}

#[tokio::test]
async fn rows_and_sums_are_billed_anew_together() {
    const ROWS: u64 = 1_200;
    for ground in grounds() {
        let store = open(&ground).await;
        let values = [(Column::Cost, 5), (Column::Price, 0), (Column::Unpriced, 2), (Column::Completion, 77)];
        let rows = (0..ROWS).map(|number| row(id(AT, number), &values)).collect();
        let n = ROWS as i64;
        let all = sums(&[(Figure::Trips, n), (Figure::Cost, 5 * n), (Figure::Unpriced, 2 * n)]);
        assert!(batch(0, 1, rows, all).write(&store).await.expect("write"));

        let seen = look(&store, Span::of(AT, AT + 1), twice).await.expect("look");
        let (first, new) = &seen[0];
        assert_eq!(
            (first.model.as_str(), first.operation.as_str(), first.second()),
            ("llama3:latest", "chat", 86_400)
        );
        assert_eq!((first.completion, first.prompt, first.bill.cost), (77, 0, Some(5)));
        assert_eq!((first.bill.price.as_deref(), first.bill.unpriced), (Some("llama3 USD"), Some(2)));
        assert_eq!(new.as_ref().expect("a bill").bill.cost, Some(10));
        assert_eq!(rows_cost(&store).await, 5 * n, "a look changes nothing");
        for outside in [Span::of(0, AT), Span::of(AT + 1, u64::MAX)] {
            assert!(look(&store, outside, twice).await.expect("look").is_empty());
        }

        let (mut span, mut numbers, mut seen) = (Span::of(0, u64::MAX), PriceNumbers::default(), 0);
        loop {
            let judged = rebill(&store, span, &mut numbers, twice).await.expect("rebill");
            let Some((last, _)) = judged.last() else { break };
            (span.after, seen) = (last.id, seen + judged.len());
            // After every step, what rows and sums say is the same.
            for period in Period::ALL {
                let all = lines(&store, period, 0, i64::MAX).await;
                let [Line { sums, .. }] = &all[..] else { panic!("{all:?}") };
                assert_eq!(sums[Figure::Cost as usize], rows_cost(&store).await);
                assert_eq!(sums[Figure::Unpriced as usize], 2 * (n - seen as i64));
                assert_eq!(sums[Figure::CompletionCost as usize], 5 * seen as i64);
                assert_eq!(sums[Figure::Trips as usize], n);
            }
        }
        assert_eq!((seen, rows_cost(&store).await), (ROWS as usize, 10 * n));
        let again = rebill(&store, Span::of(0, u64::MAX), &mut numbers, twice).await.expect("rebill");
        assert!(again.iter().all(|(row, new)| new.is_none() && row.bill.price.as_deref() == Some("new")));
        store.close().await;
    }
}
