//! Why a request would be a hit, or would not: everything that a request meets on its way to the memory is
//! asked, and nothing is counted, fetched or kept.

use super::explanation::{Applied, Explanation, Texts, TierSays};
use super::fetch;
use super::inquiry::Inquiry;
use super::nearest::{Sought, nearest};
use super::order::{Order, TEXTS};
use super::sight::{KNOWN, NOTHING};
use super::texts::alone;
use super::wanted::Wanted;
use super::{Gateway, Policy, Way, stale};
use crate::cache::{CacheKey, Directives, Look, Payload, Question, Terms, TierName, Told};
use crate::dialect;
use crate::domain::{CallFacts, Error, Fingerprint, Reason, Scope};
use crate::upstream::Identity;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

/// Other scopes in which the very same is looked for.
const OTHERS: usize = 16;
/// When names mean nothing.
const UNREACHABLE: &str = "the upstream cannot be reached, so nobody knows which model is meant";
/// Texts that are named as not known.
const NAMED: usize = 50;

/// What would be looked up, as far as it is one.
pub struct Subject<'a> {
    way: &'a Way,
    policy: &'a Policy,
    pub order: &'a Order<'a>,
    identity: &'a Identity,
    pub terms: Terms,
    beside: Question,
}

/// The name that one question has in any scope.
struct Name<'a> {
    path: &'static str,
    fingerprint: Fingerprint,
    /// Of a text, where it is one of several.
    text: Option<Fingerprint>,
    body: &'a Bytes,
}

impl Gateway {
    /// Says of a request, written as JSON, what would become of it.
    ///
    /// # Errors
    /// `BadRequest` for what is no request that could be answered.
    pub async fn explain(&self, written: &[u8]) -> Result<Explanation, Error> {
        let policy = self.policy.load_full();
        let inquiry = Inquiry::read(written, &policy)?;
        let request = inquiry.request();
        let (opened, call) = self.read(&request).await?;
        let identified = stale::identify(&self.way, &policy, &call.model).await;
        let (identity, down) = identified.unwrap_or_else(|error| (None, Some(error)));
        let (directives, era) = (Directives::read(request.headers)?, self.way.stock.era());
        let facts = CallFacts::new(&call, identity.as_ref().map_or("other".into(), |one| one.name.clone()));
        let (plain, replay) = (opened.plain, policy.replay);
        let (request, job) = (&request, None);
        let order = Order { request, call, plain, facts, identity, directives, era, replay, job };
        let mut told = Explanation::of(&order, &self.way, &policy);
        if down.is_some() && order.identity.is_none() {
            told.because.push(UNREACHABLE.into());
        }
        if let Some(outline) = dialect::outline(request.form, &order.plain) {
            told.show(&outline);
        }
        let rule = order.identity.as_ref().and_then(|one| policy.cache.rule(&order.subject(one)));
        told.policy.rule = rule.map(|(number, rule)| Applied { number, says: rule.words() });
        match fetch::terms(&policy, &order) {
            Err(why) => told.bypassed(why, &order.directives, rule),
            Ok((identity, terms)) => {
                told.allow(terms);
                let beside = order.asked(&self.way, &policy, identity);
                let subject =
                    Subject { way: &self.way, policy: &policy, order: &order, identity, terms, beside };
                let text_by_text =
                    order.directives.secrecy().is_none() && !self.way.items.is_opaque(identity);
                match order.call.texts.as_ref().filter(|_| text_by_text) {
                    Some(texts) => subject.explain_texts(texts, &mut told).await,
                    None => subject.explain_whole(&mut told).await,
                }
            }
        }
        stale::conclude(&self.way, &policy, &order, down.is_some(), &mut told);
        Ok(told)
    }
}

