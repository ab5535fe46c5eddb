//! Who may come in, and as what: the host's name, loops, the route, the key.

use super::Config;
use super::crowd::TooMany;
use super::downstream::write_head;
use super::head::{Head, Limits, Reading, is_fit_id};
use super::hosts::Hosts;
use super::vigil::Vigil;
use super::visit::REQUEST_ID;
use super::wire::{Patience, Troubles};
use crate::dialect::{self, Handling};
use crate::domain::{CacheOutcome, Consumer, Ending, Error, Kind, Record, RequestId, Route, moment};
use crate::gateway::{self, Body, Caller, Clearance, Limited, Policy, Reply, clear, holds_key};
use crate::telemetry::{Metrics, Sinks};
use arc_swap::ArcSwap;
use http::{HeaderValue, header};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// The routes of Pannier's own that the data port passes on to the admin listener.
pub type IsHouse = fn(&str) -> bool;

/// What is asked of everybody.
pub struct Door {
    pub policy: Arc<ArcSwap<Policy>>,
    pub hosts: Hosts,
    /// This process, as it stands in `Via`.
    pub instance: String,
    pub is_house: IsHouse,
    pub head_limits: Limits,
    pub head_patience: HeadPatience,
    pub patience: Patience,
    /// Until the head of a forwarded answer.
    pub upstream_patience: Option<Duration>,
    pub metrics: Arc<Metrics>,
    pub sinks: Sinks,
    /// The end has begun: connections bear no further request.
    pub draining: Arc<AtomicBool>,
}

/// How long a connection may be quiet.
#[derive(Debug, Clone, Copy)]
pub struct HeadPatience {
    pub head: Duration,
    pub idle: Duration,
}

/// One request that was let in; travels with it through Pingora.
#[derive(Debug)]
pub struct Arrival {
    pub id: RequestId,
    pub at: SystemTime,
    pub started: Instant,
    pub method: &'static str,
    pub route: Route,
    pub errand: Errand,
    pub consumer: Arc<Consumer>,
    /// A presented key is one of Pannier's.
    pub own_key: bool,
    pub troubles: Troubles,
    /// How long the upstream keeps the request waiting, where it is forwarded.
    pub vigil: Option<Vigil>,
    /// What is said in `X-Request-Id` instead of Pannier's own name for the request.
    pub request_id: Option<HeaderValue>,
}

impl Arrival {
    /// Whether it does no harm when it arrives twice, as far as that is known.
    pub fn may_repeat(&self) -> bool {
        match self.errand {
            Errand::Upstream(handling) => dialect::may_repeat(self.method, self.route, handling),
            Errand::Limited(_) | Errand::House => dialect::is_safe(self.method),
        }
    }
}

/// Whom to answer, and in which dialect.
#[derive(Debug, Clone)]
pub struct AnswerTo {
    id: RequestId,
    request_id: Option<HeaderValue>,
    route: Route,
}

impl Arrival {
    pub fn answer_to(&self) -> AnswerTo {
        AnswerTo { id: self.id, request_id: self.request_id.clone(), route: self.route }
    }
}

/// What is done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    Upstream(Handling),
    /// Of the upstream, and read, because the consumer may not see all of it.
    Limited(Limited),
    House,
}

/// Longer than any sensible pause; stands for "off".
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl HeadPatience {
    pub fn new(config: &Config) -> Self {
        let or_never = |limit: Duration| if limit.is_zero() { NEVER } else { limit };
        HeadPatience { head: or_never(config.header_timeout), idle: or_never(config.keepalive_timeout) }
    }
}

impl Door {
    /// Whether this server may be called `host`.
    pub fn knows_host(&self, host: &[u8], policy: &Policy) -> bool {
        self.hosts.admit(host, &policy.allowed_hosts)
    }

    /// Whether the end has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// `read` begins with the head's own bytes.
    ///
    /// # Errors
    /// `Forbidden` for a foreign host's name, `Loop` for a request that has been here before, and whatever its key
    /// is not good for.
    pub fn admit(&self, head: &Head<'_>, read: &[u8], started: Instant) -> Result<Arrival, Error> {
        let policy = self.policy.load();
        if !self.knows_host(head.host, &policy) {
            return Err(Error::new(
                Kind::Forbidden,
                "this host name is not allowed here; access.allowed_hosts in Pannier's settings allows it",
            ));
        }
        // `Via` carries this process's name, which is random and stands nowhere else.
        if memchr::memmem::find(&read[..head.len], self.instance.as_bytes()).is_some() {
            return Err(Error::new(Kind::Loop, "the upstream of this Pannier is this Pannier"));
        }
        if is_disguised(head.method, head.path()) {
            return Err(Error::new(Kind::BadRequest, "this route's path must not be escaped"));
        }
        let now = moment::now();
        let (route, errand) = self.route(head);
        let Caller { consumer, own_key } = caller(head, errand, &policy)?;
        let errand = cleared(head, route, errand, &consumer, &policy)?;
        Ok(Arrival {
            id: RequestId::new(now),
            at: now,
            started,
            method: method_label(head.method),
            route,
            errand,
            consumer,
            own_key,
            troubles: Troubles::default(),
            vigil: None,
            request_id: head
                .request_id
                .filter(|id| is_fit_id(id))
                .and_then(|id| HeaderValue::from_bytes(id).ok()),
        })
    }

    fn route(&self, head: &Head<'_>) -> (Route, Errand) {
        let path = head.path();
        if (self.is_house)(path) {
            return (Route { template: "house", dialect: "house" }, Errand::House);
        }
        let (route, handling) = dialect::find(head.method, path);
        (route, Errand::Upstream(handling))
    }

