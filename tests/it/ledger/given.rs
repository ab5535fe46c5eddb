//! Answers that are given without a trip, or ahead of anybody's asking; and what a model is asked on the side.

use super::texts::{EMBED, MODEL, TOKEN, embed, tokens};
use super::*;
use pannier::store::ledger::{Column, Figure};

/// A request for what is over, and still kept, and not asked for: nothing is done for it.
async fn is_over(pannier: &Pannier, ask: &Ask) {
    let only = ask.clone().with("Cache-Control", "only-if-cached");
    let is_over = || async { (pannier.ask(&only).await.status() == 504).then_some(()) };
    eventually_within(PATIENCE, "its time is over", is_over).await;
}

fn is_stale(reply: &Reply) -> bool {
    reply.status() == 200 && reply.cache().ends_with("; detail=STALE")
}

/// What a row says the cache did, its cost, and what it is credited with.
fn told(book: &Book, reply: &Reply) -> [Option<i64>; 3] {
    let row = &book.rows[&id(reply)];
    [Column::Cache, Column::Cost, Column::SavedCost].map(|column| row.get(column))
}

/// L-15
#[tokio::test]
async fn a_streamed_answer_and_a_whole_one_cost_the_same() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let (upstream, _) = upstream().await;
    let pannier = ground.launch(&upstream).start().await;
    let mut ids = Vec::new();
    for streamed in [false, true] {
        let alone = ask(3, streamed).with("Cache-Control", "no-store");
        ids.push(id(&pannier.ask(&alone).await.fine()));
    }
    end(pannier).await;
    let book = ground.book().await;
    book.agrees();
    let columns = [
        Column::Prompt,
        Column::CachedPrompt,
        Column::Completion,
        Column::Source,
        Column::PromptTime,
        Column::CompletionTime,
        Column::Load,
        Column::Cost,
        Column::Status,
        Column::Ending,
        Column::Cache,
    ];
    let [whole, streamed] = [&ids[0], &ids[1]].map(|id| columns.map(|column| book.rows[id].get(column)));
    assert_eq!(whole, streamed);
    assert_eq!(book.rows[&ids[0]].get(Column::Cost), Some(Figures::of(3).cost()));
}

#[tokio::test]
async fn what_a_tier_below_kept_is_credited_after_a_restart() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let (upstream, _) = upstream().await;
    let file = ground.folder().join("cache.db");
    let launch = || {
        let launch = ground.launch(&upstream).set("cache.database.enabled", "true");
        let launch = launch.set("cache.database.url", &file.to_string_lossy());
        launch.set("cache.database.timeout", "5s").set("cache.tiers.secret", &"0f".repeat(32))
    };
    let pannier = launch().start().await;
    pannier.ask(&ask(1, false)).await.fine();
    pannier.remembered(&ask(1, false)).await;
    end(pannier).await;
    let pannier = launch().start().await;
    let only = ask(1, false).with("Cache-Control", "only-if-cached");
    let found = eventually("the tier below has it", || async {
        let reply = pannier.ask(&only).await;
        reply.is_hit().then_some(reply)
    })
    .await;
    assert!(found.cache().contains("detail=database"), "{}", found.cache());
    let memory = pannier.ask(&ask(1, false)).await.fine();
    end(pannier).await;

    let book = ground.book().await;
    book.agrees();
    let cost = Figures::of(1).cost();
    assert_eq!(told(&book, &found), [Some(2), None, Some(cost)]);
    assert_eq!(told(&book, &memory), [Some(1), None, Some(cost)]);
    assert_eq!((book.sum(Figure::Trips), book.sum(Figure::Cost)), (1, cost));
}

