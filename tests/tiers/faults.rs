//! A Redis that is not there, dies, hangs, is full, takes nothing, or answers nonsense: a miss, and soon a hit
//! again.

use super::*;
use servers::{Detour, RedisServer};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Looks until there is a hit on answer `n`.
async fn found_again(house: &House, n: u32) {
    let began = Instant::now();
    while house.find(n).await.is_none() {
        assert!(began.elapsed() < LIMIT, "not in use after its return");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn down_at_start() {
    let Some(mut server) = RedisServer::stopped(&[]) else { return };
    let house = House::hasty(&server.url()).await;
    for n in 0..20 {
        let look = Instant::now();
        assert!(house.find(n).await.is_none());
        assert!(look.elapsed() < PROMPTLY, "{:?}", look.elapsed());
        house.keep(n, answer(n));
    }
    house.written().await;
    assert_eq!(house.value("pannier_dependency_up{dep=\"redis\"}"), 0.0);
    assert!(house.value("pannier_cache_writes_lost_total{cause=\"tier_failed\"}") > 0.0);
    server.begin();
    eventually(|| house.reading() == Standing::Closed).await;
    eventually(|| house.value("pannier_dependency_up{dep=\"redis\"}") == 1.0).await;
    eventually(|| {
        house.keep(1, answer(1));
        size(&server) == 1
    })
    .await;
    assert_answer(house.find(1).await, 1);
}

#[tokio::test]
async fn dies_and_comes_back_empty() {
    let Some(mut server) = RedisServer::start(&[]) else { return };
    let house = House::hasty(&server.url()).await;
    house.kept(1).await;
    assert_answer(house.find(1).await, 1);
    assert_eq!(house.why(2).await, None, "it was never kept");
    server.kill();
    assert_eq!(house.why(2).await, Some(Reason::TierDown), "it may be there");
    for _ in 0..10 {
        let look = Instant::now();
        assert!(house.find(1).await.is_none());
        assert!(look.elapsed() < PROMPTLY, "{:?}", look.elapsed());
    }
    eventually(|| house.value("pannier_dependency_up{dep=\"redis\"}") == 0.0).await;
    server.begin();
    eventually(|| {
        house.keep(1, answer(1));
        size(&server) == 1
    })
    .await;
    found_again(&house, 1).await;
}

#[tokio::test]
async fn hangs_for_three_seconds() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let house = House::hasty(&server.url()).await;
    house.kept(1).await;
    server.pause();
    let (paused, mut longest) = (Instant::now(), Duration::ZERO);
    let (mut waited, mut opened) = (0, None);
    while paused.elapsed() < Duration::from_secs(3) || opened.is_none() {
        let look = Instant::now();
        assert!(house.find(1).await.is_none());
        longest = longest.max(look.elapsed());
        waited += u32::from(look.elapsed() > TIMEOUT / 2);
        if opened.is_none() && house.reading() != Standing::Closed {
            opened = Some(waited);
        }
        house.keep(2, answer(2));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(longest < PROMPTLY, "{longest:?}");
    assert!(opened.unwrap() <= 5, "{opened:?} of the requests waited until it was left alone");
    // And then one a second, to see whether it is back.
    let most = 6 + paused.elapsed().as_secs() as u32;
    assert!(waited <= most, "{waited} of the requests waited, of at most {most}");
    server.resume();
    found_again(&house, 1).await;
}

#[tokio::test]
async fn vanishes_without_a_word() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let detour = Detour::to(server.port(), Duration::ZERO, Duration::ZERO).await;
    let house = House::hasty(&detour.url()).await;
    house.kept(1).await;
    assert_answer(house.find(1).await, 1);
    detour.swallow(true);
    // Nobody asks for anything: it is noticed all the same.
    eventually(|| house.value("pannier_dependency_up{dep=\"redis\"}") == 0.0).await;
    let look = Instant::now();
    assert!(house.find(1).await.is_none());
    assert!(look.elapsed() < PROMPTLY);
    detour.swallow(false);
    found_again(&house, 1).await;
}

#[tokio::test]
async fn full_it_is_still_read() {
    let Some(server) = RedisServer::start(&["--maxmemory-policy", "noeviction"]) else { return };
    let house = House::over(&[&server.url()]).await;
    house.kept(1).await;
    server.run::<String>(&["CONFIG", "SET", "maxmemory", "1mb"]);
    for n in 2..40 {
        house.kept(n).await;
        assert_answer(house.find(1).await, 1);
        if house.writing() == Standing::Open {
            break;
        }
    }
    assert_eq!((house.reading(), house.writing()), (Standing::Closed, Standing::Open));
    assert!(house.value("pannier_cache_writes_lost_total{cause=\"tier_failed\"}") > 0.0);
    assert_eq!(house.value("pannier_dependency_up{dep=\"redis\"}"), 1.0);
    server.run::<String>(&["CONFIG", "SET", "maxmemory", "0"]);
    eventually(|| {
        house.keep(99, answer(99));
        house.writing() == Standing::Closed
    })
    .await;
    house.kept(99).await;
    assert_answer(house.find(99).await, 99);
}

#[tokio::test]
async fn a_replica_that_takes_nothing_is_read_and_left_for_a_better_one() {
    let (Some(leader), Some(server)) = (RedisServer::start(&[]), RedisServer::start(&[])) else { return };
    let house = House::over(&[&server.url()]).await;
    let port = leader.port().to_string();
    let before = House::over(&[&leader.url()]).await;
    before.kept(1).await;
    server.run::<String>(&["REPLICAOF", "127.0.0.1", &port]);
    eventually(|| size(&server) == 1).await;
    assert_answer(house.find(1).await, 1);
    eventually(|| {
        house.keep(2, answer(2));
        house.writing() == Standing::Open
    })
    .await;
    // However often it refuses, what it has is found.
    for _ in 0..50 {
        house.keep(3, answer(3));
        assert_answer(house.find(1).await, 1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.run::<String>(&["REPLICAOF", "NO", "ONE"]);
    eventually(|| {
        house.keep(4, answer(4));
        house.writing() == Standing::Closed
    })
    .await;
}

#[tokio::test]
async fn garbage_is_a_miss_counted_and_removed() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let house = House::over(&[&server.url()]).await;
    house.kept(0).await;
    let good: Vec<u8> = server.run(&["GET", &name(0)]);
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let garbage: Vec<Vec<u8>> = vec![
        b"x".to_vec(),
        b"hello world, this is not an entry".to_vec(),
        vec![0; 100_000],
        vec![1, 255, 255, 1],
        good[..good.len() - 1].to_vec(),
        [&good[..], b"more"].concat(),
        flipped,
    ];
    let number = garbage.len() as u32;
    for (n, value) in (1..).zip(&garbage) {
        let _: () = redis::cmd("SET").arg(name(n)).arg(value).query(&mut server.own_connection()).unwrap();
    }
    server.run::<u64>(&["RPUSH", &name(number + 1), "a", "list"]);
    server.run::<u64>(&["SETRANGE", &name(number + 2), "100000000", "huge"]);
    for n in 1..=number + 2 {
        assert_eq!(house.why(n).await, Some(Reason::Unopened), "{n}");
    }
    let keys: Vec<CacheKey> = (0..=number + 2).map(key).collect();
    let found = house.tiers.find_many(&keys, &SCOPE, &chat()).await;
    assert_eq!(found.iter().flatten().count(), 1, "the good one is found among them");
    house.written().await;
    assert_eq!(house.reading(), Standing::Closed, "others' garbage is no fault of Redis");
    assert!(house.value("pannier_cache_unopened_total{tier=\"redis\"}") >= f64::from(number + 2));
    assert_eq!(size(&server), 1);
    house.kept(3).await;
    assert_answer(house.find(3).await, 3);
}

#[tokio::test]
async fn flushed_it_begins_anew() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let house = House::over(&[&server.url()]).await;
    house.kept(1).await;
    server.run::<String>(&["FLUSHALL"]);
    assert!(house.find(1).await.is_none());
    house.kept(1).await;
    assert_answer(house.find(1).await, 1);
}

#[tokio::test]
async fn locked_out_until_the_password_is_right() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let url = format!("redis://:sesame@127.0.0.1:{}", server.port());
    server.run::<String>(&["CONFIG", "SET", "requirepass", "another"]);
    let house = House::over(&[&url]).await;
    assert!(house.find(1).await.is_none());
    eventually(|| house.reading() != Standing::Closed).await;
    let mut connection = {
        let client = redis::Client::open(format!("redis://:another@127.0.0.1:{}", server.port())).unwrap();
        client.get_connection().unwrap()
    };
    let mut set = |setting: &str| {
        let _: () =
            redis::cmd("CONFIG").arg(&["SET", "requirepass", setting]).query(&mut connection).unwrap();
    };
    set("sesame");
    eventually(|| house.reading() == Standing::Closed).await;
    house.kept(1).await;
    found_again(&house, 1).await;
}

