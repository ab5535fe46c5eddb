//! What happened to one request, and to one trip upstream.

use super::numbered::numbered;
use super::{Call, Consumer, FinishReason, Kind, Observed, Operation, Reason};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// A UUIDv7: sixteen bytes, shown as 36 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub [u8; 16]);

impl RequestId {
    /// The random part of it: what the fresh digits of a replay are made from.
    pub fn seed(&self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|at| self.0[8 + at]))
    }

    /// A fresh one. Its first 48 bits are `now` in milliseconds, so that ids sort by time; the rest is
    /// random, and names a request rather than guards it. Takes no lock and asks the system nothing.
    pub fn new(now: SystemTime) -> Self {
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let random = fastrand::u128(..).to_ne_bytes();
        let millis = since_epoch.as_millis() as u64;
        let [a, b, c, d, e, f, g, h, i, j, ..] = random;
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &[a, b, c, d, e, f, g, h, i, j]);
        RequestId(id.into_uuid().into_bytes())
    }

    /// When the request came, to the millisecond.
    pub fn moment(&self) -> SystemTime {
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&self.0[..6]);
        UNIX_EPOCH + Duration::from_millis(u64::from_be_bytes(millis))
    }

    /// The second in which it came.
    pub fn second(&self) -> u64 {
        self.moment().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    /// The least of all that a request of that second can have.
    pub fn first_of(second: u64) -> Self {
        let mut id = [0; 16];
        id[..6].copy_from_slice(&second.saturating_mul(1_000).to_be_bytes()[2..]);
        RequestId(id)
    }

    /// As it is shown, or without the hyphens.
    pub fn read(text: &str) -> Option<Self> {
        Uuid::try_parse(text).ok().map(|id| RequestId(id.into_bytes()))
    }

    /// The 36 characters, in lower case, without an allocation.
    pub fn hyphenated(&self) -> [u8; 36] {
        let mut text = [0; 36];
        Uuid::from_bytes(self.0).hyphenated().encode_lower(&mut text);
        text
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

/// A route's fixed facts, for labels. `template` is one of a closed list, never a raw path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    /// `/api/chat`, `/api/blobs/{digest}`, `house`, `other` …
    pub template: &'static str,
    /// `ollama`, `openai`, `anthropic`, `native`, `house`, `none`.
    pub dialect: &'static str,
}

/// How the cache took part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum CacheOutcome {
    /// The memory had it.
    Hit = 1,
    /// A tier behind the memory had it.
    HitBelow = 2,
    Miss = 3,
    /// Joined another request's trip.
    Joined = 4,
    /// The cache was not asked.
    #[default]
    Bypass = 5,
}

numbered!(CacheOutcome);

impl CacheOutcome {
    pub const ALL: [CacheOutcome; 5] = [
        CacheOutcome::Hit,
        CacheOutcome::HitBelow,
        CacheOutcome::Miss,
        CacheOutcome::Joined,
        CacheOutcome::Bypass,
    ];

    /// Something that was kept has answered.
    pub fn is_hit(self) -> bool {
        matches!(self, CacheOutcome::Hit | CacheOutcome::HitBelow)
    }

    /// The answer was made for somebody else.
    pub fn is_given(self) -> bool {
        self.is_hit() || self == CacheOutcome::Joined
    }

    pub fn label(self) -> &'static str {
        match self {
            CacheOutcome::Hit | CacheOutcome::HitBelow => "hit",
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

/// The same without why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ended {
    Complete = 1,
    Refused = 2,
    Broken = 3,
}

numbered!(Ended);

impl Ended {
    pub const ALL: [Ended; 3] = [Ended::Complete, Ended::Refused, Ended::Broken];

    pub fn label(self) -> &'static str {
        match self {
            Ended::Complete => "complete",
            Ended::Refused => "refused",
            Ended::Broken => "broken",
        }
    }
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
    /// Why it was not simply a hit, where there is more to say than that nothing was kept.
    pub why: Option<Reason>,
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
    /// What was said of an error of Pannier's own.
    pub message: Option<Arc<str>>,
    /// What was told of it before its last byte left.
    pub settled: Option<Settled>,
    /// It has gone upstream, whatever it was answered with in the end.
    pub began_trip: bool,
}

/// How a request was about to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    pub status: u16,
    pub ending: Ending,
    pub total: Duration,
}

/// What a record keeps of a [`Call`].
#[derive(Debug, Clone)]
pub struct CallFacts {
    pub operation: Operation,
    pub streamed: bool,
    /// The model's canonical name where the upstream has it, else `other`: bounded, fit for a label.
    pub model: Arc<str>,
    /// Which version of it; empty where that is not known.
    pub digest: Arc<str>,
    /// What it is called where the upstream does not list it. As many as clients care to write: no label.
    pub unlisted: Option<Arc<str>>,
}

/// Who pays for a trip: the request that began it, whoever reads its answer.
#[derive(Debug, Clone)]
pub struct Payer {
    pub request: RequestId,
    pub consumer: Arc<Consumer>,
}

/// What one trip upstream did. Written once for each trip, whoever read it and whether it was
/// finished or called off: tokens are counted here and only here.
#[derive(Debug, Clone)]
pub struct Trip {
    pub payer: Payer,
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
    /// It was told before anybody could read the last byte.
    pub settled: bool,
    /// The upstream's own counts cannot be those of what passed.
    pub implausible: bool,
}

impl CallFacts {
    /// Of a model of which no more is known than its name.
    pub fn new(call: &Call, model: Arc<str>) -> Self {
        let Call { operation, streamed, .. } = *call;
        CallFacts { operation, streamed, model, digest: "".into(), unlisted: None }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_version_7_and_sort_by_time() {
        let at = UNIX_EPOCH + Duration::from_millis(0x0123_4567_89ab);
        let (one, other) = (RequestId::new(at), RequestId::new(at));
        let later = RequestId::new(at + Duration::from_millis(1));
        assert_ne!(one, other);
        assert!(one.0 < later.0 && other.0 < later.0);
        assert!(one.to_string().starts_with("01234567-89ab-7"), "{one}");
        assert!(matches!(one.to_string().as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{one}");
    }

    #[test]
    fn a_request_id_reads_the_same_in_both_ways() {
        let id = RequestId(*b"\x01\x23\x45\x67\x89\xab\x7c\xde\x8f\x01\x23\x45\x67\x89\xab\xcd");
        assert_eq!(id.to_string(), "01234567-89ab-7cde-8f01-23456789abcd");
        assert_eq!(id.hyphenated(), *b"01234567-89ab-7cde-8f01-23456789abcd");
        assert_eq!(RequestId::read(&id.to_string()), Some(id));
        assert_eq!(RequestId::read("0123456789ab7cde8f0123456789abcd"), Some(id));
        assert_eq!(RequestId::read("7"), None);
    }

    #[test]
    fn a_clock_before_the_epoch_gives_an_id_too() {
        let id = RequestId::new(UNIX_EPOCH - Duration::from_secs(1));
        assert!(id.to_string().starts_with("00000000-0000-7"), "{id}");
    }
}
