//! Reports take turns, and a few of them wait for theirs: others need the database too, and are not to wait for any
//! number of reports.

use crate::domain::{Error, Kind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Whose turn it is to ask the database.
pub struct Turns {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// The first that a report asks: it can be refused yet.
    Begin,
    /// Of a report that is being told, and is not to break off.
    GoOn,
}

/// One who waits.
struct Waiting<'a>(&'a AtomicUsize);

/// Questions that are asked at the same time: fewer than may read.
pub const AT_ONCE: u32 = 2;
/// Questions that may wait before no further report is begun.
const MOST: usize = 32;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(30);
/// When it is worth while to ask again.
const SOON: Duration = Duration::from_secs(2);

impl Turns {
    pub fn new() -> Self {
        Turns { turns: Arc::new(Semaphore::new(AT_ONCE as usize)), waiting: AtomicUsize::new(0) }
    }

    /// Waits for a turn; it is over when what comes of it is dropped.
    ///
    /// # Errors
    /// `Overloaded` where too many wait already, or it takes too long.
    pub async fn take(&self, errand: Errand) -> Result<OwnedSemaphorePermit, Error> {
        if let Ok(turn) = self.turns.clone().try_acquire_owned() {
            return Ok(turn);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if errand == Errand::Begin && before >= MOST {
            return Err(crowded());
        }
        match timeout(PATIENCE, self.turns.clone().acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(crowded()),
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn crowded() -> Error {
    Error::new(Kind::Overloaded, "too many reports are being made").retry_after(SOON)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[tokio::test]
    async fn a_report_is_refused_where_too_many_wait_and_one_that_is_told_is_not() {
        let turns = Turns::new();
        let mut held: Vec<_> = (0..AT_ONCE).map(|_| turns.turns.try_acquire().unwrap()).collect();
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting: Vec<_> = (0..MOST).map(|_| Box::pin(turns.take(Errand::Begin))).collect();
        for one in &mut waiting {
            assert!(one.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(turns.waiting(), MOST);
        let refused = turns.take(Errand::Begin).await.unwrap_err();
        assert_eq!((refused.kind, refused.retry_after), (Kind::Overloaded, Some(SOON)));
        let mut going_on = pin!(turns.take(Errand::GoOn));
        assert!(going_on.as_mut().poll(&mut context).is_pending());
        assert_eq!(turns.waiting(), MOST + 1);

        // Those who leave make room; a turn that ends is the next one's.
        waiting.drain(1..);
        assert_eq!(turns.waiting(), 2);
        held.pop();
        let first = waiting[0].as_mut().poll(&mut context);
        assert!(matches!(first, Poll::Ready(Ok(_))));
        assert!(going_on.as_mut().poll(&mut context).is_pending());
        drop((first, held));
        assert!(going_on.await.is_ok());
        assert_eq!(turns.waiting(), 0);
    }
}
