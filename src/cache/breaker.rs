//! Keeps those away who would only wait: after a row of failures nobody is let through, except one at a time
//! to see whether it is better. Knows no clock: every instant is handed in.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many failures in a row open it ...
const ROW: u32 = 5;
/// ... or fewer, once the row is this old.
const PATIENCE: Duration = Duration::from_millis(500);
/// From a failure until the next look.
const REST: Duration = Duration::from_secs(1);

/// Of one kind of operation on one dependency.
#[derive(Debug, Default)]
pub struct Breaker {
    state: Mutex<State>,
}

/// As it is told to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Everybody is let through.
    Closed,
    /// Nobody is.
    Open,
    /// One is under way to see.
    HalfOpen,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { row: Option<Row> },
    Open { until: Instant },
    HalfOpen,
}

/// Failures with no success between them.
#[derive(Debug, Clone, Copy)]
struct Row {
    failures: u32,
    since: Instant,
}

/// Leave to go through. Whoever has it tells how it went; one that is dropped has seen nothing.
#[must_use]
#[derive(Debug)]
pub struct Pass<'a> {
    breaker: &'a Breaker,
    /// The only one that is through.
    probe: Option<Probe>,
}

#[derive(Debug)]
struct Probe {
    /// Since when another may look, should this one see nothing.
    due: Instant,
}

impl Default for State {
    fn default() -> Self {
        State::Closed { row: None }
    }
}

// === impl Breaker ===

impl Breaker {
    /// `None`: do without.
    pub fn enter(&self, now: Instant) -> Option<Pass<'_>> {
        let mut state = self.lock();
        let probe = match *state {
            State::Closed { .. } => None,
            State::Open { until } if until <= now => {
                *state = State::HalfOpen;
                Some(Probe { due: until })
            }
            State::Open { .. } | State::HalfOpen => return None,
        };
        Some(Pass { breaker: self, probe })
    }

    /// As [`Breaker::enter`] for those who leave it to others to see whether it is better: where many ask and one
    /// looks after it, that one would never have his turn.
    pub fn enter_closed(&self) -> Option<Pass<'_>> {
        let is_closed = matches!(*self.lock(), State::Closed { .. });
        is_closed.then_some(Pass { breaker: self, probe: None })
    }

    pub fn standing(&self) -> Standing {
        match *self.lock() {
            State::Closed { .. } => Standing::Closed,
            State::Open { .. } => Standing::Open,
            State::HalfOpen => Standing::HalfOpen,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    pub fn label(self) -> &'static str {
        match self {
            Standing::Closed => "closed",
            Standing::Open => "open",
            Standing::HalfOpen => "half_open",
        }
    }
}

// === impl Pass ===

