//! One trip's books: what passes is read on its way, and written down when the trip ends, whatever ended it.

use super::Way;
use super::plan::Plan;
use crate::dialect::{Form, Scanner};
use crate::domain::{CallFacts, Complaint, Kind, LONGEST_COMPLAINT, Observed, Payer, Route, Source, Trip};
use crate::upstream::Head;
use http::{HeaderMap, header};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::SetOnce;

/// Keeps one trip's books; writes them when it is dropped, whatever happened.
pub struct Books {
    way: Arc<Way>,
    payer: Payer,
    route: Route,
    facts: CallFacts,
    estimated_prompt_tokens: u64,
    images: u64,
    began: Instant,
    status: u16,
    scanner: Option<Scanner>,
    /// What it says instead of an answer, as far as it may be of use.
    refusal: Vec<u8>,
    /// What the head says of the body's length, and how much of it has come.
    length: Option<u64>,
    received: u64,
    /// What the answer was: said once, at its end or when the books are closed before.
    observed: Arc<SetOnce<Observed>>,
    first_byte: Option<Duration>,
    first_token: Option<Duration>,
    /// What the trip ends with unless it says otherwise: everybody left.
    error: Option<Kind>,
    settled: bool,
    /// When it was settled, so much had been received.
    settled_at: u64,
}

impl Books {
    pub fn open(way: &Arc<Way>, plan: &Plan) -> Self {
        Books {
            way: way.clone(),
            payer: plan.payer.clone(),
            route: plan.route,
            facts: plan.facts.clone(),
            estimated_prompt_tokens: plan.estimated_prompt_tokens,
            images: plan.images,
            began: Instant::now(),
            status: 0,
            scanner: None,
            refusal: Vec::new(),
            length: None,
            received: 0,
            observed: Arc::default(),
            first_byte: None,
            first_token: None,
            error: Some(Kind::ClientGone),
            settled: false,
            settled_at: 0,
        }
    }

    /// The answer's head has come.
    pub fn head(&mut self, form: Form, head: &Head, streamed: bool) {
        self.status = head.status.as_u16();
        self.length = content_length(&head.headers);
        self.scanner = Some(Scanner::new(form, streamed));
        if head.status.is_success() {
            self.way.ledger.iter().for_each(|ledger| ledger.answered(&self.facts));
        }
    }

    /// Where it is said what the answer was.
    pub fn observed(&self) -> Arc<SetOnce<Observed>> {
        self.observed.clone()
    }

    /// The trip has failed.
    pub fn fail(&mut self, kind: Kind) {
        self.error = Some(kind);
    }

    /// How long the trip has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn read(&mut self, piece: &[u8]) {
        let now = self.began.elapsed();
        self.first_byte.get_or_insert(now);
        self.received += piece.len() as u64;
        if self.status >= 400 {
            let room = LONGEST_COMPLAINT - self.refusal.len();
            self.refusal.extend_from_slice(&piece[..piece.len().min(room)]);
        }
        if self.scanner.as_mut().is_some_and(|scanner| scanner.feed(piece)) {
            self.first_token.get_or_insert(now);
        }
    }

    /// Bytes of the body so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// A reader may leave now with all that it wanted.
    pub fn is_all_there(&self) -> bool {
        self.length.is_some_and(|length| self.received >= length)
            || self.scanner.as_ref().is_some_and(Scanner::has_ended)
    }

    /// The answer has come to its clean end.
    pub fn close(&mut self, whole: Option<&[u8]>) -> Observed {
        self.error = None;
        let observed = self.settle(whole);
        if self.received == self.settled_at {
            return observed;
        }
        // Something stood behind its mark of completion: whether that was one is said by all of it.
        let complete = self.observe(whole).complete;
        Observed { complete: observed.complete && complete, ..observed }
    }

    /// Nothing is missing but the mere end: what the answer was is said and written down before anybody can
    /// have read all of it.
    pub fn settle(&mut self, whole: Option<&[u8]>) -> Observed {
        if let Some(observed) = self.observed.get() {
            return *observed;
        }
        let observed = self.observe(whole);
        self.way.sinks.settle_trip(&Trip { error: None, ..self.trip(observed) });
        (self.settled, self.settled_at) = (true, self.received);
        let _ = self.observed.set(observed);
        observed
    }

    fn trip(&self, observed: Observed) -> Trip {
        Trip {
            payer: self.payer.clone(),
            route: self.route,
            call: self.facts.clone(),
            status: self.status,
            observed,
            first_byte: self.first_byte,
            first_token: self.first_token,
            total: self.began.elapsed(),
            error: self.error,
            settled: self.settled,
            implausible: observed.is_implausible(self.received, self.estimated_prompt_tokens),
        }
    }

    fn observe(&mut self, whole: Option<&[u8]>) -> Observed {
        let mut observed = self.scanner.as_mut().map(|scanner| scanner.finish(whole)).unwrap_or_default();
        let produced = observed.complete || observed.content_frames > 0;
        if observed.usage.source != Source::Upstream && produced && self.status == 200 {
            observed.usage.source = Source::Estimated;
            if observed.usage.prompt == 0 {
                observed.usage.prompt = self.estimated_prompt_tokens;
            }
        }
        if self.status >= 400 {
            observed.complaint = Complaint::of(&self.refusal);
        }
        // Who was not answered at all has not had them looked at.
        if observed.usage.source != Source::None {
            observed.usage.images = self.images;
        }
        observed
    }
}

impl Drop for Books {
    fn drop(&mut self) {
        let observed = match self.observed.get() {
            Some(observed) => *observed,
            None => self.observe(None),
        };
        self.way.sinks.trip(&self.trip(observed));
        let _ = self.observed.set(observed);
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
