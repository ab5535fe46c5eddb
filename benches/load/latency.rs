//! What a contender adds to the time that one client waits: alone on its connection, each request new,
//! contenders taking turns from one request to the next.

use std::time::Duration;

use anyhow::ensure;

use crate::client::{Answer, Connection};
use crate::contender::{Contender, Kind};
use crate::ground::Ground;
use crate::process::Process;
use crate::results::{Results, Series};
use crate::workload::Workload;

const ANSWERS: usize = 5_000;
const STREAMS: usize = 600;
/// Turns after which it is asked whether the machine was quiet.
const BLOCK: usize = 500;
/// Turns before anything counts.
const WARM_UP: usize = 50;

/// One way from the client to the stub.
struct Way {
    kind: Kind,
    port: u16,
    connection: Connection,
    latencies: Vec<Duration>,
}

/// Whole answers first, then the first token of streams. The direct way leads to a stub on the server's
/// core: on an idle machine it is the waking of the other core that takes the time, and no real server sits
/// on its client's. The stub that the contenders ask, which does, is there to show the difference.
pub fn added(ground: &Ground, results: &mut Results) -> anyhow::Result<()> {
    let kinds = [Kind::Direct, Kind::NginxProxy, Kind::PassThrough, Kind::PannierMemory, Kind::Pannier];
    let (contenders, failed) = Contender::start_all(ground, &kinds, &[]);
    results.failures.extend(failed.into_iter().map(|(kind, why)| (kind.label().to_owned(), why)));
    let answers = ground.options.scaled(ANSWERS);
    results.answers = take_turns(ground, &contenders, &Workload::small(), answers, |answer| answer.whole)?;
    let streams = ground.options.scaled(STREAMS);
    results.first_tokens =
        take_turns(ground, &contenders, &Workload::paced(), streams, |answer| answer.first_byte)?;
    for series in results.answers.iter().chain(&results.first_tokens) {
        let p50 = series.quantile_us(0.5).unwrap_or_default();
        eprintln!("  {}: p50 {p50:.0} µs", series.kind.label());
    }
    Ok(())
}

fn take_turns(
    ground: &Ground,
    contenders: &[Contender],
    workload: &Workload,
    turns: usize,
    latency: fn(&Answer) -> Duration,
) -> anyhow::Result<Vec<Series>> {
    let all = || std::iter::once(&ground.stub).chain(contenders);
    let participants: Vec<&Process> = all().map(|contender| &contender.process).collect();
    let mut ways: Vec<Way> = all()
        .map(|contender| {
            let Contender { kind, port, .. } = *contender;
            Ok(Way { kind, port, connection: Connection::open(port)?, latencies: Vec::with_capacity(turns) })
        })
        .collect::<anyhow::Result<_>>()?;
    for _ in 0..WARM_UP {
        turn(ground, &mut ways, workload, latency)?;
    }
    let mut taken = 0;
    while taken < turns {
        let block = BLOCK.min(turns - taken);
        let latencies = ground.quiet.sample(&participants, || {
            (0..block).map(|_| turn(ground, &mut ways, workload, latency)).collect::<anyhow::Result<Vec<_>>>()
        })?;
        for of_turn in latencies {
            for (way, latency) in ways.iter_mut().zip(of_turn) {
                way.latencies.push(latency);
            }
        }
        taken += block;
    }
    Ok(ways.into_iter().map(|way| Series::new(way.kind, way.latencies)).collect())
}

/// One request on each way.
fn turn(
    ground: &Ground,
    ways: &mut [Way],
    workload: &Workload,
    latency: fn(&Answer) -> Duration,
) -> anyhow::Result<Vec<Duration>> {
    ways.iter_mut()
        .map(|way| {
            let request = workload.request(way.kind, way.port, ground.fresh(1));
            let answer = way.connection.exchange(&request)?;
            ensure!(answer.status == 200, "{} answered {}", way.kind.label(), answer.status);
            Ok(latency(&answer))
        })
        .collect()
}
