//! Texts on their way: one flight each, shared by all requests that want its vector.

use super::Way;
use super::answer::{Answer, Outcome};
use super::texts::Demand;
use crate::batch::{self, Batcher, Joint};
use crate::cache::{CacheKey, Kept, Lease, Payload, Question, Ticket, TierName, Turn, Vector};
use crate::domain::{Error, Kind};
use crate::flight::{Flights, Limits, Recorder};
use crate::upstream::Identity;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Models whose answers cannot be read are asked as a whole for so long; so many of them are remembered.
const OPAQUE_FOR: Duration = Duration::from_secs(600);
const MOST_OPAQUE: u64 = 1024;
/// Bytes of a number in an answer, about.
const NUMBER: usize = 13;

/// What texts need on their way.
pub struct Items {
    pub flights: Flights<ItemKey, Landed, Error>,
    pub batcher: Batcher,
    /// Whether a shorter vector may be made from a whole one.
    pub shortens: bool,
    /// Texts in one batch, at the most.
    pub most: usize,
    /// Bytes of an answer that is put together here.
    largest: usize,
    /// By digest and version.
    opaque: moka::sync::Cache<(Arc<str>, Arc<str>), ()>,
}

/// A text's flight is shared by those who want the same vector, and reach the upstream as the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ItemKey {
    pub key: CacheKey,
    /// Since when the model is what the key says.
    pub since: u64,
    pub likeness: [u8; 32],
}

/// What became of a text.
#[derive(Clone)]
pub enum Landed {
    /// It is one of those of an answer.
    Answered { answer: Arc<Answer>, nth: usize },
    /// Another replica has asked for it: what it has kept, and where.
    Kept(Kept, TierName),
}

/// Tells a flight with which call its text goes, and the how-manieth of its texts it is.
pub type Departure = oneshot::Receiver<(Arc<Joint<Outcome>>, usize)>;

type Record = Recorder<ItemKey, Landed, Error>;

impl Items {
    /// `upstreams` is how many there are.
    pub fn new(config: &batch::Config, limits: Limits, upstreams: usize) -> Self {
        let lost = Error::new(Kind::Internal, "the trip upstream was lost");
        Items {
            flights: Flights::new(limits, lost),
            batcher: Batcher::new(config, upstreams),
            shortens: config.shorten.holds(),
            most: config.max_texts,
            largest: limits.max_recording,
            opaque: moka::sync::Cache::builder().max_capacity(MOST_OPAQUE).time_to_live(OPAQUE_FOR).build(),
        }
    }

    /// Whether an answer of so many vectors of this length may be put together: a few bytes of a question, said again
    /// and again, ask for as many of them.
    pub fn may_hold(&self, vectors: usize, length: usize) -> bool {
        vectors.saturating_mul(length).saturating_mul(NUMBER) <= self.largest
    }

    /// Whether the model's answers could not be read of late.
    pub fn is_opaque(&self, identity: &Identity) -> bool {
        self.opaque.contains_key(&(identity.digest.clone(), identity.version.clone()))
    }

    fn note_opaque(&self, identity: &Identity) {
        self.opaque.insert((identity.digest.clone(), identity.version.clone()), ());
    }
}

/// One text's flight. It outlives the request that began it, as long as somebody waits for it.
/// `item` is its number in the call that began it.
pub async fn fly(
    way: Arc<Way>,
    demand: Arc<Demand>,
    item: usize,
    key: CacheKey,
    hears: Departure,
    recorder: Record,
) {
    let Ok((call, nth)) = hears.await else { return };
    // With several texts in a call, one of another flight may send it meanwhile; then it is asked for twice.
    let turn = match demand.keeps && demand.directives.may_look_up() {
        true => way.turns.wait(&key, &demand.scope, &demand.label).await,
        // Nobody else's answer will do, or nobody else may have this one.
        false => Turn::Come(Ticket::default()),
    };
    let lease = match turn {
        Turn::Come(ticket) => ticket.lease(),
        Turn::Found(Payload::Vector(vector), tier) if let Some(embedding) = vector.embedding() => {
            way.stock.remember_vector(key, &embedding, (vector.stored, vector.ttl), demand.since());
            let kept = Kept { embedding, stored: vector.stored, ttl: vector.ttl };
            recorder.head(Landed::Kept(kept, tier));
            return recorder.seal();
        }
        Turn::Found(..) => None,
    };
    let answer = match call.outcome().await {
        Ok(answer) => answer,
        Err(error) => return recorder.fail(error),
    };
    if !answer.is_fine() {
        // Nobody later may find this answer.
        recorder.close();
    }
    // Whoever has it may leave at once: it is to be kept all the same.
    recorder.hold();
    recorder.head(Landed::Answered { answer: answer.clone(), nth });
    recorder.seal();
    // Until the recorder goes, whoever asks for the same text gets this very answer.
    if let Err(why) = remember(&way, &demand, item, key, (&answer, nth), lease).await {
        tracing::debug!(why, "a vector is not kept");
    }
}

/// Keeps a vector when the model is still the same.
///
/// # Errors
/// Why not.
async fn remember(
    way: &Way,
    demand: &Demand,
    item: usize,
    key: CacheKey,
    (answer, nth): (&Answer, usize),
    lease: Option<Lease>,
) -> Result<(), &'static str> {
    let terms = demand.terms;
    if !demand.keeps {
        return Err("it may not be kept");
    }
    let Some(embedding) = answer.embedding(nth) else {
        if answer.is_fine() {
            way.items.note_opaque(&demand.identity);
        }
        return Err("the answer cannot be read");
    };
    if embedding.size() > terms.max_entry {
        return Err("it is too large");
    }
    if !way.fleet.confirm(answer.place, &answer.looks.model, &answer.identity).await {
        return Err("the model may have changed meanwhile");
    }
    let now = Instant::now();
    way.stock.remember_vector(key, embedding, (now, terms.ttl), demand.since());
    if !way.tiers.is_empty() {
        let mut vector = Vector::of(embedding, now, terms.ttl);
        vector.question = demand.question(item).map(Question::packed);
        let payload = Payload::Vector(Arc::new(vector));
        way.stock.keep_below(key, demand.scope, payload, demand.since(), lease);
    }
    Ok(())
}
