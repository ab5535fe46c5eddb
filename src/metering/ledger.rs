//! The books: each request and each trip is written into the spool before the client can know that it is over.

use super::config::WhenFull;
use super::prices::Prices;
use super::spool::{Spool, Symbol, Told};
use super::unlisted::Unlisted;
use crate::domain::{
    CacheOutcome, CallFacts, Consumer, Ending, Error, Kind, Observed, Record, RequestId, Route, Trip,
};
use crate::telemetry::RecordSink;
use arc_swap::ArcSwap;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Writes down what happens.
pub struct Ledger {
    spool: Arc<Spool>,
    prices: Arc<ArcSwap<Prices>>,
    when_full: WhenFull,
    unlisted: Unlisted,
}

impl Ledger {
    pub fn new(spool: Arc<Spool>, prices: Arc<ArcSwap<Prices>>, when_full: WhenFull) -> Self {
        Ledger { spool, prices, when_full, unlisted: Unlisted::default() }
    }

    /// Whether nothing can be written down.
    pub fn is_full(&self) -> bool {
        self.spool.is_full()
    }

    /// Whether a request can be written down, or need not be.
    pub fn accepts(&self) -> bool {
        self.when_full == WhenFull::Continue || !self.is_full()
    }

    /// Whether a request for what `facts` say may be answered, as far as the books are concerned.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, facts: &CallFacts) -> Result<(), Error> {
        if !self.accepts() {
            let error = Error::new(Kind::Overloaded, "the ledger is full");
            return Err(error.retry_after(Duration::from_secs(5)));
        }
        let model = facts.unlisted.as_ref().unwrap_or(&facts.model);
        if self.prices.load().refuses(model, SystemTime::now) {
            return Err(Error::new(Kind::Forbidden, "this model has no price"));
        }
        Ok(())
    }

    /// The upstream has answered: there is such a model as `facts` say.
    pub fn answered(&self, facts: &CallFacts) {
        self.unlisted.learn(facts);
    }

    /// How many models have names that the upstream does not list.
    pub fn unlisted(&self) -> usize {
        self.unlisted.count()
    }

    /// What is asked, for requests that are alike.
    pub fn subject(&self, route: Route, facts: &CallFacts) -> Arc<Symbol> {
        self.spool.symbols().subject(route, Some(&self.unlisted.named(facts)))
    }

    /// The last byte of a remembered answer to `subject` is about to leave.
    pub fn settle_hit(
        &self,
        request: RequestId,
        consumer: &Arc<Consumer>,
        subject: &Symbol,
        took: Duration,
        observed: &Observed,
    ) {
        let told = Told::hit(request, took, Some(observed));
        self.spool.answer(&told, consumer, subject);
    }

    fn write(&self, record: &Record) {
        if let Some(consumer) = record.consumer.as_ref().filter(|_| is_booked(record)) {
            let call = record.call.as_ref().map(|facts| self.unlisted.named(facts));
            let subject = self.spool.symbols().subject(record.route, call.as_deref());
            self.spool.answer(&Told { cache: credited(record), ..Told::of(record) }, consumer, &subject);
        }
    }

    fn write_trip(&self, trip: &Trip) {
        match self.unlisted.named(&trip.call) {
            Cow::Borrowed(_) => self.spool.trip(trip),
            Cow::Owned(call) => self.spool.trip(&Trip { call, ..trip.clone() }),
        }
    }
}

impl RecordSink for Ledger {
    fn record(&self, record: &Record) {
        match record.settled.map(|settled| settled.ending) {
            // It is written already.
            Some(settled) if settled == record.ending || settled != Ending::Complete => {}
            _ => self.write(record),
        }
    }

    fn trip(&self, trip: &Trip) {
        if !trip.settled {
            self.write_trip(trip);
        }
    }

    fn settle(&self, record: &Record) {
        self.write(record);
    }

    fn settle_trip(&self, trip: &Trip) {
        self.write_trip(trip);
    }
}

/// What the cache did, as far as that is credited: who has begun a trip pays for it, and has saved nothing.
fn credited(record: &Record) -> CacheOutcome {
    if record.began_trip && record.cache.is_given() { CacheOutcome::Miss } else { record.cache }
}

/// What an upstream was asked, or would have been: not the house's own routes, and not what was refused before
/// anybody knew what it was.
fn is_booked(record: &Record) -> bool {
    let dialect = record.route.dialect;
    let is_upstreams = dialect != "house" && dialect != "none";
    is_upstreams && (record.call.is_some() || !matches!(record.ending, Ending::Refused(_)))
}
