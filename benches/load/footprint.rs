//! What a server costs while nothing happens: resident memory, that of a thousand open streams, and the
//! time from its start to its first answer.

use std::thread::sleep;
use std::time::Duration;

use crate::client::Connection;
use crate::contender::{Contender, Kind};
use crate::ground::Ground;
use crate::results::{Footprint, Results};
use crate::workload::Workload;

pub const STREAMS: usize = 1_000;
const STARTS: usize = 20;
/// Until a server has put away what its start or the last stream needed.
const SETTLED: Duration = Duration::from_secs(2);

pub fn measure(ground: &Ground, results: &mut Results) -> anyhow::Result<()> {
    for kind in [Kind::NginxProxy, Kind::PassThrough, Kind::Pannier] {
        match footprint(ground, kind) {
            Ok(footprint) => results.footprints.push(footprint),
            Err(error) => results.fail(&format!("footprint, {}", kind.label()), &error),
        }
    }
    Ok(())
}

fn footprint(ground: &Ground, kind: Kind) -> anyhow::Result<Footprint> {
    let mut first_answers = Vec::new();
    for _ in 0..ground.options.scaled(STARTS) {
        first_answers.push(Contender::start(ground, kind, &[])?.process.first_answer);
    }
    let contender = Contender::start(ground, kind, &[])?;
    let ask = |workload: &Workload| workload.request(kind, contender.port, ground.fresh(1));
    // Idle, but awake: it has served both kinds of routes.
    let mut connection = Connection::open(contender.port)?;
    connection.exchange(&ask(&Workload::show()))?;
    connection.exchange(&ask(&Workload::small()))?;
    sleep(SETTLED);
    let idle_bytes = contender.process.resident();
    let mut streams = Vec::with_capacity(STREAMS);
    for _ in 0..STREAMS {
        let mut stream = Connection::open(contender.port)?;
        stream.begin(&ask(&Workload::held()))?;
        streams.push(stream);
    }
    sleep(SETTLED);
    let with_streams_bytes = contender.process.resident();
    eprintln!("  {}: idle {idle_bytes}, with streams {with_streams_bytes}", kind.label());
    Ok(Footprint { kind, idle_bytes, with_streams_bytes, first_answers })
}