/// Replies that come after their asker left go to nobody else, also where the server says between them what
/// nobody has asked for. REPLIES says how many are looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reply_goes_to_another_however_many_leave() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let direct = House::over(&[&server.url()]).await;
    for n in 0..1000 {
        direct.keep(n, answer(n));
    }
    direct.written().await;
    let replies: Option<u32> = std::env::var("REPLIES").ok().and_then(|replies| replies.parse().ok());
    let detour = Detour::to(server.port(), Duration::from_millis(2), Duration::from_millis(20)).await;
    ask_and_leave(&House::over(&[&detour.url()]).await, replies).await;

    let chatty = House::over(&[&format!("{}/?protocol=resp3", detour.url())]).await;
    let mut pusher = push_into_the_newest(&server);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let pushing = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            let () = redis::cmd("SET").arg("poked").arg(1).query(&mut pusher).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        pusher
    });
    ask_and_leave(&chatty, replies).await;
    stop.store(true, Ordering::Relaxed);
    let _pusher = pushing.join().unwrap();
    let clients: String = server.run(&["INFO", "clients"]);
    assert!(clients.contains("tracking_clients:1"), "{clients}");
}

/// Has the server push a word into the connection that speaks RESP3 at each write by whoever is returned.
fn push_into_the_newest(server: &RedisServer) -> redis::Connection {
    let clients: String = server.run(&["CLIENT", "LIST"]);
    let chatty = clients
        .lines()
        .find(|line| line.split(' ').any(|field| field == "resp=3"))
        .expect("one that speaks RESP3");
    let id = chatty.split(' ').find_map(|field| field.strip_prefix("id=")).expect("its number");
    let mut pusher = server.own_connection();
    let mut tracking = redis::cmd("CLIENT");
    let () = tracking.arg(&["TRACKING", "ON", "REDIRECT", id, "BCAST"]).query(&mut pusher).unwrap();
    pusher
}

