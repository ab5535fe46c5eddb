//! Many texts in one request, each answered by itself: what fails is told by its number, and loses nothing else.
//!
//! A batch is a call of `/api/embed` with many texts: it has the same keys, finds the same vectors, and its texts
//! share their flights with everybody's.

mod certain;
mod job;
mod spare;
mod telling;
mod told;

pub use told::Told;

use super::assemble::{self, Forwarded};
use super::clearance::may_use;
use super::embedding;
use super::fan::Fan;
use super::fetch;
use super::order::{self, Order};
use super::texts::Demand;
use super::wanted::Wanted;
use super::{Body, Gateway, Policy, Reply, Request, Way, respond, stale};
use crate::cache::{Directives, Kept, Terms, TierName};
use crate::dialect::native::{self, Batch, Failure, Teller};
use crate::dialect::{Form, encoding};
use crate::domain::{CacheOutcome, CallFacts, Error, Kind, Reason, Record, Texts};
use crate::upstream::Identity;
use bytes::Bytes;
use certain::Certain;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use job::Job;
use spare::Spare;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is found out about a batch's texts before any of them is asked for.
struct Outlook {
    wanted: Wanted,
    known: Vec<Option<Kept>>,
    /// The lowest tier that anything came from.
    tier: TierName,
    terms: Terms,
    /// Why nothing is looked at, or nothing is kept.
    why: Option<Reason>,
    keeps: bool,
    /// Why a text is not known, where that can be said.
    missed: Option<Reason>,
    /// Why nobody can be asked.
    down: Option<Error>,
}

impl Gateway {
    /// Answers a batch as far as it can be answered: from what is kept first, the rest as it comes.
    ///
    /// # Errors
    /// What is to be said to the client instead of an answer.
    pub async fn embed_many(&self, request: Request<'_>, record: &mut Record) -> Result<Reply, Error> {
        let (policy, era) = (self.policy.load_full(), self.way.stock.era());
        let directives = Directives::read(request.headers)?;
        let verdict = self.way.verdict(&policy, request.origin.as_ref()).await?;
        if verdict.as_ref().is_some_and(|verdict| !verdict.allowed) {
            return Ok(Reply::forbidden());
        }
        let Batch { call, places, base64 } = self.read_batch(&request).await?;
        record.call = Some(CallFacts::new(&call, "other".into()));
        let (identity, down) = stale::identify(&self.way, &policy, &call.model).await?;
        may_use(&request.consumer, identity.as_ref(), &call.model)?;
        let facts = order::facts(&self.way, &call, identity.as_ref());
        record.call = Some(facts.clone());
        self.way.ledger.as_ref().map_or(Ok(()), |ledger| ledger.admit(&facts))?;

        let (started, came) = (request.started, request.body.clone());
        let target = Bytes::from_static(Form::Embed.path().as_bytes());
        let single = Request { target, content_encoding: None, body: call.body.clone(), ..request };
        let digest = identity.as_ref().map(|identity| &*identity.digest);
        let teller = Teller::new(&call.model, digest, call.streamed, base64);
        let (plain, replay) = (call.body.clone(), policy.replay);
        let (request, job) = (&single, None);
        let mut order = Order { request, call, plain, facts, identity, directives, era, replay, job };
        let spare = Spare::of(&self.way, &policy, &mut order);
        let mut job = Job::new(teller, order.call.streamed, places, started, came);
        let mut headers = fields(order.call.streamed);
        if let Some(texts) = &order.call.texts {
            let mut outlook = Outlook::of(&self.way, &policy, &order, texts).await;
            outlook.make_up_for(down, spare.as_ref())?;
            (record.cache, record.why) = (outlook.outcome(&order), outlook.why.or(outlook.missed));
            outlook.tell(&order, &mut headers);
            job.make_up_for(spare);
            outlook.hand_to(&mut job, &self.way, &order, texts).await;
        }
        let mut told = Told::of(job);
        let reply = match told.begin().await {
            Ok(()) => Reply { status: StatusCode::OK, headers, body: Body::Told(Box::new(told)) },
            Err(failure) => refusal(&failure),
        };
        Ok(reply.with_verdict(verdict))
    }

    async fn read_batch(&self, request: &Request<'_>) -> Result<Batch, Error> {
        let accept = request.headers.get(header::ACCEPT);
        let lines = accept.is_some_and(|accept| native::wants_lines(accept.as_bytes()));
        let most = self.way.items.most;
        let encoding = request.content_encoding.as_deref();
        let read = || {
            let plain = encoding::open(request.form, encoding, &request.body, &self.way.budget)?.plain;
            native::decode(&plain, most, lines)
        };
        self.aside(request.size(), read).await
    }
}

