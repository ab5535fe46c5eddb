//! What goes back, before anyone thinks of sockets.

use super::Pace;
use super::fetch::Remembered;
use super::live::Live;
use super::order::Order;
use super::trip::TripHead;
use super::{Policy, Told, Way};
use crate::cache::{Entry, TierName};
use crate::dialect::openai::UsageStrip;
use crate::dialect::{self};
use crate::domain::{CacheOutcome, Error, Kind, Pour, Reason, Record, Template};
use crate::upstream::{Head, Verdict, is_cors};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::time::{Duration, Instant, SystemTime};

/// How the cache took part (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// An answer.
pub struct Reply {
    pub status: StatusCode,
    /// All but those of the connection, the length, `Date` and the request's id.
    pub headers: HeaderMap,
    pub body: Body,
}

/// An answer's body.
pub enum Body {
    Whole(Bytes),
    /// A remembered answer, to be written frame by frame where it is streamed.
    Replay {
        pour: Pour,
        streamed: bool,
        pace: Option<Pace>,
    },
    /// It comes about while it is told.
    Told(Box<Told>),
    /// Head and body are still to come; `Reply::status` and `headers` only add to them.
    Live(Box<Live>),
}

impl Way {
    /// What the upstream says to a request's `origin`, where it has one; while it is down, what it said.
    ///
    /// # Errors
    /// When the upstream cannot be asked.
    pub async fn verdict(
        &self,
        policy: &Policy,
        origin: Option<&HeaderValue>,
    ) -> Result<Option<Verdict>, Error> {
        let Some(origin) = origin else { return Ok(None) };
        let judged = self.origins.judge(origin).await;
        judged.or_else(|error| super::stale::verdict(self, policy, origin, error)).map(Some)
    }
}

/// What is said of an answer that the upstream gives.
pub struct Fresh {
    pub outcome: CacheOutcome,
    pub why: Option<Reason>,
    pub keeps: Option<Duration>,
}

impl Reply {
    /// What Ollama says to an origin or a host that it does not know.
    pub fn forbidden() -> Self {
        Reply { status: StatusCode::FORBIDDEN, headers: HeaderMap::new(), body: Body::Whole(Bytes::new()) }
    }

    /// With what the upstream says to the request's origin.
    pub fn with_verdict(mut self, verdict: Option<Verdict>) -> Self {
        if let Some(verdict) = verdict {
            for (name, value) in verdict.headers.iter() {
                self.headers.append(name.clone(), value.clone());
            }
        }
        self
    }

    /// The head to send for a live answer whose own `head` has come.
    pub fn over(&self, head: &TripHead, live: &Live) -> (StatusCode, HeaderMap) {
        let Head { status, headers } = &head.head;
        let mut all: HeaderMap = headers.clone();
        all.remove(header::DATE);
        let of_another: Vec<HeaderName> = all.keys().filter(|name| is_cors(name)).cloned().collect();
        for name in of_another {
            all.remove(name);
        }
        if self.headers.contains_key(header::CONTENT_TYPE) {
            all.remove(header::CONTENT_TYPE);
        }
        for (name, value) in &self.headers {
            all.append(name.clone(), value.clone());
        }
        if live.is_retold() {
            all.remove(header::CONTENT_LENGTH);
        }
        if let Some(status) = all.get_mut(CACHE_STATUS) {
            complete_cache_status(status, head.head.status);
        }
        (*status, all)
    }
}

/// An answer of the upstream's, as it comes.
pub fn live(live: Box<Live>, fresh: Fresh) -> Reply {
    let headers = HeaderMap::from_iter([(CACHE_STATUS, cache_status(&fresh))]);
    Reply { status: StatusCode::OK, headers, body: Body::Live(live) }
}

