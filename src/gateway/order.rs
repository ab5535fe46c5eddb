//! What is known of a request that has been read.

use super::fetch::Remembered;
use super::hearing::Job;
use super::outing::Outing;
use super::plan::{Keep, Plan};
use super::{LONG_READ, Pace, Policy, ReplayConfig, Request, Way, query};
use crate::cache::{
    CacheKey, Directives, Entry, Era, Label, Parts, Prefix, Question, Subject, Terms, TierName,
};
use crate::dialect::pictures;
use crate::domain::{Call, CallFacts, Fingerprint, Payer, Reason, Scope, Storable, Template};
use crate::upstream::{Identity, canonical};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// In a key, in place of a path: both routes for vectors share them.
pub const TEXTS: &str = "texts";

/// All that is known of a request once it has been read.
pub struct Order<'a> {
    pub request: &'a Request<'a>,
    pub call: Call,
    /// The body as it can be read; `call.body` may be packed.
    pub plain: Bytes,
    pub facts: CallFacts,
    pub identity: Option<Identity>,
    pub directives: Directives,
    pub replay: ReplayConfig,
    /// When it set out.
    pub era: Era,
    /// For whom it is, where that is not the upstream.
    pub job: Option<Arc<Job>>,
}

impl Order<'_> {
    /// What its model is.
    ///
    /// # Errors
    /// Why that cannot be told: what cannot be read names none.
    pub fn model(&self) -> Result<&Identity, Reason> {
        self.identity.as_ref().ok_or(match self.call.storable {
            Storable::No(Reason::Unreadable) => Reason::Unreadable,
            _ => Reason::Model,
        })
    }

    /// As the settings judge it.
    pub fn subject<'s>(&'s self, identity: &'s Identity) -> Subject<'s> {
        let (route, consumer) = (self.request.route.template, &*self.request.consumer);
        Subject { call: &self.call, model: &identity.name, route, consumer }
    }

    /// Of the whole answer.
    pub fn key(&self, way: &Way, policy: &Policy, identity: &Identity) -> CacheKey {
        let scope = self.request.consumer.scope;
        self.key_in(scope, way, policy, identity, self.request.form.path(), self.call.fingerprint)
    }

    /// Of all vectors that are made in one manner; on both routes the same.
    pub fn key_of_texts(
        &self,
        way: &Way,
        policy: &Policy,
        identity: &Identity,
        manner: Fingerprint,
    ) -> CacheKey {
        self.key_in(self.request.consumer.scope, way, policy, identity, TEXTS, manner)
    }

    /// As whoever shares `scope` has it.
    pub fn key_in(
        &self,
        scope: Scope,
        way: &Way,
        policy: &Policy,
        identity: &Identity,
        path: &str,
        fingerprint: Fingerprint,
    ) -> CacheKey {
        CacheKey::of(Parts {
            scope,
            epoch: policy.cache.epoch(),
            upstream: &way.client.target().authority(),
            version: &identity.version,
            digest: &identity.digest,
            path,
            query: &query(&self.request.target),
            fingerprint,
        })
    }

    /// What stands in the key beside the body.
    pub fn asked(&self, way: &Way, policy: &Policy, identity: &Identity) -> Question {
        let (epoch, upstream) = (policy.cache.epoch().into(), way.client.target().authority().into());
        let texts = [epoch, upstream, identity.version.clone(), identity.digest.clone()];
        Question::without_body(self.request.consumer.scope, texts, self.request.target.clone())
    }

    /// Under what name and terms the answer is remembered.
    pub fn keep(&self, way: &Way, policy: &Policy, key: CacheKey, identity: &Identity, terms: Terms) -> Keep {
        let asked = self.asked(way, policy, identity);
        Keep {
            key,
            scope: self.request.consumer.scope,
            label: self.label(identity),
            era: self.era,
            identity: identity.clone(),
            terms,
            question: match self.job {
                None => Question::of(self.plain.clone(), terms.max_question, &asked),
                // A recording is no text.
                Some(_) => None,
            },
        }
    }

    /// What an operator may find the answer by.
    pub fn label(&self, identity: &Identity) -> Label {
        Label {
            prefix: Prefix::of(self.call.operation),
            operation: self.call.operation,
            model: identity.name.clone(),
            digest: identity.digest.clone(),
            team: self.request.consumer.team.clone(),
        }
    }

    /// `stored` as this request wants it, if it may have it.
    ///
    /// # Errors
    /// Why it may not.
    pub fn remembered(
        &self,
        key: CacheKey,
        terms: &Terms,
        stored: Arc<Entry>,
        tier: TierName,
    ) -> Result<Remembered, Reason> {
        let ttl = stored.ttl.min(terms.ttl);
        self.directives.accept(stored.age(Instant::now()), ttl)?;
        let entry = self.in_mode(&stored).ok_or(Reason::Mode)?;
        Ok(Remembered { key, stored, entry, tier, ttl })
    }

    /// How fast `entry` is told, cut into the frames of `template`; `None` for as fast as may be.
    pub fn pace(&self, entry: &Entry, template: &Template) -> Option<Pace> {
        let is_streamed = !entry.frames.is_empty();
        is_streamed.then(|| self.replay.pace(entry.observed.usage, template.frames.len()))?
    }

    /// With what its trip sets out.
    pub fn outing(&self) -> Outing {
        match &self.job {
            Some(job) => Outing::Job(job.clone()),
            None => Outing::Call(Box::new(self.request.upstream_call(&self.call))),
        }
    }

    /// A trip begins for it.
    pub fn depart(&self) {
        self.request.began_trip.store(true, Ordering::Relaxed);
    }

    /// No trip has begun for it after all, or the one that did has come to nothing and costs nothing.
    pub fn stay(&self) {
        self.request.began_trip.store(false, Ordering::Relaxed);
    }

    /// Who pays for the trips that it begins.
    pub fn payer(&self) -> Payer {
        Payer { request: self.request.id, consumer: self.request.consumer.clone() }
    }

    fn pictures(&self) -> u64 {
        let count = || pictures::count(self.request.form, &self.plain);
        match self.plain.len() > LONG_READ {
            true => tokio::task::block_in_place(count),
            false => count(),
        }
    }

    pub fn plan(&self, keep: Option<Keep>) -> Plan {
        Plan {
            form: self.request.form,
            payer: self.payer(),
            route: self.request.route,
            facts: self.facts.clone(),
            model: self.call.model.clone(),
            estimated_prompt_tokens: self.call.estimated_prompt_tokens,
            images: self.pictures(),
            keep,
            lease: None,
        }
    }
}

/// What the records keep of `call`. Where the upstream will not say just now what its model means, the name is
/// what that was last.
pub fn facts(way: &Way, call: &Call, identity: Option<&Identity>) -> CallFacts {
    match identity {
        Some(known) => CallFacts { digest: known.digest.clone(), ..CallFacts::new(call, known.name.clone()) },
        None => match way.inventory.label(&call.model) {
            Some(name) => CallFacts::new(call, name),
            None => CallFacts {
                unlisted: Some(canonical(&call.model).into()),
                ..CallFacts::new(call, "other".into())
            },
        },
    }
}
