//! The life of a request for an answer. The conductor: it says in which order things happen, and does
//! none of them itself.

mod answer;
mod assemble;
mod books;
mod bulk;
mod clearance;
mod embedding;
mod errand;
mod error;
mod explain;
mod explanation;
mod export;
mod fan;
mod fetch;
mod hearing;
mod inquiry;
mod items;
mod live;
mod metronome;
mod mode;
mod nearest;
mod order;
mod outing;
mod pace;
mod plan;
mod policy;
mod recall;
mod rendition;
mod reply;
mod request;
mod respond;
mod rest;
mod shown;
mod sight;
mod stale;
mod target;
mod texts;
mod touch;
mod trip;
mod verdict;
mod vision;
mod wanted;
mod warm;
mod warmer;
mod warming;

pub use bulk::Told;
pub use clearance::{Caller, Clearance, Limited, Peek, clear, holds_key};
pub use error::{frame, refuse};
pub use explanation::Explanation;
pub use hearing::{Ears, pull};
pub use items::Items;
pub use live::{Live, Piece};
pub use pace::{Pace, ReplayConfig};
pub use policy::Policy;
pub use recall::{Alias, Recalled};
pub use rendition::Fresh;
pub use request::Request;
pub use respond::{Body, Reply};
pub use touch::Touches;
pub use vision::Eyes;
pub use warmer::Warmer;

use crate::cache::{Directives, Memory, Stock, Tiers, Turns, Vectors};
use crate::dialect::{
    self,
    encoding::{self, Opened},
};
use crate::domain::{Budget, Call, CallFacts, Consumer, Error, Record};
use crate::flight::Flights;
use crate::metering::Ledger;
use crate::telemetry::{Metrics, Sinks};
use crate::upstream::{Client, Fleet, Inventory, Origins};
use arc_swap::ArcSwap;
use fetch::Fetched;
use order::Order;
use recall::{Recall, Stamp};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use target::{path, query};
use tokio::sync::Semaphore;

/// Reading a body takes about two milliseconds a megabyte.
const LONG_READ: usize = 256 << 10;
/// Large bodies that are read at the same time.
const LONG_READS: usize = 2;

/// What the conductor conducts.
pub struct Gateway {
    policy: Arc<ArcSwap<Policy>>,
    way: Arc<Way>,
    recall: Recall,
    long_reads: Semaphore,
}

/// The parts that a trip upstream needs, also after the request that began it has ended.
pub struct Way {
    pub client: Arc<Client>,
    pub inventory: Arc<Inventory>,
    pub origins: Origins,
    /// Where texts to be embedded go.
    pub fleet: Fleet,
    pub memory: Arc<Memory>,
    /// The tiers behind it.
    pub tiers: Arc<Tiers>,
    /// Where what is new is put away.
    pub stock: Arc<Stock>,
    /// Whose turn it is to ask, among those who share one.
    pub turns: Arc<Turns>,
    pub vectors: Arc<Vectors>,
    pub flights: Flights<plan::FlightKey, trip::TripHead, Error>,
    pub items: Items,
    pub eyes: Eyes,
    pub ears: Ears,
    pub touches: Touches,
    pub metrics: Arc<Metrics>,
    pub sinks: Sinks,
    /// What all bodies of requests together may hold.
    pub budget: Budget,
    /// The books, where any are kept.
    pub ledger: Option<Arc<Ledger>>,
}

impl Gateway {
    /// `recall` is how many bytes the shortest way to remembered answers may take.
    pub fn new(policy: Arc<ArcSwap<Policy>>, way: Arc<Way>, recall: u64) -> Self {
        Gateway { policy, way, recall: Recall::new(recall), long_reads: Semaphore::new(LONG_READS) }
    }

    /// The policy in force: one request sees one.
    pub fn policy(&self) -> arc_swap::Guard<Arc<Policy>> {
        self.policy.load()
    }

    /// What stands behind the conductor.
    pub fn way(&self) -> &Arc<Way> {
        &self.way
    }

