//! Pannier is killed again and again, and the books say what was served.

use super::mixed::{Had, Price, Truth, client};
use super::*;
use pannier::store::ledger::{Column, Figure};
use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

/// How often it is killed on each ground, unless `KILLS` says otherwise.
const KILLS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_say_what_was_served_however_often_pannier_is_killed() {
    let kills = std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    for ground in Ground::all() {
        let truth = Arc::default();
        let upstream = mixed::upstream(&truth).await;
        let mut prices =
            vec![Price { from: 0, heard: 0, prompt: 150_000_001, completion: 600_000_007, gpu: 1_000_003 }];
        let mut had = Vec::new();
        for round in 0..kills as u64 {
            had.extend(round_of(&ground, &upstream, &mut prices, round, seed).await);
        }
        drained(&ground, &upstream, in_settings(&ground, &prices)).await;
        let [paid, given, whole] = check(&ground.book().await, &truth, &had, &prices);
        assert!(whole > 50 && given > 10 && paid > 10, "too little happened");
    }
}

/// Those that are not set while Pannier runs, as on a server all are but the first.
fn in_settings<'a>(ground: &Ground, prices: &'a [Price]) -> &'a [Price] {
    match ground {
        Ground::File(_) => prices,
        Ground::Server(..) => &prices[..1],
    }
}

/// Replicas that keep one set of books; each has a spool of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_keep_one_set_of_books_however_often_they_are_killed() {
    let Some(server) = Postgres::start() else { return };
    let grounds = [Ground::Server(Box::new(server), TempDir::new().expect("a folder"))];
    let folders = [TempDir::new().expect("a folder"), TempDir::new().expect("a folder")];
    let truth = Arc::default();
    let upstream = mixed::upstream(&truth).await;
    let prices = [Price { from: 0, heard: 0, prompt: 150_000_001, completion: 600_000_007, gpu: 1_000_003 }];
    let launch =
        |at: usize| grounds[0].launch_under(&written(&prices), &upstream).data_dir(folders[at].path());
    let seed = fastrand::u64(..);
    println!("SEED={seed}");
    let mut had = Vec::new();
    let (mut running, mut clients) = ([launch(0).start().await, launch(1).start().await], Vec::new());
    for round in 0..KILLS as u64 {
        let first = |n: u64| (round * 8 + n + 1) * 1_000_000;
        let begin = |n: u64| {
            let at = running[n as usize % 2].addr;
            tokio::spawn(client(at, first(n), seed ^ first(n)))
        };
        clients.extend((0..4).map(begin));
        pause(120 + (seed.wrapping_add(round * 7_919)) % 300).await;
        let killed = (round % 2) as usize;
        running[killed].signal("KILL");
        running[killed].ended().await;
        running[killed] = launch(killed).start().await;
    }
    for pannier in running {
        end(pannier).await;
    }
    for client in clients {
        had.extend(client.await.expect("a client"));
    }
    for at in [0, 1] {
        let pannier = launch(at).start().await;
        eventually("nothing is left of those that were killed", || async {
            (spools(folders[at].path()) == 1).then_some(())
        })
        .await;
        end(pannier).await;
    }
    let [paid, given, whole] = check(&grounds[0].book().await, &truth, &had, &prices);
    assert!(whole > 50 && given > 10 && paid > 10, "too little happened");
}

/// Those that have no row of their own are counted in the spool, while it is read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hits_that_are_only_counted_outlive_a_kill() {
    const EACH: i64 = 300;
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let (upstream, _) = upstream().await;
    let mut asked = 0;
    for _ in 0..4 {
        let launch = ground.launch(&upstream).set("ledger.hit_rows_per_second", "0");
        let mut pannier = launch.start().await;
        let mut wire = pannier.open().await;
        asked += 1;
        while !wire.exchange(&ask(1, false)).await.fine().is_hit() {
            asked += 1;
        }
        let client = async || {
            let mut wire = pannier.open().await;
            for _ in 0..EACH {
                wire.exchange(&ask(1, false)).await.fine();
            }
        };
        tokio::join!(client(), client(), client(), client());
        asked += 4 * EACH;
        pannier.signal("KILL");
        pannier.ended().await;
    }
    drained_by(ground.launch(&upstream), &ground).await;
    let book = ground.book().await;
    let given = book.sum(Figure::Hits) + book.sum(Figure::Joined);
    assert_eq!(book.sum(Figure::Requests), asked);
    assert!(given >= 16 * EACH, "{given} hits");
    assert_eq!(book.sum(Figure::SavedCost), given * Figures::of(1).cost());
}

