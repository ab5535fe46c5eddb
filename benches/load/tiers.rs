//! The tiers behind the memory: what they cost a hit in memory, and what a hit in each of them takes.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::client::Connection;
use crate::contender::{Contender, Kind};
use crate::ground::Ground;
use crate::growth;
use crate::results::{Results, Series, Tier, TierHits};
use crate::rounds;
use crate::throughput::told;
use crate::toll;
use crate::workload::Workload;
use crate::wrk::Picking;
use servers::Postgres;
use servers::RedisServer;

/// Different requests that are asked over and over of a memory with tiers behind it.
const ASKED: u64 = 500;
/// Hits in a tier, one after the other.
const HITS: usize = 5_000;
/// Hits before any counts, and how often they are tried: a tier that is slow at its first connections is left alone
/// for a moment.
const WARM_UP: usize = 100;
const WARM_UPS: usize = 5;
/// It is left alone no longer.
const LEFT_ALONE: Duration = Duration::from_secs(2);
/// Before the model's digest is known nothing is kept: these are asked for twice.
const FIRST: u64 = 1_000;
/// Entries between two looks at whether all of them are written: fewer than may wait.
const SLICE: u64 = 20_000;

/// How long a tier may take to be opened, or to write down what it is filled with.
const WITHIN: Duration = Duration::from_secs(120);
/// A group of entries is written by then, or lost.
const LAST_GROUP: Duration = Duration::from_secs(1);

