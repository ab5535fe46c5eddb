//! The fast lane: a plain request whose very bytes were answered from the memory before is answered
//! before any session exists, with one write.
//!
//! It has no policy of its own. Whatever it does not understand takes the ordinary road, which judges.

use super::date::Date;
use super::door::Door;
use super::head::{Framing, Head};
use crate::dialect::Form;
use crate::domain::{CacheOutcome, Consumer, Ending, Kind, Pour, Record, RequestId, Settled, moment};
use crate::gateway::{Fresh, Gateway, Recalled};
use crate::telemetry::{AccessLog, Sinks};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A body larger than this takes the ordinary road.
const LARGEST_BODY: u64 = 256 << 10;

/// The way from a head to a remembered answer.
pub struct Lane {
    pub gateway: Arc<Gateway>,
    /// None while no access log is wanted.
    pub log: Option<Arc<AccessLog>>,
    pub sinks: Sinks,
}

/// A request whose answer is remembered.
pub struct Hit {
    recalled: Recalled,
    consumer: Arc<Consumer>,
    started: Instant,
    at: SystemTime,
    id: RequestId,
    /// Bytes of the request, and of its body.
    pub len: usize,
    received: usize,
    /// Bytes of the answer's body.
    sent: usize,
    /// How long it had taken when it was settled.
    settled: Duration,
}

/// What a look at a head and what came with it shows.
pub enum Glance {
    Hit(Hit),
    /// It may be one, once `total` bytes are there.
    Wanting {
        total: usize,
    },
    Road,
}

impl Lane {
    /// `read` begins with `head`.
    pub fn glance(&self, door: &Door, head: &Head<'_>, read: &[u8]) -> Glance {
        let started = Instant::now();
        let Framing::Length(length @ ..=LARGEST_BODY) = head.terms.framing else { return Glance::Road };
        let is_call = head.method == "POST" && Form::ALL.iter().any(|form| form.path() == head.target);
        if !head.plain || !is_call || door.is_draining() {
            return Glance::Road;
        }
        let total = head.len + length as usize;
        if read.len() < total {
            return Glance::Wanting { total };
        }
        let policy = self.gateway.policy();
        if !door.knows_host(head.host, &policy) {
            return Glance::Road;
        }
        let Some(consumer) = policy.keys.identify(head.key) else { return Glance::Road };
        if !consumer.rights.are_whole() {
            return Glance::Road;
        }
        let body = &read[head.len..total];
        let Some(recalled) = self.gateway.recall(&consumer, head.target, body, &policy, started) else {
            return Glance::Road;
        };
        let at = moment::now();
        Glance::Hit(Hit {
            recalled,
            consumer,
            started,
            at,
            id: RequestId::new(at),
            len: total,
            received: body.len(),
            sent: 0,
            settled: Duration::ZERO,
        })
    }

    /// Puts the answer's bytes into `out`, but for what is too long for that, which is returned.
    pub fn render(&self, hit: &mut Hit, out: &mut Vec<u8>) -> Option<Pour> {
        out.clear();
        let age = hit.recalled.entry.age(hit.started);
        let fresh = Fresh {
            now: hit.at,
            seed: hit.id.seed(),
            date: &Date::at(hit.at),
            id: &hit.id.hyphenated(),
            age: age.as_secs(),
            ttl: hit.recalled.alias.ttl.saturating_sub(age).as_secs(),
        };
        hit.sent = hit.recalled.content_len();
        hit.recalled.write(&fresh, out)
    }

    /// Puts a hit into the books of those who must have it before its last byte leaves.
    pub fn settle(&self, hit: &mut Hit) {
        hit.settled = hit.started.elapsed();
        hit.recalled.settle(self.gateway.way(), hit.id, &hit.consumer, hit.settled);
    }

    /// Puts a hit whose answer went out into the books.
    pub fn book(&self, hit: &Hit) {
        let total = hit.started.elapsed();
        hit.recalled.alias.counters.count(total, hit.received as u64, hit.sent as u64);
        self.gateway.keep_warm(&hit.recalled, hit.started);
        if let Some(log) = self.log.as_ref().filter(|log| log.wants(CacheOutcome::Hit)) {
            log.write(&hit.record(total, Ending::Complete));
        }
    }

    /// The same for one whose client left, or took nothing.
    pub fn book_broken(&self, hit: &Hit) {
        self.sinks.record(&hit.record(hit.started.elapsed(), Ending::Broken(Kind::ClientGone)));
    }
}

impl Hit {
    fn record(&self, total: Duration, ending: Ending) -> Record {
        Record {
            id: self.id,
            at: self.at,
            started: self.started,
            method: "POST",
            route: self.recalled.alias.route,
            consumer: Some(self.consumer.clone()),
            call: Some(self.recalled.alias.facts.clone()),
            cache: CacheOutcome::Hit,
            why: None,
            status: 200,
            ending,
            bytes_in: self.received as u64,
            bytes_out: self.sent as u64,
            first_byte: Some(total),
            total,
            observed: Some(self.recalled.entry.observed),
            message: None,
            settled: Some(Settled { status: 200, ending: Ending::Complete, total: self.settled }),
            began_trip: false,
        }
    }
}
