//! What is said of a request to whoever asks why.

use super::order::Order;
use super::sight::NOTHING;
use super::{Policy, Way};
use crate::cache::{Directives, Rule, Terms, TierName};
use crate::dialect::{Difference, Outline};
use crate::domain::{CacheOutcome, Reason};
use serde::Serialize;

/// All that decides whether an answer is known.
#[derive(Debug, Default, Serialize)]
pub struct Explanation {
    /// What would happen now: `hit`, `miss`, `coalesced` or `bypass`.
    pub verdict: &'static str,
    /// Why it would be no hit, as `Cache-Status` and the record would say it.
    pub reason: Option<&'static str>,
    /// Why, in whole sentences.
    pub because: Vec<String>,
    pub route: &'static str,
    pub streamed: bool,
    pub consumer: String,
    pub team: String,
    /// The beginning of a hash: who shares it shares answers.
    pub scope: String,
    pub model: Option<Model>,
    pub upstream: String,
    pub epoch: String,
    pub key: Option<String>,
    /// The fields that count.
    pub counted: Vec<Field>,
    /// Those that do not.
    pub left_out: Vec<LeftOut>,
    pub policy: Allowed,
    pub tiers: Vec<TierSays>,
    /// The same is under way for somebody.
    pub under_way: bool,
    /// Another replica has the lease: it is asking the same.
    pub elsewhere: bool,
    /// Of a call for vectors.
    pub texts: Option<Texts>,
    /// Teams in which the very same is known.
    pub known_to: Vec<String>,
    pub nearest: Nearest,
}

#[derive(Debug, Serialize)]
pub struct Model {
    pub name: String,
    pub digest: String,
    pub version: String,
}

#[derive(Debug, Serialize)]
pub struct Field {
    pub path: String,
    pub value: String,
    pub hash: String,
    /// Of no meaning that Pannier knows.
    pub unknown: bool,
}

#[derive(Debug, Serialize)]
pub struct LeftOut {
    pub field: String,
    pub why: &'static str,
}

/// What holds for the call, or what keeps it from the cache.
#[derive(Debug, Default, Serialize)]
pub struct Allowed {
    pub bypass: Option<&'static str>,
    /// Seconds.
    pub ttl: Option<u64>,
    pub max_entry: Option<usize>,
    /// What the request itself says about caching.
    pub directives: Vec<String>,
    /// The exception that holds for the call.
    pub rule: Option<Applied>,
}

/// One of `cache.rules`.
#[derive(Debug, Serialize)]
pub struct Applied {
    /// From 1 on.
    pub number: usize,
    pub says: String,
}

/// One tier's word.
#[derive(Debug, Default, Serialize)]
pub struct TierSays {
    pub tier: &'static str,
    pub says: &'static str,
    /// Why what it has does not do, or nobody knows what it has.
    #[serde(skip)]
    pub why: Option<Reason>,
    /// Seconds.
    pub age: Option<u64>,
    pub ttl: Option<u64>,
    /// Texts that it knows.
    pub known: Option<usize>,
}

#[derive(Debug, Serialize)]
pub struct Texts {
    /// Different ones.
    pub of: usize,
    pub known: usize,
    /// Numbers (from 0) of the first that are not known.
    pub unknown: Vec<usize>,
}

/// What was found when looking for what is most alike.
#[derive(Debug, Default, Serialize)]
pub struct Nearest {
    /// Entries that were compared.
    pub looked_at: usize,
    pub entry: Option<Near>,
}

/// An entry, and what it differs in.
#[derive(Debug, Serialize)]
pub struct Near {
    pub tier: &'static str,
    pub key: String,
    pub route: String,
    /// Seconds.
    pub age: u64,
    pub ttl: u64,
    /// Places that are the same.
    pub equal: usize,
    pub differs: Vec<Differs>,
}

#[derive(Debug, Serialize)]
pub struct Differs {
    /// In the request.
    pub field: String,
    pub here: Option<String>,
    pub there: Option<String>,
}

/// The first eight bytes of a hash.
pub fn short(hash: &[u8; 32]) -> String {
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Explanation {
    /// What is known of any request.
    pub fn of(order: &Order<'_>, way: &Way, policy: &Policy) -> Self {
        let consumer = &order.request.consumer;
        let model = order.identity.as_ref().map(|identity| Model {
            name: identity.name.to_string(),
            digest: identity.digest.to_string(),
            version: identity.version.to_string(),
        });
        let policy_says = Allowed { directives: order.directives.words(), ..Allowed::default() };
        Explanation {
            route: order.request.route.template,
            streamed: order.call.streamed,
            consumer: consumer.name.to_string(),
            team: consumer.team.to_string(),
            scope: short(&consumer.scope.0),
            model,
            upstream: way.client.target().authority().to_string(),
            epoch: policy.cache.epoch().to_owned(),
            policy: policy_says,
            ..Explanation::default()
        }
    }

    pub fn allow(&mut self, terms: Terms) {
        self.policy.ttl = Some(terms.ttl.as_secs());
        self.policy.max_entry = Some(terms.max_entry);
    }

    /// `rule` is the exception that holds for the call.
    pub fn bypassed(&mut self, why: Reason, directives: &Directives, rule: Option<(usize, &Rule)>) {
        self.policy.bypass = Some(why.label());
        self.reason = Some(why.label());
        let by = match (why, rule) {
            (Reason::Ttl, _) if directives.ttl.is_some_and(|ttl| ttl.is_zero()) => {
                ", by the request's own X-Pannier-Cache-TTL".to_owned()
            }
            (why, Some((number, rule))) if rule.decides(why) => format!(", by rule {number} of cache.rules"),
            (Reason::Off | Reason::Temperature | Reason::Ttl, _) => ", by what [cache] says".to_owned(),
            _ => String::new(),
        };
        self.end(CacheOutcome::Bypass, format!("the cache is not asked: {}{by}", why.label()));
    }

    pub fn end(&mut self, outcome: CacheOutcome, why: impl Into<String>) {
        self.verdict = outcome.label();
        self.because.push(why.into());
    }

    /// The fields of the question.
    pub fn show(&mut self, outline: &Outline) {
        for counted in &outline.counted {
            let one = std::slice::from_ref(&counted.whole);
            let parts = if counted.parts.is_empty() { one } else { &counted.parts };
            self.counted.extend(parts.iter().map(|part| Field {
                path: part.path.clone(),
                value: part.shown.clone(),
                hash: short(&part.digest),
                unknown: counted.unknown,
            }));
        }
        let left_out = outline.left_out.iter().cloned();
        self.left_out = left_out.map(|(field, why)| LeftOut { field, why }).collect();
    }
}

impl TierSays {
    pub fn of(says: &'static str) -> Self {
        TierSays { says, ..TierSays::default() }
    }

    pub fn unfit(why: Reason, says: &'static str) -> Self {
        TierSays { says, why: Some(why), ..TierSays::default() }
    }

    /// Of texts: those that it knows, and those that were known before it was asked.
    pub fn counting(known: &[bool], before: &[bool], why: Option<Reason>) -> Self {
        let count = known.iter().zip(before).filter(|(known, before)| **known && !**before).count();
        let says = if count > 0 { "some of the texts" } else { NOTHING };
        TierSays { known: Some(count), why, ..TierSays::of(says) }
    }

    pub fn by(self, tier: TierName) -> Self {
        TierSays { tier: tier.label(), ..self }
    }
}

impl From<Difference> for Differs {
    fn from(difference: Difference) -> Self {
        let Difference { path, here, there } = difference;
        Differs { field: path, here, there }
    }
}
