//! What an operator asks for.

use super::*;
use pannier::cache::{Selection, Tally, TierName};
use servers::RedisServer;

async fn filled(server: &RedisServer) -> House {
    let house = House::over(&[&server.url()]).await;
    for n in 0..300 {
        house.keep(n, vector(n));
    }
    for n in 1000..1020 {
        house.keep(n, answer(n));
    }
    for n in 2000..2005 {
        house.keep(n, answer_of("gemma3:1b", format!("{n}")));
    }
    house.written().await;
    // Other people's keys, and such as only look like ours.
    for n in 0..2000 {
        server.run::<String>(&["SET", &format!("others:{n}"), "1"]);
    }
    for name in ["pannier:", "pannier:x", "pannier:abcd", &format!("pannier:{}g", "a".repeat(63))] {
        server.run::<String>(&["SET", name, "1"]);
    }
    house
}

async fn tallies(house: &House) -> Vec<Tally> {
    let (tier, tallies) = house.tiers.tally().await.pop().unwrap();
    assert_eq!(tier, TierName::Redis);
    tallies.unwrap()
}

async fn removed(house: &House, selection: Selection) -> u64 {
    house.tiers.remove(&selection).await.pop().unwrap().1.unwrap()
}

#[tokio::test]
async fn how_much_there_is_of_what() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let house = filled(&server).await;
    let tallies = tallies(&house).await;
    let of = |tally: &Tally| (tally.prefix, tally.model.to_string(), tally.team.to_string(), tally.entries);
    let expected = [
        (Prefix::Embedding, "all-minilm:latest".to_owned(), "lab".to_owned(), 300),
        (Prefix::Chat, "llama3:latest".to_owned(), "lab".to_owned(), 20),
        (Prefix::Chat, "gemma3:1b".to_owned(), "lab".to_owned(), 5),
    ];
    assert_eq!(tallies.iter().map(of).collect::<Vec<_>>(), expected);
    assert!((300 * 1536..300 * 1700).contains(&tallies[0].bytes), "{}", tallies[0].bytes);
}

#[tokio::test]
async fn what_is_meant_goes_and_nothing_else() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let house = filled(&server).await;
    let before = size(&server);
    let none = Selection::default();
    assert_eq!(removed(&house, Selection { expired: true, ..none.clone() }).await, 0);
    assert_eq!(removed(&house, Selection { team: Some("other".into()), ..none.clone() }).await, 0);
    assert_eq!(removed(&house, Selection { model: Some("gemma3:1b".into()), ..none.clone() }).await, 5);
    assert_eq!(removed(&house, Selection { key: Some(key(1000)), ..none.clone() }).await, 1);
    let wrong = Selection { key: Some(key(1001)), prefix: Some(Prefix::Embedding), ..none.clone() };
    assert_eq!(removed(&house, wrong).await, 0);
    assert_eq!(removed(&house, Selection { prefix: Some(Prefix::Embedding), ..none.clone() }).await, 300);
    assert_answer(house.find(1001).await, 1001);
    assert_eq!(removed(&house, none).await, 19);
    assert!(house.find(1001).await.is_none());
    assert_eq!(size(&server), before - 325, "other people's keys are still there");
}

#[tokio::test]
async fn what_is_removed_while_it_waits_does_not_come_back() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let house = House::idle(&[&server.url()], SECRET);
    house.tiers.probe().await;
    for n in 0..100 {
        house.keep(n, answer(n));
    }
    house.tiers.remove(&Selection::default()).await;
    let house = house.works();
    house.written().await;
    assert_eq!(size(&server), 0);
}

#[tokio::test]
async fn the_most_used_come_first() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let config = config(&server.url());
    let tier = Arc::new(Redis::new(&config).unwrap());
    let metrics = Arc::new(Metrics::new());
    let levels = [(tier.clone() as Arc<dyn Tier>, config.limits())];
    let tiers = Arc::new(Tiers::new(Seal::new(&Secret::of(SECRET)), levels, 1 << 20, metrics.clone()));
    let house = House { tiers, metrics, stop: watch::channel(false).0, running: None };
    house.tiers.probe().await;
    let house = house.works();
    for n in 0..5 {
        house.kept(n).await;
    }
    house.keep(9, vector(9));
    house.written().await;
    for n in [3, 1, 3, 2, 3, 1] {
        assert_answer(house.find(n).await, n);
    }
    let (stop, stopped) = watch::channel(true);
    tier.run(stopped).await;
    drop(stop);
    let top = |selection: Selection, most| {
        let tiers = house.tiers.clone();
        async move { tiers.top(&selection, most).await.pop().unwrap().1.unwrap() }
    };
    let listed = top(Selection::default(), 10).await;
    let hits: Vec<_> = listed.iter().map(|listing| (listing.key, listing.hits)).collect();
    assert_eq!(hits, [(key(3), 3), (key(1), 2), (key(2), 1)]);
    let first = &listed[0];
    assert_eq!((&*first.label.model, &*first.label.team), ("llama3:latest", "lab"));
    let now = std::time::SystemTime::now();
    assert!(first.stored <= first.last_used && first.last_used <= now && first.expires > now);
    let sealed: u64 = server.run(&["STRLEN", &name(3)]);
    assert!(first.bytes > 50 && first.bytes < sealed);
    assert_eq!(top(Selection::default(), 2).await.len(), 2);
    assert_eq!(top(Selection { prefix: Some(Prefix::Embedding), ..Selection::default() }, 9).await, []);
    let unused = top(Selection { key: Some(key(4)), ..Selection::default() }, 1).await;
    assert_eq!((unused[0].key, unused[0].hits), (key(4), 0));
    // Those that have ended give way: only the most used are remembered.
    let gone = format!("{:064x}", 99);
    let _: i64 = server.run(&["ZADD", &format!("{}hits", config.prefix), "1000", &gone]);
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn({
        let tier = tier.clone();
        async move { tier.run(stopped).await }
    });
    let named = || server.run::<Option<String>>(&["ZSCORE", &format!("{}hits", config.prefix), &gone]);
    let began = std::time::Instant::now();
    while named().is_some() && began.elapsed() < LIMIT {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(named(), None);
    stop.send(true).expect("it runs");
    running.await.expect("it ends");
    assert_eq!(top(Selection::default(), 10).await.len(), 3, "the others stay");
    house.tiers.remove(&Selection::default()).await;
    assert_eq!(size(&server), 0, "nothing is left of the counts either");
}
