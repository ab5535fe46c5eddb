//! What a batch's texts are given while the upstream is down: what memory has, though its time may be over.

use crate::cache::{Directives, Kept, Terms};
use crate::dialect::native::Failure;
use crate::domain::{Kind, Texts};
use crate::gateway::order::Order;
use crate::gateway::wanted::Wanted;
use crate::gateway::{Policy, Way, fetch};
use crate::upstream::Identity;
use std::sync::Arc;
use std::time::Instant;

/// Where to look for it.
pub struct Spare {
    way: Arc<Way>,
    model: String,
    /// What the model meant when the batch came.
    identity: Identity,
    texts: Arc<Texts>,
    wanted: Wanted,
    terms: Terms,
    directives: Directives,
}

impl Spare {
    /// `None` where the settings do not allow it, or nobody knows what the model means.
    pub fn of(way: &Arc<Way>, policy: &Policy, order: &mut Order<'_>) -> Option<Self> {
        if !policy.cache.may_be_stale() {
            return None;
        }
        let listed = order.identity.take();
        // An upstream that does not list its models has them all the same.
        order.identity = listed.clone().or_else(|| way.inventory.last_known(&order.call.model));
        let spare = Spare::under(way, policy, order);
        order.identity = listed;
        spare
    }

    fn under(way: &Arc<Way>, policy: &Policy, order: &Order<'_>) -> Option<Self> {
        let texts = order.call.texts.clone()?;
        let (identity, terms) = fetch::terms(policy, order).ok()?;
        Some(Spare {
            way: way.clone(),
            model: order.call.model.clone(),
            identity: identity.clone(),
            wanted: Wanted::of(way, policy, order, &texts, identity),
            texts,
            terms,
            directives: order.directives,
        })
    }

    /// What there is of the different text `at`, as long as the model has not been seen to change.
    pub fn find(&self, at: usize) -> Option<Kept> {
        let last = self.way.inventory.last_known(&self.model)?;
        if !last.is_twin_of(&self.identity) || last.since != self.identity.since {
            return None;
        }
        let now = Instant::now();
        let fit = |kept: Kept| kept.fit_when_stale(&self.directives, self.terms, now).ok();
        self.wanted.look_up(&self.way, &self.texts, at, self.terms, now, fit)
    }
}

/// Whether a text has no vector because the upstream is down, or could not be asked any more.
pub fn means_down(failure: &Failure) -> bool {
    let kinds = [Kind::UpstreamUnreachable, Kind::UpstreamAborted, Kind::UpstreamTimeout];
    let is_refused = failure.code == "refused" && failure.status >= 500;
    is_refused || failure.code == "model_changed" || kinds.iter().any(|kind| kind.code() == failure.code)
}
