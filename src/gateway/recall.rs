//! The shortest way to a remembered answer: from the very bytes of a request to the finished bytes of
//! its answer, without reading either.

use super::fetch::Remembered;
use super::order::Order;
use super::rendition::{Fresh, Rendition};
use super::touch::Warmth;
use super::{Policy, Way};
use crate::cache::{Entry, Settling, Spot};
use crate::domain::{CallFacts, Consumer, Pour, RequestId, Route, Template};
use crate::metering::Priced;
use crate::metering::spool::Recurring;
use crate::telemetry::HitHandles;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a request's bytes led to before.
pub struct Alias {
    /// Where the answer stands that was rendered.
    spot: Spot,
    learned: Stamp,
    /// How long the policy lets the answer be used.
    pub ttl: Duration,
    rendition: Rendition,
    pub route: Route,
    pub facts: CallFacts,
    /// Where a hit is counted, looked up once.
    pub counters: HitHandles,
    /// What a hit does for its model.
    pub warmth: Option<Box<Warmth>>,
    /// What the books say of each of its hits.
    recurring: Option<Recurring>,
    /// Whether the books have a price for it.
    pub priced: Priced,
}

/// When something was learned: what names meant, and which policy was in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub epoch: u64,
    pub generation: u64,
    /// Keys that share answers may be under different rules there.
    pub by_key: bool,
}

/// A remembered answer, ready to be written.
pub struct Recalled {
    pub alias: Arc<Alias>,
    pub entry: Arc<Entry>,
}

/// The table from bytes to answers. Bounded in bytes; what falls out is found by the ordinary road.
pub struct Recall {
    known: moka::sync::Cache<[u8; 32], Arc<Alias>>,
    settling: Settling,
}

/// What an alias costs beside its rendition.
const OVERHEAD: usize = 640;

impl Recall {
    pub fn new(capacity: u64) -> Self {
        let known = moka::sync::Cache::builder().max_capacity(capacity);
        let known = known.weigher(|_, alias: &Arc<Alias>| alias.weight()).build();
        Recall { known, settling: Settling::new(capacity) }
    }

    pub fn find(
        &self,
        way: &Way,
        consumer: &Consumer,
        path: &str,
        body: &[u8],
        stamp: Stamp,
        now: Instant,
    ) -> Option<Recalled> {
        let alias = self.known.get(&name(consumer, stamp, path, body))?;
        if alias.learned != stamp {
            return None;
        }
        let entry = way.memory.at(&alias.spot, now)?;
        (entry.age(now) < alias.ttl).then_some(Recalled { alias, entry })
    }

    /// Remembers that `order`'s bytes lead to `remembered`, rendered from `template`.
    pub fn learn(
        &self,
        way: &Way,
        order: &Order<'_>,
        policy: &Policy,
        remembered: &Remembered,
        template: &Template,
    ) {
        let request = order.request;
        let Remembered { key, stored, entry, ttl, .. } = remembered;
        let Some(identity) = &order.identity else { return };
        // What another route has made a call of is not that call's own.
        let is_own =
            request.route.template == request.form.path() && request.target == request.route.template;
        if !is_own || request.content_encoding.is_some() {
            return;
        }
        let Some(spot) = way.memory.spot(*key, stored) else { return };
        let Some(rendition) = Rendition::of(stored, entry, template) else { return };
        let (generation, by_key) = (policy.generation, policy.cache.tells_keys_apart());
        let learned = Stamp { epoch: identity.epoch, generation, by_key };
        let name = name(&request.consumer, learned, request.form.path(), &request.body);
        let alias = Alias {
            spot,
            learned,
            ttl: *ttl,
            rendition,
            route: request.route,
            facts: order.facts.clone(),
            recurring: way.ledger.as_ref().map(|ledger| ledger.recurring(request.route, &order.facts)),
            counters: way.metrics.hit_handles(request.route, &order.facts, &entry.observed),
            warmth: Warmth::of(way, policy, order).map(Box::new),
            priced: Priced::default(),
        };
        let weight = u64::from(alias.weight());
        self.known.insert(name, Arc::new(alias));
        if self.settling.is_due(weight) {
            self.known.run_pending_tasks();
        }
    }

    /// Bytes, and number.
    pub fn size(&self) -> (u64, u64) {
        (self.known.weighted_size(), self.known.entry_count())
    }
}

impl Alias {
    /// Bytes of memory, about.
    fn weight(&self) -> u32 {
        u32::try_from(self.rendition.weight() + OVERHEAD).unwrap_or(u32::MAX)
    }
}

impl Recalled {
    /// Appends the finished answer to `out`, or only its head where the rest is too long to be copied whole:
    /// then that is returned.
    pub fn write(&self, fresh: &Fresh<'_>, out: &mut Vec<u8>) -> Option<Pour> {
        self.alias.rendition.write(&self.entry, fresh, out)
    }

    /// Puts it into the books, before its last byte leaves.
    pub fn settle(&self, way: &Way, id: RequestId, consumer: &Arc<Consumer>, took: Duration) {
        if let (Some(ledger), Some(answer)) = (&way.ledger, &self.alias.recurring) {
            ledger.settle_hit(id, consumer, answer, took, &self.entry.observed);
        }
    }

    /// Bytes of the answer's body.
    pub fn content_len(&self) -> usize {
        self.alias.rendition.content_len
    }
}

/// 256 bits over whoever shares the answer, the path and the very bytes.
fn name(consumer: &Consumer, stamp: Stamp, path: &str, body: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&consumer.scope.0);
    if stamp.by_key {
        hasher.update(blake3::hash(consumer.name.as_bytes()).as_bytes());
    }
    hasher.update(path.as_bytes());
    hasher.update(&[0]);
    hasher.update(body);
    *hasher.finalize().as_bytes()
}
