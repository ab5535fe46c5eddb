//! The shortest way to a remembered answer: from the very bytes of a request to the finished bytes of
//! its answer, without reading either.

use super::Way;
use super::fetch::Order;
use super::rendition::{Fresh, Rendition};
use super::respond::fit;
use crate::cache::{CacheKey, Entry};
use crate::domain::{CallFacts, Consumer, Route};
use crate::telemetry::HitHandles;
use std::sync::Arc;
use std::time::Instant;

/// What a request's bytes led to before.
pub struct Alias {
    key: CacheKey,
    learned: Stamp,
    rendition: Rendition,
    pub route: Route,
    pub facts: CallFacts,
    /// Where a hit is counted, looked up once.
    pub counters: HitHandles,
}

/// When something was learned: what names meant, and which policy was in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub epoch: u64,
    pub generation: u64,
}

/// A remembered answer, ready to be written.
pub struct Recalled {
    pub alias: Arc<Alias>,
    pub entry: Arc<Entry>,
}

/// The table from bytes to answers. Bounded in bytes; what falls out is found by the ordinary road.
pub struct Recall {
    known: moka::sync::Cache<[u8; 32], Arc<Alias>>,
}

/// What an alias costs beside its rendition.
const OVERHEAD: usize = 512;

impl Recall {
    pub fn new(capacity: u64) -> Self {
        let weigh = |_: &[u8; 32], alias: &Arc<Alias>| {
            u32::try_from(alias.rendition.weight() + OVERHEAD).unwrap_or(u32::MAX)
        };
        Recall { known: moka::sync::Cache::builder().max_capacity(capacity).weigher(weigh).build() }
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
        let alias = self.known.get(&name(consumer, path, body))?;
        if alias.learned != stamp {
            return None;
        }
        let entry = way.memory.get(&alias.key, now)?;
        Some(Recalled { alias, entry })
    }

    /// Remembers that `order`'s bytes lead to `entry`.
    pub fn learn(&self, way: &Way, order: &Order<'_>, generation: u64, key: CacheKey, entry: &Entry) {
        let request = order.request;
        let Some(identity) = &order.identity else { return };
        if request.target != request.form.path().as_bytes() || request.content_encoding.is_some() {
            return;
        }
        let Some(rendition) = fit(entry, order).and_then(|template| Rendition::of(entry, template)) else {
            return;
        };
        let alias = Alias {
            key,
            learned: Stamp { epoch: identity.epoch, generation },
            rendition,
            route: request.route,
            facts: order.facts.clone(),
            counters: way.metrics.hit_handles(request.route, &order.facts, &entry.observed),
        };
        self.known.insert(name(&request.consumer, request.form.path(), &request.body), Arc::new(alias));
    }

    /// Bytes, and number.
    pub fn size(&self) -> (u64, u64) {
        (self.known.weighted_size(), self.known.entry_count())
    }
}

impl Recalled {
    /// Appends the finished answer to `out`; returns the length of its body.
    pub fn write(&self, fresh: &Fresh<'_>, out: &mut Vec<u8>) -> usize {
        self.alias.rendition.write(&self.entry, fresh, out);
        self.alias.rendition.content_len
    }
}

/// 256 bits over the scope, the path and the very bytes.
fn name(consumer: &Consumer, path: &str, body: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&consumer.scope.0);
    hasher.update(path.as_bytes());
    hasher.update(&[0]);
    hasher.update(body);
    *hasher.finalize().as_bytes()
}
