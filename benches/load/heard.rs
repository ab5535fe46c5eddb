//! What came of listening.

use std::time::Duration;

use crate::results::median;

/// What it takes to write down what is said.
#[derive(Default)]
pub struct Speech {
    pub heard: Vec<Heard>,
    pub opened: Vec<Opened>,
    /// Each round.
    pub beside: Vec<Beside>,
    /// Processor time of a hit of a transcript in microseconds, and of one of a chat that is as long.
    pub hits: Vec<(f64, f64)>,
    /// p99 of a hit: while nobody asks for anything else, and while somebody sends what is bad.
    pub nuisance: Vec<(Duration, Duration)>,
    /// By how much the server itself grew, without those that listen.
    pub grown: Option<u64>,
}

/// Processor time of a hit in memory, in microseconds, by who listens on the other core.
#[derive(Debug)]
pub struct Beside {
    /// Nobody.
    pub alone: f64,
    /// Pannier's engine without Pannier.
    pub engine: f64,
    pub pannier: f64,
}

/// One clip, each round: wall and processor time of Pannier and those that listen for it, and of its rival.
#[derive(Default)]
pub struct Heard {
    pub model: String,
    pub threads: usize,
    pub seconds: usize,
    pub wall: Vec<Duration>,
    pub cpu: Vec<Duration>,
    pub rivals_wall: Vec<Duration>,
    pub rivals_cpu: Vec<Duration>,
    /// Of Pannier's engine, without Pannier.
    pub engines_wall: Vec<Duration>,
    pub engines_cpu: Vec<Duration>,
}

/// One recording: processor time to listen to it, and to open it where its text is known; and how long it takes
/// then.
pub struct Opened {
    pub form: &'static str,
    pub heard: Duration,
    pub opened: Duration,
    pub known: Duration,
}

// === impl Speech ===

impl Speech {
    /// The largest part of listening that is opening the recording.
    pub fn opening(&self) -> Option<f64> {
        let part = |it: &Opened| it.opened.as_secs_f64() / it.heard.as_secs_f64();
        self.opened.iter().map(part).reduce(f64::max)
    }

    /// By how many milliseconds p99 of a hit grows beside what is bad.
    pub fn held_up(&self) -> Option<f64> {
        median(self.nuisance.iter().map(|(alone, busy)| busy.saturating_sub(*alone).as_secs_f64() * 1e3))
    }

    /// How many times the processor time of a chat's hit one of a transcript takes.
    pub fn hit(&self) -> Option<f64> {
        median(self.hits.iter().map(|(transcript, chat)| transcript / chat))
    }

    /// What is left of a server's throughput while it listens on the other core.
    pub fn left(&self) -> Option<f64> {
        median(self.beside.iter().map(|beside| beside.alone / beside.pannier))
    }

    /// The same of one whose other core is as busy with something that is not its own.
    pub fn left_of_busy(&self) -> Option<f64> {
        median(self.beside.iter().map(|beside| beside.engine / beside.pannier))
    }
}

impl Heard {
    /// How many times the rival's wall and processor time it took.
    pub fn over_rival(&self) -> (Option<f64>, Option<f64>) {
        (over(&self.wall, &self.rivals_wall), over(&self.cpu, &self.rivals_cpu))
    }

    /// And how many times its own engine's.
    pub fn over_engine(&self) -> (Option<f64>, Option<f64>) {
        (over(&self.wall, &self.engines_wall), over(&self.cpu, &self.engines_cpu))
    }
}

fn over(own: &[Duration], others: &[Duration]) -> Option<f64> {
    median(own.iter().zip(others).map(|(own, other)| own.as_secs_f64() / other.as_secs_f64()))
}