impl Outlook {
    async fn of(way: &Way, policy: &Policy, order: &Order<'_>, texts: &Texts) -> Self {
        let nothing = Terms { ttl: Duration::ZERO, max_entry: 0, max_question: 0, stale: Duration::ZERO };
        let (terms, why, keeps) = match fetch::terms(policy, order) {
            Ok((_, terms)) => (terms, order.directives.forbids(), order.directives.secrecy().is_none()),
            Err(why) => (nothing, Some(why), false),
        };
        let identity = identity(order);
        let wanted = Wanted::of(way, policy, order, texts, &identity);
        let mut outlook = Outlook {
            known: vec![None; wanted.each.len()],
            wanted,
            tier: TierName::Memory,
            terms,
            why,
            keeps,
            missed: None,
            down: None,
        };
        if why.is_none() {
            let wanted = &outlook.wanted;
            let mut known = embedding::known(way, wanted, order, texts, terms);
            outlook.tier = embedding::look_below(way, wanted, order, &identity, terms, &mut known).await;
            (outlook.known, outlook.missed) = embedding::with_why(known);
        }
        outlook
    }

    /// Where the upstream has been asked in vain, what there is in memory must do.
    ///
    /// # Errors
    /// Why nobody can be asked, where there is nothing at all.
    fn make_up_for(&mut self, down: Option<Error>, spare: Option<&Spare>) -> Result<(), Error> {
        let Some(error) = down else { return Ok(()) };
        for (at, known) in self.known.iter_mut().enumerate().filter(|(_, known)| known.is_none()) {
            *known = spare.and_then(|spare| spare.find(at));
        }
        if self.count_known() == 0 {
            return Err(error);
        }
        let now = Instant::now();
        if self.is_all_known() && self.known.iter().flatten().any(|kept| kept.is_over(now)) {
            self.why = Some(Reason::Stale);
        }
        self.down = Some(error);
        Ok(())
    }

    fn count_known(&self) -> usize {
        self.known.iter().flatten().count()
    }

    fn is_all_known(&self) -> bool {
        self.known.iter().all(Option::is_some)
    }

    fn outcome(&self, order: &Order<'_>) -> CacheOutcome {
        match (self.is_all_known(), self.tier) {
            (true, TierName::Memory) => CacheOutcome::Hit,
            (true, _) => CacheOutcome::HitBelow,
            (false, _) if self.keeps && order.directives.may_look_up() => CacheOutcome::Miss,
            (false, _) => CacheOutcome::Bypass,
        }
    }

    /// How the cache takes part.
    fn tell(&self, order: &Order<'_>, headers: &mut HeaderMap) {
        let (known, of) = (self.count_known(), self.known.len());
        let status = if self.is_all_known() {
            let now = Instant::now();
            let (stored, until) = assemble::life(self.known.iter().flatten());
            let age = now.saturating_duration_since(stored);
            headers.insert(header::AGE, age.as_secs().into());
            match self.why {
                Some(Reason::Stale) => respond::stale(until.saturating_duration_since(stored), age),
                _ => respond::hit(until.saturating_duration_since(now), self.tier),
            }
        } else if order.directives.only_if_cached || self.down.is_some() {
            respond::value(format!("pannier; detail=\"{known} of {of} known\""))
        } else if !self.keeps {
            let why = self.why.map_or(String::new(), |why| format!("; detail={}", why.label()));
            respond::value(format!("pannier; fwd=bypass{why}"))
        } else {
            let (why, ttl) = (self.missed, self.terms.ttl);
            let forwarded = Forwarded { known, of, all_joined: false, why, ttl };
            assemble::status(self.why, &forwarded, StatusCode::OK)
        };
        headers.insert(respond::CACHE_STATUS, status);
    }

    /// What is known is told from here; for the rest somebody is asked.
    async fn hand_to(self, job: &mut Job, way: &Arc<Way>, order: &Order<'_>, texts: &Arc<Texts>) {
        let Outlook { wanted, known, terms, keeps, down, tier, .. } = self;
        let unknown = wanted.each.iter().zip(&known).filter(|(_, known)| known.is_none());
        let unknown: std::collections::VecDeque<_> = unknown.map(|(wanted, _)| *wanted).collect();
        job.take_known(&wanted.which, known);
        if unknown.is_empty() {
            return;
        }
        if let Some(error) = down {
            return job.leave_out(Failure::of(&error));
        }
        if order.directives.only_if_cached {
            let why = Error::new(Kind::NotCached, "only-if-cached was asked for, and this text is not known");
            return job.leave_out(Failure::of(&why));
        }
        let (model, identity) = (&order.call.model, identity(order));
        let homes = way.fleet.with(model, &identity).await;
        let mut demand = Demand::new(order, texts, &identity, terms, homes, wanted.asked);
        demand.keeps = keeps;
        // What may not be kept is nobody else's either.
        demand.directives.no_store |= !keeps;
        let pinned = order.identity.clone();
        job.ask(Certain::new(way, Fan::new(way, demand, unknown), model, pinned, tier));
    }
}

/// What the model's name means; nothing is kept or looked up where nobody knows it.
fn identity(order: &Order<'_>) -> Identity {
    order.identity.clone().unwrap_or_else(Identity::nobody)
}

fn fields(streamed: bool) -> HeaderMap {
    let kind = match streamed {
        true => HeaderValue::from_static("application/x-ndjson"),
        false => HeaderValue::from_static("application/json"),
    };
    HeaderMap::from_iter([(header::CONTENT_TYPE, kind)])
}

/// Where no text has a vector, and all for one reason, that is the answer.
fn refusal(failure: &Failure) -> Reply {
    let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::BAD_GATEWAY);
    Reply { status, headers: fields(false), body: Body::Whole(Bytes::from(failure.to_json())) }
}