/// 200 clients ask for what is kept, and many leave before they are told.
async fn ask_and_leave(house: &House, replies: Option<u32>) {
    const FEW: u32 = 2000;
    let most = replies.unwrap_or(0);
    let (hits, left) = (AtomicU32::new(0), AtomicU32::new(0));
    let client = async || {
        let of = |of: &AtomicU32| of.load(Ordering::Relaxed);
        while of(&hits) <= FEW || of(&left) <= FEW || of(&hits) + of(&left) < most {
            let n = fastrand::u32(0..1000);
            // Some have enough of it also where the machine is slow.
            let patience = Duration::from_millis(fastrand::u64(0..40) << fastrand::u32(0..6));
            match tokio::time::timeout(patience, house.find(n)).await {
                Ok(None) => {}
                Ok(found) => {
                    assert_answer(found, n);
                    hits.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => drop(left.fetch_add(1, Ordering::Relaxed)),
            }
        }
    };
    let limit = LIMIT * (1 + most / 20_000);
    let clients = futures_util::future::join_all((0..200).map(|_| client()));
    tokio::time::timeout(limit, clients).await.expect("hits, and clients who leave");
    assert_eq!(house.value("pannier_cache_unopened_total{tier=\"redis\"}"), 0.0, "a reply was another's");
}