/// What has broken off is not in the books as whole, though its reader has not come to where it broke.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_broke_off_before_a_kill_was_never_whole() {
    const ALL: usize = 32 << 20;
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let upstream = Upstream::start().await;
    let message = json!({ "role": "assistant", "content": "a".repeat(64 << 10) });
    let line = json!({ "model": "smollm2:135m", "created_at": "", "message": message, "done": false });
    let line = format!("{line}\n").into_bytes();
    let mut acts = chunked("application/x-ndjson", &vec![line.clone(); ALL / line.len()]);
    acts.pop();
    acts.push(Act::Fin);
    upstream.always(CHAT, acts);
    let launch = ground.launch(&upstream).set("flight.window", "64MiB");
    let mut pannier = launch.start().await;
    let mut wire = pannier.open().await;
    wire.ask(&ask(1, true)).await;
    let id = id_of(&wire.head("POST").await.fields);
    eventually("it is known to have broken off", || async {
        let estimated = pannier.metrics().await.sum("pannier_llm_tokens_total", &[("source", "estimated")]);
        (estimated > 0.0).then_some(())
    })
    .await;
    // More than lay on the way, and so much less than all that the rest does not.
    let mut read = 0;
    while read < ALL / 2 {
        read += wire.piece().await.expect("a line").len();
    }
    pannier.signal("KILL");
    pannier.ended().await;
    drained_by(ground.launch(&upstream), &ground).await;
    let book = ground.book().await;
    let row = &book.rows[&id];
    assert_eq!((row.get(Column::Source), row.get(Column::Ending)), (Some(2), None), "{row:?}");
}

/// Clients ask, prices change, and in the midst of it Pannier is killed.
async fn round_of(
    ground: &Ground,
    upstream: &Upstream,
    prices: &mut Vec<Price>,
    round: u64,
    seed: u64,
) -> Vec<Had> {
    let launch = ground.launch_under(&written(in_settings(ground, prices)), upstream);
    let fsync = if round % 3 == 2 { "each" } else { "100ms" };
    let mut pannier = launch.set("ledger.fsync", fsync).start().await;
    let first = |n: u64| (round * 8 + n + 1) * 1_000_000;
    let begin = |n| tokio::spawn(client(pannier.addr, first(n), seed ^ first(n)));
    let clients: Vec<_> = (0..8).map(begin).collect();
    pause(120 + (seed.wrapping_add(round * 7_919)) % 400).await;
    if round.is_multiple_of(2) {
        // Holds from a moment on that has not come when Pannier hears of it.
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a moment").as_secs();
        let last = prices[prices.len() - 1];
        prices.push(Price { from: now() + 2, heard: u64::MAX, prompt: last.prompt + 7_000_003, ..last });
        tell(&pannier, ground, prices).await;
        prices.last_mut().expect("the new one").heard = now() + 1;
        pause(100 + seed % 300).await;
    }
    pannier.signal("KILL");
    pannier.ended().await;
    let mut had = Vec::new();
    for client in clients {
        had.extend(client.await.expect("a client"));
    }
    had
}

/// Lets Pannier know of the last of the prices.
async fn tell(pannier: &Pannier, ground: &Ground, prices: &[Price]) {
    if let Ground::Server(..) = ground {
        let set = json!({ "prices": [prices[prices.len() - 1].told()], "replace": false });
        let set = Ask::new("PUT", "/api/admin/costs/pricing").bytes(set.to_string());
        pannier.administer(set).await.fine();
        return;
    }
    pannier.configure(&written(prices));
    pannier.signal("HUP");
    eventually("the prices are heard of", || async {
        pannier.output().contains("settings reloaded").then_some(())
    })
    .await;
}

