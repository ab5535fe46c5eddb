//! What happened to one request, and to one trip upstream.

use super::{Call, Consumer, FinishReason, Kind, Observed, Operation};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A UUIDv7: sixteen bytes, shown as 36 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub [u8; 16]);

/// A route's fixed facts, for labels. `template` is one of a closed list, never a raw path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    /// `/api/chat`, `/api/blobs/{digest}`, `house`, `other` …
    pub template: &'static str,
    /// `ollama`, `openai`, `anthropic`, `house`, `none`.
    pub dialect: &'static str,
}

/// How the cache took part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum CacheOutcome {
    Hit,
    Miss,
    /// Joined another request's trip.
    Joined,
    /// The cache was not asked.
    #[default]
    Bypass,
}

impl CacheOutcome {
    pub const ALL: [CacheOutcome; 4] =
        [CacheOutcome::Hit, CacheOutcome::Miss, CacheOutcome::Joined, CacheOutcome::Bypass];

    pub fn label(self) -> &'static str {
        match self {
            CacheOutcome::Hit => "hit",
            CacheOutcome::Miss => "miss",
            CacheOutcome::Joined => "coalesced",
            CacheOutcome::Bypass => "bypass",
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Answered to the last byte.
    Complete,
    /// Pannier answered with an error of its own.
    Refused(Kind),
    /// The answer had begun and broke off.
    Broken(Kind),
}

/// What happened to one request. Exactly one is written for each, however it ended.
#[derive(Debug, Clone)]
pub struct Record {
    pub id: RequestId,
    pub at: SystemTime,
    /// When the head had been read.
    pub started: Instant,
    pub method: &'static str,
    pub route: Route,
    pub consumer: Option<Arc<Consumer>>,
    /// Present when a call was read.
    pub call: Option<CallFacts>,
    pub cache: CacheOutcome,
    /// Status sent; 499 where the client left before one was.
    pub status: u16,
    pub ending: Ending,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// From the start to the first byte of the answer's body.
    pub first_byte: Option<Duration>,
    pub total: Duration,
    /// What the answer that was sent (fresh, joined or remembered) had cost when it was made.
    pub observed: Option<Observed>,
}

/// What a record keeps of a [`Call`].
#[derive(Debug, Clone)]
pub struct CallFacts {
    pub operation: Operation,
    pub streamed: bool,
    /// The model's canonical name where the upstream has it, else `other`: bounded, fit for a label.
    pub model: Arc<str>,
}

/// What one trip upstream did. Written once for each trip, whoever read it and whether it was
/// finished or called off: tokens are counted here and only here.
#[derive(Debug, Clone)]
pub struct Trip {
    pub route: Route,
    pub call: CallFacts,
    /// The upstream's status; 0 when it sent none.
    pub status: u16,
    pub observed: Observed,
    /// Until the first byte of the body, and until the first frame with content.
    pub first_byte: Option<Duration>,
    pub first_token: Option<Duration>,
    pub total: Duration,
    pub error: Option<Kind>,
}

impl CallFacts {
    pub fn new(call: &Call, model: Arc<str>) -> Self {
        CallFacts { operation: call.operation, streamed: call.streamed, model }
    }
}

impl Trip {
    /// Why it ended, for the label `finish_reason`.
    pub fn finish(&self) -> FinishReason {
        match self.error {
            Some(Kind::ClientGone) => FinishReason::Cancelled,
            Some(_) => FinishReason::Error,
            None if self.observed.failed || self.status >= 400 => FinishReason::Error,
            None => self.observed.finish,
        }
    }
}
