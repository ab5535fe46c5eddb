//! The tiers behind the memory while what they stand on dies, hangs, is full, or lies, through the whole server
//! (RELIABILITY.md groups C, R and S). Whoever asks gets the right answer, and soon; all that it costs is hits.

mod file;
mod load;
mod postgres;
mod redis;
mod sealed;

use crate::stage::*;
use load::Load;
use std::time::{Duration, Instant};

/// What entries are sealed with.
const SECRET: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// The longest that a request waits for a tier. It is 50 ms by default; on a busy machine a tier that is well may
/// take that long.
const TIMEOUT: Duration = Duration::from_millis(500);
/// How long a fault lasts at the least.
const WHILE: Duration = Duration::from_secs(2);
/// It lasts until each client has had so many answers in it.
const ANSWERS: u64 = 10;

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
    eventually("the tier is of use", || async { (load.hits() > 10).then_some(()) }).await;
}

/// Lets the fault last until everybody has been answered again and again: who hangs in it hangs for ever, and the house
/// least of all may.
async fn endures(pannier: &Pannier, load: &Load) {
    load.seen();
    let began = Instant::now();
    eventually("everybody is answered meanwhile", || async {
        assert_eq!(pannier.house("/livez").await.status(), 200);
        pause(100).await;
        (began.elapsed() >= WHILE && load.answers() >= ANSWERS).then_some(())
    })
    .await;
    nobody_waited(load);
}

/// Whoever asks waits a few times for a tier's timeout at the most, or for a lease's end.
fn nobody_waited(load: &Load) {
    let seen = load.seen();
    assert!(seen.slowest < PROMPTLY, "{seen:?}");
}

/// Lets `load` ask a Pannier that cannot get at its tier: all are answered, and nobody by the tier.
async fn is_never_let_in(pannier: &Pannier, load: &Load, dep: &str) {
    let all_have_asked = || async { (load.answers() >= ANSWERS).then_some(()) };
    eventually("everybody is answered", all_have_asked).await;
    let seen = load.seen();
    assert!(seen.hits == 0 && seen.slowest < PROMPTLY, "{seen:?}");
    is_up(pannier, dep, false).await;
}

async fn is_up(pannier: &Pannier, dep: &str, up: bool) {
    let is_so = || async {
        let value = pannier.metrics().await.sum("pannier_dependency_up", &[("dep", dep)]);
        (value == f64::from(u8::from(up))).then_some(())
    };
    eventually("what is told of the tier", is_so).await;
}

/// Asks of a dependency that failed, so far.
async fn errors(pannier: &Pannier, dep: &str) -> f64 {
    pannier.metrics().await.sum("pannier_dependency_errors_total", &[("dep", dep)])
}

async fn lost(pannier: &Pannier) -> f64 {
    pannier.metrics().await.sum("pannier_cache_writes_lost_total", &[])
}

/// Waits until more is said to be lost than there was `before`.
async fn loses(pannier: &Pannier, before: f64) {
    eventually("what is not kept is counted", || async { (lost(pannier).await > before).then_some(()) })
        .await;
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
            && !["/sqlx-", "/bytes-", "/redis-"].iter().any(|library| line.contains(library))
    });
    assert!(pannier.runs() && panics.count() == 0, "{told}");
    for secret in secrets {
        assert!(!told.contains(secret), "{secret} is told: {told}");
    }
}