/// An answer from the memory, made fresh.
pub fn remembered(
    remembered: &Remembered,
    template: &Template,
    pace: Option<Pace>,
    record: &Record,
) -> Reply {
    let Remembered { entry, ttl, tier, .. } = remembered;
    let age = entry.age(Instant::now());
    let mut headers: HeaderMap = entry.headers.iter().cloned().collect();
    let status = match record.why {
        Some(Reason::Stale) => stale(*ttl, age),
        _ => hit(ttl.saturating_sub(age), *tier),
    };
    headers.insert(CACHE_STATUS, status);
    headers.insert(header::AGE, age.as_secs().into());
    let pour = Pour::new(template.clone(), SystemTime::now(), record.id.seed());
    let body = Body::Replay { pour, streamed: !entry.frames.is_empty(), pace };
    Reply { status: StatusCode::OK, headers, body }
}

/// The entry as this client should see it: its own name of the model, and usage only if asked for.
///
/// # Errors
/// `Internal` when the entry is not what it was found to be when it was stored.
pub fn fit(entry: &Entry, order: &Order<'_>) -> Result<Template, Error> {
    let form = order.request.form;
    let streamed = !entry.frames.is_empty();
    let mut pieces = entry.pieces();
    if order.call.strip_usage && streamed {
        let mut strip = UsageStrip::new(form);
        pieces = pieces.into_iter().filter_map(|piece| strip.pass(piece)).collect();
        pieces.extend(strip.finish());
        pieces.retain(|piece| !piece.is_empty());
    }
    dialect::cut(form, streamed, &pieces, &order.call.model)
        .ok_or_else(|| Error::new(Kind::Internal, "a remembered answer cannot be read"))
}

/// The fields of the upstream's head that go on, where the answer is sent as a whole: not its date, its
/// length, nor what it says to origins.
pub fn own_fields(head: &Head) -> HeaderMap {
    let goes_on =
        |name: &HeaderName| !is_cors(name) && *name != header::DATE && *name != header::CONTENT_LENGTH;
    let fields = head.headers.iter().filter(|(name, _)| goes_on(name));
    fields.map(|(name, value)| (name.clone(), value.clone())).collect()
}

pub fn hit(left: Duration, tier: TierName) -> HeaderValue {
    value(format!("pannier; hit; ttl={}; detail={tier}", left.as_secs()))
}

/// What RFC 9211 calls a stale hit: less than nothing is left of its time.
pub fn stale(ttl: Duration, age: Duration) -> HeaderValue {
    let left = ttl.as_secs().cast_signed().saturating_sub(age.as_secs().cast_signed());
    value(format!("pannier; hit; ttl={left}; detail={}", Reason::Stale.label()))
}

/// Never says `stored`: the field goes out before the answer has come, and only a whole one, of a model that
/// is still the same, is stored. `ttl` is how long it may then be used.
fn cache_status(fresh: &Fresh) -> HeaderValue {
    let ttl = fresh.keeps.map_or(String::new(), |ttl| format!("; ttl={}", ttl.as_secs()));
    let how = match (fresh.outcome, fresh.keeps) {
        (CacheOutcome::Joined, _) => "; collapsed".to_owned(),
        (CacheOutcome::Bypass, None) => String::new(),
        _ => format!("; fwd-status=200{ttl}"),
    };
    let detail = fresh.why.map_or(String::new(), |why| format!("; detail={}", why.label()));
    value(format!("pannier; fwd={}{how}{detail}", forwarded(fresh.why)))
}

/// Why a request went on, in the words of RFC 9211.
pub fn forwarded(why: Option<Reason>) -> &'static str {
    match why {
        None | Some(Reason::Mode | Reason::Unopened | Reason::TierDown) => "uri-miss",
        Some(Reason::Expired) => "stale",
        Some(Reason::Request | Reason::Refresh | Reason::TooOld | Reason::EndsSoon) => "request",
        Some(_) => "bypass",
    }
}

/// Only a 200 may be used again, and the status was not known when the field was written.
fn complete_cache_status(field: &mut HeaderValue, status: StatusCode) {
    let text = field.to_str().unwrap_or_default();
    if status != StatusCode::OK
        && let Some((before, after)) = text.split_once("; fwd-status=200")
    {
        let detail = after.find("; detail=").map_or("", |at| &after[at..]);
        *field = value(format!("{before}; fwd-status={}{detail}", status.as_u16()));
    }
}

pub fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("pannier"))
}
