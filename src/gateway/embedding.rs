//! An embedding call, answered text by text: from the memory what is known, from the upstream the rest.
//!
//! Whatever cannot be answered so (a body that the upstream will refuse, an answer that cannot be read, a
//! model that changes meanwhile) takes the road of all other calls, as a whole.

use super::assemble::{self, Forwarded};
use super::fetch::{self, Fetched};
use super::order::Order;
use super::rest::{Came, Rest, rest};
use super::wanted::Wanted;
use super::{Policy, Way};
use crate::cache::{CacheKey, Entry, Kept, Payload, Since, Terms, TierName};
use crate::domain::{Error, Reason, Texts};
use crate::upstream::Identity;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

/// Answers `order` text by text. `None` where it is to be answered as a whole.
///
/// # Errors
/// Why nothing came from the upstream.
pub async fn fetch(way: &Arc<Way>, policy: &Policy, order: &Order<'_>) -> Result<Option<Fetched>, Error> {
    let Some(texts) = &order.call.texts else { return Ok(None) };
    let Ok((identity, terms)) = fetch::terms(policy, order) else { return Ok(None) };
    if order.directives.secrecy().is_some() || way.items.is_opaque(identity) {
        return Ok(None);
    }
    let whole = order.key(way, policy, identity);
    if let Ok(remembered) = fetch::remembered(way, whole, order, terms) {
        return Ok(Some(Fetched::Remembered(remembered)));
    }
    let wanted = Wanted::of(way, policy, order, texts, identity);
    let mut known = known(way, &wanted, order, texts, terms);
    let mut tier = TierName::Memory;
    if order.directives.may_look_up() {
        tier = look_below(way, &wanted, order, identity, terms, &mut known).await;
    }
    let (known, why) = with_why(known);
    if let Some(known) = known.iter().cloned().collect::<Option<Vec<Kept>>>() {
        return Ok(hit(way, order, (whole, identity), tier, &known, &wanted));
    }
    // What is known tells how long all of it would be.
    let fits = wanted.fits(way, known.iter().flatten().map(|kept| &kept.embedding));
    if order.directives.only_if_cached || !fits {
        return Ok(None);
    }
    match rest(way, order, texts, &wanted, identity, terms, (known, why)).await? {
        Rest::Whole(fetched) => Ok(Some(fetched)),
        Rest::Unfit => Ok(None),
        Rest::Known(known, lowest) => {
            Ok(hit(way, order, (whole, identity), tier.max(lowest), &known, &wanted))
        }
        Rest::Complete(Came { each, answered, joined }) => {
            let of = wanted.each.len();
            let all_joined = joined == answered;
            let forwarded = Forwarded { known: of - answered, of, all_joined, why, ttl: terms.ttl };
            let put = |each: Vec<_>| {
                assemble::forwarded(way, order, (whole, identity), forwarded, (&wanted, &each))
            };
            Ok(wanted.which.iter().map(|at| each[*at].clone()).collect::<Option<_>>().map(put))
        }
    }
}

/// The answer when all is known, unless it is the upstream's to write.
fn hit(
    way: &Way,
    order: &Order<'_>,
    whole: (CacheKey, &Identity),
    tier: TierName,
    known: &[Kept],
    wanted: &Wanted,
) -> Option<Fetched> {
    let fits = wanted.fits(way, known.iter().map(|kept| &kept.embedding));
    fits.then(|| assemble::hit(way, order, whole, tier, known, wanted))
}

/// What is known of a text, or why nothing is that may be used, where there is more to say than that nothing was
/// kept.
pub type Known = Result<Kept, Option<Reason>>;

/// What is known of each, and why nothing is of one of the others, as far as that can be said.
pub fn with_why(known: Vec<Known>) -> (Vec<Option<Kept>>, Option<Reason>) {
    let whys = known.iter().map(|known| known.as_ref().err().copied().flatten());
    let why = whys.fold(None, Reason::telling);
    (known.into_iter().map(Result::ok).collect(), why)
}

/// What is in memory of the different texts' vectors, and may be used.
pub fn known(way: &Way, wanted: &Wanted, order: &Order<'_>, texts: &Texts, terms: Terms) -> Vec<Known> {
    if !order.directives.may_look_up() {
        return vec![Err(None); wanted.each.len()];
    }
    let now = Instant::now();
    let look_up = |at| {
        let why = Cell::new(None);
        let fit = |kept: Kept| {
            let fit = kept.fit_for(&order.directives, terms, now);
            fit.map_err(|unfit| why.set(Some(unfit))).ok()
        };
        wanted.look_up(way, texts, at, terms, now, fit).ok_or_else(|| why.get())
    };
    (0..wanted.each.len()).map(look_up).collect()
}

/// The whole answer, if all its vectors are in memory and will do while the upstream is down.
pub fn when_stale(way: &Way, policy: &Policy, order: &Order<'_>, terms: Terms) -> Option<Entry> {
    let (texts, identity) = (order.call.texts.as_ref()?, order.identity.as_ref()?);
    let wanted = Wanted::of(way, policy, order, texts, identity);
    let now = Instant::now();
    let fit = |kept: Kept| kept.fit_when_stale(&order.directives, terms, now).ok();
    let each = 0..wanted.each.len();
    let known = each.map(|at| wanted.look_up(way, texts, at, terms, now, fit));
    let known = known.collect::<Option<Vec<Kept>>>()?;
    if !wanted.fits(way, known.iter().map(|kept| &kept.embedding)) {
        return None;
    }
    Some(assemble::of_kept(order, &known, &wanted.each_of(&known)))
}

/// Looks for those that are not `known` in the tiers behind the memory. Returns the lowest that had any.
pub async fn look_below(
    way: &Way,
    wanted: &Wanted,
    order: &Order<'_>,
    identity: &Identity,
    terms: Terms,
    known: &mut [Known],
) -> TierName {
    let mut lowest = TierName::Memory;
    let missing: Vec<usize> = (0..known.len()).filter(|at| known[*at].is_err()).collect();
    if missing.is_empty() || way.tiers.is_empty() {
        return lowest;
    }
    let keys: Vec<CacheKey> = missing.iter().map(|at| wanted.each[*at].1).collect();
    let (scope, label) = (&order.request.consumer.scope, order.label(identity));
    let found = way.tiers.find_many(&keys, scope, &label).await;
    let now = Instant::now();
    for ((at, key), found) in missing.into_iter().zip(keys).zip(found) {
        let (vector, tier) = match found {
            Ok((Payload::Vector(vector), tier)) => (vector, tier),
            Ok(_) => continue,
            Err(unfit) => {
                add(&mut known[at], Err(unfit));
                continue;
            }
        };
        let Some(embedding) = vector.embedding() else { continue };
        let since = Since { label: &label, era: order.era };
        way.stock.remember_vector(key, &embedding, (vector.stored, vector.ttl), since);
        let kept = Kept { embedding, stored: vector.stored, ttl: vector.ttl };
        add(&mut known[at], kept.fit_for(&order.directives, terms, now).map_err(Some));
        lowest = lowest.max(tier);
    }
    lowest
}

/// Adds to what is `known` of a text what a tier says of it.
fn add(known: &mut Known, said: Known) {
    *known = match (said, &*known) {
        (Err(why), Err(before)) => Err(Reason::telling(*before, why)),
        (said, _) => said,
    };
}
