//! Answers put into the memory before anybody asks: found in the tiers below where they are known there, asked
//! for where they are not.

use super::fetch;
use super::inquiry::Inquiry;
use super::metronome::Metronome;
use super::order::Order;
use super::wanted::Wanted;
use super::{Gateway, Policy, Way};
use crate::cache::{
    CacheKey, Directives, Era, Label, Listing, Payload, Question, Selection, Sight, Since, Told,
};
use crate::domain::{CallFacts, Consumer, Error, Scope};
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc;

/// How a warming is done.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Asks nobody, and loads nothing.
    pub dry: bool,
    /// Requests that are asked a second, at the most; zero for as many as may be.
    pub rate: f64,
}

/// Something to be known.
pub enum Wish {
    /// A question, or why it is none.
    Asked(Box<Result<Inquiry, Error>>),
    /// An entry of the lowest tier.
    Kept(Box<Listing>),
}

/// What became of one wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warmed {
    /// Which it was, from 0.
    pub n: usize,
    pub result: Outcome,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was in memory.
    Known,
    /// A tier below had it, and now the memory has it as well; or would have, were it not all dry.
    Loaded,
    Asked,
    /// It would be asked, were it not all dry.
    Unknown,
    /// It is no question, or one whose answer is not kept.
    Unfit,
    Failed,
}

/// Where an answer is.
enum Place {
    Memory,
    Below(Vec<(CacheKey, Payload)>, Label, Era),
    Nowhere,
}

/// Scopes in which one entry is looked for: those of its team's keys.
const SCOPES: usize = 64;

impl Gateway {
    /// Grants `wishes`, a few at a time, and tells what became of each. Ends early when nobody hears any more.
    pub async fn warm(&self, wishes: Vec<Wish>, manner: Manner, heard: &mpsc::Sender<Warmed>) {
        let waiting = Mutex::new(wishes.into_iter().enumerate());
        let pace = Metronome::of(manner.rate);
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = async || {
            while let Some((n, wish)) = next() {
                let (result, why) = match self.grant(wish, manner, &pace).await {
                    Ok(outcome) => (outcome, None),
                    Err((outcome, why)) => (outcome, Some(why)),
                };
                if heard.send(Warmed { n, result, why }).await.is_err() {
                    return;
                }
            }
        };
        tokio::join!(work(), work(), work(), work());
    }

    /// The `most` entries that were used most, of one model or of all. `None` where the tiers cannot say.
    pub async fn most_used(&self, model: Option<&str>, most: usize) -> Option<Vec<Wish>> {
        let selection = Selection { model: model.map(Into::into), ..Selection::default() };
        let (_, listed) = self.way.tiers.most_used(&selection, most).await?;
        Some(listed.into_iter().map(|listing| Wish::Kept(Box::new(listing))).collect())
    }

    async fn grant(
        &self,
        wish: Wish,
        manner: Manner,
        pace: &Metronome,
    ) -> Result<Outcome, (Outcome, String)> {
        let listing = match wish {
            Wish::Asked(inquiry) => {
                let inquiry = inquiry.map_err(|error| (Outcome::Unfit, error.message))?;
                return self.grant_question(&inquiry, manner, pace).await;
            }
            Wish::Kept(listing) => listing,
        };
        let (policy, era) = (self.policy.load_full(), self.way.stock.era());
        let sharers = sharers(&policy, &listing);
        let scopes: Vec<Scope> = sharers.iter().map(|consumer| consumer.scope).collect();
        let sights = self.way.tiers.open_listed(std::slice::from_ref(&*listing), |_| scopes.clone()).await;
        let Some(Sight::There(payload)) = sights.into_iter().next() else {
            return Err((Outcome::Unfit, "it has gone, or nobody has a key for it".into()));
        };
        match inquiry(payload.question(), &sharers) {
            Some(inquiry) => self.grant_question(&inquiry, manner, pace).await,
            None if payload.is_fresh(Instant::now()) => {
                let since = Since { label: &listing.label, era };
                self.load(vec![(listing.key, payload)], since, manner);
                Ok(Outcome::Loaded)
            }
            None => Err((Outcome::Unfit, "it is over, and its question was not kept".into())),
        }
    }

