//! What befalls a Redis.

use super::load::{self, Load};
use super::*;
use servers::{Answers, Detour, RedisServer, Weather};
use std::time::Duration;

const AT_ONCE: Duration = Duration::ZERO;
/// Kinds of questions that have a breaker of their own: finding, keeping, and whose turn it is.
const BREAKERS: f64 = 3.0;
/// What is under way when a tier fails may fail with it; then a breaker opens at five in a row.
const BEFORE_OPEN: f64 = 10.0;

/// With a Redis behind it and nothing else.
fn launch(upstream: &Upstream, url: &str) -> Launch {
    forgetful(upstream).set("cache.database.enabled", "false").set("cache.redis.url", url)
}

/// Redis behind a detour, and a Pannier that uses it under load.
struct Scene {
    server: RedisServer,
    detour: Detour,
    upstream: Upstream,
    pannier: Pannier,
    load: Load,
}

impl Scene {
    async fn new(arguments: &[&str]) -> Option<Scene> {
        let server = RedisServer::start(arguments)?;
        let detour = Detour::to(server.port(), AT_ONCE, AT_ONCE).await;
        let upstream = Upstream::start().await;
        let pannier = launch(&upstream, &detour.url()).start().await;
        let load = loaded(&upstream, &pannier, "redis").await;
        Some(Scene { server, detour, upstream, pannier, load })
    }

    async fn endures(&self) {
        endures(&self.pannier, &self.load).await;
    }

    /// Asserts that no more is asked of a Redis that does not answer than one question a second and breaker.
    async fn endures_with_one_probe(&self) {
        let before = errors(&self.pannier, "redis").await;
        self.endures().await;
        let failed = errors(&self.pannier, "redis").await - before;
        let most = BREAKERS * (BEFORE_OPEN + WHILE.as_secs_f64() + 1.0);
        assert!(failed > 0.0 && failed <= most, "{failed} questions failed, of at most {most}");
        is_up(&self.pannier, "redis", false).await;
        let left_alone = [("tier", "redis"), ("result", "bypass")];
        assert!(self.pannier.metrics().await.sum("pannier_cache_requests_total", &left_alone) > 10.0);
    }

    /// The same, where nothing can be kept either.
    async fn endures_a_loss(&self) {
        let before = lost(&self.pannier).await;
        self.endures_with_one_probe().await;
        assert!(lost(&self.pannier).await > before, "what is not kept is counted");
    }

    async fn is_back(&self) {
        is_back(&self.load).await;
        is_up(&self.pannier, "redis", true).await;
    }

    async fn end(mut self) {
        self.load.end().await;
        in_order(&mut self.pannier, &[]).await;
        assert!(self.upstream.connections().1 < 20);
    }
}

///
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_dies_and_comes_back_empty() {
    let Some(mut scene) = Scene::new(&[]).await else { return };
    for _ in 0..2 {
        scene.server.kill();
        scene.endures_a_loss().await;
        scene.server.begin();
        scene.is_back().await;
    }
    scene.end().await;
}

///
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_comes_later_than_pannier() {
    let Some(mut server) = RedisServer::stopped(&[]) else { return };
    let upstream = Upstream::start().await;
    let mut pannier = launch(&upstream, &server.url()).start().await;
    let load = Load::on(&upstream, &pannier, "redis");
    endures(&pannier, &load).await;
    is_up(&pannier, "redis", false).await;
    assert_eq!(pannier.house("/readyz").await.status(), 200, "it is an extra");
    server.begin();
    is_back(&load).await;
    is_up(&pannier, "redis", true).await;
    load.end().await;
    in_order(&mut pannier, &[]).await;
}

/// it holds its connections and says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_hangs() {
    let Some(scene) = Scene::new(&[]).await else { return };
    scene.server.pause();
    scene.endures_a_loss().await;
    scene.server.resume();
    scene.is_back().await;
    scene.end().await;
}

/// by twice what it may be, and by twenty seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_slow() {
    let Some(scene) = Scene::new(&[]).await else { return };
    for latency in [TIMEOUT, Duration::from_secs(20)] {
        scene.detour.weather(Weather { latency, ..Weather::default() });
        scene.endures_with_one_probe().await;
        scene.detour.weather(Weather::default());
        scene.is_back().await;
    }
    scene.end().await;
}

/// not even the connection's end is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_vanishes_without_a_word() {
    let Some(scene) = Scene::new(&[]).await else { return };
    scene.detour.swallow(true);
    scene.endures_a_loss().await;
    scene.detour.swallow(false);
    scene.is_back().await;
    scene.end().await;
}

