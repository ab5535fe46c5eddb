//! One finished answer.

use super::{CacheKey, Question};
use crate::domain::Observed;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
pub struct Hits {
    number: AtomicU64,
    /// As many of them have been told on.
    told: AtomicU64,
    /// The keys of what was put together for it, which is what the tiers know; none where that is itself.
    parts: Box<[CacheKey]>,
}

impl Hits {
    /// Of what was put together from the entries under `parts`.
    pub fn of_parts(parts: impl Iterator<Item = CacheKey>) -> Self {
        Hits { parts: parts.take(MOST_PARTS).collect(), ..Hits::default() }
    }

    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// Those that have not been told on yet.
    pub(super) fn untold(&self) -> u64 {
        self.number.load(Ordering::Relaxed).saturating_sub(self.told.load(Ordering::Relaxed))
    }

    /// How many entries they are told of.
    pub(super) fn entries(&self) -> usize {
        self.parts.len().max(1)
    }

    /// Tells them on, as uses of what stands under `key`.
    pub(super) fn tell(&self, key: CacheKey, told: &mut Vec<(CacheKey, u32)>) {
        let number = self.number.load(Ordering::Relaxed);
        let hits = number.saturating_sub(self.told.fetch_max(number, Ordering::Relaxed));
        let hits = u32::try_from(hits).unwrap_or(u32::MAX);
        match &*self.parts {
            [] => told.push((key, hits)),
            parts => told.extend(parts.iter().map(|part| (*part, hits))),
        }
    }
}

/// Of more texts than these nobody asks for the same ones often.
const MOST_PARTS: usize = 16;

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
        self.hits.number.fetch_add(1, Ordering::Relaxed);
        self
    }

    /// Bytes of memory, about.
    pub fn weight(&self) -> u32 {
        let question = self.question.as_ref().map_or(0, |question| question.weight());
        let beside = self.frames.len() * 4 + size_of_val(&*self.hits.parts) + question + OVERHEAD;
        let bytes = self.body.len() + beside;
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
