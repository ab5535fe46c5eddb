//! Where an answer comes from: the memory, else a trip that is under way, else a trip of its own.

use super::order::Order;
use super::plan::{FlightKey, Keep};
use super::trip::{self, TripHead};
use super::{Live, Policy, Reply, Way};
use crate::cache::{CacheKey, Entry, Found, Payload, Since, Terms, Ticket, TierName, Turn};
use crate::dialect::Form;
use crate::dialect::openai::UsageStrip;
use crate::domain::{CacheOutcome, Error, Kind, Observed, Reason};
use crate::flight::{Boarding, Full, Recorder, Seat};
use crate::upstream::Identity;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An answer that was kept.
pub struct Remembered {
    pub key: CacheKey,
    /// As it was stored, and as this request wants it.
    pub stored: Arc<Entry>,
    pub entry: Arc<Entry>,
    pub tier: TierName,
    /// How long it may be used, as the policy says now.
    pub ttl: Duration,
}

/// Where the answer comes from.
pub enum Fetched {
    Remembered(Remembered),
    /// It may be over, and the upstream is down.
    Stale(Remembered),
    Trip {
        live: Box<Live>,
        outcome: CacheOutcome,
        why: Option<Reason>,
        /// The answer will be kept if it is fit for it, for so long.
        keeps: Option<Duration>,
    },
    /// It was put together from parts.
    Assembled(Box<Assembled>),
}

/// An answer that is all there.
pub struct Assembled {
    pub reply: Reply,
    pub outcome: CacheOutcome,
    pub why: Option<Reason>,
    pub observed: Observed,
}

impl Fetched {
    pub fn outcome(&self) -> CacheOutcome {
        match self {
            Fetched::Remembered(Remembered { tier: TierName::Memory, .. }) | Fetched::Stale(_) => {
                CacheOutcome::Hit
            }
            Fetched::Remembered(_) => CacheOutcome::HitBelow,
            Fetched::Trip { outcome, .. } => *outcome,
            Fetched::Assembled(assembled) => assembled.outcome,
        }
    }

    /// Why it was not simply a hit, where that is known.
    pub fn why(&self) -> Option<Reason> {
        match self {
            Fetched::Remembered(_) => None,
            Fetched::Stale(_) => Some(Reason::Stale),
            Fetched::Trip { why, .. } => *why,
            Fetched::Assembled(assembled) => assembled.why,
        }
    }
}

/// # Errors
/// `NotCached` for `only-if-cached`; `Overloaded` when too many trips are under way.
pub async fn fetch(way: &Arc<Way>, policy: &Policy, order: &Order<'_>) -> Result<Fetched, Error> {
    let (key, identity, terms) = match terms(policy, order) {
        Ok((identity, terms)) => (order.key(way, policy, identity), identity, terms),
        Err(_) if order.directives.only_if_cached => return Err(not_cached()),
        Err(why) => return solo(way, order, why, None),
    };
    let remembered = || remembered(way, key, order, terms);
    let forbidden = order.directives.forbids();
    let mut why = match remembered() {
        Ok(known) => return Ok(Fetched::Remembered(known)),
        Err(why) => why,
    };
    if forbidden.is_none() {
        match below(way, order, key, identity, terms).await {
            Ok(known) => return Ok(Fetched::Remembered(known)),
            Err(unfit) => why = Reason::telling(why, unfit),
        }
    }
    if order.directives.only_if_cached {
        return Err(not_cached());
    }
    if let Some(why) = order.directives.secrecy() {
        return solo(way, order, why, None);
    }
    let keep = order.keep(way, policy, key, identity, terms);
    if let Some(why) = forbidden {
        return solo(way, order, why, Some(keep));
    }
    let ticket = match turn(way, order, &keep, &mut why).await {
        Ok(ticket) => ticket,
        Err(remembered) => return Ok(Fetched::Remembered(remembered)),
    };
    let (mut plan, outing) = (order.plan(Some(keep)), order.outing());
    let alike = FlightKey { key, since: identity.since, likeness: outing.likeness() };
    let landed = || remembered().ok();
    let depart = |recorder: Recorder<_, _, _>| {
        order.depart();
        plan.lease = ticket.lease();
        trip::travel(way.clone(), plan, outing, recorder)
    };
    match way.flights.join(alike, landed, depart).map_err(full)? {
        Boarding::Landed(remembered) => Ok(Fetched::Remembered(remembered)),
        Boarding::Seat(seat) => {
            let outcome = if seat.joined() { CacheOutcome::Joined } else { CacheOutcome::Miss };
            Ok(Fetched::Trip { live: live(seat, order), outcome, why, keeps: Some(terms.ttl) })
        }
    }
}

