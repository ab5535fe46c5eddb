//! One finished answer.

use super::Question;
use crate::domain::Observed;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// An answer as the upstream gave it, and what making it had cost.
#[derive(Debug)]
pub struct Entry {
    pub body: Bytes,
    /// Where the frames of a streamed answer end; empty for a whole one.
    pub frames: Box<[u32]>,
    /// Fields that belong to the answer itself: its type, and what it says of caching.
    pub headers: Box<[(HeaderName, HeaderValue)]>,
    /// The model's name as it stands in `body`.
    pub model: Box<str>,
    pub observed: Observed,
    /// How long the upstream took.
    pub took: Duration,
    pub stored: Instant,
    pub ttl: Duration,
    /// What it answers, where that is kept.
    pub question: Option<Box<Question>>,
    /// From this process' memory.
    pub hits: Hits,
}

/// How often something was of use.
#[derive(Debug, Default)]
pub struct Hits(AtomicU32);

impl Hits {
    pub fn number(&self) -> u64 {
        self.0.load(Ordering::Relaxed).into()
    }
}

/// What an entry costs beside its bytes: its own struct, its key, and the map around both.
const OVERHEAD: usize = 512;

impl Entry {
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.stored)
    }

    pub fn is_fresh(&self, now: Instant) -> bool {
        self.age(now) < self.ttl
    }

    /// It is of use.
    pub(super) fn used(self: Arc<Self>) -> Arc<Self> {
        self.hits.0.fetch_add(1, Ordering::Relaxed);
        self
    }

    /// Bytes of memory, about.
    pub fn weight(&self) -> u32 {
        let question = self.question.as_ref().map_or(0, |question| question.weight());
        let bytes = self.body.len() + self.frames.len() * 4 + question + OVERHEAD;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    /// The frames of a streamed answer, or the one whole.
    pub fn pieces(&self) -> Vec<Bytes> {
        if self.frames.is_empty() {
            return vec![self.body.clone()];
        }
        let mut from = 0;
        let cut = |end: &u32| {
            let to = *end as usize;
            let piece = self.body.slice(from..to);
            from = to;
            piece
        };
        self.frames.iter().map(cut).collect()
    }
}
