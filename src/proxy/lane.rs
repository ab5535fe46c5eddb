//! The fast lane: a plain request whose very bytes were answered from the memory before is answered
//! before any session exists, with one write.
//!
//! It has no policy of its own. Whatever it does not understand takes the ordinary road, which judges.

use super::date::Date;
use super::door::Door;
use super::head::{Framing, Head};
use crate::dialect::Form;
use crate::domain::{CacheOutcome, Ending, Record, RequestId};
use crate::gateway::{Fresh, Gateway, Recalled};
use crate::telemetry::AccessLog;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// A body larger than this takes the ordinary road.
const LARGEST_BODY: u64 = 256 << 10;

/// The way from a head to a remembered answer.
pub struct Lane {
    pub gateway: Arc<Gateway>,
    /// None while no access log is wanted.
    pub log: Option<Arc<AccessLog>>,
}

/// What a look at a head and what came with it shows.
pub enum Glance {
    /// The request, of `len` bytes, `body` of them its body, is remembered.
    Remembered {
        recalled: Recalled,
        len: usize,
        body: usize,
    },
    /// It may be, once `total` bytes are there.
    Wanting {
        total: usize,
    },
    Road,
}

impl Lane {
    /// `read` begins with `head`.
    pub fn glance(&self, door: &Door, head: &Head<'_>, read: &[u8]) -> Glance {
        let Framing::Length(length @ ..=LARGEST_BODY) = head.framing else { return Glance::Road };
        if door.is_draining()
            || !head.plain
            || head.method != "POST"
            || !Form::ALL.iter().any(|form| form.path() == head.target)
        {
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
        let consumer = policy.keys.identify(head.key);
        let body = &read[head.len..total];
        match self.gateway.recall(consumer, head.target, body, &policy, Instant::now()) {
            Some(recalled) => Glance::Remembered { recalled, len: total, body: body.len() },
            None => Glance::Road,
        }
    }

    /// Puts the answer to a request with a body of `received` bytes into `out`, and into the books.
    pub fn write(&self, recalled: &Recalled, received: usize, started: Instant, out: &mut Vec<u8>) {
        out.clear();
        let now = SystemTime::now();
        let id = RequestId::new(now);
        let age = recalled.entry.age(started);
        let fresh = Fresh {
            now,
            seed: id.seed(),
            date: &Date::at(now),
            id: &id.hyphenated(),
            age: age.as_secs(),
            ttl: recalled.entry.ttl.saturating_sub(age).as_secs(),
        };
        let body = recalled.write(&fresh, out);
        let total = started.elapsed();
        recalled.alias.counters.count(total, received as u64, body as u64);
        if let Some(log) = self.log.as_ref().filter(|log| log.wants(CacheOutcome::Hit)) {
            log.write(&Record {
                id,
                at: now,
                started,
                method: "POST",
                route: recalled.alias.route,
                consumer: None,
                call: Some(recalled.alias.facts.clone()),
                cache: CacheOutcome::Hit,
                status: 200,
                ending: Ending::Complete,
                bytes_in: received as u64,
                bytes_out: body as u64,
                first_byte: Some(total),
                total,
                observed: Some(recalled.entry.observed),
            });
        }
    }
}
