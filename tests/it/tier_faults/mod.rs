//! The tiers behind the memory while what they stand on dies, hangs, is full, or lies, through the whole server
//! (RELIABILITY.md groups C, R and S). Whoever asks gets the right answer, and soon; all that it costs is hits.

mod file;
mod load;
mod postgres;
mod redis;
mod said;
mod sealed;

use crate::stage::embedder;
use crate::stage::*;
use load::Load;
use std::time::{Duration, Instant};

/// What entries are sealed with.
const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// The longest that a request waits for a tier. It is 50 ms by default; on a busy machine a tier that is well may
/// take that long.
const TIMEOUT: Duration = Duration::from_millis(250);
/// Nobody waits longer, whatever the tiers do: a request asks them a few things.
const LIMIT: Duration = Duration::from_secs(1);
/// Nor for longer than this where a lease is held by one who can no longer give it back.
const LIMIT_OF_A_LEASE: Duration = Duration::from_secs(4);
/// From a tier's return until it is of use.
const RECOVERY: Duration = Duration::from_secs(5);
/// How long a fault lasts.
const WHILE: Duration = Duration::from_secs(2);

/// A Pannier that keeps nothing in its memory, so that every request asks the tiers.
fn forgetful(upstream: &Upstream) -> Launch {
    let timeout = format!("{}ms", TIMEOUT.as_millis());
    let launch = Launch::before(upstream).set("memory.capacity", "1").set("memory.vectors", "1");
    let launch = launch.set("cache.tiers.secret", SECRET);
    launch.set("cache.redis.timeout", &timeout).set("cache.database.timeout", &timeout)
}

/// Clients that ask `pannier` all the time, once it finds things in `tier`.
async fn loaded(upstream: &Upstream, pannier: &Pannier, tier: &'static str) -> Load {
    let load = Load::on(upstream, pannier, tier);
    is_used(&load).await;
    load
}

async fn is_used(load: &Load) {
    load.seen();
    eventually_within(PATIENCE, "the tier is of use", || async { (load.hits() > 10).then_some(()) }).await;
}

/// Asserts that the tier is of use again within the time that it has for that, and a busy machine besides.
async fn is_back(load: &Load) {
    let began = Instant::now();
    is_used(load).await;
    let (took, seen) = (began.elapsed(), load.seen());
    assert!(took < RECOVERY + seen.busy * 10, "of use again after {took:?}: {seen:?}");
}

/// Lets the fault last, and asserts that nobody hangs in it, the house least of all.
async fn endures(pannier: &Pannier, load: &Load) {
    endures_within(LIMIT, pannier, load).await;
}

async fn endures_within(limit: Duration, pannier: &Pannier, load: &Load) {
    load.seen();
    let (began, mut slowest) = (Instant::now(), Duration::ZERO);
    while began.elapsed() < WHILE {
        let asked = Instant::now();
        assert_eq!(pannier.house("/livez").await.status(), 200);
        slowest = slowest.max(asked.elapsed());
        pause(100).await;
    }
    let seen = load.seen();
    assert!(seen.answers > 20, "hardly anybody was answered: {seen:?}");
    assert!(seen.waited < limit, "{seen:?}");
    assert!(slowest < LIMIT + seen.busy, "the house took {slowest:?}: {seen:?}");
}

/// Lets `load` ask a Pannier that cannot get at its tier: all are answered, nobody by the tier, and nobody waits.
async fn is_never_let_in(pannier: &Pannier, load: &Load, dep: &str) {
    eventually("they are answered", || async { (load.answers() > 20).then_some(()) }).await;
    let seen = load.seen();
    assert!(seen.hits == 0 && seen.waited < LIMIT, "{seen:?}");
    is_up(pannier, dep, false).await;
}

async fn is_up(pannier: &Pannier, dep: &str, up: bool) {
    let is_so = || async {
        let value = pannier.metrics().await.sum("pannier_dependency_up", &[("dep", dep)]);
        (value == f64::from(u8::from(up))).then_some(())
    };
    eventually_within(PATIENCE, "what is told of the tier", is_so).await;
}

/// Asks of a dependency that failed, so far.
async fn errors(pannier: &Pannier, dep: &str) -> f64 {
    pannier.metrics().await.sum("pannier_dependency_errors_total", &[("dep", dep)])
}

async fn lost(pannier: &Pannier) -> f64 {
    pannier.metrics().await.sum("pannier_cache_writes_lost_total", &[])
}

/// That nothing was left behind, and nothing broke.
async fn in_order(pannier: &mut Pannier, secrets: &[&str]) {
    for what in ["cache_lookups", "turns_waited_for", "leases"] {
        pannier.counts("pannier_internal_size", &[("what", what)], 0.0).await;
    }
    let told = pannier.output() + &pannier.metrics().await.text;
    // A library may panic over nonsense; nobody but it ends by that.
    let panics = told.lines().filter(|line| {
        line.contains("panicked")
            && !["/sqlx-", "/bytes-", "/byteorder-", "/redis-"].iter().any(|library| line.contains(library))
    });
    assert!(pannier.runs() && panics.count() == 0, "{told}");
    for secret in secrets {
        assert!(!told.contains(secret), "{secret} is told: {told}");
    }
}
