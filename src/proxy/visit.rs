//! One request's record while it is being written, whichever road the request takes.

use super::door::Arrival;
use super::wire::{Trouble, Troubles};
use crate::domain::{CacheOutcome, Ending, Error, Kind, Record, RequestId, Route, Settled};
use crate::telemetry::{Held, Metrics, Sinks};
use http::{HeaderName, HeaderValue};
use std::time::{Duration, Instant, SystemTime};

/// Names the request in every answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A record that goes to the sinks exactly once, however the request ends.
pub struct Visit {
    pub record: Record,
    /// What is said in `X-Request-Id`: the client's own where it is fit for it.
    request_id: Option<HeaderValue>,
    /// What went wrong, in our own words.
    pub error: Option<Error>,
    /// The request counts as being answered.
    held: Option<Held>,
    troubles: Troubles,
    sinks: Sinks,
}

impl Visit {
    /// Nobody has come yet.
    pub fn new(sinks: Sinks) -> Self {
        let record = Record {
            id: RequestId([0; 16]),
            at: SystemTime::UNIX_EPOCH,
            started: Instant::now(),
            method: "other",
            route: Route { template: "other", dialect: "ollama" },
            consumer: None,
            call: None,
            cache: CacheOutcome::Bypass,
            why: None,
            status: 0,
            ending: Ending::Complete,
            bytes_in: 0,
            bytes_out: 0,
            first_byte: None,
            total: Duration::ZERO,
            observed: None,
            message: None,
            settled: None,
            began_trip: false,
        };
        Visit { record, request_id: None, error: None, held: None, troubles: Troubles::default(), sinks }
    }

    /// `arrival` came in.
    pub fn begin(&mut self, arrival: &Arrival, metrics: &Metrics) {
        let record = &mut self.record;
        record.id = arrival.id;
        record.at = arrival.at;
        record.started = arrival.started;
        record.method = arrival.method;
        record.route = arrival.route;
        record.consumer = Some(arrival.consumer.clone());
        self.held = Some(metrics.in_flight(arrival.route));
        self.request_id = arrival.request_id.clone();
        self.troubles = arrival.troubles.clone();
    }

    /// What goes into `X-Request-Id`.
    pub fn request_id(&self) -> HeaderValue {
        self.request_id.clone().unwrap_or_else(|| {
            HeaderValue::from_bytes(&self.record.id.hyphenated()).unwrap_or(HeaderValue::from_static(""))
        })
    }

    /// A byte of the answer's body is about to go out.
    pub fn note_first_byte(&mut self) {
        let started = self.record.started;
        self.record.first_byte.get_or_insert_with(|| started.elapsed());
    }

    /// The last byte of an answer with this status is about to leave.
    pub fn settle(&mut self, status: u16) {
        self.settle_as(status, Ending::Complete);
    }

    /// The last byte is about to leave of what is said of an `error`: of a status of its own, or of that with which
    /// the answer had begun.
    pub fn settle_error(&mut self, begun: Option<u16>, error: &Error) {
        self.record.message = Some(error.message.as_str().into());
        match begun {
            Some(status) => self.settle_as(status, Ending::Broken(error.kind)),
            None => self.settle_as(error.kind.status(), Ending::Refused(error.kind)),
        }
    }

    fn settle_as(&mut self, status: u16, ending: Ending) {
        if self.held.is_some() && self.record.settled.is_none() {
            let record = &mut self.record;
            let total = record.started.elapsed();
            (record.status, record.ending, record.total) = (status, ending, total);
            self.sinks.settle(record);
            record.settled = Some(Settled { status, ending, total });
        }
    }

    /// The request is over. `sent`: the status that the client was sent.
    pub fn end(&mut self, sent: Option<u16>) {
        let record = &mut self.record;
        (record.status, record.ending) = match (&self.error, sent) {
            (None, status) => (status.unwrap_or(0), Ending::Complete),
            (Some(error), Some(status)) if status == error.kind.status() => {
                (status, Ending::Refused(error.kind))
            }
            (Some(error), Some(status)) => (status, Ending::Broken(error.kind)),
            (Some(error), None) => (error.kind.status(), Ending::Refused(error.kind)),
        };
        self.write();
    }

    fn write(&mut self) {
        if self.held.take().is_some() {
            self.record.message = self.error.as_ref().map(|error| error.message.as_str().into());
            self.record.total = self.record.started.elapsed();
            self.sinks.record(&self.record);
        }
    }
}

impl Drop for Visit {
    /// A request that was cut off in its middle, at the end of the drain or by a panic, leaves its record
    /// all the same. One that never arrived leaves none.
    fn drop(&mut self) {
        if self.held.is_some() {
            let record = &mut self.record;
            (record.status, record.ending) = match self.troubles.get() {
                // It is told so in a moment.
                Trouble::SlowUpstream => {
                    let late = Kind::UpstreamTimeout;
                    (late.status(), Ending::Refused(late))
                }
                _ => (Kind::Stopping.status(), Ending::Broken(Kind::Stopping)),
            };
            self.write();
        }
    }
}
