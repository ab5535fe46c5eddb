//! One flight across replicas.

use super::*;
use pannier::cache::{Ended, Lease, Leases, Taken};
use servers::RedisServer;
use std::sync::atomic::{AtomicU32, Ordering};

/// No holder that has died is waited for any longer: three times as long as for the tier itself.
const TERM: Duration = Duration::from_secs(6);

/// One replica's leases, at work.
struct Replica {
    leases: Leases,
    running: JoinHandle<()>,
    _stop: watch::Sender<bool>,
}

impl Replica {
    async fn on(server: &RedisServer) -> Replica {
        Replica::with(server, TERM / 3).await
    }

    async fn with(server: &RedisServer, timeout: Duration) -> Replica {
        let redis = Arc::new(Redis::new(&config(&server.url())).unwrap());
        let _ = redis.probe().await;
        let leases = Leases::new(redis, timeout, Arc::default());
        let (stop, stopped) = watch::channel(false);
        let working = leases.clone();
        let running = tokio::spawn(async move { working.run(stopped).await });
        Replica { leases, running, _stop: stop }
    }

    /// Dies: what it holds is neither renewed nor given back.
    fn die(&self) {
        self.running.abort();
    }
}

#[track_caller]
fn held(taken: Taken) -> Lease {
    match taken {
        Taken::Held(lease) => lease,
        Taken::Other(_) => panic!("another has it"),
        Taken::Alone => panic!("nobody could be asked"),
    }
}

#[track_caller]
fn other(taken: Taken) -> pannier::cache::Waiting {
    match taken {
        Taken::Other(waiting) => waiting,
        _ => panic!("nobody else has it"),
    }
}

#[tokio::test]
async fn one_holds_and_the_others_wait_until_it_is_given_back() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (one, two) = (Replica::on(&server).await, Replica::on(&server).await);
    let lease = held(one.leases.take(&key(1)).await);
    let waiting = other(two.leases.take(&key(1)).await);
    held(two.leases.take(&key(2)).await);
    // Renewed: it is held for longer than its term.
    let waited = tokio::time::timeout(TERM + Duration::from_secs(1), waiting.over()).await;
    assert!(waited.is_err() && lease.is_held());
    let fence = lease.fence();
    drop(lease);
    assert_eq!(waiting.over().await, Ended::Free);
    assert!(held(two.leases.take(&key(1)).await).fence() > fence);
    eventually(|| server.run::<u64>(&["EXISTS", &format!("pannier:lock:{{{}}}", key(1))]) == 0).await;
    assert_eq!((one.leases.held(), two.leases.held()), (0, 0));
}

/// Sooner than it would end by itself, once at the least where the machine is busy.
#[tokio::test]
async fn what_is_given_back_is_free_at_once() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (one, two) = (Replica::on(&server).await, Replica::on(&server).await);
    let mut soonest = TERM;
    for n in 0..10 {
        let lease = held(one.leases.take(&key(n)).await);
        let waiting = other(two.leases.take(&key(n)).await);
        let given_back = Instant::now();
        drop(lease);
        assert_eq!(waiting.over().await, Ended::Free);
        soonest = soonest.min(given_back.elapsed());
    }
    assert!(soonest < TERM / 3, "{soonest:?}");
}

/// a lease ends by the server's clock, and nobody's own is asked for the time.
#[tokio::test]
async fn a_dead_holder_is_waited_for_no_longer_than_its_term() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (one, two) = (Replica::on(&server).await, Replica::on(&server).await);
    let lease = held(one.leases.take(&key(1)).await);
    one.die();
    let waiting = other(two.leases.take(&key(1)).await);
    let began = Instant::now();
    assert_eq!(waiting.over().await, Ended::Free);
    assert!(began.elapsed() < TERM + PROMPTLY, "{:?}", began.elapsed());
    let next = held(two.leases.take(&key(1)).await);
    assert!(next.fence() > lease.fence());
    // The dead one comes back to life: what it held is not its own any more, and it takes nothing away.
    let revived = one.leases.clone();
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(async move { revived.run(stopped).await });
    eventually(|| !lease.is_held()).await;
    drop(lease);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(next.is_held());
    other(one.leases.take(&key(1)).await);
}

