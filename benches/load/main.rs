//! The load bench: Pannier and what could stand in its place, measured side by side on this machine.
//!
//! One program in several parts. Started by `cargo bench --bench load` it conducts: it starts a stub
//! upstream and every contender (two of them are this same program again, see [`options::Role`]), drives
//! them, and writes `docs/benchmarks.md`. It never links Pannier: the contender is the finished binary.

mod answers;
mod bare;
mod books;
mod chart;
mod client;
mod contender;
mod crowd;
mod engine;
mod footprint;
mod goals;
mod ground;
mod growth;
mod heard;
mod herd;
mod latency;
mod machine;
mod month;
mod nginx;
mod nuisance;
mod options;
mod passthrough;
mod process;
mod profile;
mod report;
mod results;
mod rival;
mod rounds;
mod server;
mod shelf;
mod speech;
mod stub;
mod texts;
mod throughput;
mod tiers;
mod toll;
mod workload;
mod wrk;

use std::process::ExitCode;

use clap::Parser;

use crate::ground::Ground;
use crate::options::{Options, Part, Role};
use crate::results::Results;

// The same allocator as Pannier's, so that the bare server and the stub are not handicapped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.role() {
        Role::Stub { port, token_interval, item } => stub::run(port, token_interval, item),
        Role::Bare { port } => bare::run(port),
        Role::PassThrough { port, upstream } => passthrough::run(port, upstream),
        Role::Engine { weights, threads } => engine::run(&weights, threads),
        Role::Conductor => conduct(options),
        // `cargo test --all-targets` runs bench targets too; that is no occasion for a measurement.
        Role::Bystander => {
            eprintln!("nothing measured: start this with `cargo bench --bench load`");
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Every part in turn, then the report. A part that fails leaves its reason in the report and does not
/// keep the others from being measured.
fn conduct(options: Options) -> anyhow::Result<()> {
    let ground = Ground::prepare(options)?;
    let mut results = Results::default();
    for part in Part::ALL.iter().copied().filter(|part| ground.options.wants(*part)) {
        eprintln!("— {}", part.title());
        let outcome = match part {
            Part::Hits => throughput::hits(&ground, &mut results),
            Part::Forward => throughput::forwarded(&ground, &mut results),
            Part::Misses => throughput::misses(&ground, &mut results),
            Part::Latency => latency::added(&ground, &mut results),
            Part::Herd => herd::stampede(&ground, &mut results),
            Part::Footprint => footprint::measure(&ground, &mut results),
            Part::Growth => growth::measure(&ground, &mut results),
            Part::Tiers => tiers::measure(&ground, &mut results),
            Part::Texts => texts::measure(&ground, &mut results),
            Part::Books => books::measure(&ground, &mut results),
            Part::Month => month::measure(&ground, &mut results),
            Part::Speech => speech::measure(&ground, &mut results),
            Part::Profile => profile::measure(&ground, &mut results),
        };
        if let Err(error) = outcome {
            results.fail(part.title(), &error);
        }
    }
    report::publish(&ground, &results)
}
