//! The books: each request and each trip is written into the spool before the client can know that it is over.

use super::config::WhenFull;
use super::hit_rows::HitRows;
use super::prices::Prices;
use super::spool::{LONGEST_TALLIED, Recurring, Spool, Told};
use super::unlisted::Unlisted;
use super::unpriced::Once;
use crate::domain::{
    CacheOutcome, CallFacts, Consumer, Ending, Error, Kind, Observed, Record, RequestId, Route, Trip,
};
use crate::telemetry::RecordSink;
use arc_swap::ArcSwap;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Writes down what happens.
pub struct Ledger {
    spool: Arc<Spool>,
    prices: Arc<ArcSwap<Prices>>,
    when_full: WhenFull,
    /// Hits beyond these are counted together.
    hit_rows: HitRows,
    unlisted: Unlisted,
    /// Models that were refused for want of a price, as the log has named them.
    refused: Once,
}

/// The list of prices by which something was last found to have one: what is asked again and again is not compared with
/// all of them each time.
#[derive(Debug, Default)]
pub struct Priced(AtomicU64);

impl Ledger {
    /// `hit_rows`: how many hits of a second are told by themselves.
    pub fn new(spool: Arc<Spool>, prices: Arc<ArcSwap<Prices>>, when_full: WhenFull, hit_rows: u32) -> Self {
        let (hit_rows, unlisted, refused) = (HitRows::new(hit_rows), Unlisted::default(), Once::default());
        Ledger { spool, prices, when_full, hit_rows, unlisted, refused }
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
        let model = self.unlisted.would_be(facts, Instant::now());
        if !self.prices.load().refuses(model, SystemTime::now) {
            return Ok(());
        }
        // By what a label could be: clients can make up any number of other names.
        if self.refused.is_new(&facts.model) {
            tracing::warn!(model, "the model has no price: it is refused");
        }
        Err(Error::new(Kind::Unpriced, "this model has no price"))
    }

    /// Whether what the cache has may be given as far as prices are concerned. One that holds goes on to hold as long
    /// as the list stays the same.
    pub fn still_has_price(&self, facts: &CallFacts, priced: &Priced) -> bool {
        let prices = self.prices.load();
        if priced.0.load(Ordering::Relaxed) == prices.number() {
            return true;
        }
        let is_refused = prices.refuses(self.unlisted.would_be(facts, Instant::now()), SystemTime::now);
        if !is_refused {
            priced.0.store(prices.number(), Ordering::Relaxed);
        }
        !is_refused
    }

    /// The upstream has answered: there is such a model as `facts` say.
    pub fn answered(&self, facts: &CallFacts) {
        self.unlisted.learn(facts, Instant::now());
    }

    /// How many models have names that the upstream does not list.
    pub fn unlisted(&self) -> usize {
        self.unlisted.count()
    }

    /// What hits on one remembered answer have in common.
    pub fn recurring(&self, route: Route, facts: &CallFacts) -> Recurring {
        Recurring::new(self.spool.symbols().subject(route, Some(&self.unlisted.named(facts))))
    }

    /// The last byte of `answer`, a remembered one that took `observed` when it was made, is about to leave.
    pub fn settle_hit(
        &self,
        request: RequestId,
        consumer: &Arc<Consumer>,
        answer: &Recurring,
        took: Duration,
        observed: &Observed,
    ) {
        let told = Told::hit(request, took, Some(observed));
        match took >= LONGEST_TALLIED || self.hit_rows.take(request.moment()) {
            true => self.spool.answer(&told, consumer, &answer.subject),
            false => self.spool.hit(&told, consumer, answer),
        }
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

#[cfg(test)]
mod tests {
    use super::super::config::{PriceConfig, PriceEntry, Sync, Unknown};
    use super::super::spool::Bounds;
    use super::*;
    use crate::domain::{Money, Operation};

    fn prices(model: &str) -> Prices {
        let models = vec![PriceEntry::free(model)];
        let (unknown, hit) = (Unknown::Reject, Money::ZERO);
        Prices::new(&PriceConfig { currency: "USD".into(), builtin: false, unknown, hit, models }).unwrap()
    }

    fn ledger(folder: &std::path::Path, in_force: &Arc<ArcSwap<Prices>>) -> Ledger {
        let spool = Spool::open(folder, Bounds::of(1 << 17), Sync::Each).unwrap();
        Ledger::new(Arc::new(spool), in_force.clone(), WhenFull::Continue, 500)
    }

    fn facts(model: &str, unlisted: Option<&str>) -> CallFacts {
        let (operation, streamed) = (Operation::Chat, false);
        let unlisted = unlisted.map(Into::into);
        CallFacts { operation, streamed, model: model.into(), digest: "".into(), unlisted }
    }

    #[test]
    fn a_price_is_looked_for_once_as_long_as_the_list_stays_the_same() {
        let (folder, in_force) = (tempfile::tempdir().unwrap(), Arc::new(ArcSwap::from_pointee(prices("m"))));
        let ledger = ledger(folder.path(), &in_force);
        let (priced, none) = (Priced::default(), Priced::default());
        assert!(!ledger.still_has_price(&facts("n", None), &none));
        assert!(ledger.still_has_price(&facts("m", None), &priced));
        assert!(ledger.still_has_price(&facts("n", None), &priced), "it is not looked for");
        assert!(!ledger.still_has_price(&facts("n", None), &none), "what has none is");
        in_force.store(Arc::new(prices("m2")));
        assert!(!ledger.still_has_price(&facts("m", None), &priced), "another list is in force");
    }

    #[test]
    fn what_is_refused_for_want_of_a_price_is_judged_by_its_name_in_the_books() {
        let (folder, in_force) =
            (tempfile::tempdir().unwrap(), Arc::new(ArcSwap::from_pointee(prices("*cloud"))));
        let ledger = ledger(folder.path(), &in_force);
        let long = format!("{}:cloud", "long".repeat(100));
        assert!(ledger.admit(&facts("other", Some("gpt-oss:cloud"))).is_ok());
        for refused in [facts("m", None), facts("other", Some("made-up")), facts("other", Some(&long))] {
            assert_eq!(ledger.admit(&refused).unwrap_err().kind, Kind::Unpriced, "{refused:?}");
        }
        assert_eq!(ledger.refused.count(), 2, "made-up names are told as one");
    }
}
