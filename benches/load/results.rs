//! What was measured, and the figures that are drawn from it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::contender::Kind;
use crate::heard::Speech;
use crate::profile::Place;

/// Everything that the parts found out; what was not measured is absent, and [`Results::failures`] says why.
#[derive(Default)]
pub struct Results {
    pub small: Option<Table>,
    pub embedding: Option<Table>,
    pub long: Option<Table>,
    pub forwarded: Option<Table>,
    pub misses: Option<Table>,
    pub answers: Vec<Series>,
    pub first_tokens: Vec<Series>,
    pub herd: Vec<Stampede>,
    pub footprints: Vec<Footprint>,
    pub growth: Vec<Step>,
    /// Hits in memory, without tiers behind it and with all of them.
    pub with_tiers: Option<Table>,
    pub tier_hits: Vec<TierHits>,
    pub tolls: Vec<Toll>,
    pub texts: Option<Texts>,
    pub vectors: Option<Vectors>,
    /// Hits, and misses, with keys that are wanted and books that are kept, and without either.
    pub booked_hits: Option<Table>,
    pub booked_misses: Option<Table>,
    pub shelves: Vec<Shelf>,
    pub crowd: Option<Crowd>,
    pub month: Option<Month>,
    pub speech: Option<Speech>,
    pub profiles: Vec<Profile>,
    pub failures: Vec<(String, String)>,
}

/// One workload and how each contender stood it.
pub struct Table {
    pub title: &'static str,
    pub standings: Vec<Standing>,
}

/// One contender's samples, one a round.
pub struct Standing {
    pub kind: Kind,
    pub samples: Vec<Sample>,
}

#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub requests_per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// User and system time of the server's processes for each request.
    pub cpu_us: f64,
}

/// One contender's latencies, in ascending order.
pub struct Series {
    pub kind: Kind,
    pub latencies: Vec<Duration>,
}

/// Many identical requests at once.
#[derive(Debug, Clone, Copy)]
pub struct Stampede {
    pub kind: Kind,
    pub upstream_calls: u64,
    pub leader_ms: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// Whether every client got the same bytes.
    pub equal: bool,
}

pub struct Footprint {
    pub kind: Kind,
    pub idle_bytes: u64,
    pub with_streams_bytes: u64,
    pub first_answers: Vec<Duration>,
}

/// Where the time of a request goes, in µs of the processor.
pub struct Profile {
    pub title: &'static str,
    pub kind: Kind,
    pub cpu_us: f64,
    pub spent: BTreeMap<Place, f64>,
}

/// Hits while `entries` are kept.
pub struct Step {
    pub entries: u64,
    pub standing: Standing,
    pub resident_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    Redis,
    Sqlite,
    Postgres,
}

/// Hits in one tier while it holds `entries`.
pub struct TierHits {
    pub tier: Tier,
    pub entries: u64,
    pub series: Series,
}

/// What stands behind the memory while misses are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    Nothing,
    Redis,
    Sqlite,
    Postgres,
    /// Redis and SQLite.
    All,
    /// The same, while answers are too large to be kept.
    AllUnkept,
}

/// Misses up to their answers' last byte.
pub struct Toll {
    pub behind: Behind,
    pub series: Series,
    /// The server's processor time for each, in the same form.
    pub cpu: Series,
}

/// How long so many texts take.
#[derive(Default)]
pub struct Texts {
    pub many: u64,
    /// On a real Ollama, each round: asked directly, through Pannier with half of them known, with all.
    pub direct: Vec<Duration>,
    pub half: Vec<Duration>,
    pub known: Vec<Duration>,
    /// Through Pannier to slow stubs: one of them, and several.
    pub one: Option<Duration>,
    pub spread: Option<Duration>,
}

/// What vectors take of a process's memory, and of what their numbers alone are.
#[derive(Debug, Clone, Copy)]
pub struct Vectors {
    pub many: u64,
    pub taken: u64,
    pub raw: u64,
}

/// What the books take on the disk of one database, in bytes.
#[derive(Debug)]
pub struct Shelf {
    pub database: &'static str,
    /// Of a row, and of what finds it.
    pub row: f64,
    pub row_index: f64,
    /// Of a line of sums, with what finds it.
    pub line: f64,
}

/// A hit where few keys are known, and where many are.
#[derive(Debug)]
pub struct Crowd {
    pub few: usize,
    pub many: usize,
    /// CPU of a hit, among either.
    pub cpu_us: [f64; 2],
    /// Bytes by which the server has grown.
    pub grown: u64,
}

/// Reports over so many requests.
pub struct Month {
    pub rows: u64,
    pub reports: Vec<Duration>,
    /// Of a list of all requests, and by how much the server grew while it was read.
    pub first_byte: Duration,
    pub grown: u64,
}

// === impl Results ===

impl Results {
    pub fn fail(&mut self, what: &str, error: impl std::fmt::Display) {
        eprintln!("  {what}: {error:#}");
        self.failures.push((what.to_owned(), format!("{error:#}")));
    }
}

// === impl Tier ===

