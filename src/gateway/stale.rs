//! What is answered while the upstream is down: an answer from the memory, though its time may be over.
//!
//! Only where the settings allow it, only when the upstream has been asked in vain, and only of a model that
//! meant the same when the upstream was last heard of.

use super::explanation::Explanation;
use super::fetch::{self, Fetched, Remembered};
use super::order::Order;
use super::{Policy, Way, embedding};
use crate::cache::TierName;
use crate::domain::{CacheOutcome, Error, Kind};
use crate::upstream::{Identity, Verdict};
use http::HeaderValue;
use std::sync::Arc;
use std::time::Instant;

/// What `model` means, and the error where that is no more than what it meant before the upstream went down.
///
/// # Errors
/// When nothing can be said of it.
pub async fn identify(
    way: &Way,
    policy: &Policy,
    model: &str,
) -> Result<(Option<Identity>, Option<Error>), Error> {
    match way.inventory.identify(model).await {
        Ok(identity) => Ok((identity, None)),
        Err(error) if policy.cache.may_be_stale() && means_down(error.kind) => {
            Ok((way.inventory.last_known(model), Some(error)))
        }
        Err(error) => Err(error),
    }
}

/// What the upstream said to `origin` before it went down with `error`.
///
/// # Errors
/// That one, where nothing that was said may still be believed.
pub fn verdict(way: &Way, policy: &Policy, origin: &HeaderValue, error: Error) -> Result<Verdict, Error> {
    let said = || way.origins.last_known(origin, policy.cache.stale_if_error());
    let counts = policy.cache.may_be_stale() && means_down(error.kind);
    counts.then(said).flatten().ok_or(error)
}

/// Concludes what is told of `order`, with regard to an upstream that is down or may go down.
pub fn conclude(way: &Way, policy: &Policy, order: &Order<'_>, is_down: bool, told: &mut Explanation) {
    let kept = || policy.cache.may_be_stale().then(|| find(way, policy, order)).flatten();
    if is_down && told.verdict.is_empty() {
        return match kept() {
            Some(_) => {
                told.end(CacheOutcome::Hit, "the upstream is down, and memory has it: it is given as STALE")
            }
            None => told
                .end(CacheOutcome::Miss, "the upstream is down, and memory has nothing that will do instead"),
        };
    }
    told.conclude(&order.directives);
    if told.verdict != CacheOutcome::Hit.label() && kept().is_some() {
        let but = "if the upstream turns out to be down, what memory has is given all the same, as STALE";
        told.because.push(but.into());
    }
}

/// `fetched`, or what is kept instead if it turns out that the upstream is down.
///
/// # Errors
/// Those of `fetched`.
pub async fn or_kept(
    way: &Way,
    policy: &Policy,
    order: &mut Order<'_>,
    mut fetched: Result<Fetched, Error>,
) -> Result<Fetched, Error> {
    if !policy.cache.may_be_stale() {
        return fetched;
    }
    if order.identity.is_none() {
        order.identity = way.inventory.last_known(&order.call.model);
    }
    let is_down = match &mut fetched {
        Err(error) => means_down(error.kind),
        // Waited for only where there is something to give instead.
        Ok(Fetched::Trip { live, .. }) if find(way, policy, order).is_some() => match live.head().await {
            Ok(head) => head.head.status.is_server_error(),
            Err(error) => {
                let is_down = means_down(error.kind);
                fetched = Err(error);
                is_down
            }
        },
        Ok(Fetched::Assembled(assembled)) => assembled.reply.status.is_server_error(),
        Ok(_) => false,
    };
    let Some(kept) = is_down.then(|| find(way, policy, order)).flatten() else { return fetched };
    // Of many texts some may have come.
    if order.call.texts.is_none() {
        order.stay();
    }
    Ok(Fetched::Stale(kept))
}

/// What is in memory for `order`, and will do.
fn find(way: &Way, policy: &Policy, order: &Order<'_>) -> Option<Remembered> {
    let (identity, terms) = fetch::terms(policy, order).ok()?;
    let key = order.key(way, policy, identity);
    let whole = || {
        let stored = way.memory.look(&key)?;
        let (age, ttl) = (stored.age(Instant::now()), stored.ttl.min(terms.ttl));
        order.directives.accept_stale(age, ttl, terms.stale).ok()?;
        Some((order.in_mode(&stored)?, stored, ttl))
    };
    let of_vectors = || {
        let entry = Arc::new(embedding::when_stale(way, policy, order, terms)?);
        Some((entry.clone(), entry.clone(), entry.ttl))
    };
    let (entry, stored, ttl) = whole().or_else(of_vectors)?;
    Some(Remembered { key, stored, entry, tier: TierName::Memory, ttl })
}

/// Whether an error says that the upstream is down.
fn means_down(kind: Kind) -> bool {
    matches!(kind, Kind::UpstreamUnreachable | Kind::UpstreamAborted | Kind::UpstreamTimeout)
}
