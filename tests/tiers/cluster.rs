//! A Redis Cluster is a tier like any other.

use super::*;
use pannier::cache::{Leases, Selection, Taken};
use servers::Cluster;

#[tokio::test]
async fn entries_are_spread_and_found_counted_and_removed() {
    let Some(cluster) = Cluster::start() else { return };
    let house = House::over(&[&cluster.url()]).await;
    for n in 0..300 {
        house.keep(n, vector(n));
    }
    house.written().await;
    let sizes: Vec<u64> = cluster.nodes.iter().map(|node| node.run(&["DBSIZE"])).collect();
    assert!(sizes.iter().all(|size| *size > 50), "{sizes:?}");
    let keys: Vec<CacheKey> = (0..301).map(key).collect();
    let found = house.tiers.find_many(&keys, &SCOPE, &label(&vector(0))).await;
    for (n, found) in (0..300).zip(&found) {
        assert!(matches!(found, Ok((Payload::Vector(found), _)) if found.tokens == n), "{n}");
    }
    assert!(matches!(found[300], Err(None)));
    let tallies = house.tiers.tally().await.pop().unwrap().1.unwrap();
    assert_eq!((tallies.len(), tallies[0].entries), (1, 300));
    let one = Selection { key: Some(key(7)), ..Selection::default() };
    assert_eq!(house.tiers.top(&one, 1).await.pop().unwrap().1.unwrap().len(), 1);
    assert_eq!(house.tiers.remove(&one).await.pop().unwrap().1, Ok(1));
    assert_eq!(house.tiers.remove(&Selection::default()).await.pop().unwrap().1, Ok(299));
}

#[tokio::test]
async fn leases_are_had_from_it() {
    let Some(cluster) = Cluster::start() else { return };
    let redis = Arc::new(Redis::new(&config(&cluster.url())).unwrap());
    redis.probe().await.unwrap();
    let leases = Leases::new(redis, Duration::from_secs(1), Arc::default());
    for n in 0..20 {
        let Taken::Held(_lease) = leases.take(&key(n)).await else { panic!("{n} is free") };
        assert!(matches!(leases.take(&key(n)).await, Taken::Other(_)));
    }
}