/// another server under the same name, then one that takes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_takes_over() {
    let (Some(mut scene), Some(second)) = (Scene::new(&[]).await, RedisServer::start(&[])) else { return };
    let leader = scene.server.port().to_string();
    second.run::<String>(&["REPLICAOF", "127.0.0.1", &leader]);
    eventually_within(PATIENCE, "it has a copy", || async {
        (second.run::<u64>(&["DBSIZE"]) > 5).then_some(())
    })
    .await;
    scene.detour.lead_to(second.port());
    scene.server.kill();
    // The name leads to what may be read and not written.
    scene.is_back().await;
    let before = lost(&scene.pannier).await;
    scene.endures().await;
    assert!(lost(&scene.pannier).await > before, "what is not kept is counted");
    second.run::<String>(&["REPLICAOF", "NO", "ONE"]);
    let written = || async {
        let before = second.run::<u64>(&["DBSIZE"]);
        pause(100).await;
        (second.run::<u64>(&["DBSIZE"]) > before).then_some(())
    };
    eventually_within(RECOVERY, "it is written to", written).await;
    scene.is_back().await;
    scene.end().await;
}

/// the one that was written to becomes a replica, and the name leads to its better.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_left_for_its_leader() {
    let (Some(scene), Some(second)) = (Scene::new(&[]).await, RedisServer::start(&[])) else { return };
    scene.detour.lead_to(second.port());
    let leader = second.port().to_string();
    scene.server.run::<String>(&["REPLICAOF", "127.0.0.1", &leader]);
    let is_written = || async { (second.run::<u64>(&["DBSIZE"]) > 20).then_some(()) };
    eventually_within(RECOVERY, "the leader is written to", is_written).await;
    scene.is_back().await;
    scene.end().await;
}

/// R-07, as far as a cache goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_emptied_over_and_over() {
    let Some(scene) = Scene::new(&[]).await else { return };
    for _ in 0..20 {
        scene.server.run::<String>(&["FLUSHALL"]);
        pause(100).await;
    }
    scene.server.run::<String>(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let used: String = scene.server.run(&["INFO", "memory"]);
    let used: u64 =
        used.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok()).unwrap();
    scene.server.run::<String>(&["CONFIG", "SET", "maxmemory", &(used + (64 << 10)).to_string()]);
    scene.endures().await;
    scene.server.run::<String>(&["CONFIG", "SET", "maxmemory", "0"]);
    scene.is_back().await;
    scene.end().await;
}

/// it takes nothing, and is still read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_full() {
    let Some(scene) = Scene::new(&["--maxmemory-policy", "noeviction"]).await else { return };
    scene.server.run::<String>(&["CONFIG", "SET", "maxmemory", "1mb"]);
    let before = lost(&scene.pannier).await;
    endures(&scene.pannier, &scene.load).await;
    assert!(lost(&scene.pannier).await > before, "what is not kept is counted");
    is_up(&scene.pannier, "redis", true).await;
    scene.load.seen();
    is_back(&scene.load).await;
    scene.server.run::<String>(&["CONFIG", "SET", "maxmemory", "0"]);
    let size = || scene.server.run::<u64>(&["DBSIZE"]);
    let full = size();
    eventually_within(RECOVERY, "it is written to", || async { (size() > full + 5).then_some(()) }).await;
    scene.end().await;
}

/// not only what is kept may be garbage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_answers_are_garbled_or_torn() {
    let Some(scene) = Scene::new(&[]).await else { return };
    for answers in [Answers::Garbled(1000), Answers::Garbled(10), Answers::Cut, Answers::Half] {
        scene.detour.weather(Weather { answers, ..Weather::default() });
        scene.endures().await;
        scene.detour.weather(Weather::default());
        scene.is_back().await;
    }
    scene.end().await;
}

/// the scripts by which leases are taken are forgotten all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_forgets_its_scripts() {
    let Some(scene) = Scene::new(&[]).await else { return };
    let turns =
        || async { scene.pannier.metrics().await.sum("pannier_flight_turns_total", &[("outcome", "held")]) };
    let before = turns().await;
    for _ in 0..20 {
        scene.server.run::<String>(&["SCRIPT", "FLUSH"]);
        pause(100).await;
    }
    assert!(turns().await > before + 10.0, "leases are taken all the same");
    assert!(scene.load.seen().waited < LIMIT);
    scene.end().await;
}

