//! What is said of a batch's texts, one after the other.

use super::certain::{Fate, Vector};
use crate::dialect::native::{Counts, Failure, Teller};
use crate::domain::{Durations, Embedding, Observed, Source, Usage};
use bytes::Bytes;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;

/// Between two lines that tell how far it has come, at the least.
const PROGRESS: Duration = Duration::from_millis(500);

/// What has been told, and what that came to.
pub struct Telling {
    teller: Teller,
    streamed: bool,
    /// What is to be written next. Of a whole answer nothing is, until a text has a vector: it may be an error.
    ready: Vec<u8>,
    counts: Counts,
    begun: Instant,
    /// When it was told how far it has come.
    told: Instant,
    /// The first text's failure, as long as all others have failed for the same reason.
    all_failed: Option<Failure>,
    usage: Usage,
    durations: Durations,
}

impl Telling {
    /// Of so many texts.
    pub fn new(teller: Teller, streamed: bool, of: usize, begun: Instant) -> Self {
        Telling {
            teller,
            streamed,
            ready: Vec::new(),
            counts: Counts { of, ..Counts::default() },
            begun,
            told: begun,
            all_failed: None,
            usage: Usage { source: Source::Upstream, ..Usage::default() },
            durations: Durations::default(),
        }
    }

    pub fn has_failures(&self) -> bool {
        self.counts.failed > 0
    }

    /// What is to be said instead of it: nothing has been said yet, and all texts have failed for one reason.
    pub fn instead(&mut self) -> Option<Failure> {
        self.all_failed.take().filter(|_| !self.streamed)
    }

    pub fn begin(&mut self, known: usize) {
        self.teller.begin(&mut self.ready, self.counts.of, known);
    }

    pub fn tell(&mut self, index: usize, fate: &Fate) {
        self.counts.done += 1;
        match fate {
            Ok(Vector { embedding, known, stale }) => {
                self.counts.known += usize::from(*known);
                self.all_failed = None;
                self.add(embedding);
                self.teller.vector(&mut self.ready, index, embedding, *stale);
            }
            Err(failure) => {
                let is_like = |first: &Failure| (first.code, first.status) == (failure.code, failure.status);
                self.all_failed = match (self.counts.failed, self.all_failed.take()) {
                    (0, _) if self.counts.done == 1 => Some(failure.clone()),
                    (_, first) => first.filter(is_like),
                };
                self.counts.failed += 1;
                self.teller.failure(&mut self.ready, index, failure);
            }
        }
        if self.streamed && self.told.elapsed() >= PROGRESS && self.counts.done < self.counts.of {
            self.told = Instant::now();
            self.counts.took = self.begun.elapsed();
            self.teller.progress(&mut self.ready, &self.counts);
        }
    }

    fn add(&mut self, embedding: &Embedding) {
        if embedding.estimated {
            self.usage.source = Source::Estimated;
        }
        self.usage.prompt += u64::from(embedding.tokens);
        self.counts.tokens = self.usage.prompt;
        self.durations.total += embedding.total;
        self.durations.load = self.durations.load.max(embedding.load);
    }

    pub fn end(&mut self) {
        self.counts.took = self.begun.elapsed();
        self.teller.end(&mut self.ready, &self.counts);
    }

    /// Gives away what is ready, where that is more than `least`.
    pub async fn hand_over(&mut self, least: usize, out: &Sender<Bytes>) {
        let may_begin = self.streamed || self.counts.succeeded() > 0;
        if may_begin && self.ready.len() > least {
            self.send(out).await;
        }
    }

    pub async fn send(&mut self, out: &Sender<Bytes>) {
        // Whoever takes it lives as long as this.
        let _ = out.send(Bytes::from(std::mem::take(&mut self.ready))).await;
    }

    pub fn observed(&self) -> Observed {
        let Telling { usage, durations, .. } = *self;
        Observed { usage, durations, complete: true, ..Observed::default() }
    }
}
