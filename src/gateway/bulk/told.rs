//! An answer that comes about while it is told.

use super::job::{End, Job};
use crate::dialect::native::Failure;
use crate::domain::CacheOutcome;
use crate::gateway::Piece;
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use tokio::sync::mpsc;

/// Pieces that wait for the client to take them; whoever makes them waits as well.
const AHEAD: usize = 4;

/// What is told of a batch. Goes on only while somebody waits for it, and dropping it calls all of it off.
pub struct Told {
    work: Pin<Box<dyn Future<Output = Result<End, Failure>> + Send>>,
    /// What the work came to, once it is done.
    done: Option<Result<End, Failure>>,
    pieces: mpsc::Receiver<Bytes>,
    first: Option<Bytes>,
}

impl Told {
    pub(super) fn of(job: Job) -> Self {
        let (out, pieces) = mpsc::channel(AHEAD);
        let work = Box::pin(async move { job.run(&out).await });
        Told { work, done: None, pieces, first: None }
    }

    /// Waits until there is something to tell.
    ///
    /// # Errors
    /// What is to be said instead of it.
    pub(super) async fn begin(&mut self) -> Result<(), Failure> {
        self.first = self.more().await;
        match &self.done {
            Some(Err(failure)) => Err(failure.clone()),
            _ => Ok(()),
        }
    }

    /// Waits for the next piece of the body. Cancel safe.
    pub async fn next(&mut self) -> Piece {
        match self.first.take() {
            Some(first) => Piece::Body(first),
            None => match self.more().await {
                Some(piece) => Piece::Body(piece),
                None => Piece::End(self.end().map(|end| end.observed)),
            },
        }
    }

    /// How it was had, where that is another way than it seemed when it began.
    pub fn given(&self) -> Option<CacheOutcome> {
        self.end()?.given
    }

    fn end(&self) -> Option<&End> {
        self.done.as_ref()?.as_ref().ok()
    }

    async fn more(&mut self) -> Option<Bytes> {
        loop {
            if self.done.is_some() {
                return self.pieces.try_recv().ok();
            }
            tokio::select! {
                biased;
                Some(piece) = self.pieces.recv() => return Some(piece),
                done = &mut self.work => self.done = Some(done),
            }
        }
    }
}