pub fn written(prices: &[Price]) -> String {
    let models: Vec<_> = prices.iter().map(Price::written).collect();
    format!("[prices]\nbuiltin = false\nmodels = [{}]\n", models.join(", "))
}

/// What the last one left is taken over by the next.
pub async fn drained(ground: &Ground, upstream: &Upstream, prices: &[Price]) {
    drained_by(ground.launch_under(&written(prices), upstream), ground).await;
}

/// A new one takes over what those on this ground have left.
async fn drained_by(launch: Launch, ground: &Ground) {
    let pannier = launch.start().await;
    eventually("nothing is left of those that were killed", || async {
        (ground.spools() == 1).then_some(())
    })
    .await;
    end(pannier).await;
}

/// The price that holds at a moment, and those before it while Pannier may not have heard of it.
fn holding(prices: &[Price], millis: u64) -> &[Price] {
    let last = prices.iter().rposition(|price| price.from * 1_000 <= millis).expect("a price");
    let heard = prices[..=last].iter().rposition(|price| price.heard * 1_000 <= millis);
    &prices[heard.unwrap_or(0)..=last]
}

/// How many answers somebody has paid for, were given, and were had whole.
pub fn check(book: &Book, truth: &Truth, had: &[Had], prices: &[Price]) -> [usize; 3] {
    book.agrees();
    let mut paid = HashSet::new();
    let (mut given, mut estimated) = (0, 0);
    for (id, row) in &book.rows {
        let Some(number) = row.get(Column::Prompt) else {
            assert_eq!((row.get(Column::Cost), row.get(Column::SavedCost)), (None, None), "{id}: {row:?}");
            continue;
        };
        if row.get(Column::Source) == Some(2) && row.get(Column::Completion).unwrap_or(0) == 0 {
            // Of the route that tells no tokens.
            assert!((1..100).contains(&number), "{row:?}");
            estimated += 1;
            continue;
        }
        if row.get(Column::Source) == Some(2) {
            // Cut short: nobody has told its tokens, and at least one was there.
            assert!(row.get(Column::Completion).is_some_and(|tokens| (1..=24).contains(&tokens)), "{row:?}");
            assert_ne!(row.get(Column::Ending), Some(1), "{row:?}");
            estimated += 1;
            continue;
        }
        let answer = truth.served(number).unwrap_or_else(|| panic!("{number} was never served: {row:?}"));
        let answer = answer.as_given(row);
        assert!(answer.is_in(row), "{number}: {answer:?}, {row:?}");
        let millis = u64::from_str_radix(&id[..12], 16).expect("a moment");
        let (cost, saved) = (row.get(Column::Cost), row.get(Column::SavedCost));
        let amount = match row.is_given() {
            true => saved.filter(|_| cost.is_none()),
            false => cost.filter(|_| saved.is_none()),
        };
        let may_be = holding(prices, millis);
        let is_right = may_be.iter().any(|price| amount == Some(answer.cost(number, price)));
        assert!(is_right, "{number}: {row:?} under {may_be:?}");
        assert!(row.is_given() || paid.insert(number), "{number} was paid for twice");
        given += usize::from(row.is_given());
    }
    let whole: Vec<&Had> = had.iter().filter(|had| had.whole).collect();
    for Had { id, number, .. } in &whole {
        let row = book.rows.get(id).unwrap_or_else(|| panic!("{number:?} has no row"));
        assert_eq!(row.get(Column::Ending), Some(1), "{number:?}: {row:?}");
        let Some(number) = *number else {
            assert_eq!(row.get(Column::Source), Some(2), "its tokens were not told: {row:?}");
            continue;
        };
        assert_eq!(row.get(Column::Prompt), Some(number), "{row:?}");
        assert!(paid.contains(&number), "somebody had {number}, and nobody has paid for it");
    }
    for Had { id, .. } in had.iter().filter(|had| had.broken) {
        assert!(book.rows.contains_key(id), "an answer that broke off has no row");
    }
    println!(
        "{} served, {} rows: {} paid for, {given} given, {estimated} cut short; {} had whole",
        truth.count(),
        book.rows.len(),
        paid.len(),
        whole.len()
    );
    [paid.len(), given, whole.len()]
}