impl Subject<'_> {
    async fn explain_whole(&self, told: &mut Explanation) {
        let (order, way) = (self.order, self.way);
        let key = order.key(way, self.policy, self.identity);
        told.key = Some(key.to_string());
        told.under_way = way.flights.any(|flight| flight.key == key);
        told.elsewhere = way.turns.is_elsewhere(&key).await;
        let memory = way.memory.look(&key).map(|entry| self.judge(&Payload::Answer(entry), self.terms.ttl));
        told.tiers.push(memory.unwrap_or(TierSays::of(NOTHING)).by(TierName::Memory));
        for look in way.tiers.look(&[key], &order.request.consumer.scope, order.call.operation).await {
            told.tiers.push(self.says(&look));
        }
        let name = Name {
            path: order.request.form.path(),
            fingerprint: order.call.fingerprint,
            text: None,
            body: &order.plain,
        };
        self.look_around(key, &name, told).await;
    }

    async fn explain_texts(&self, texts: &Arc<crate::domain::Texts>, told: &mut Explanation) {
        let (order, way) = (self.order, self.way);
        let wanted = Wanted::of(way, self.policy, order, texts, self.identity);
        let (mut known, mut why) = (vec![false; wanted.each.len()], None);
        for (known, (number, key)) in known.iter_mut().zip(&wanted.each) {
            let whole = wanted.shortened.map(|(_, whole)| whole.of_text(texts.items[*number].text));
            let kept = way.vectors.look(key).or_else(|| way.vectors.look(&whole?));
            let says = kept.map(|(stored, ttl)| self.age(stored, ttl, self.terms.ttl)).unwrap_or_default();
            *known = says.says == KNOWN;
            why = Reason::telling(why, says.why);
        }
        told.tiers.push(TierSays::counting(&known, &vec![false; known.len()], why).by(TierName::Memory));
        let keys: Vec<CacheKey> = wanted.each.iter().map(|(_, key)| *key).collect();
        for look in way.tiers.look(&keys, &order.request.consumer.scope, order.call.operation).await {
            let before = known.clone();
            let Told::Has(sights) = &look.told else {
                told.tiers.push(self.says(&look));
                continue;
            };
            let mut why = None;
            for (known, sight) in known.iter_mut().zip(sights).filter(|(known, _)| !**known) {
                let says = self.sight(sight, look.ttl);
                *known = says.says == KNOWN;
                why = Reason::telling(why, says.why);
            }
            told.tiers.push(TierSays::counting(&known, &before, why).by(look.tier));
        }
        let unknown: Vec<usize> = (0..known.len()).filter(|at| !known[*at]).collect();
        told.under_way = !unknown.is_empty()
            && way.items.flights.any(|flight| unknown.iter().all(|at| keys[*at] == flight.key));
        let first = unknown.first().copied();
        told.texts = Some(Texts {
            of: known.len(),
            known: known.len() - unknown.len(),
            unknown: unknown.into_iter().take(NAMED).map(|at| wanted.each[at].0).collect(),
        });
        if let Some(at) = first {
            let (number, key) = wanted.each[at];
            let body = alone(&order.plain, texts, &[number]);
            let text = Some(texts.items[number].text);
            let name = Name { path: TEXTS, fingerprint: texts.manner, text, body: &body };
            told.key = Some(key.to_string());
            // The answer waits for all of them.
            let is_last = told.texts.as_ref().is_some_and(|texts| texts.unknown.len() == 1);
            told.elsewhere = is_last && way.turns.is_elsewhere(&key).await;
            self.look_around(key, &name, told).await;
        }
    }

    /// Whom the same is known to, and what is most like it.
    async fn look_around(&self, key: CacheKey, name: &Name<'_>, told: &mut Explanation) {
        let order = self.order;
        let own = &order.request.consumer;
        let mut scopes = vec![own.scope];
        for other in self.policy.keys.everybody() {
            if scopes.len() > OTHERS || scopes.contains(&other.scope) {
                continue;
            }
            scopes.push(other.scope);
            if self.is_known_in(other.scope, name).await {
                let called = if other.team == own.team { &other.name } else { &other.team };
                told.known_to.push(called.to_string());
            }
        }
        let sought = Sought {
            consumer: own,
            operation: order.call.operation,
            model: Some(&self.identity.name),
            beside: &self.beside,
            form: order.request.form,
            body: name.body,
            key,
        };
        told.nearest = nearest(self.way, &sought).await;
    }

    async fn is_known_in(&self, scope: Scope, name: &Name<'_>) -> bool {
        let Name { path, fingerprint, text, .. } = *name;
        let key = self.order.key_in(scope, self.way, self.policy, self.identity, path, fingerprint);
        let key = text.map_or(key, |text| key.of_text(text));
        if self.way.memory.look(&key).is_some_and(|entry| entry.is_fresh(Instant::now()))
            || self.way.vectors.look(&key).is_some()
        {
            return true;
        }
        let looks = self.way.tiers.look(&[key], &scope, self.order.call.operation).await;
        looks.iter().any(Look::has_fresh)
    }
}
