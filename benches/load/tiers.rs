//! The tiers behind the memory: what they cost a hit in memory, what a hit in each of them takes, and what a miss
//! pays, while its client waits, for being kept in all of them.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::client::Connection;
use crate::contender::{Contender, Kind};
use crate::ground::Ground;
use crate::growth;
use crate::postgres::Postgres;
use crate::results::{Results, Series, Storing, Table, Tier, TierHits};
use crate::rounds;
use crate::servers::RedisServer;
use crate::workload::Workload;
use crate::wrk::Picking;

/// Different requests that are asked over and over of a memory with tiers behind it.
const ASKED: u64 = 500;
/// Hits in a tier, one after the other.
const HITS: usize = 5_000;
/// Hits before any counts.
const WARM_UP: usize = 100;
/// Misses, of which every second is kept.
const MISSES: usize = 2_000;
/// Until what follows an answer is done: a miss must not pay for the one before it.
const SETTLED: Duration = Duration::from_millis(3);

/// How long a tier may take to be opened, or to write down what it is filled with.
const WITHIN: Duration = Duration::from_secs(600);

const SECRET: (&str, &str) =
    ("PANNIER__CACHE__TIERS__SECRET", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
/// Entries come faster than a database takes them; none may be dropped while a tier is filled.
const QUEUE: (&str, &str) = ("PANNIER__CACHE__TIERS__QUEUE", "4GiB");
const NO_DATABASE: (&str, &str) = ("PANNIER__CACHE__DATABASE__ENABLED", "false");
/// Entries that wait to be written into the tiers.
const WAITING: &str = "pannier_internal_size{what=\"cache_writes\"}";
const REDIS_URL: &str = "PANNIER__CACHE__REDIS__URL";
const DATABASE_URL: &str = "PANNIER__CACHE__DATABASE__URL";

pub fn measure(ground: &Ground, results: &mut Results) -> anyhow::Result<()> {
    let redis = RedisServer::start(&[]).context("no redis-server is installed");
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
    match Postgres::start_with(&settings).context("no PostgreSQL is installed") {
        Ok(postgres) => tier(ground, results, Tier::Postgres, many, &[(DATABASE_URL, &postgres.url())]),
        Err(error) => results.fail(Tier::Postgres.label(), &error),
    }
    if let Ok(redis) = &redis {
        results.storing = Some(storing(ground, &redis.url())?);
    }
    Ok(())
}

/// Hits in memory, without tiers behind it and with all of them.
fn beside_memory(ground: &Ground, results: &mut Results, redis: &str) {
    let ways: [(Kind, &[(&str, &str)]); 2] =
        [(Kind::PannierMemory, &[NO_DATABASE]), (Kind::PannierTiers, &[SECRET, (REDIS_URL, redis)])];
    let mut contenders = Vec::new();
    for (kind, settings) in ways {
        match Contender::start(ground, kind, settings) {
            Ok(contender) => contenders.push(contender),
            Err(error) => results.fail(kind.label(), &error),
        }
    }
    let workload = Workload::small();
    let (standings, dropped) = rounds::compete(ground, &mut contenders, &workload, Picking::Rotate(ASKED));
    for (kind, error) in dropped {
        results.fail(kind.label(), &error);
    }
    results.with_tiers = Some(Table { title: workload.title, standings });
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
    growth::fill(&filling, &workload, 0, entries)?;
    await_figure(&filling, WAITING, "0")?;
    drop(filling);

    let contender = Contender::start(ground, Kind::PannierTiers, &settings)?;
    await_figure(&contender, tier.up(), "1")?;
    let mut connection = Connection::open(contender.port)?;
    // Of any neighbour of the last one asked for, nothing is at hand.
    let stride = entries / (ground.options.scaled(HITS) as u64 + WARM_UP as u64);
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
    ask(WARM_UP)?;
    let hits = ground.options.scaled(HITS);
    let before = ground.stub.calls(workload.path)?;
    let latencies = ask(hits)?;
    let missed = ground.stub.calls(workload.path)? - before;
    ensure!(missed * 100 < hits as u64, "{missed} of {hits} were not there");
    let series = Series::new(contender.kind, latencies);
    eprintln!("  {}: p99 {:.0} µs", tier.label(), series.quantile_us(0.99).unwrap_or_default());
    Ok(TierHits { tier, entries, series })
}

/// Waits until what `contender` says of itself under `metric` is `wanted`.
fn await_figure(contender: &Contender, metric: &str, wanted: &str) -> anyhow::Result<()> {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", contender.port);
    let mut connection = Connection::open(contender.port)?;
    let begun = Instant::now();
    loop {
        let page = String::from_utf8(connection.exchange(request.as_bytes())?.body)?;
        let figure = page.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        if figure == Some(wanted) {
            return Ok(());
        }
        ensure!(begun.elapsed() < WITHIN, "{metric} is {figure:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The processor time that a miss takes up to its answer's last byte, kept in all tiers and kept nowhere, in turn.
fn storing(ground: &Ground, redis: &str) -> anyhow::Result<Storing> {
    let contender = Contender::start(ground, Kind::PannierTiers, &[SECRET, (REDIS_URL, redis)])?;
    for tier in [Tier::Redis, Tier::Sqlite] {
        await_figure(&contender, tier.up(), "1")?;
    }
    let workload = Workload::small();
    let mut connection = Connection::open(contender.port)?;
    let mut ask = |is_kept: bool| -> anyhow::Result<Duration> {
        let mut request = workload.request(contender.kind, contender.port, ground.fresh(1));
        if !is_kept {
            request =
                String::from_utf8(request)?.replacen("\r\n", "\r\nCache-Control: no-store\r\n", 1).into();
        }
        std::thread::sleep(SETTLED);
        let before = contender.process.precise_time()?;
        let answer = connection.exchange(&request)?;
        let after = contender.process.precise_time()?;
        ensure!(answer.status == 200, "status {}", answer.status);
        Ok(after.saturating_sub(before))
    };
    for turn in 0..WARM_UP {
        ask(turn % 2 == 0)?;
    }
    let mut storing = Storing::default();
    for _ in 0..ground.options.scaled(MISSES) {
        storing.kept.push(ask(true)?);
        storing.unkept.push(ask(false)?);
    }
    Ok(storing)
}