    /// Answers `request` and fills in what `record` can know by now.
    ///
    /// # Errors
    /// What is to be said to the client instead of an answer.
    pub async fn answer(&self, request: Request<'_>, record: &mut Record) -> Result<Reply, Error> {
        let (policy, era) = (self.policy.load_full(), self.way.stock.era());
        let directives = Directives::read(request.headers)?;
        let verdict = self.way.verdict(&policy, request.origin.as_ref()).await?;
        if verdict.as_ref().is_some_and(|verdict| !verdict.allowed) {
            return Ok(Reply::forbidden());
        }
        let (opened, mut call) = self.read_with_pictures(&request, directives).await?;
        record.call = Some(CallFacts::new(&call, "other".into()));
        let (identity, down) = stale::identify(&self.way, &policy, &call.model).await?;
        clearance::may_use(&request.consumer, identity.as_ref(), &call.model)?;
        let facts = order::facts(&self.way, &call, identity.as_ref());
        record.call = Some(facts.clone());
        self.way.ledger.as_ref().map_or(Ok(()), |ledger| ledger.admit(&facts))?;
        call.body = opened.seal(&call.body)?;

        let (plain, replay) = (opened.plain, policy.replay);
        let (request, job) = (&request, None);
        let mut order = Order { request, call, plain, facts, identity, directives, era, replay, job };
        let fetched = match down {
            Some(error) => Err(error),
            None => self.fetch(&policy, &order).await,
        };
        let fetched = stale::or_kept(&self.way, &policy, &mut order, fetched).await?;
        (record.cache, record.why) = (fetched.outcome(), fetched.why());
        record.began_trip |= request.began_trip.load(Ordering::Relaxed);
        let reply = self.reply(&policy, &order, fetched, verdict.is_none(), record)?;
        Ok(reply.with_verdict(verdict))
    }

    /// Text by text where that can be, else as a whole.
    async fn fetch(&self, policy: &Policy, order: &Order<'_>) -> Result<Fetched, Error> {
        match embedding::fetch(&self.way, policy, order).await? {
            Some(fetched) => Ok(fetched),
            None => fetch::fetch(&self.way, policy, order).await,
        }
    }

    /// Opens and reads a body.
    async fn read(&self, request: &Request<'_>) -> Result<(Opened, Call), Error> {
        let encoding = request.content_encoding.as_deref();
        let read = || {
            let opened = encoding::open(request.form, encoding, &request.body, &self.way.budget)?;
            let call = dialect::decode(request.form, opened.plain.clone())?;
            Ok((opened, call))
        };
        self.aside(request.size(), read).await
    }

    /// Reads so many bytes: many of them without holding up whoever shares the thread, and few of those at once.
    async fn aside<T>(&self, bytes: usize, read: impl FnOnce() -> T) -> T {
        if bytes <= LONG_READ {
            return read();
        }
        let _turn = self.long_reads.acquire().await;
        tokio::task::block_in_place(read)
    }

    /// The shortest way: a request whose very bytes were answered from the memory before.
    ///
    /// Parses nothing and asks nobody. `None` means no more than that the ordinary road must be taken.
    pub fn recall(
        &self,
        consumer: &Consumer,
        path: &str,
        body: &[u8],
        policy: &Policy,
        now: Instant,
    ) -> Option<Recalled> {
        if self.way.ledger.as_ref().is_some_and(|ledger| !ledger.accepts()) {
            return None;
        }
        let by_key = policy.cache.tells_keys_apart();
        let stamp = Stamp { epoch: self.way.inventory.epoch(now)?, generation: policy.generation, by_key };
        let recalled = self.recall.find(&self.way, consumer, path, body, stamp, now)?;
        let alias = &recalled.alias;
        let admit = |ledger: &Arc<Ledger>| ledger.still_has_price(&alias.facts, &alias.priced);
        self.way.ledger.as_ref().is_none_or(admit).then_some(recalled)
    }

    /// How many bytes the shortest way takes, and how many answers it leads to.
    pub fn recall_size(&self) -> (u64, u64) {
        self.recall.size()
    }

    /// A request that may have changed the models has ended.
    pub fn models_may_have_changed(&self) {
        self.way.inventory.invalidate();
    }
}