    /// Counts a connection that is not let in or not kept, and says why not.
    pub fn count_refused(&self, why: TooMany) -> Error {
        self.metrics.connection_refused(why.reason());
        Error::new(Kind::RateLimited, why.message()).retry_after(Duration::from_secs(1))
    }

    /// What a client is told that is not let in. It has asked nothing yet, so there is no record.
    pub fn turn_away(&self, why: TooMany) -> Vec<u8> {
        let id = RequestId::new(moment::now());
        let reply = gateway::refuse(&self.count_refused(why), dialect_of_line(b""), id);
        write(reply, &id.hyphenated(), true).0
    }

    /// What is said where the upstream said nothing. The record is the request's own.
    pub fn answer_late(&self, to: AnswerTo) -> Vec<u8> {
        let AnswerTo { id, request_id, route } = to;
        let error = Error::new(Kind::UpstreamTimeout, "the upstream does not answer");
        let shown = request_id.as_ref().map_or_else(|| id.hyphenated().to_vec(), |id| id.as_bytes().to_vec());
        write(gateway::refuse(&error, route, id), &shown, true).0
    }

    /// A refusal on the wire, and its record. `read` is what came so far, mostly a head.
    pub fn refuse(&self, read: &[u8], error: &Error) -> Vec<u8> {
        let now = moment::now();
        let id = RequestId::new(now);
        let generous = Limits { bytes: usize::MAX, fields: usize::MAX };
        let (method, route, own) = match Head::read(read, 0, generous) {
            Ok(Reading::Head(head)) => (method_label(head.method), self.route(&head).0, head.request_id),
            _ => ("other", dialect_of_line(read), None),
        };
        let hyphenated = id.hyphenated();
        let shown = own.filter(|own| is_fit_id(own)).unwrap_or(&hyphenated);
        let reply = gateway::refuse(error, route, id);
        let (answer, bytes_out) = write(reply, shown, method != "HEAD");
        self.sinks.record(&Record {
            id,
            at: now,
            started: Instant::now(),
            method,
            route,
            consumer: None,
            call: None,
            cache: CacheOutcome::Bypass,
            why: None,
            status: error.kind.status(),
            ending: Ending::Refused(error.kind),
            bytes_in: read.len() as u64,
            bytes_out,
            first_byte: None,
            total: Duration::ZERO,
            observed: None,
            message: None,
            settled: None,
            began_trip: false,
        });
        answer
    }
}

/// Who asks. The house judges keys itself; and a browser asks by `OPTIONS` what it may before it shows any.
fn caller(head: &Head<'_>, errand: Errand, policy: &Policy) -> Result<Caller, Error> {
    let keys = &policy.keys;
    if errand == Errand::House {
        let consumer = keys.identify(head.key).unwrap_or_else(|| keys.anonymous().clone());
        return Ok(Caller { consumer, own_key: true });
    }
    let unfit = |why| Err(Error::new(Kind::Unauthenticated, why));
    if head.odd_credentials.iter().any(|credential| keys.owns(credential)) {
        return unfit("an API key is presented as Authorization: Bearer or X-API-Key");
    }
    if holds_key(head.query().as_bytes()) {
        return unfit("an API key must not stand in the address");
    }
    let is_preflight = head.method == "OPTIONS" && head.has_origin && head.keys().next().is_none();
    if is_preflight {
        return Ok(Caller { consumer: keys.anonymous().clone(), own_key: false });
    }
    keys.judge(head.keys())
}

/// What is done with the request, where `consumer` may have it done at all.
fn cleared(
    head: &Head<'_>,
    route: Route,
    errand: Errand,
    consumer: &Consumer,
    policy: &Policy,
) -> Result<Errand, Error> {
    let Errand::Upstream(handling) = errand else { return Ok(errand) };
    Ok(match clear(head.method, route, handling, consumer, policy)? {
        Clearance::Usual => errand,
        Clearance::Limited(limited) => Errand::Limited(limited),
    })
}

/// The last answer on a connection, on the wire; and the bytes of its body.
fn write(mut reply: Reply, id: &[u8], with_body: bool) -> (Vec<u8>, u64) {
    let body = match reply.body {
        Body::Whole(body) if with_body => body,
        _ => bytes::Bytes::new(),
    };
    let fields = &mut reply.headers;
    fields.extend(HeaderValue::from_bytes(id).map(|id| (REQUEST_ID, id)));
    fields.insert(header::CONTENT_LENGTH, body.len().into());
    fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let mut answer = Vec::new();
    write_head(&mut answer, reply.status, [&reply.headers]);
    answer.extend_from_slice(&body);
    (answer, body.len() as u64)
}

/// Whether `path` is, for an upstream that unescapes it, another route than it is here.
fn is_disguised(method: &str, path: &str) -> bool {
    if !path.contains('%') {
        return false;
    }
    let plain = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let (route, handling) = dialect::find(method, path);
    let (meant, done) = dialect::find(method, &plain);
    (route.template, handling) != (meant.template, done)
}

/// The route of a head that could not be read: its dialect at least can be told from its path.
fn dialect_of_line(read: &[u8]) -> Route {
    let line = read.split(|&byte| byte == b'\r' || byte == b'\n').next().unwrap_or_default();
    let path = line.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
    let (route, _) = dialect::find("", std::str::from_utf8(path).unwrap_or_default());
    route
}

/// The method as a metric label: a closed list.
fn method_label(method: &str) -> &'static str {
    const KNOWN: [&str; 7] = ["POST", "GET", "HEAD", "DELETE", "OPTIONS", "PUT", "PATCH"];
    KNOWN.into_iter().find(|known| *known == method).unwrap_or("other")
}