    async fn grant_question(
        &self,
        inquiry: &Inquiry,
        manner: Manner,
        pace: &Metronome,
    ) -> Result<Outcome, (Outcome, String)> {
        let policy = self.policy.load_full();
        match self.find(inquiry, &policy).await.map_err(|why| (Outcome::Unfit, why))? {
            Place::Memory => return Ok(Outcome::Known),
            Place::Below(found, label, era) => {
                self.load(found, Since { label: &label, era }, manner);
                return Ok(Outcome::Loaded);
            }
            Place::Nowhere if manner.dry => return Ok(Outcome::Unknown),
            Place::Nowhere => {}
        }
        pace.wait().await;
        match self.run_errand(inquiry).await {
            Ok(200) => Ok(Outcome::Asked),
            Ok(status) => Err((Outcome::Failed, format!("the upstream answered {status}"))),
            Err(error) => Err((Outcome::Failed, error.message)),
        }
    }

    /// # Errors
    /// Why its answer is not kept.
    async fn find(&self, inquiry: &Inquiry, policy: &Policy) -> Result<Place, String> {
        let (request, era) = (inquiry.request(), self.way.stock.era());
        let (opened, call) = self.read(&request).await.map_err(|error| error.message)?;
        let identity = self.way.inventory.identify(&call.model).await.map_err(|error| error.message)?;
        let facts = CallFacts::new(&call, "other".into());
        let directives = Directives::default();
        let (plain, replay) = (opened.plain, policy.replay);
        let (request, job) = (&request, None);
        let order = Order { request, call, plain, facts, identity, directives, era, replay, job };
        let (identity, _) = fetch::terms(policy, &order).map_err(|why| why.label().to_owned())?;
        let way = &*self.way;
        let keys = match order.call.texts.as_ref().filter(|_| !way.items.is_opaque(identity)) {
            Some(texts) => {
                let wanted = Wanted::of(way, policy, &order, texts, identity);
                wanted.each.into_iter().map(|(_, key)| key).collect()
            }
            None => vec![order.key(way, policy, identity)],
        };
        Ok(find_all(way, &order, keys, order.label(identity)).await)
    }

    /// What was found below, for the memory.
    fn load(&self, found: Vec<(CacheKey, Payload)>, since: Since<'_>, manner: Manner) {
        if manner.dry {
            return;
        }
        for (key, payload) in found {
            match payload {
                Payload::Answer(entry) => self.way.stock.remember(key, entry, since),
                Payload::Vector(vector) => {
                    if let Some(embedding) = vector.embedding() {
                        let life = (vector.stored, vector.ttl);
                        self.way.stock.remember_vector(key, &embedding, life, since);
                    }
                }
            }
        }
    }
}

/// Where the answers under `keys` are; nowhere, where one of them is.
async fn find_all(way: &Way, order: &Order<'_>, keys: Vec<CacheKey>, label: Label) -> Place {
    let now = Instant::now();
    let in_memory = |key: &CacheKey| {
        let vector = || way.vectors.look(key).is_some_and(|(stored, ttl)| now < stored + ttl);
        way.memory.look(key).is_some_and(|entry| entry.is_fresh(now)) || vector()
    };
    let missing: Vec<CacheKey> = keys.into_iter().filter(|key| !in_memory(key)).collect();
    if missing.is_empty() {
        return Place::Memory;
    }
    let mut found: Vec<Option<Payload>> = vec![None; missing.len()];
    for look in way.tiers.look(&missing, &order.request.consumer.scope, order.call.operation).await {
        let Told::Has(sights) = look.told else { continue };
        for (found, sight) in found.iter_mut().zip(sights) {
            match sight {
                Sight::There(payload) if payload.is_fresh(now) && payload.age(now) < look.ttl => {
                    found.get_or_insert(payload);
                }
                _ => {}
            }
        }
    }
    let found = missing.into_iter().zip(found).map(|(key, found)| Some((key, found?)));
    let found = found.collect::<Option<_>>();
    found.map_or(Place::Nowhere, |found| Place::Below(found, label, order.era))
}

/// Those in whose scope an entry may be: the first by name for each.
pub fn sharers(policy: &Policy, listing: &Listing) -> Vec<Arc<Consumer>> {
    let mut sharers: Vec<Arc<Consumer>> = Vec::new();
    for consumer in policy.keys.everybody().filter(|consumer| consumer.team == listing.label.team) {
        match sharers.iter().position(|other| other.scope == consumer.scope) {
            Some(at) if consumer.name < sharers[at].name => sharers[at] = consumer,
            None if sharers.len() < SCOPES => sharers.push(consumer),
            Some(_) | None => {}
        }
    }
    sharers
}

/// A kept question, as one of `sharers` asks it.
fn inquiry(question: Option<&Question>, sharers: &[Arc<Consumer>]) -> Option<Inquiry> {
    let question = question?;
    let consumer = sharers.iter().find(|consumer| consumer.scope == question.scope)?;
    Inquiry::of(question.target.clone(), http::HeaderMap::new(), consumer.clone(), question.body()?).ok()
}
