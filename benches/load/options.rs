//! The command line of the load bench: how much to measure, and which role this process plays.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Measures Pannier beside its rivals and writes docs/benchmarks.md.
#[derive(Debug, Parser)]
#[command(name = "load", version)]
pub struct Options {
    /// A smoke run: one short round of everything, printed and not written.
    #[arg(long)]
    pub quick: bool,
    /// Fill the cache up to a million entries rather than a hundred thousand.
    #[arg(long, env = "BENCH_FULL")]
    pub full: bool,
    /// Rounds in which each contender is measured once; figures are medians over them.
    #[arg(long, env = "BENCH_ROUNDS")]
    rounds: Option<usize>,
    /// Seconds of one sample.
    #[arg(long, env = "BENCH_SECONDS")]
    seconds: Option<u64>,
    /// Only these parts.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Where to write the report, instead of docs/benchmarks.md.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// The Pannier binary to measure, instead of the one built beside this bench.
    #[arg(long, env = "BENCH_PANNIER", default_value = env!("CARGO_BIN_EXE_pannier"))]
    pub pannier: PathBuf,
    /// A Python that has pywhispercpp; the suite's own is one.
    #[arg(long, env = "BENCH_PYTHON", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/clients/venv/bin/python"))]
    pub python: PathBuf,
    /// The core of the server under test.
    #[arg(long, env = "BENCH_SERVER_CORE", default_value_t = 0)]
    pub server_core: usize,
    /// The core of the load generator and the stub upstream.
    #[arg(long, env = "BENCH_LOAD_CORE", default_value_t = 1)]
    pub load_core: usize,

    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
    #[arg(long, hide = true)]
    stub: Option<u16>,
    #[arg(long, hide = true, default_value_t = 0)]
    token_interval_ms: u64,
    #[arg(long, hide = true)]
    item_ms: Option<u64>,
    #[arg(long, hide = true)]
    bare: Option<u16>,
    #[arg(long, hide = true, requires = "upstream")]
    pass_through: Option<u16>,
    #[arg(long, hide = true)]
    upstream: Option<u16>,
    #[arg(long, hide = true)]
    engine: Option<PathBuf>,
    #[arg(long, hide = true, default_value_t = 1)]
    engine_threads: usize,
}

/// What this process is: the bench starts itself again for the servers it is made of.
pub enum Role {
    Conductor,
    Stub { port: u16, token_interval: Duration, item: Option<Duration> },
    Bare { port: u16 },
    PassThrough { port: u16, upstream: u16 },
    Engine { weights: PathBuf, threads: usize },
    Bystander,
}

/// One part of the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Hits,
    Forward,
    Misses,
    Latency,
    Herd,
    Footprint,
    Growth,
    Tiers,
    Texts,
    Books,
    Month,
    Speech,
    Profile,
}

// === impl Options ===

impl Options {
    pub fn role(&self) -> Role {
        if let Some(port) = self.stub {
            let token_interval = Duration::from_millis(self.token_interval_ms);
            Role::Stub { port, token_interval, item: self.item_ms.map(Duration::from_millis) }
        } else if let Some(port) = self.bare {
            Role::Bare { port }
        } else if let (Some(port), Some(upstream)) = (self.pass_through, self.upstream) {
            Role::PassThrough { port, upstream }
        } else if let Some(weights) = &self.engine {
            Role::Engine { weights: weights.clone(), threads: self.engine_threads }
        } else if self.bench {
            Role::Conductor
        } else {
            Role::Bystander
        }
    }

    pub fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// Whether every part is measured, so that the result may stand in docs/benchmarks.md.
    pub fn is_complete(&self) -> bool {
        self.only.is_empty() && !self.quick
    }

    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 }).max(1)
    }

    /// For those who may differ by less than two samples of one do.
    pub fn many_rounds(&self) -> usize {
        3 * self.rounds()
    }

    pub fn seconds(&self) -> u64 {
        self.seconds.unwrap_or(if self.quick { 1 } else { 2 }).max(1)
    }

    /// How often a disturbed sample is taken again before the quietest one is kept.
    pub fn retakes(&self) -> usize {
        if self.quick { 0 } else { 5 }
    }

    /// `full` where there is time, a tenth of it in a smoke run.
    pub fn scaled(&self, full: usize) -> usize {
        if self.quick { (full / 10).max(1) } else { full }
    }
}

// === impl Part ===

impl Part {
    pub const ALL: &[Part] = &[
        Part::Hits,
        Part::Forward,
        Part::Misses,
        Part::Latency,
        Part::Herd,
        Part::Footprint,
        Part::Growth,
        Part::Tiers,
        Part::Texts,
        Part::Books,
        Part::Month,
        Part::Speech,
        Part::Profile,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Part::Hits => "memory hits",
            Part::Forward => "forwarded routes",
            Part::Misses => "answered misses",
            Part::Latency => "added latency",
            Part::Herd => "1,000 identical requests at once",
            Part::Footprint => "memory and start",
            Part::Growth => "a hit among many entries",
            Part::Tiers => "the tiers behind the memory",
            Part::Texts => "a thousand texts",
            Part::Books => "keys and books",
            Part::Month => "a month of books",
            Part::Speech => "speech",
            Part::Profile => "where the time goes",
        }
    }
}
