//! Rounds: every contender is measured once, then every one again, so that a slow minute of the machine
//! falls on all of them.

use anyhow::ensure;

use crate::client::Connection;
use crate::contender::{Contender, Kind};
use crate::ground::Ground;
use crate::results::{Sample, Standing};
use crate::workload::Workload;
use crate::wrk::{self, Picking};

/// Where a contender's answers should come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Memory,
    Upstream,
    /// It is its own upstream.
    Itself,
}

/// Asks twice for whatever will be asked over and over: an answer that the first time was not kept, say for
/// want of the model's digest, is kept the second time.
fn warm_up(contender: &Contender, workload: &Workload, picking: Picking) -> anyhow::Result<()> {
    let Picking::Rotate(many) = picking else { return Ok(()) };
    let mut connection = Connection::open(contender.port)?;
    for _ in 0..2 {
        for number in 0..many {
            let answer = connection.exchange(&workload.request(contender.kind, contender.port, number))?;
            ensure!(
                answer.status == 200,
                "{} answered {}: {}",
                contender.kind.label(),
                answer.status,
                String::from_utf8_lossy(&answer.body)
            );
        }
    }
    Ok(())
}

/// All rounds of one workload. A contender that fails drops out, and its reason is returned with its kind.
pub fn compete(
    ground: &Ground,
    contenders: &mut [Contender],
    workload: &Workload,
    picking: Picking,
) -> (Vec<Standing>, Vec<(Kind, anyhow::Error)>) {
    let mut standings: Vec<Standing> =
        contenders.iter().map(|contender| Standing { kind: contender.kind, samples: Vec::new() }).collect();
    let mut dropped: Vec<(Kind, anyhow::Error)> = Vec::new();
    for round in 1..=ground.options.rounds() {
        for (contender, standing) in contenders.iter_mut().zip(&mut standings) {
            if dropped.iter().any(|(kind, _)| *kind == contender.kind) {
                continue;
            }
            let sampled = if round == 1 { warm_up(contender, workload, picking) } else { Ok(()) };
            match sampled.and_then(|()| sample(ground, contender, workload, picking)) {
                Ok(sample) => {
                    eprintln!(
                        "  {}, round {round}, {}: {:.0}/s, {:.2} µs",
                        workload.title,
                        contender.kind.label(),
                        sample.requests_per_second,
                        sample.cpu_us
                    );
                    standing.samples.push(sample);
                }
                Err(error) => dropped.push((contender.kind, contender.process.explain(error))),
            }
        }
    }
    standings.retain(|standing| !dropped.iter().any(|(kind, _)| *kind == standing.kind));
    (standings, dropped)
}

/// One sample of one contender, in a quiet moment, after a check that it did what is being measured.
pub fn sample(
    ground: &Ground,
    contender: &Contender,
    workload: &Workload,
    picking: Picking,
) -> anyhow::Result<Sample> {
    contender.process.trim_log()?;
    ground.quiet.sample(&[&contender.process, &ground.stub.process], || {
        let calls_before = ground.stub.calls(workload.path)?;
        let cpu_before = contender.process.processor_time();
        let tally = wrk::run(ground, contender, workload, picking)?;
        let cpu = contender.process.processor_time().saturating_sub(cpu_before);
        let calls = ground.stub.calls(workload.path)? - calls_before;
        check(origin(contender.kind, picking), calls as f64 / tally.requests)?;
        Ok(Sample {
            requests_per_second: tally.requests / tally.seconds,
            p50_us: tally.p50_us,
            p99_us: tally.p99_us,
            cpu_us: cpu.as_secs_f64() * 1e6 / tally.requests,
        })
    })
}

fn origin(kind: Kind, picking: Picking) -> Origin {
    match (kind, picking) {
        (Kind::Direct | Kind::Beside | Kind::Bare, _) => Origin::Itself,
        (Kind::NginxProxy | Kind::PassThrough, _) | (_, Picking::Fresh) => Origin::Upstream,
        (Kind::NginxCache, _) | (Kind::Pannier | Kind::PannierRoad, _) => Origin::Memory,
        (Kind::PannierMemory | Kind::PannierTiers, _) => Origin::Memory,
        (Kind::PannierBooks | Kind::PannierUnbooked, _) => Origin::Memory,
    }
}

/// A hit that asked the upstream is none, and a miss that did not ask it is none either. `share` is that of
/// the requests that went there.
fn check(origin: Origin, share: f64) -> anyhow::Result<()> {
    let percent = share * 100.0;
    match origin {
        Origin::Itself => {}
        Origin::Memory => ensure!(share < 0.01, "{percent:.1} % of the requests went upstream: no hits"),
        Origin::Upstream => ensure!(share > 0.99, "only {percent:.1} % of the requests went upstream"),
    }
    Ok(())
}