/// clients leave while their question is under way, and nobody ever gets another's answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_leaves_leaves_no_answer_to_others() {
    let Some(scene) = Scene::new(&[]).await else { return };
    let slow = Weather {
        latency: Duration::from_millis(5),
        jitter: Duration::from_millis(30),
        ..Weather::default()
    };
    scene.detour.weather(slow);
    let leaver = |_| {
        let addr = scene.pannier.addr;
        tokio::spawn(async move {
            for _ in 0..40 {
                let number = fastrand::u64(..12);
                let mut wire = Wire::open(addr).await;
                wire.ask(&load::question(number)).await;
                let patience = Duration::from_millis(fastrand::u64(..60));
                if let Ok(reply) = tokio::time::timeout(patience, wire.reply("POST")).await {
                    load::is_right(number, &reply);
                }
            }
        })
    };
    let leavers: Vec<_> = (0..20).map(leaver).collect();
    for leaver in leavers {
        leaver.await.expect("every answer was right");
    }
    let seen = scene.load.seen();
    assert!(seen.waited < LIMIT, "{seen:?}");
    let unopened = scene.pannier.metrics().await.sum("pannier_cache_unopened_total", &[]);
    assert_eq!(unopened, 0.0, "a reply went to another question");
    scene.detour.weather(Weather::default());
    scene.is_back().await;
    scene.end().await;
}

/// it will not let Pannier in, or let it do nothing, or there is no such database. What it was told to say
/// there stays between the two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_refuses_pannier() {
    let Some(server) = RedisServer::start(&["--requirepass", "open"]) else { return };
    let own = |command: &[&str]| {
        let url = format!("redis://:open@127.0.0.1:{}", server.port());
        let mut connection = ::redis::Client::open(url).unwrap().get_connection().unwrap();
        let mut run = ::redis::cmd(command[0]);
        let _: ::redis::Value = run.arg(&command[1..]).query(&mut connection).unwrap();
    };
    own(&["ACL", "SETUSER", "guest", "on", ">sesame-guest", "~other:*", "+@all"]);
    own(&["ACL", "SETUSER", "idler", "on", ">sesame-idler", "~*", "-@all", "+ping"]);
    let upstream = Upstream::start().await;
    let port = server.port();
    for login in [":sesame-wrong@", "nobody:sesame-nobody@", "guest:sesame-guest@", "idler:sesame-idler@", ""]
    {
        let mut pannier = launch(&upstream, &format!("redis://{login}127.0.0.1:{port}")).start().await;
        let load = Load::on(&upstream, &pannier, "redis");
        is_never_let_in(&pannier, &load, "redis").await;
        load.end().await;
        in_order(&mut pannier, &["sesame"]).await;
    }
    let mut pannier = launch(&upstream, &format!("redis://:open@127.0.0.1:{port}/99")).start().await;
    let load = Load::on(&upstream, &pannier, "redis");
    is_never_let_in(&pannier, &load, "redis").await;
    load.end().await;
    in_order(&mut pannier, &[":open@"]).await;
}

/// one of two loses it; the other has it, and neither makes its clients wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_loses_it() {
    let Some(scene) = Scene::new(&[]).await else { return };
    let other = launch(&scene.upstream, &scene.server.url()).start().await;
    let others = loaded(&scene.upstream, &other, "redis").await;
    scene.detour.swallow(true);
    endures_within(LIMIT_OF_A_LEASE, &other, &others).await;
    is_back(&others).await;
    is_up(&other, "redis", true).await;
    let seen = scene.load.seen();
    assert!(seen.waited < LIMIT_OF_A_LEASE, "{seen:?}");
    scene.detour.swallow(false);
    scene.is_back().await;
    others.end().await;
    scene.end().await;
}

/// Where Redis is away, what is below it still answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_below_answers_meanwhile() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let upstream = Upstream::start().await;
    let pannier = forgetful(&upstream).set("cache.redis.url", &server.url()).start().await;
    let load = loaded(&upstream, &pannier, "redis").await;
    server.pause();
    endures(&pannier, &load).await;
    load.end().await;
    let load = loaded(&upstream, &pannier, "database").await;
    server.resume();
    eventually_within(RECOVERY, "Redis is of use again", || async {
        let reply = pannier.ask(&load::question(1)).await;
        (reply.cache().contains("detail=redis")).then_some(())
    })
    .await;
    load.end().await;
}
