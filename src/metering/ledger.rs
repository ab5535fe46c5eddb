//! The books: each request and each trip is written into the spool before the client can know that it is over.

use super::config::WhenFull;
use super::prices::Prices;
use super::spool::{Spool, Symbol, Told};
use crate::domain::{
    CacheOutcome, CallFacts, Consumer, Ending, Error, Kind, Observed, Payer, RequestId, Route, Trip,
};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Writes down what happens.
pub struct Ledger {
    spool: Arc<Spool>,
    prices: Arc<ArcSwap<Prices>>,
    when_full: WhenFull,
}

impl Ledger {
    pub fn new(spool: Arc<Spool>, prices: Arc<ArcSwap<Prices>>, when_full: WhenFull) -> Self {
        Ledger { spool, prices, when_full }
    }

    /// Whether a request can be written down, or need not be.
    pub fn accepts(&self) -> bool {
        self.when_full == WhenFull::Continue || !self.spool.is_full()
    }

    /// Whether a request for `model` may be answered, as far as the books are concerned.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, model: &str) -> Result<(), Error> {
        if !self.accepts() {
            let error = Error::new(Kind::Overloaded, "the ledger is full");
            return Err(error.retry_after(Duration::from_secs(5)));
        }
        if self.prices.load().refuses(model, SystemTime::now()) {
            return Err(Error::new(Kind::Forbidden, "this model has no price"));
        }
        Ok(())
    }

    /// What is asked, for requests that are alike.
    pub fn subject(&self, route: Route, facts: &CallFacts) -> Arc<Symbol> {
        self.spool.symbols().subject(route, Some(facts))
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
        let told = Told {
            request,
            status: 200,
            ending: Ending::Complete,
            cache: CacheOutcome::Hit,
            total: took,
            first_byte: Some(took),
            observed: Some(observed),
            message: "",
            amends: false,
        };
        self.spool.answer(&told, consumer, subject);
    }

    /// A trip is over, or all of its answer is there.
    pub fn trip(&self, payer: &Payer, trip: &Trip) {
        self.spool.trip(payer, trip);
    }
}