pub const SECRET: (&str, &str) =
    ("PANNIER__CACHE__TIERS__SECRET", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
/// A slice of entries fits into it.
const QUEUE: (&str, &str) = ("PANNIER__CACHE__TIERS__QUEUE", "1GiB");
pub const NO_DATABASE: (&str, &str) = ("PANNIER__CACHE__DATABASE__ENABLED", "false");
pub const REDIS_URL: &str = "PANNIER__CACHE__REDIS__URL";
pub const DATABASE_URL: &str = "PANNIER__CACHE__DATABASE__URL";
/// Entries that wait to be written into the tiers.
const WAITING: &str = "pannier_internal_size{what=\"cache_writes\"}";
/// Entries that were not written, by cause.
const LOST: &str = "pannier_cache_writes_lost_total{cause=\"";

pub fn measure(ground: &Ground, results: &mut Results) -> anyhow::Result<()> {
    let redis =
        RedisServer::start(&[]).context("not installed: redis-server (Debian: apt-get install redis-server)");
    match &redis {
        Ok(redis) => beside_memory(ground, results, &redis.url()),
        Err(error) => results.fail("all tiers", error),
    }
    let file = ground.dir().join("cache.db").to_string_lossy().into_owned();
    let few = if ground.options.quick { 2_000 } else { 20_000 };
    let many = match (ground.options.quick, ground.options.full) {
        (true, _) => 5_000,
        (false, false) => 100_000,
        (false, true) => 1_000_000,
    };
    if let Ok(redis) = &redis {
        tier(ground, results, Tier::Redis, few, &[(REDIS_URL, &redis.url()), NO_DATABASE]);
    }
    tier(ground, results, Tier::Sqlite, many, &[(DATABASE_URL, &file)]);
    let settings = ["shared_buffers=256MB", "max_wal_size=4GB"];
    let postgres = Postgres::start_with(&settings)
        .context("not installed: postgresql (Debian: apt-get install postgresql)");
    match &postgres {
        Ok(postgres) => tier(ground, results, Tier::Postgres, many, &[(DATABASE_URL, &postgres.url())]),
        Err(error) => results.fail(Tier::Postgres.label(), error),
    }
    // The servers run until they are dropped.
    let redis_url = redis.as_ref().ok().map(RedisServer::url);
    let postgres_url = postgres.as_ref().ok().map(Postgres::url);
    toll::measure(ground, results, redis_url.as_deref(), postgres_url.as_deref())
}

/// Hits in memory, without tiers behind it and with all of them.
fn beside_memory(ground: &Ground, results: &mut Results, redis: &str) {
    let ways: [(Kind, &[(&str, &str)]); 2] =
        [(Kind::PannierMemory, &[]), (Kind::PannierTiers, &[SECRET, (REDIS_URL, redis)])];
    let workload = Workload::small();
    let outcome = rounds::closely(ground, &ways, &workload, Picking::Rotate(ASKED));
    results.with_tiers = Some(told(outcome, &workload, results));
}

fn tier(ground: &Ground, results: &mut Results, tier: Tier, entries: u64, settings: &[(&str, &str)]) {
    match hits(ground, tier, entries, settings) {
        Ok(hits) => results.tier_hits.push(hits),
        Err(error) => results.fail(tier.label(), &error),
    }
}

/// Fills a tier, and asks a Pannier that has just been started, whose memory is empty, for entries of it, each
/// once.
fn hits(ground: &Ground, tier: Tier, entries: u64, settings: &[(&str, &str)]) -> anyhow::Result<TierHits> {
    let settings = [settings, &[SECRET, QUEUE]].concat();
    let workload = Workload::small();
    let filling = Contender::start(ground, Kind::PannierTiers, &settings)?;
    await_figure(&filling, tier.up(), "1")?;
    fill(&filling, &workload, entries)?;
    let lost = lost(&filling)?;
    drop(filling);

    let contender = Contender::start(ground, Kind::PannierTiers, &settings)?;
    await_figure(&contender, tier.up(), "1")?;
    let mut connection = Connection::open(contender.port)?;
    // Of any neighbour of the last one asked for, nothing is at hand.
    let stride = entries / (ground.options.scaled(HITS) + WARM_UPS * WARM_UP) as u64;
    ensure!(stride > 0, "{entries} entries are too few");
    let mut numbers = (0..).map(|turn| turn * stride);
    let mut ask = |many: usize| -> anyhow::Result<Vec<Duration>> {
        let numbers: Vec<u64> = numbers.by_ref().take(many).collect();
        numbers
            .into_iter()
            .map(|number| {
                let answer =
                    connection.exchange(&workload.request(contender.kind, contender.port, number))?;
                ensure!(answer.status == 200, "status {}", answer.status);
                Ok(answer.whole)
            })
            .collect()
    };
    for _ in 0..WARM_UPS {
        let before = ground.stub.calls(workload.path)?;
        ask(WARM_UP)?;
        if ground.stub.calls(workload.path)? == before {
            break;
        }
        std::thread::sleep(LEFT_ALONE);
    }
    let hits = ground.options.scaled(HITS);
    let before = ground.stub.calls(workload.path)?;
    let latencies = ask(hits)?;
    let missed = ground.stub.calls(workload.path)? - before;
    ensure!(missed * 100 < hits as u64, "{missed} of {hits} were not there; never written: {lost:?}");
    let series = Series::new(contender.kind, latencies);
    eprintln!("  {}: p99 {:.0} µs", tier.label(), series.quantile_us(0.99).unwrap_or_default());
    Ok(TierHits { tier, entries, series })
}

/// Puts that many entries behind the memory, no faster than they are written.
fn fill(contender: &Contender, workload: &Workload, entries: u64) -> anyhow::Result<()> {
    eprintln!("  {}: filling up to {entries}", contender.kind.label());
    growth::ask_once(contender, workload, 0, FIRST.min(entries))?;
    for start in (0..entries).step_by(SLICE as usize) {
        growth::ask_once(contender, workload, start, entries.min(start + SLICE))?;
        await_figure(contender, WAITING, "0")?;
    }
    std::thread::sleep(LAST_GROUP);
    Ok(())
}

/// Why entries were not written, and how many.
fn lost(contender: &Contender) -> anyhow::Result<Vec<String>> {
    let page = metrics(contender)?;
    let causes = page.lines().filter_map(|line| line.strip_prefix(LOST));
    Ok(causes.filter(|line| !line.ends_with(" 0")).map(|line| line.replace("\"}", ":")).collect())
}

/// Waits until what `contender` says of itself under `metric` is `wanted`.
pub fn await_figure(contender: &Contender, metric: &str, wanted: &str) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let page = metrics(contender)?;
        let figure = page.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        if figure == Some(wanted) {
            return Ok(());
        }
        ensure!(begun.elapsed() < WITHIN, "{metric} is {figure:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn metrics(contender: &Contender) -> anyhow::Result<String> {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", contender.port);
    Ok(String::from_utf8(Connection::open(contender.port)?.exchange(request.as_bytes())?.body)?)
}
