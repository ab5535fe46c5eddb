//! What stands under one key, opened: an answer, or one text's vector.

use super::{Entry, Question};
use crate::domain::{Embedding, Source};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A clone is one reference more.
#[derive(Debug, Clone)]
pub enum Payload {
    Answer(Arc<Entry>),
    Vector(Arc<Vector>),
}

/// One text's embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Vector {
    /// `f32` after `f32`, little endian.
    pub numbers: Bytes,
    /// Of the text.
    pub tokens: u32,
    /// Where `tokens` comes from.
    pub source: Source,
    /// How long the upstream took for it, and how much of that to load the model.
    pub took: Duration,
    pub load: Duration,
    pub stored: Instant,
    pub ttl: Duration,
    /// What was asked, with this one text. Only where it is kept outside of the process: in memory there are
    /// too many.
    pub question: Option<Box<Question>>,
}

/// One instant by both clocks: ages are measured by the first, which cannot be set; the second is the one
/// that other processes understand.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub instant: Instant,
    pub wall: SystemTime,
}

// === impl Payload ===

impl Payload {
    pub fn stored(&self) -> Instant {
        match self {
            Payload::Answer(entry) => entry.stored,
            Payload::Vector(vector) => vector.stored,
        }
    }

    pub fn ttl(&self) -> Duration {
        match self {
            Payload::Answer(entry) => entry.ttl,
            Payload::Vector(vector) => vector.ttl,
        }
    }

    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.stored())
    }

    pub fn is_fresh(&self, now: Instant) -> bool {
        self.age(now) < self.ttl()
    }

    /// What it answers, where that is kept.
    pub fn question(&self) -> Option<&Question> {
        match self {
            Payload::Answer(entry) => entry.question.as_deref(),
            Payload::Vector(vector) => vector.question.as_deref(),
        }
    }

    /// Bytes of memory, about.
    pub fn weight(&self) -> usize {
        match self {
            Payload::Answer(entry) => entry.weight() as usize,
            Payload::Vector(vector) => {
                let question = vector.question.as_ref().map_or(0, |question| question.weight());
                vector.numbers.len() + question + size_of::<Vector>()
            }
        }
    }
}

// === impl Vector ===

impl Vector {
    pub fn of(embedding: &Embedding, stored: Instant, ttl: Duration) -> Self {
        Vector {
            numbers: embedding.numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
            tokens: embedding.tokens,
            source: if embedding.estimated { Source::Estimated } else { Source::Upstream },
            took: embedding.total,
            load: embedding.load,
            stored,
            ttl,
            question: None,
        }
    }

    /// `None` where it is not one: not of whole numbers, none at all, or not all of them finite.
    pub fn embedding(&self) -> Option<Embedding> {
        let (words, rest) = self.numbers.as_chunks::<4>();
        let numbers: Arc<[f32]> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        let sound = rest.is_empty() && !numbers.is_empty() && numbers.iter().all(|number| number.is_finite());
        sound.then(|| Embedding {
            numbers,
            tokens: self.tokens,
            estimated: self.source != Source::Upstream,
            total: self.took,
            load: self.load,
        })
    }
}

// === impl Moment ===

impl Moment {
    pub fn now() -> Self {
        Moment { instant: Instant::now(), wall: SystemTime::now() }
    }

    /// The wall's time at `instant`.
    pub fn wall_at(&self, instant: Instant) -> SystemTime {
        let ago = self.instant.saturating_duration_since(instant);
        self.wall.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}