#[tokio::test]
async fn what_is_given_in_place_of_a_trip_that_failed_is_credited() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let (mut upstream, _) = upstream().await;
    let settings = format!("{PRICES}[cache]\nstale_if_error = \"1h\"\ncompletion_ttl = \"4s\"\n");
    let pannier = ground.launch_under(&settings, &upstream).start().await;
    pannier.ask(&ask(1, false)).await.fine();
    let kept = pannier.remembered(&ask(1, false)).await;
    is_over(&pannier, &ask(1, false)).await;
    upstream.always(CHAT, json(500, r#"{"error":"the runner has died"}"#));
    let failed = pannier.ask(&ask(1, false)).await;
    upstream.stop().await;
    let gone = pannier.ask(&ask(1, false)).await;
    assert!(is_stale(&failed) && is_stale(&gone), "{} {}", failed.cache(), gone.cache());
    end(pannier).await;

    let book = ground.book().await;
    book.agrees();
    let cost = Figures::of(1).cost();
    for reply in [&kept, &failed, &gone] {
        assert_eq!(told(&book, reply), [Some(1), None, Some(cost)]);
    }
    assert_eq!(book.sum(Figure::Cost), cost);
}

/// Of many texts some may have come all the same: they are paid for, and nothing is credited.
#[tokio::test]
async fn who_has_paid_for_a_part_is_not_credited_with_the_whole() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let upstream = texts::embedding_upstream().await;
    let stale = [("cache.stale_if_error", "1h"), ("cache.embedding_ttl", "4s")];
    let launch = texts::launch(&ground, &upstream);
    let pannier = stale.iter().fold(launch, |launch, (key, value)| launch.set(key, value)).start().await;
    let both = embed(&["one", "bad"]);
    pannier.ask(&both).await.fine();
    pannier.remembered(&both).await;
    is_over(&pannier, &both).await;
    upstream.on(EMBED, |visit| match embedder::texts(&embedder::body(visit)) == ["bad"] {
        true => json(500, r#"{"error":"no"}"#),
        false => embedder::embeds(visit, MODELS[1].1),
    });
    let reply = pannier.ask(&both).await;
    assert!(is_stale(&reply), "{MODEL}: {} {}", reply.status(), reply.cache());
    end(pannier).await;

    let book = ground.book().await;
    book.agrees();
    let (once, both) = (tokens(&["one"]), tokens(&["one", "bad"]));
    assert_eq!(told(&book, &reply), [Some(3), Some(once * TOKEN), None]);
    assert_eq!(book.sum(Figure::Cost), (once + both) * TOKEN);
}

/// Who is named, or the first by name of those who share the answer. What was known before is not asked.
#[tokio::test]
async fn a_warming_is_paid_for_by_whom_it_is_for() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let (upstream, _) = upstream().await;
    let keys = "[auth]\nscope = \"team\"\nkeys = [\n  { name = \"cat\", team = \"lab\", key = \"key-of-cat\" },\n  \
                { name = \"ann\", team = \"lab\", key = \"key-of-ann\" },\n]\n";
    let pannier = ground.launch_under(&format!("{PRICES}{keys}"), &upstream).start().await;
    let warm = async |whom: &str, name: &str, numbers: &[u64]| {
        let bodies: Vec<_> = numbers.iter().map(|number| question(*number, false)).collect();
        let order = json!({ "path": CHAT, "requests": bodies, whom: name });
        pannier.administer(Ask::post("/admin/cache/warm", &order)).await.fine();
    };
    warm("key_name", "cat", &[1, 2]).await;
    let of_ann = ask(1, false).with("X-API-Key", "key-of-ann");
    pannier.remembered(&of_ann).await;
    warm("team", "lab", &[1, 2, 3]).await;
    end(pannier).await;

    let book = ground.book().await;
    book.agrees();
    let cost = |numbers: &[u64]| numbers.iter().map(|number| Figures::of(*number).cost()).sum::<i64>();
    assert_eq!(book.sum_of("cat", Figure::Cost), cost(&[1, 2]));
    assert_eq!(book.sum_of("ann", Figure::Cost), cost(&[3]));
    assert_eq!((book.sum_of("cat", Figure::Requests), book.sum(Figure::Trips)), (2, 3));
    assert!(book.sum_of("ann", Figure::SavedCost) >= cost(&[1]));
    assert!(book.rows.values().all(|row| row.get(Column::Ending).is_some()), "each is one row");
}

#[tokio::test]
async fn to_keep_a_model_warm_is_nobodys_request() {
    let ground = Ground::File(TempDir::new().expect("a folder"));
    let (upstream, _) = upstream().await;
    let (name, digest) = MODELS[0];
    let running = json!({ "models": [{
        "name": name, "digest": digest, "expires_at": "2026-11-20T21:09:43.25Z", "context_length": 2048,
    }] });
    upstream.always("/api/ps", json(200, &running.to_string()));
    let loaded =
        json!({ "model": name, "response": "", "done": true, "done_reason": "load", "eval_count": 7 });
    upstream.always("/api/generate", json(200, &loaded.to_string()));
    let settings = format!("{PRICES}[cache]\ntouch_keep_alive = true\n");
    let pannier = ground.launch_under(&settings, &upstream).start().await;
    pannier.ask(&ask(1, false)).await.fine();
    pannier.remembered(&ask(1, false)).await;
    pannier.counts("pannier_model_touches_total", &[("outcome", "touched")], 1.0).await;
    end(pannier).await;

    let book = ground.book().await;
    book.agrees();
    assert_eq!((book.sum(Figure::Trips), book.sum(Figure::Cost)), (1, Figures::of(1).cost()));
    assert_eq!(book.sum(Figure::Completion), Figures::of(1).completion);
}
