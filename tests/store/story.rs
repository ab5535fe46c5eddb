//! One story over every query.

use crate::stage::{Ground, HOUR, Stage, key, label, parcel, parcels};
use pannier::cache::{Fault, Parcel, Prefix, Selection, Tally, Tier};
use std::time::{Duration, SystemTime};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite() {
    let ground = Ground::file();
    whole(&ground).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres() {
    let Some(ground) = Ground::server() else { return };
    whole(&ground).await;
    let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    assert_eq!(ground.postgres().ask(open), "0");
}

async fn whole(ground: &Ground) {
    let stage = Stage::closed(ground.place(), 1 << 30);
    assert_eq!(stage.tier.find(&[key(1)]).await, Err(Fault::Unreachable), "before it is open");
    stage.tier.open().await.expect("open");
    stage.tier.open().await.expect("once more is nothing");
    stage.tier.probe().await.expect("probe");
    finding(&stage).await;
    replacing(&stage).await;
    ending(&stage).await;
    tallying(&stage).await;
    using(&stage).await;
    removing(&stage).await;
    coming_back(ground, stage).await;
}

async fn finding(stage: &Stage) {
    assert_eq!(stage.tier.find(&[]).await.expect("nothing"), vec![]);
    assert_eq!(stage.tier.find(&[key(1)]).await.expect("an empty table"), vec![None]);
    stage.tier.keep(&[]).await.expect("nothing");
    // More than go into one statement of either kind, and bytes from none to many.
    let kept: Vec<Parcel> = (0..1500).map(|n| parcel(n, [0, 1, 1536, 70_000][(n % 4) as usize])).collect();
    stage.tier.keep(&kept).await.expect("keep");
    let mut asked: Vec<_> = (0..1600).map(key).collect();
    asked.reverse();
    asked.extend([key(3), key(7000), key(3)]);
    let found = stage.tier.find(&asked).await.expect("find");
    assert_eq!(found.len(), asked.len());
    for (n, sealed) in (0..1600).rev().zip(&found) {
        assert_eq!(sealed.as_ref(), kept.get(n).map(|parcel| &parcel.sealed), "{n}");
    }
    let rest: Vec<_> = found[1600..].iter().map(|sealed| sealed.as_ref()).collect();
    assert_eq!(rest, [Some(&kept[3].sealed), None, Some(&kept[3].sealed)], "asked twice");
    let gone = stage.tier.remove(&Selection::default()).await.expect("remove");
    assert_eq!(gone, 1500);
}

async fn replacing(stage: &Stage) {
    let (first, second, third) = (parcel(1, 100), parcel(2, 200), parcel(3, 300));
    let of_one = |parcel: &Parcel| Parcel { key: key(1), ..parcel.clone() };
    stage.tier.keep(&[first.clone(), of_one(&second)]).await.expect("two under one key");
    assert_eq!(stage.tier.find(&[key(1)]).await.expect("find")[0], Some(second.sealed));
    let other_model = Parcel { label: label(Prefix::Chat, "other", "t"), ..of_one(&third) };
    stage.tier.keep(&[other_model]).await.expect("keep");
    assert_eq!(stage.tier.find(&[key(1)]).await.expect("find")[0], Some(third.sealed));
    let tally = stage.tier.tally().await.expect("tally");
    assert_eq!(tally, [one_tally(Prefix::Chat, "other", "t", 1, 300)]);
    assert_eq!(stage.tier.remove(&Selection::default()).await.expect("remove"), 1);
}

async fn ending(stage: &Stage) {
    let now = SystemTime::now();
    let brief = Parcel { expires: now + Duration::from_secs(2), ..parcel(1, 10) };
    let over = Parcel { expires: now - Duration::from_millis(1), ..parcel(2, 10) };
    let long = parcel(3, 10);
    stage.tier.keep(&[brief.clone(), over.clone(), long.clone()]).await.expect("keep");
    assert!(stage.has(&brief).await && !stage.has(&over).await && stage.has(&long).await);
    stage.until("its time is over", async |stage| !stage.has(&brief).await).await;
    assert!(stage.has(&long).await);
    let ended = Selection { expired: true, ..Selection::default() };
    let others = Selection { prefix: Some(Prefix::Chat), ..ended.clone() };
    assert_eq!(stage.tier.remove(&others).await.expect("remove"), 0);
    assert_eq!(stage.tier.top(&ended, 9).await.expect("top").len(), 2);
    assert_eq!(stage.tier.remove(&ended).await.expect("remove"), 2);
    assert!(stage.has(&long).await);
    // What is kept anew under the key of what has ended is there again.
    stage.tier.keep(std::slice::from_ref(&over)).await.expect("keep");
    stage.tier.keep(&[Parcel { expires: now + HOUR, ..over.clone() }]).await.expect("keep");
    assert!(stage.has(&over).await);
    assert_eq!(stage.tier.remove(&Selection::default()).await.expect("remove"), 2);
}

async fn tallying(stage: &Stage) {
    assert_eq!(stage.tier.tally().await.expect("tally"), []);
    // Uses of what is no longer there count for nobody.
    stage.tier.write_down().await.expect("write down");
    let mut kept = Vec::new();
    let kinds =
        [(Prefix::Embedding, "a", "", 30), (Prefix::Chat, "a", "x", 20), (Prefix::Inference, "b", "x", 10)];
    for (n, (prefix, model, team, count)) in kinds.into_iter().enumerate() {
        kept.extend((0..count).map(|i| {
            let mut label = label(prefix, model, team);
            // Two digests of one model are one kind to whoever asks.
            label.digest = format!("sha256:{}", i % 2).into();
            Parcel { label, ..parcel(100 * n as u64 + i, 1000) }
        }));
    }
    stage.tier.keep(&kept).await.expect("keep");
    let tally = stage.tier.tally().await.expect("tally");
    let expected = kinds.map(|(prefix, model, team, n)| one_tally(prefix, model, team, n, n * 1000));
    assert_eq!(tally, expected);
}

async fn using(stage: &Stage) {
    let before = SystemTime::now();
    for (n, times) in [(3, 4), (105, 2), (203, 3)] {
        for _ in 0..times {
            stage.tier.find(&[key(n), key(9999)]).await.expect("find");
        }
    }
    stage.tier.write_down().await.expect("write down");
    stage.tier.write_down().await.expect("nothing more to write down");
    let all = Selection::default();
    let top = stage.tier.top(&all, 4).await.expect("top");
    let hits: Vec<_> = top.iter().map(|listing| (listing.key, listing.hits)).collect();
    assert_eq!(hits[..3], [(key(3), 4), (key(203), 3), (key(105), 2)]);
    assert_eq!((top.len(), top[3].hits), (4, 0));
    let first = &top[0];
    assert_eq!((first.bytes, first.label.prefix, &*first.label.model), (1000, Prefix::Embedding, "a"));
    assert_eq!(&*first.label.digest, "sha256:1");
    assert!(first.last_used + Duration::from_millis(1) >= before && first.last_used <= SystemTime::now());
    assert!(first.stored < first.expires && top[3].last_used <= before);

    let chats = Selection { prefix: Some(Prefix::Chat), model: Some("a".into()), ..Selection::default() };
    let top = stage.tier.top(&chats, 100).await.expect("top");
    assert_eq!((top.len(), top[0].key, top[0].hits), (20, key(105), 2));
    let of_team = Selection { team: Some("x".into()), ..Selection::default() };
    assert_eq!(stage.tier.top(&of_team, 2).await.expect("top").len(), 2);
    let one = Selection { key: Some(key(203)), ..Selection::default() };
    assert_eq!(stage.tier.top(&one, 9).await.expect("top")[0].hits, 3);
    // Hits outlive a newer answer under the same key.
    let newer = Parcel { label: label(Prefix::Inference, "b", "x"), ..parcel(203, 1000) };
    stage.tier.keep(&[newer]).await.expect("keep");
    assert_eq!(stage.tier.top(&one, 9).await.expect("top")[0].hits, 3);
}

async fn removing(stage: &Stage) {
    let gone = async |selection: Selection| stage.tier.remove(&selection).await.expect("remove");
    let none = Selection::default;
    assert_eq!(gone(Selection { key: Some(key(3)), ..none() }).await, 1);
    assert_eq!(gone(Selection { key: Some(key(3)), ..none() }).await, 0);
    assert_eq!(gone(Selection { model: Some("no such".into()), ..none() }).await, 0);
    assert_eq!(gone(Selection { model: Some("a'; DROP TABLE query_cache".into()), ..none() }).await, 0);
    let chats_of_b = Selection { prefix: Some(Prefix::Chat), model: Some("b".into()), ..none() };
    assert_eq!(gone(chats_of_b).await, 0, "both must fit");
    assert_eq!(gone(Selection { prefix: Some(Prefix::Chat), ..none() }).await, 20);
    assert_eq!(gone(Selection { team: Some("x".into()), ..none() }).await, 10);
    assert_eq!(gone(Selection { model: Some("a".into()), ..none() }).await, 29);
    assert_eq!(stage.tier.tally().await.expect("tally"), []);
    // More than one step takes.
    stage.tier.keep(&parcels(0..1203, 5)).await.expect("keep");
    assert_eq!(gone(none()).await, 1203);
}

async fn coming_back(ground: &Ground, stage: Stage) {
    let kept = parcel(1, 5000);
    stage.tier.keep(std::slice::from_ref(&kept)).await.expect("keep");
    stage.tier.find(&[kept.key]).await.expect("find");
    stage.tier.close().await;
    assert_eq!(stage.tier.find(&[kept.key]).await, Err(Fault::Unreachable), "closed");
    let stage = Stage::open(ground.place()).await;
    assert!(stage.has(&kept).await, "after a restart");
    let listing = &stage.tier.top(&Selection::default(), 1).await.expect("top")[0];
    assert_eq!(listing.hits, 1, "written down at the end");
    stage.stop().await;
}

fn one_tally(prefix: Prefix, model: &str, team: &str, entries: u64, bytes: u64) -> Tally {
    let label = label(prefix, model, team);
    Tally { prefix, operation: label.operation, model: model.into(), team: team.into(), entries, bytes }
}
