//! What a hit costs when the cache holds a thousand entries, and when it holds a million: every entry is
//! as likely to be asked for as any other, which is the worst that can happen to the processor's caches.

use anyhow::ensure;

use crate::client::Connection;
use crate::contender::{Contender, Kind};
use crate::ground::Ground;
use crate::results::{Results, Standing, Step};
use crate::rounds;
use crate::workload::Workload;
use crate::wrk::Picking;

/// Room for all entries with what each of them needs beside its answer.
const MEMORY: (&str, &str) = ("PANNIER__MEMORY__CAPACITY", "6GiB");
/// Clients that fill at the same time.
const FILLERS: usize = 16;
/// Entries after which the server's log is cut.
const AT_ONCE: usize = 100_000;

pub fn measure(ground: &Ground, results: &mut Results) -> anyhow::Result<()> {
    let sizes: &[u64] = match (ground.options.quick, ground.options.full) {
        (true, _) => &[1_000, 10_000],
        (false, false) => &[1_000, 10_000, 100_000],
        (false, true) => &[1_000, 10_000, 100_000, 1_000_000],
    };
    let (mut contenders, failed) =
        Contender::start_all(ground, &[Kind::Bare, Kind::PannierMemory], &[MEMORY]);
    results.failures.extend(failed.into_iter().map(|(kind, why)| (kind.label().to_owned(), why)));
    let workload = Workload::small();
    let mut filled = 0;
    for entries in sizes.iter().copied() {
        contenders.retain(|contender| match fill(contender, &workload, filled, entries) {
            Ok(()) => true,
            Err(error) => {
                results.fail(&format!("{entries} entries, {}", contender.kind.label()), &error);
                false
            }
        });
        filled = entries;
        let (standings, dropped) = rounds::compete(ground, &mut contenders, &workload, Picking::Any(entries));
        for (kind, error) in dropped {
            results.fail(&format!("{entries} entries, {}", kind.label()), &error);
        }
        for standing in standings {
            results.growth.push(step(&contenders, entries, standing));
        }
    }
    Ok(())
}

fn step(contenders: &[Contender], entries: u64, standing: Standing) -> Step {
    let contender = contenders.iter().find(|contender| contender.kind == standing.kind);
    let resident_bytes = contender.map_or(0, |contender| contender.process.resident());
    Step { entries, standing, resident_bytes }
}

/// Asks for each number from `from` to `to`: once to be remembered, once to be known by its very bytes.
fn fill(contender: &Contender, workload: &Workload, from: u64, to: u64) -> anyhow::Result<()> {
    eprintln!("  {}: filling up to {to}", contender.kind.label());
    for _ in 0..2 {
        for start in (from..to).step_by(AT_ONCE) {
            ask_once(contender, workload, start, to.min(start + AT_ONCE as u64))?;
        }
    }
    Ok(())
}

/// Asks once for each number from `from` to `to`, by several clients at the same time.
pub fn ask_once(contender: &Contender, workload: &Workload, from: u64, to: u64) -> anyhow::Result<()> {
    contender.process.trim_log()?;
    std::thread::scope(|scope| {
        let fillers: Vec<_> = (0..FILLERS)
            .map(|first| (from + first as u64..to).step_by(FILLERS))
            .map(|numbers| scope.spawn(|| ask_each(contender, workload, numbers)))
            .collect();
        fillers.into_iter().try_for_each(|filler| match filler.join() {
            Ok(done) => done,
            Err(_) => anyhow::bail!("a filler panicked"),
        })
    })
}

fn ask_each(
    contender: &Contender,
    workload: &Workload,
    numbers: impl Iterator<Item = u64>,
) -> anyhow::Result<()> {
    let mut connection = Connection::open(contender.port)?;
    for number in numbers {
        let answer = connection.exchange(&workload.request(contender.kind, contender.port, number))?;
        ensure!(answer.status == 200, "status {}", answer.status);
    }
    Ok(())
}
