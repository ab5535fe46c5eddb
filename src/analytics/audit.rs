//! Goes through the hours of the books again and again, and says where rows and sums do not agree.

use super::reports::now;
use crate::store::ledger::{self, Odd, Period};
use crate::store::{Error, Shared, Store};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Between two hours, at the least ...
const PAUSE: Duration = Duration::from_secs(60);
/// ... and how much of the time reading them may take: one part of so many.
const SHARE: u32 = 50;
/// Hours that are remembered to be odd.
const MOST: usize = 1_024;

/// What sees to it.
pub struct Audit {
    database: Arc<Shared>,
    state: Mutex<State>,
    fails: AtomicBool,
}

#[derive(Default)]
struct State {
    /// The hour that is looked at next, in seconds.
    next: i64,
    /// Those of which rows and sums said something else.
    odd: BTreeSet<i64>,
}

impl Audit {
    pub fn new(database: Arc<Shared>) -> Self {
        Audit { database, state: Mutex::default(), fails: AtomicBool::new(false) }
    }

    /// Looks at one hour after the other until `stop`.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        loop {
            let begun = Instant::now();
            tokio::select! {
                done = self.step() => match done {
                    Ok(()) => self.fails.store(false, Ordering::Relaxed),
                    Err(error) => if !self.fails.swap(true, Ordering::Relaxed) {
                        tracing::debug!(%error, "rows and sums of the ledger are not compared for now");
                    }
                },
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let pause = PAUSE.max(begun.elapsed() * SHARE);
            if tokio::time::timeout(pause, stop.wait_for(|stop| *stop)).await.is_ok() {
                return;
            }
        }
    }

    /// Looks at the next hour whose rows are all there and that is over; after the last the first follows.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn step(&self) -> Result<(), Error> {
        let store = self.database.store().await?;
        self.step_in(&store).await.inspect_err(|error| self.database.heed(&store, error))
    }

    async fn step_in(&self, store: &Store) -> Result<(), Error> {
        let Some(first) = ledger::first_whole_hour(store).await? else { return Ok(()) };
        let length = Period::Hour.seconds();
        let over = now() - length;
        let next = self.state().next;
        let hour = if (first..=over).contains(&next) { next } else { first };
        if hour > over {
            return Ok(());
        }
        let odd = ledger::odd(store, hour).await?;
        // Some of its rows may have gone meanwhile.
        let is_whole = ledger::first_whole_hour(store).await?.is_some_and(|first| first <= hour);
        self.take(first, hour, if is_whole { &odd } else { &[] });
        Ok(())
    }

    fn take(&self, first: i64, hour: i64, odd: &[Odd]) {
        let mut state = self.state();
        state.next = hour + Period::Hour.seconds();
        // What has no rows any more is not known to be odd.
        state.odd = state.odd.split_off(&first);
        if odd.is_empty() {
            state.odd.remove(&hour);
        } else if state.odd.len() < MOST && state.odd.insert(hour) {
            for Odd { figure, rows, sums } in odd {
                tracing::error!(
                    hour,
                    figure = figure.name(),
                    rows,
                    sums,
                    "rows and sums of the ledger do not agree: somebody else wrote to them, or something is lost"
                );
            }
        }
    }

    /// Hours of which rows and sums do not agree.
    pub fn odd(&self) -> usize {
        self.state().odd.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