/// Waits for our turn to ask. What another has kept and is not fit for us is a reason `why` we ask.
///
/// # Errors
/// What another replica has kept meanwhile, which answers as well.
async fn turn(
    way: &Way,
    order: &Order<'_>,
    keep: &Keep,
    why: &mut Option<Reason>,
) -> Result<Ticket, Remembered> {
    match way.turns.wait(&keep.key, &keep.scope, &keep.label).await {
        Turn::Come(ticket) => Ok(ticket),
        Turn::Found(payload, tier) => {
            match found(way, order, (keep.key, keep.since()), keep.terms, payload, tier) {
                Ok(remembered) => Err(remembered),
                Err(unfit) => {
                    *why = Reason::telling(*why, unfit);
                    Ok(Ticket::default())
                }
            }
        }
    }
}

/// What the tiers behind the memory have, if it may be used.
///
/// # Errors
/// Why it may not, or there is nothing, where that can be said.
async fn below(
    way: &Way,
    order: &Order<'_>,
    key: CacheKey,
    identity: &Identity,
    terms: Terms,
) -> Result<Remembered, Option<Reason>> {
    let (scope, label) = (order.request.consumer.scope, order.label(identity));
    let (payload, tier) = way.tiers.find(&key, &scope, &label).await?;
    let since = Since { label: &label, era: order.era };
    found(way, order, (key, since), terms, payload, tier)
}

/// What a tier behind the memory had, if it may be used; it is then remembered here as well.
///
/// # Errors
/// Why it may not, where there is more to say than that it is of no use here.
fn found(
    way: &Way,
    order: &Order<'_>,
    (key, since): (CacheKey, Since<'_>),
    terms: Terms,
    payload: Payload,
    tier: TierName,
) -> Result<Remembered, Option<Reason>> {
    let Payload::Answer(entry) = payload else { return Err(None) };
    let remembered = order.remembered(key, &terms, entry, tier)?;
    if !order.can_show(&remembered.entry) {
        return Err(None);
    }
    way.stock.remember(key, remembered.stored.clone(), since);
    Ok(remembered)
}

/// What is remembered as a whole, and may be used.
///
/// # Errors
/// Why nothing is, where there is more to say than that nothing was kept.
pub fn remembered(
    way: &Way,
    key: CacheKey,
    order: &Order<'_>,
    terms: Terms,
) -> Result<Remembered, Option<Reason>> {
    if let Some(why) = order.directives.forbids() {
        return Err(Some(why));
    }
    match way.memory.find(&key, Instant::now(), terms.stale) {
        Found::Fresh(entry) => Ok(order.remembered(key, &terms, entry, TierName::Memory)?),
        Found::Over => Err(Some(Reason::Expired)),
        Found::Nothing => Err(None),
    }
}

/// Of which model, and on which terms, its answer may be remembered.
///
/// # Errors
/// Why it may not.
pub fn terms<'a>(policy: &Policy, order: &'a Order<'_>) -> Result<(&'a Identity, Terms), Reason> {
    let identity = order.model()?;
    // This route alone knows no model by a name in another case.
    if order.request.form == Form::Embeddings && !identity.is_spelled(&order.call.model) {
        return Err(Reason::Model);
    }
    if identity.remote {
        return Err(Reason::Cloud);
    }
    let terms = policy.cache.terms(order.subject(identity))?;
    let ttl = order.directives.ttl.map_or(terms.ttl, |wanted| wanted.min(terms.ttl));
    if ttl.is_zero() {
        return Err(Reason::Ttl);
    }
    Ok((identity, Terms { ttl, ..terms }))
}

fn solo(way: &Arc<Way>, order: &Order<'_>, why: Reason, keep: Option<Keep>) -> Result<Fetched, Error> {
    let keeps = keep.as_ref().map(|keep| keep.terms.ttl);
    let (plan, outing) = (order.plan(keep), order.outing());
    order.depart();
    let seat =
        way.flights.solo(|recorder| trip::travel(way.clone(), plan, outing, recorder)).map_err(full)?;
    Ok(Fetched::Trip { live: live(seat, order), outcome: CacheOutcome::Bypass, why: Some(why), keeps })
}

/// What this request sees of a trip.
fn live(seat: Seat<TripHead, Error>, order: &Order<'_>) -> Box<Live> {
    let strip = order.call.strip_usage.then(|| UsageStrip::new(order.request.form));
    Box::new(Live::new(seat, strip))
}

fn not_cached() -> Error {
    Error::new(Kind::NotCached, "only-if-cached was asked for, and no answer is")
}

fn full(_: Full) -> Error {
    Error::new(Kind::Overloaded, "too many requests are under way").retry_after(Duration::from_secs(1))
}