impl Tier {
    pub fn label(self) -> &'static str {
        match self {
            Tier::Redis => "Redis",
            Tier::Sqlite => "SQLite",
            Tier::Postgres => "PostgreSQL",
        }
    }

    /// What is 1 in Pannier's metrics while it can be used.
    pub fn up(self) -> &'static str {
        match self {
            Tier::Redis => "pannier_dependency_up{dep=\"redis\"}",
            Tier::Sqlite | Tier::Postgres => "pannier_dependency_up{dep=\"database\"}",
        }
    }
}

// === impl Texts ===

impl Texts {
    /// How many times as long it takes directly: with half of them known, and with all.
    pub fn saved(&self) -> (Option<f64>, Option<f64>) {
        let times = |other: &[Duration]| {
            median(
                self.direct
                    .iter()
                    .zip(other)
                    .map(|(direct, other)| direct.as_secs_f64() / other.as_secs_f64()),
            )
        };
        (times(&self.half), times(&self.known))
    }

    /// How many times as long one upstream takes.
    pub fn spread(&self) -> Option<f64> {
        Some(self.one?.as_secs_f64() / self.spread?.as_secs_f64())
    }
}

// === impl Behind ===

impl Behind {
    pub const ALL: [Behind; 6] =
        [Behind::Nothing, Behind::Redis, Behind::Sqlite, Behind::Postgres, Behind::All, Behind::AllUnkept];

    pub fn label(self) -> &'static str {
        match self {
            Behind::Nothing => "nothing",
            Behind::Redis => "Redis",
            Behind::Sqlite => "SQLite",
            Behind::Postgres => "PostgreSQL",
            Behind::All => "Redis and SQLite",
            Behind::AllUnkept => "Redis and SQLite, nothing kept",
        }
    }

    pub fn tiers(self) -> &'static [Tier] {
        match self {
            Behind::Nothing => &[],
            Behind::Redis => &[Tier::Redis],
            Behind::Sqlite => &[Tier::Sqlite],
            Behind::Postgres => &[Tier::Postgres],
            Behind::All | Behind::AllUnkept => &[Tier::Redis, Tier::Sqlite],
        }
    }
}

// === impl Table ===

impl Table {
    pub fn of(&self, kind: Kind) -> Option<&Standing> {
        self.standings.iter().find(|standing| standing.kind == kind)
    }

    /// How many times `figure` of one contender is that of another: the median of the ratios in each round,
    /// so that what slowed a whole round slowed both sides of it.
    pub fn ratio(&self, figure: fn(&Sample) -> f64, one: Kind, other: Kind) -> Option<f64> {
        let (one, other) = (self.of(one)?, self.of(other)?);
        median(one.samples.iter().zip(&other.samples).map(|(one, other)| figure(one) / figure(other)))
    }

    /// By how much `figure` of one contender is above that of another, in the same manner.
    pub fn added(&self, figure: fn(&Sample) -> f64, one: Kind, other: Kind) -> Option<f64> {
        let (one, other) = (self.of(one)?, self.of(other)?);
        median(one.samples.iter().zip(&other.samples).map(|(one, other)| figure(one) - figure(other)))
    }
}

// === impl Standing ===

impl Standing {
    pub fn median(&self, figure: fn(&Sample) -> f64) -> Option<f64> {
        median(self.samples.iter().map(figure))
    }
}

// === impl Sample ===

impl Sample {
    pub fn requests_per_second(&self) -> f64 {
        self.requests_per_second
    }

    pub fn p50_us(&self) -> f64 {
        self.p50_us
    }

    pub fn p99_us(&self) -> f64 {
        self.p99_us
    }

    pub fn cpu_us(&self) -> f64 {
        self.cpu_us
    }

    /// The part of one core that the server used: well below one, and something else was the limit.
    pub fn cores(&self) -> f64 {
        self.requests_per_second * self.cpu_us / 1e6
    }
}

// === impl Series ===

impl Series {
    pub fn new(kind: Kind, mut latencies: Vec<Duration>) -> Series {
        latencies.sort_unstable();
        Series { kind, latencies }
    }

    /// The latency that `part` (0 to 1) of the requests did not exceed, in microseconds.
    pub fn quantile_us(&self, part: f64) -> Option<f64> {
        quantile(&self.latencies, part).map(|latency| latency.as_secs_f64() * 1e6)
    }
}

/// What one contender adds to another at a quantile, in microseconds.
pub fn added_us(all: &[Series], kind: Kind, over: Kind, part: f64) -> Option<f64> {
    let of = |kind| all.iter().find(|series| series.kind == kind)?.quantile_us(part);
    Some(of(kind)? - of(over)?)
}

/// The element of a sorted slice that `part` of all do not exceed.
pub fn quantile<T: Copy>(sorted: &[T], part: f64) -> Option<T> {
    let last = sorted.len().checked_sub(1)?;
    // An index; the slice is far shorter than what an f64 counts exactly.
    sorted.get((last as f64 * part).round() as usize).copied()
}

pub fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_unstable_by(f64::total_cmp);
    let half = figures.len() / 2;
    match figures.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(figures[half]),
        _ => Some(f64::midpoint(figures[half - 1], figures[half])),
    }
}
