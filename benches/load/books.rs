//! What it costs to want a key of everybody and to keep books, and what room those take.

use crate::contender::Kind::{NginxCache, PannierBooks, PannierUnbooked};
use crate::ground::Ground;
use crate::results::Results;
use crate::throughput::{ASKED, table, told, unset};
use crate::workload::Workload;
use crate::wrk::Picking;
use crate::{crowd, rounds, shelf};

pub fn measure(ground: &Ground, results: &mut Results) -> anyhow::Result<()> {
    let (hits, misses) = ([NginxCache, PannierBooks, PannierUnbooked], [PannierBooks, PannierUnbooked]);
    let workload = Workload::small();
    let outcome = rounds::closely(ground, &unset(&hits), &workload, Picking::Rotate(ASKED));
    results.booked_hits = Some(told(outcome, &workload, results));
    results.booked_misses = Some(table(ground, &misses, Workload::small(), Picking::Fresh, results));
    shelf::measure(ground, results);
    crowd::measure(ground, results)
}
