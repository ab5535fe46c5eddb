//! What a miss pays for the tiers behind the memory: how much later its answer comes, and the processor time that
//! it takes until then. What is done behind the answer is no part of it.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::client::Connection;
use crate::contender::{Contender, Kind};
use crate::ground::Ground;
use crate::results::{Behind, Results, Series, Toll};
use crate::tiers::{DATABASE_URL, NO_DATABASE, REDIS_URL, SECRET, await_figure};
use crate::workload::Workload;

/// Misses each.
const MISSES: usize = 1_500;
/// Misses before any counts.
const WARM_UP: usize = 50;
/// Before a miss the server answers from memory for so long: it is awake, and what follows the answers before is
/// done.
const AWAKE: Duration = Duration::from_millis(3);
/// Looked up like any other, and then too large to be kept.
const NOTHING_KEPT: (&str, &str) = ("PANNIER__CACHE__RULES", "[{operation=\"chat\",max_entry=1}]");

/// One Pannier, and what was measured of it.
struct Payer {
    behind: Behind,
    contender: Contender,
    connection: Connection,
    latencies: Vec<Duration>,
    cpu: Vec<Duration>,
}

/// All of them in turn, from one miss to the next. What is not there is left out.
pub fn measure(
    ground: &Ground,
    results: &mut Results,
    redis: Option<&str>,
    postgres: Option<&str>,
) -> anyhow::Result<()> {
    let mut payers = Vec::new();
    for behind in Behind::ALL {
        let Some(settings) = settings(behind, redis, postgres) else { continue };
        match Payer::start(ground, behind, &settings) {
            Ok(payer) => payers.push(payer),
            Err(error) => results.fail(&format!("a miss with {} behind it", behind.label()), &error),
        }
    }
    for turn in 0..WARM_UP + ground.options.scaled(MISSES) {
        for payer in &mut payers {
            payer.pay(ground.fresh(1), turn >= WARM_UP)?;
        }
    }
    results.tolls = payers.into_iter().map(Payer::toll).collect();
    Ok(())
}

/// `None` where there is no such server.
fn settings<'a>(
    behind: Behind,
    redis: Option<&'a str>,
    postgres: Option<&'a str>,
) -> Option<Vec<(&'a str, &'a str)>> {
    let mut settings = vec![SECRET];
    if matches!(behind, Behind::Redis | Behind::All | Behind::AllUnkept) {
        settings.push((REDIS_URL, redis?));
    }
    match behind {
        Behind::Nothing | Behind::Redis => settings.push(NO_DATABASE),
        Behind::Postgres => settings.push((DATABASE_URL, postgres?)),
        Behind::Sqlite | Behind::All => {}
        Behind::AllUnkept => settings.push(NOTHING_KEPT),
    }
    Some(settings)
}

// === impl Payer ===

impl Payer {
    fn start(ground: &Ground, behind: Behind, settings: &[(&str, &str)]) -> anyhow::Result<Payer> {
        let contender = Contender::start(ground, Kind::PannierTiers, settings)?;
        for tier in behind.tiers() {
            await_figure(&contender, tier.up(), "1").with_context(|| tier.label())?;
        }
        let connection = Connection::open(contender.port)?;
        Ok(Payer { behind, contender, connection, latencies: Vec::new(), cpu: Vec::new() })
    }

    fn pay(&mut self, number: u64, counts: bool) -> anyhow::Result<()> {
        self.stay_awake()?;
        let request = Workload::small().request(self.contender.kind, self.contender.port, number);
        let before = self.contender.process.precise_time()?;
        let answer = self.connection.exchange(&request)?;
        let after = self.contender.process.precise_time()?;
        ensure!(answer.status == 200, "status {}", answer.status);
        if counts {
            self.latencies.push(answer.whole);
            self.cpu.push(after.saturating_sub(before));
        }
        Ok(())
    }

    fn stay_awake(&mut self) -> anyhow::Result<()> {
        let known = Workload::embedding().request(self.contender.kind, self.contender.port, 0);
        let begun = Instant::now();
        while begun.elapsed() < AWAKE {
            let answer = self.connection.exchange(&known)?;
            ensure!(answer.status == 200, "status {}", answer.status);
        }
        Ok(())
    }

    fn toll(self) -> Toll {
        let Payer { behind, contender, latencies, cpu, .. } = self;
        let (series, cpu) = (Series::new(contender.kind, latencies), Series::new(contender.kind, cpu));
        let median = |series: &Series| series.quantile_us(0.5).unwrap_or_default();
        eprintln!("  {}: p50 {:.0} µs, CPU {:.0} µs", behind.label(), median(&series), median(&cpu));
        Toll { behind, series, cpu }
    }
}
