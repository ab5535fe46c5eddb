//! What every tier behind the memory can do. A tier keeps sealed bytes and never sees what is in them.

use super::{Board, CacheKey};
use crate::domain::Operation;
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// What no request waits for has as long as one would wait, and between so and so long.
const UNHURRIED: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// The tiers, in the order in which they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TierName {
    Memory,
    Redis,
    /// SQLite or PostgreSQL.
    Database,
}

/// The families of entries, by the names that the predecessors' users know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Prefix {
    /// One text's vector.
    Embedding,
    /// Completions of a text: generate, `/v1/completions`.
    Inference,
    /// Completions of a conversation: chat, responses, messages.
    Chat,
    /// What was said in recordings.
    Audio,
}

/// What an operator may know of an entry, and find it by. It stands beside the sealed bytes in the open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub prefix: Prefix,
    pub operation: Operation,
    /// The model's full name and its digest.
    pub model: Arc<str>,
    pub digest: Arc<str>,
    /// Whose request it answered first.
    pub team: Arc<str>,
}

/// One entry on its way into a tier.
#[derive(Debug, Clone)]
pub struct Parcel {
    pub key: CacheKey,
    pub label: Label,
    pub sealed: Bytes,
    pub stored: SystemTime,
    pub expires: SystemTime,
}

/// Which entries are meant; what is `None` matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    pub key: Option<CacheKey>,
    pub prefix: Option<Prefix>,
    pub model: Option<Arc<str>>,
    pub team: Option<Arc<str>>,
    /// Only those whose time is over.
    pub expired: bool,
}

/// How much of one kind a tier holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    pub prefix: Prefix,
    pub operation: Operation,
    pub model: Arc<str>,
    pub team: Arc<str>,
    pub entries: u64,
    /// Of the sealed bytes.
    pub bytes: u64,
}

/// What is known of one entry without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub key: CacheKey,
    pub label: Label,
    pub bytes: u64,
    pub hits: u64,
    pub stored: SystemTime,
    pub expires: SystemTime,
    pub last_used: SystemTime,
}

/// Why a tier could not do it. Never shown to a client: to a request it is a miss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("it cannot be reached")]
    Unreachable,
    #[error("it took too long")]
    TimedOut,
    #[error("it is full, or takes nothing")]
    Refused,
    #[error("it answered nonsense")]
    Corrupt,
}

/// A tier behind the memory. Cancel safe throughout; each call is bounded in time by the caller.
#[async_trait]
pub trait Tier: Send + Sync {
    fn name(&self) -> TierName;

    /// Whether there is certainly nothing under `key`: nobody need ask. Knows it without asking anybody.
    fn lacks(&self, _key: &CacheKey) -> bool {
        false
    }

    /// The sealed bytes under each of `keys`, in their order. What is over, or not there, is `None`.
    async fn find(&self, keys: &[CacheKey]) -> Result<Vec<Option<Bytes>>, Fault>;

    /// As [`Tier::find`], only that nothing counts as used by it, and what is over may be found as well.
    async fn look(&self, keys: &[CacheKey]) -> Result<Vec<Option<Bytes>>, Fault>;

    /// Keeps `parcels`; of two under one key the later one stays.
    async fn keep(&self, parcels: &[Parcel]) -> Result<(), Fault>;

    /// Removes what is meant; returns how many went.
    async fn remove(&self, selection: &Selection) -> Result<u64, Fault>;

    /// How much there is, by kind, largest first.
    async fn tally(&self) -> Result<Vec<Tally>, Fault>;

    /// The `most` entries that were used most often, of those that are meant.
    async fn top(&self, selection: &Selection, most: usize) -> Result<Vec<Listing>, Fault>;

    /// All entries that are meant, a few at a time, as fast as they are `told`; ends early where nobody hears it.
    async fn list(&self, selection: &Selection, told: &mpsc::Sender<Vec<Listing>>) -> Result<(), Fault>;

    /// These were of use above it, each so often: counts as if they had been found here.
    fn used_above(&self, _used: &[(CacheKey, u32)]) {}

    /// Whether it can be reached and used at all.
    async fn probe(&self) -> Result<(), Fault>;

    /// Waits until it is known whether it can be used: one that opens by itself has tried to.
    async fn settled(&self) {}

    /// Where those who share it tell each other what was removed; `None` where nobody shares it.
    fn board(&self) -> Option<&dyn Board> {
        None
    }
}

/// How long something may take that no request waits for, where `timeout` is the longest that one does.
pub(super) fn unhurried(timeout: Duration) -> Duration {
    timeout.clamp(UNHURRIED[0], UNHURRIED[1])
}

impl Selection {
    /// Whether an entry with this label under `key` may be meant, be it over or not; a `key` that is `None` may be
    /// any.
    pub fn may_mean(&self, key: Option<&CacheKey>, label: &Label) -> bool {
        self.key.as_ref().is_none_or(|wanted| key.is_none_or(|key| key == wanted))
            && self.means_prefix(label.prefix)
            && self.means_names(&label.model, &label.team)
    }

    pub fn means_prefix(&self, prefix: Prefix) -> bool {
        self.prefix.is_none_or(|wanted| wanted == prefix)
    }

    /// Whether entries of this model and team are among those that are meant, as far as it says whose they are.
    pub fn means_names(&self, model: &str, team: &str) -> bool {
        self.model.as_ref().is_none_or(|wanted| **wanted == *model)
            && self.team.as_ref().is_none_or(|wanted| **wanted == *team)
    }
}

impl TierName {
    /// As a label value.
    pub fn label(self) -> &'static str {
        match self {
            TierName::Memory => "memory",
            TierName::Redis => "redis",
            TierName::Database => "database",
        }
    }
}

impl Prefix {
    pub const ALL: [Prefix; 4] = [Prefix::Embedding, Prefix::Inference, Prefix::Chat, Prefix::Audio];

    /// The one of this label.
    pub fn named(label: &str) -> Option<Self> {
        Prefix::ALL.into_iter().find(|prefix| prefix.label() == label)
    }

    pub fn label(self) -> &'static str {
        match self {
            Prefix::Embedding => "embedding",
            Prefix::Inference => "inference",
            Prefix::Chat => "chat",
            Prefix::Audio => "audio",
        }
    }

    pub fn of(operation: Operation) -> Self {
        match operation {
            Operation::Embed => Prefix::Embedding,
            Operation::Text => Prefix::Inference,
            Operation::Chat => Prefix::Chat,
            Operation::Transcribe => Prefix::Audio,
        }
    }
}

impl fmt::Display for TierName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}