#[tokio::test]
async fn a_lease_goes_when_what_was_stored_can_be_found() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let house = House::over(&[&server.url()]).await;
    let (one, two) = (Replica::on(&server).await, Replica::on(&server).await);
    for n in 0..20 {
        let lease = held(one.leases.take(&key(n)).await);
        let waiting = other(two.leases.take(&key(n)).await);
        house.tiers.keep(key(n), SCOPE, chat(), answer(n), Some(lease));
        assert_eq!(waiting.over().await, Ended::Free);
        assert_answer(house.find(n).await, n);
    }
}

#[tokio::test]
async fn a_crowd_of_replicas_makes_one_call_and_a_killed_holder_one_more() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let house = Arc::new(House::over(&[&server.url()]).await);
    let calls = Arc::new(AtomicU32::new(0));
    let mut replicas = Vec::new();
    for _ in 0..8 {
        replicas.push(Arc::new(Replica::on(&server).await));
    }
    let ask = |at: usize, dies: bool| {
        let (house, calls, replica) = (house.clone(), calls.clone(), replicas[at].clone());
        tokio::spawn(async move {
            loop {
                if let Some(found) = house.find(1).await {
                    return assert_answer(Some(found), 1);
                }
                match replica.leases.take(&key(1)).await {
                    Taken::Held(lease) => {
                        calls.fetch_add(1, Ordering::Relaxed);
                        if dies {
                            replica.die();
                            return std::mem::forget(lease);
                        }
                        tokio::time::sleep(Duration::from_millis(300)).await;
                        house.tiers.keep(key(1), SCOPE, chat(), answer(1), Some(lease));
                        return;
                    }
                    Taken::Other(waiting) => assert_eq!(waiting.over().await, Ended::Free),
                    Taken::Alone => panic!("Redis is there"),
                }
            }
        })
    };
    let first = ask(0, true);
    first.await.unwrap();
    let began = Instant::now();
    for asking in (1..8).map(|at| ask(at, false)).collect::<Vec<_>>() {
        asking.await.unwrap();
    }
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert!(began.elapsed() < TERM + PROMPTLY, "{:?}", began.elapsed());
}

#[tokio::test]
async fn without_redis_everybody_goes_alone_and_soon() {
    let Some(mut server) = RedisServer::start(&[]) else { return };
    let replica = Replica::with(&server, TIMEOUT).await;
    let lease = held(replica.leases.take(&key(1)).await);
    let waiting = other(replica.leases.take(&key(1)).await);
    server.pause();
    let began = Instant::now();
    assert!(matches!(replica.leases.take(&key(2)).await, Taken::Alone));
    assert_eq!(waiting.over().await, Ended::Alone);
    assert!(began.elapsed() < PROMPTLY, "{:?}", began.elapsed());
    server.kill();
    assert!(matches!(replica.leases.take(&key(3)).await, Taken::Alone));
    assert!(lease.is_held(), "nobody else can have it");
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_told_again() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let replica = Replica::on(&server).await;
    for n in 0..10 {
        let lease = held(replica.leases.take(&key(n)).await);
        server.run::<String>(&["SCRIPT", "FLUSH"]);
        other(replica.leases.take(&key(n)).await);
        server.run::<String>(&["SCRIPT", "FLUSH"]);
        drop(lease);
    }
    // One that is forgotten twice while it is told goes with its term.
    eventually(|| server.run::<Vec<String>>(&["KEYS", "pannier:lock:*"]).is_empty()).await;
}

#[tokio::test]
async fn whoever_leaves_while_taking_holds_nothing() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let replica = Replica::on(&server).await;
    for n in 0..200 {
        let patience = Duration::from_micros(fastrand::u64(0..400));
        let _ = tokio::time::timeout(patience, replica.leases.take(&key(n))).await;
    }
    eventually(|| server.run::<Vec<String>>(&["KEYS", "pannier:lock:*"]).is_empty()).await;
    assert_eq!(replica.leases.held(), 0);
}
