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
pub fn warm_up(contender: &Contender, workload: &Workload, picking: Picking) -> anyhow::Result<()> {
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

/// How everybody stood it, and who dropped out for what reason.
pub type Outcome = (Vec<Standing>, Vec<(Kind, String)>);

/// All rounds of one workload, each among servers that have just been started: how fast a process is depends on where
/// its pages happen to lie, and that must not decide.
pub fn anew(
    ground: &Ground,
    contenders: &[(Kind, &[(&str, &str)])],
    workload: &Workload,
    picking: Picking,
) -> Outcome {
    rounds_of(ground, ground.options.rounds(), contenders, workload, picking)
}

/// The same in many rounds.
pub fn closely(
    ground: &Ground,
    contenders: &[(Kind, &[(&str, &str)])],
    workload: &Workload,
    picking: Picking,
) -> Outcome {
    rounds_of(ground, ground.options.many_rounds(), contenders, workload, picking)
}

fn rounds_of(
    ground: &Ground,
    rounds: usize,
    contenders: &[(Kind, &[(&str, &str)])],
    workload: &Workload,
    picking: Picking,
) -> Outcome {
    let mut race = Race { ground, workload, picking, standings: Vec::new(), dropped: Vec::new() };
    for round in 1..=rounds {
        let mut started = Vec::new();
        for (kind, settings) in contenders {
            if race.has_lost(*kind) {
                continue;
            }
            match Contender::start(ground, *kind, settings) {
                Ok(contender) => started.push(contender),
                Err(error) => race.dropped.push((*kind, format!("{error:#}"))),
            }
        }
        // Whoever comes second is not always the same.
        if round % 2 == 0 {
            started.reverse();
        }
        race.round(round, &mut started, true);
    }
    race.end()
}

/// All rounds of one workload among servers that run on. Those that fail leave `contenders`.
pub fn compete(
    ground: &Ground,
    contenders: &mut Vec<Contender>,
    workload: &Workload,
    picking: Picking,
) -> Outcome {
    let mut race = Race { ground, workload, picking, standings: Vec::new(), dropped: Vec::new() };
    for round in 1..=ground.options.rounds() {
        race.round(round, contenders, round == 1);
    }
    race.end()
}

/// All rounds of one workload.
struct Race<'a> {
    ground: &'a Ground,
    workload: &'a Workload,
    picking: Picking,
    standings: Vec<Standing>,
    dropped: Vec<(Kind, String)>,
}

impl Race<'_> {
    /// One sample of each.
    fn round(&mut self, round: usize, contenders: &mut Vec<Contender>, are_cold: bool) {
        contenders.retain_mut(|contender| {
            let kind = contender.kind;
            let warmed = if are_cold { warm_up(contender, self.workload, self.picking) } else { Ok(()) };
            match warmed.and_then(|()| sample(self.ground, contender, self.workload, self.picking)) {
                Ok(sample) => {
                    self.keep(round, kind, sample);
                    true
                }
                Err(error) => {
                    self.dropped.push((kind, format!("{:#}", contender.process.explain(error))));
                    false
                }
            }
        });
    }

    fn keep(&mut self, round: usize, kind: Kind, sample: Sample) {
        let (title, label) = (self.workload.title, kind.label());
        let Sample { requests_per_second, cpu_us, .. } = sample;
        eprintln!("  {title}, round {round}, {label}: {requests_per_second:.0}/s, {cpu_us:.2} µs");
        match self.standings.iter_mut().find(|standing| standing.kind == kind) {
            Some(standing) => standing.samples.push(sample),
            None => self.standings.push(Standing { kind, samples: vec![sample] }),
        }
    }

    fn has_lost(&self, kind: Kind) -> bool {
        self.dropped.iter().any(|(lost, _)| *lost == kind)
    }

    fn end(mut self) -> Outcome {
        let dropped = std::mem::take(&mut self.dropped);
        self.standings.retain(|standing| !dropped.iter().any(|(kind, _)| *kind == standing.kind));
        (self.standings, dropped)
    }
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