impl Pass<'_> {
    /// Whether that closed it.
    pub fn succeeded(mut self) -> bool {
        let was_probe = self.probe.take().is_some();
        let mut state = self.breaker.lock();
        // Somebody who went through long ago says nothing of what has been since.
        if was_probe || matches!(*state, State::Closed { .. }) {
            *state = State::default();
        }
        was_probe
    }

    /// Whether that opened it, after it had been closed.
    pub fn failed(mut self, now: Instant) -> bool {
        let was_probe = self.probe.take().is_some();
        let mut state = self.breaker.lock();
        let opened = State::Open { until: now + REST };
        match *state {
            _ if was_probe => {
                *state = opened;
                false
            }
            State::Closed { row } => {
                let row = row.unwrap_or(Row { failures: 0, since: now });
                let row = Row { failures: row.failures + 1, ..row };
                let enough = row.failures >= ROW || now.saturating_duration_since(row.since) >= PATIENCE;
                *state = if enough { opened } else { State::Closed { row: Some(row) } };
                enough
            }
            State::Open { .. } | State::HalfOpen => false,
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some(probe) = self.probe.take() {
            *self.breaker.lock() = State::Open { until: probe.due };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn fail(breaker: &Breaker, now: Instant) -> bool {
        breaker.enter(now).unwrap().failed(now)
    }

    /// One that was opened at `now`.
    fn open(now: Instant) -> Breaker {
        let breaker = Breaker::default();
        assert_eq!((0..ROW).filter(|_| fail(&breaker, now)).count(), 1, "it opens once");
        assert_eq!(breaker.standing(), Standing::Open);
        breaker
    }

    #[test]
    fn a_row_of_failures_opens_it() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 1..ROW {
            fail(&breaker, now);
        }
        assert_eq!(breaker.standing(), Standing::Closed);
        assert!(!breaker.enter(now).unwrap().succeeded());
        for _ in 1..ROW {
            fail(&breaker, now);
        }
        assert_eq!(breaker.standing(), Standing::Closed, "the success ended the first row");
        fail(&breaker, now);
        assert_eq!(breaker.standing(), Standing::Open);
        assert!(breaker.enter(now).is_none());
    }

    #[test]
    fn it_opens_within_a_second_of_failures_however_few() {
        for rate in [1, 2, 3, 5, 10, 100, 10_000u32] {
            let (breaker, start) = (Breaker::default(), Instant::now());
            let mut now = start;
            while breaker.standing() == Standing::Closed {
                fail(&breaker, now);
                now += ms(1000) / rate;
            }
            let last = now - ms(1000) / rate;
            assert!(last - start <= ms(1000), "{rate} a second: {:?}", last - start);
        }
    }

    #[test]
    fn exactly_one_looks_until_it_has_seen() {
        let now = Instant::now();
        let breaker = open(now);
        assert!(breaker.enter(now + REST - ms(1)).is_none());
        let probe = breaker.enter(now + REST).unwrap();
        assert_eq!(breaker.standing(), Standing::HalfOpen);
        for later in 0..100 {
            assert!(breaker.enter(now + REST + ms(later * 1000)).is_none());
        }
        assert!(!probe.failed(now + ms(3000)), "it was open before");
        assert!(breaker.enter(now + ms(3999)).is_none());
        assert!(breaker.enter(now + ms(4000)).unwrap().succeeded());
        assert_eq!(breaker.standing(), Standing::Closed);
        let all: Vec<_> = (0..10).filter_map(|_| breaker.enter(now + ms(4000))).collect();
        assert_eq!(all.len(), 10);
    }

    #[test]
    fn who_leaves_looking_to_others_never_looks() {
        let now = Instant::now();
        let breaker = open(now);
        assert!(breaker.enter_closed().is_none());
        let probe = breaker.enter(now + REST).unwrap();
        assert!(breaker.enter_closed().is_none());
        assert!(probe.succeeded());
        assert!(!breaker.enter_closed().unwrap().failed(now + REST));
    }

    #[test]
    fn one_who_leaves_without_a_word_leaves_its_place_to_the_next() {
        let now = Instant::now();
        let breaker = open(now);
        drop(breaker.enter(now + REST).unwrap());
        assert_eq!(breaker.standing(), Standing::Open);
        let _probe = breaker.enter(now + REST).unwrap();
        assert!(breaker.enter(now + REST).is_none());
    }

    #[test]
    fn old_news_neither_closes_nor_prolongs() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        let (good, bad) = (breaker.enter(now).unwrap(), breaker.enter(now).unwrap());
        assert_eq!((0..ROW).filter(|_| fail(&breaker, now)).count(), 1);
        assert!(!good.succeeded());
        assert_eq!(breaker.standing(), Standing::Open);
        assert!(!bad.failed(now + REST));
        assert!(breaker.enter(now + REST).is_some());
    }

    #[test]
    fn of_many_threads_one_looks() {
        let now = Instant::now();
        let breaker = open(now);
        let through: usize = std::thread::scope(|scope| {
            let enter = || scope.spawn(|| breaker.enter(now + REST).map(std::mem::forget).is_some());
            let threads: Vec<_> = (0..8).map(|_| enter()).collect();
            threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
        });
        assert_eq!(through, 1);
    }
}
