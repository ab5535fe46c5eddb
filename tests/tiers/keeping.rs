//! What is kept, found, promoted, and not.

use super::*;
use pannier::cache::TierName;
use servers::RedisServer;

#[tokio::test]
async fn what_was_kept_is_found_by_another_who_has_the_secret() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let one = House::over(&[&server.url()]).await;
    assert!(one.find(1).await.is_none());
    one.keep(1, answer(1));
    one.keep(2, vector(2));
    one.written().await;

    let other = House::over(&[&server.url()]).await;
    assert_answer(other.find(1).await, 1);
    let (found, tier) = other.tiers.find(&key(2), &SCOPE, &label(&vector(2))).await.unwrap();
    let (Payload::Vector(found), Payload::Vector(kept)) = (found, vector(2)) else { panic!("not a vector") };
    assert_eq!((&found.numbers, found.tokens, tier), (&kept.numbers, 2, TierName::Redis));
    assert!(found.stored.elapsed() < LIMIT);
    assert!(other.find(3).await.is_none());
    let asked = |result| {
        format!("pannier_cache_requests_total{{operation=\"chat\",result=\"{result}\",tier=\"redis\"}}")
    };
    assert_eq!((other.value(&asked("hit")), other.value(&asked("miss"))), (1.0, 1.0));
    assert_eq!(other.value("pannier_dependency_up{dep=\"redis\"}"), 1.0);
}

#[tokio::test]
async fn nothing_of_an_answer_can_be_read_in_redis_and_its_time_is_set() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let house = House::over(&[&server.url()]).await;
    house.kept(1).await;
    let value: Vec<u8> = server.run(&["GET", &name(1)]);
    let shows = |needle: &[u8]| value.windows(needle.len()).any(|window| window == needle);
    assert!(!shows(b"answer 1") && !shows(b"response"));
    assert!(shows(b"llama3:latest") && shows(b"lab"), "the label is in the open");
    let left: u64 = server.run(&["PTTL", &name(1)]);
    assert!((590_000..=600_000).contains(&left), "the tier's own limit of ten minutes: {left}");
}

#[tokio::test]
async fn another_scope_or_secret_finds_nothing() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let house = House::over(&[&server.url()]).await;
    house.kept(1).await;
    assert!(house.tiers.find(&key(1), &Scope([4; 32]), &chat()).await.is_err());
    assert_eq!(house.value("pannier_cache_unopened_total{tier=\"redis\"}"), 1.0);
    house.kept(1).await;
    let stranger = House::idle(&[&server.url()], [6; 32]);
    stranger.tiers.probe().await;
    assert!(stranger.find(1).await.is_none());
    assert_eq!(stranger.value("pannier_cache_unopened_total{tier=\"redis\"}"), 1.0);
    // An entry under another's name is worth nothing.
    let value: Vec<u8> = server.run(&["GET", &name(1)]);
    let _: () = redis::cmd("SET").arg(name(9)).arg(value).query(&mut server.own_connection()).unwrap();
    assert!(house.find(9).await.is_none());
}

#[tokio::test]
async fn a_hit_below_is_put_into_the_tiers_above() {
    let (Some(upper), Some(lower)) = (RedisServer::start(&[]), RedisServer::start(&[])) else { return };
    let below = House::over(&[&lower.url()]).await;
    below.kept(1).await;
    let house = House::over(&[&upper.url(), &lower.url()]).await;
    assert_answer(house.find(1).await, 1);
    house.written().await;
    let (left_above, left_below): (u64, u64) =
        (upper.run(&["PTTL", &name(1)]), lower.run(&["PTTL", &name(1)]));
    assert!(
        left_above.abs_diff(left_below) < 1000,
        "{left_above} {left_below}: its life goes on, and no new one begins"
    );
    let above = House::over(&[&upper.url()]).await;
    assert_answer(above.find(1).await, 1);
}

#[tokio::test]
async fn many_vectors_are_found_with_few_questions() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let house = House::over(&[&server.url()]).await;
    for n in (0..1000).step_by(2) {
        house.keep(n, vector(n));
    }
    house.written().await;
    let keys: Vec<CacheKey> = (0..1000).map(key).collect();
    let found = house.tiers.find_many(&keys, &SCOPE, &label(&vector(0))).await;
    for (n, found) in (0..1000).zip(&found) {
        match found {
            Ok((Payload::Vector(found), _)) => assert_eq!((found.tokens, n % 2), (n, 0)),
            other => assert!(matches!(other, Err(None)) && n % 2 == 1, "{n}"),
        }
    }
    let asked = house.value("pannier_dependency_duration_seconds_count{dep=\"redis\",op=\"find\"}");
    assert!(asked <= 4.0, "{asked}");
}

#[tokio::test]
async fn a_tier_that_keeps_no_completions_is_not_asked_for_them() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let tier: Arc<dyn Tier> = Arc::new(Redis::new(&config(&server.url())).unwrap());
    let metrics = Arc::new(Metrics::new());
    let only_vectors = Limits { completion_ttl: Duration::ZERO, max_entry: 1700, ..limits() };
    let tiers = Tiers::new(Seal::new(&Secret::of(SECRET)), [(tier, only_vectors)], 1 << 20, metrics.clone());
    let house = House { tiers: Arc::new(tiers), metrics, stop: watch::channel(false).0, running: None };
    house.tiers.probe().await;
    let house = house.works();
    house.kept(1).await;
    assert!(house.find(1).await.is_none());
    house.keep(2, vector(2));
    house.written().await;
    assert_eq!(size(&server), 1);
    assert_eq!(house.value("pannier_dependency_duration_seconds_count{dep=\"redis\",op=\"find\"}"), 0.0);
}

#[tokio::test]
async fn what_is_too_large_or_over_is_not_kept() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let house = House::over(&[&server.url()]).await;
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take((1 << 20) + 1).collect();
    house.keep(1, answer_of("m", noise));
    let Payload::Answer(entry) = answer(2) else { unreachable!() };
    let mut entry = Arc::into_inner(entry).unwrap();
    entry.ttl = Duration::from_millis(1);
    house.keep(2, Payload::Answer(Arc::new(entry)));
    tokio::time::sleep(Duration::from_millis(5)).await;
    house.written().await;
    assert_eq!(size(&server), 0);
}

#[tokio::test]
async fn what_waits_at_the_end_is_still_written() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let house = House::idle(&[&server.url()], SECRET);
    house.tiers.probe().await;
    for n in 0..500 {
        house.keep(n, answer(n));
    }
    assert_eq!(house.tiers.waiting().0, 500);
    house.stop.send_replace(true);
    house.works().end().await;
    assert_eq!(size(&server), 500);
}

#[tokio::test]
async fn a_crowd_asks_redis_once() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let house = House::over(&[&server.url()]).await;
    house.kept(1).await;
    let tiers = house.tiers.clone();
    let crowd: Vec<_> = (0..100)
        .map(|_| {
            let tiers = tiers.clone();
            tokio::spawn(async move { tiers.find(&key(1), &SCOPE, &chat()).await })
        })
        .collect();
    for one in crowd {
        assert_answer(one.await.unwrap().ok().map(|(payload, _)| payload), 1);
    }
    let asked = house.value("pannier_dependency_duration_seconds_count{dep=\"redis\",op=\"find\"}");
    assert!(asked < 20.0, "{asked}");
    assert_eq!(house.value("pannier_internal_size{what=\"cache_lookups\"}"), 0.0);
}
