//! A request of Pannier's own, down the ordinary road, with the record that every request leaves.

use super::inquiry::Inquiry;
use super::{Body, Gateway, Piece};
use crate::domain::{CacheOutcome, Ending, Error, Kind, Record, RequestId, moment};
use crate::telemetry::{Held, Sinks};
use std::time::{Duration, Instant};

/// Its record is written when it is dropped, however that comes.
struct Errand {
    record: Record,
    error: Option<Error>,
    sinks: Sinks,
    _held: Held,
}

impl Gateway {
    /// Asks, and throws the answer away. Dropped before its end, the request counts as given up.
    ///
    /// # Errors
    /// Why there was no whole answer.
    pub async fn run_errand(&self, inquiry: &Inquiry) -> Result<u16, Error> {
        let mut errand = Errand::new(self, inquiry);
        match self.carry(inquiry, &mut errand.record).await {
            Ok(status) => {
                errand.error = None;
                errand.record.status = status;
                Ok(status)
            }
            Err(error) => {
                errand.error = Some(error.clone());
                Err(error)
            }
        }
    }

    async fn carry(&self, inquiry: &Inquiry, record: &mut Record) -> Result<u16, Error> {
        let request = inquiry.request();
        // Its trips are booked under this one.
        record.id = request.id;
        let reply = Box::pin(self.answer(request, record)).await?;
        let mut live = match reply.body {
            Body::Live(live) => live,
            Body::Whole(body) => {
                record.bytes_out = body.len() as u64;
                return Ok(reply.status.as_u16());
            }
            // No batch is ever asked so.
            Body::Told(_) => return Err(Error::new(Kind::Internal, "a batch is no errand")),
            Body::Replay { pour, .. } => {
                record.bytes_out = pour.len() as u64;
                return Ok(reply.status.as_u16());
            }
        };
        let status = live.head().await?.head.status.as_u16();
        record.status = status;
        loop {
            match live.next().await {
                Piece::Body(piece) => {
                    record.first_byte.get_or_insert(record.started.elapsed());
                    record.bytes_out += piece.len() as u64;
                }
                Piece::End(observed) => {
                    record.observed = observed;
                    return Ok(status);
                }
                Piece::Broken(error) => return Err(error),
            }
        }
    }
}

impl Errand {
    fn new(gateway: &Gateway, inquiry: &Inquiry) -> Self {
        let now = moment::now();
        let record = Record {
            id: RequestId::new(now),
            at: now,
            started: Instant::now(),
            method: "POST",
            route: inquiry.route,
            consumer: Some(inquiry.consumer.clone()),
            call: None,
            cache: CacheOutcome::Bypass,
            why: None,
            status: 0,
            ending: Ending::Complete,
            bytes_in: inquiry.body.len() as u64,
            bytes_out: 0,
            first_byte: None,
            total: Duration::ZERO,
            observed: None,
            message: None,
            settled: None,
            began_trip: false,
        };
        let way = gateway.way();
        let error = Some(Error::new(Kind::ClientGone, "it was called off"));
        Errand { record, error, sinks: way.sinks.clone(), _held: way.metrics.in_flight(inquiry.route) }
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        let record = &mut self.record;
        if let Some(error) = &self.error {
            record.ending = match record.status {
                0 => Ending::Refused(error.kind),
                _ => Ending::Broken(error.kind),
            };
            record.status = if record.status == 0 { error.kind.status() } else { record.status };
        }
        record.total = record.started.elapsed();
        self.sinks.record(record);
    }
}
