//! Entries as they are shown to who holds the admin key: what they are, and what is in them.

use super::Gateway;
use super::warm::sharers;
use crate::cache::{CacheKey, Held, Listing, Payload, Question, Selection, Sight, TierName};
use crate::domain::{Error, Kind, Scope};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::time::{Duration, Instant, SystemTime};

/// One entry, in each tier that has it.
#[derive(Debug, Serialize)]
pub struct Shown {
    pub key: String,
    pub tiers: Vec<InTier>,
    /// What was asked, where that is kept.
    pub question: Option<ShownQuestion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
}

#[derive(Debug, Serialize)]
pub struct InTier {
    pub tier: &'static str,
    pub prefix: &'static str,
    pub operation: &'static str,
    pub model: String,
    pub team: String,
    pub bytes: u64,
    pub hits: u64,
    /// Seconds since it was stored, and until it is over.
    pub age: u64,
    pub ttl: u64,
}

/// As it can be asked again.
#[derive(Debug, Serialize)]
pub struct ShownQuestion {
    pub path: String,
    /// The JSON that it was, or a text.
    pub body: Box<RawValue>,
}

impl Gateway {
    /// What is known of the entry under `key`; with its answer where that is wanted.
    ///
    /// # Errors
    /// `NotFound` where no tier that can be asked has it.
    pub async fn show(&self, key: CacheKey, with_answer: bool) -> Result<Shown, Error> {
        let way = &*self.way;
        let held = way.stock.look(&key);
        let mut payload = held.as_ref().map(|held| held.payload.clone());
        let mut tiers: Vec<InTier> = held.iter().map(InTier::in_memory).collect();
        let selection = Selection { key: Some(key), ..Selection::default() };
        for (tier, listed) in way.tiers.top(&selection, 1).await {
            let Some(listing) = listed.ok().and_then(|listed| listed.into_iter().next()) else { continue };
            if payload.as_ref().is_none_or(|payload| payload.question().is_none()) {
                payload = self.open(tier, &listing).await.or(payload);
            }
            tiers.push(InTier::below(tier, &listing));
        }
        if tiers.is_empty() {
            return Err(Error::new(Kind::NotFound, "no tier has an entry under this key"));
        }
        let question = payload.as_ref().and_then(Payload::question).and_then(ShownQuestion::of);
        let answer = payload.as_ref().filter(|_| with_answer).map(answer);
        Ok(Shown { key: key.to_string(), tiers, question, answer })
    }

    /// What `tier` has of an entry that it has listed, if somebody who is known may have it.
    async fn open(&self, tier: TierName, listing: &Listing) -> Option<Payload> {
        let policy = self.policy.load_full();
        let scopes: Vec<Scope> = sharers(&policy, listing).iter().map(|consumer| consumer.scope).collect();
        match self.way.tiers.open_in(tier, &listing.key, &scopes).await {
            Sight::There(payload) => Some(payload),
            Sight::Nothing | Sight::Unopenable => None,
        }
    }
}

impl InTier {
    pub fn in_memory(held: &Held) -> Self {
        let age = Instant::now().saturating_duration_since(held.stored);
        InTier {
            tier: TierName::Memory.label(),
            prefix: held.prefix.label(),
            operation: held.operation.label(),
            model: held.model.to_string(),
            team: held.team.to_string(),
            bytes: held.bytes,
            hits: held.hits,
            age: age.as_secs(),
            ttl: held.ttl.saturating_sub(age).as_secs(),
        }
    }

    pub fn below(tier: TierName, listing: &Listing) -> Self {
        let Listing { key: _, label, bytes, hits, stored, expires, last_used: _ } = listing;
        let now = SystemTime::now();
        InTier {
            tier: tier.label(),
            prefix: label.prefix.label(),
            operation: label.operation.label(),
            model: label.model.to_string(),
            team: label.team.to_string(),
            bytes: *bytes,
            hits: *hits,
            age: between(*stored, now).as_secs(),
            ttl: between(now, *expires).as_secs(),
        }
    }
}

fn between(from: SystemTime, to: SystemTime) -> Duration {
    to.duration_since(from).unwrap_or_default()
}

impl ShownQuestion {
    /// `None` where it cannot be unpacked.
    pub fn of(question: &Question) -> Option<Self> {
        let body = question.body()?;
        let text = String::from_utf8_lossy(&body).into_owned();
        let as_it_is = RawValue::from_string(text.clone()).and_then(|body| in_one_line(&body));
        let body = as_it_is.or_else(|_| serde_json::value::to_raw_value(&text)).ok()?;
        Some(ShownQuestion { path: String::from_utf8_lossy(&question.target).into_owned(), body })
    }
}

/// As it was written, but for the ends of lines: where lines are told, each must be one of them. Between two tokens
/// they mean nothing, and inside of texts JSON has none.
fn in_one_line(body: &RawValue) -> serde_json::Result<Box<RawValue>> {
    RawValue::from_string(body.get().replace(['\r', '\n'], " "))
}

/// An answer's body, or a text's vector.
pub fn answer(payload: &Payload) -> Value {
    match payload {
        Payload::Answer(entry) => String::from_utf8_lossy(&entry.body).into(),
        Payload::Vector(vector) => vector.embedding().map_or(
            Value::Null,
            |embedding| serde_json::json!({ "numbers": &*embedding.numbers, "tokens": embedding.tokens }),
        ),
    }
}
