//! Requests a second on one core: hits, forwarded routes, answered misses.

use crate::contender::Kind;
use crate::ground::Ground;
use crate::results::{Results, Table};
use crate::rounds::{self, Outcome};
use crate::workload::Workload;
use crate::wrk::Picking;

/// Different requests that are asked over and over: more than one, as a cache has, and few enough that
/// all of them stay in it.
pub const ASKED: u64 = 500;
/// Those that let a request through which they do not know.
const THROUGH: [Kind; 4] = [Kind::Direct, Kind::NginxProxy, Kind::PassThrough, Kind::Pannier];
/// The same, where it matters what stands behind Pannier's memory.
const MISSING: [Kind; 5] =
    [Kind::Direct, Kind::NginxProxy, Kind::PassThrough, Kind::PannierMemory, Kind::Pannier];

/// What is already in memory, in three sizes.
pub fn hits(ground: &Ground, results: &mut Results) -> anyhow::Result<()> {
    let kinds =
        [Kind::Direct, Kind::NginxProxy, Kind::NginxCache, Kind::Bare, Kind::PannierRoad, Kind::Pannier];
    let picking = Picking::Rotate(ASKED);
    results.small = Some(table(ground, &kinds, Workload::small(), picking, results));
    results.embedding = Some(table(ground, &kinds, Workload::embedding(), picking, results));
    results.long = Some(table(ground, &kinds, Workload::long(), picking, results));
    Ok(())
}

/// A route that is passed on unread.
pub fn forwarded(ground: &Ground, results: &mut Results) -> anyhow::Result<()> {
    results.forwarded = Some(table(ground, &THROUGH, Workload::show(), Picking::Fresh, results));
    Ok(())
}

/// A route that is read, with a body that was never seen before: decoded, keyed, fetched, recorded, kept.
pub fn misses(ground: &Ground, results: &mut Results) -> anyhow::Result<()> {
    results.misses = Some(table(ground, &MISSING, Workload::small(), Picking::Fresh, results));
    Ok(())
}

/// All rounds of one workload, each among servers that have just been started.
pub fn table(
    ground: &Ground,
    kinds: &[Kind],
    workload: Workload,
    picking: Picking,
    results: &mut Results,
) -> Table {
    told(rounds::anew(ground, &unset(kinds), &workload, picking), &workload, results)
}

/// With no settings of their own.
pub fn unset(kinds: &[Kind]) -> Vec<(Kind, &'static [(&'static str, &'static str)])> {
    kinds.iter().map(|kind| (*kind, &[] as &[_])).collect()
}

/// What came of them; who dropped out is told.
pub fn told((standings, dropped): Outcome, workload: &Workload, results: &mut Results) -> Table {
    for (kind, error) in dropped {
        results.fail(&format!("{}, {}", workload.title, kind.label()), &error);
    }
    Table { title: workload.title, standings }
}
