//! Whose turn it is to ask the upstream, among all replicas that share a tier: whoever has the lease of a key.
//! The others wait for what it keeps.
//!
//! Nobody waits for more than two holders: where both kept nothing, what is asked for is not to be kept, and
//! everybody goes alone.

use super::lease::{Ended, Lease, Leases, Taken};
use super::sharing::{Seeker, Sharing};
use super::{CacheKey, Label, Limits, Payload, TierName, Tiers};
use crate::domain::Scope;
use crate::telemetry::{Metrics, Sampled, TurnOutcome};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Holders that are waited for, one after the other: one may die, and another take over.
const HOLDERS: u32 = 2;

/// Gives out turns. Where there are no leases everybody has his at once.
pub struct Turns {
    leases: Option<Leased>,
    tiers: Arc<Tiers>,
    metrics: Arc<Metrics>,
}

struct Leased {
    leases: Leases,
    /// Of the tier in which replicas find what others keep.
    limits: Limits,
    /// Equal requests here wait as one.
    waiting: Arc<Sharing<Shared>>,
}

/// What came of waiting for one's turn.
pub enum Turn {
    /// Another replica has asked, and this is what it kept.
    Found(Payload, TierName),
    /// It has come.
    Come(Ticket),
}

/// The right to ask. Whoever departs takes the lease along; where nobody does, it is given back.
#[derive(Default)]
pub struct Ticket {
    lease: Option<Arc<Mutex<Option<Lease>>>>,
    /// Until its holder has departed, whoever comes later shares it.
    _seeker: Option<Seeker<Shared>>,
}

/// The same, as those see it who wait together.
#[derive(Clone)]
enum Shared {
    Found(Payload, TierName),
    Come(Option<Arc<Mutex<Option<Lease>>>>),
}

// === impl Turns ===

impl Turns {
    /// `leases`, and what is set about the tier that they stand in; none where no tier is shared.
    pub fn new(leases: Option<(Leases, Limits)>, tiers: Arc<Tiers>, metrics: Arc<Metrics>) -> Self {
        let leases =
            leases.map(|(leases, limits)| Leased { leases, limits, waiting: Arc::new(Sharing::default()) });
        if let Some(Leased { leases, waiting, .. }) = &leases {
            let (leases, waiting) = (leases.clone(), waiting.clone());
            metrics.gauge_source(Sampled::Size("leases"), move || leases.held() as i64);
            metrics.gauge_source(Sampled::Size("turns_waited_for"), move || waiting.len() as i64);
        }
        Turns { leases, tiers, metrics }
    }

    /// Whether others may be waited for.
    pub fn are_shared(&self) -> bool {
        self.leases.is_some()
    }

    /// Waits until it is this replica's turn to ask for `key`, or another has kept the answer. Cancel safe.
    /// A holder that has died is waited for no longer than its lease lasts; one that lives, as long as it works.
    pub async fn wait(&self, key: &CacheKey, scope: &Scope, label: &Label) -> Turn {
        let Some(Leased { leases, limits, waiting }) = &self.leases else { return Turn::alone() };
        if limits.ttl(label.operation).is_none() {
            return Turn::alone();
        }
        let Some(seeker) = waiting.join(key, scope, self.tiers.eras().now()) else { return Turn::alone() };
        match seeker.find(|| self.wait_for_all(leases, key, scope, label)).await {
            Shared::Found(payload, tier) => Turn::Found(payload, tier),
            Shared::Come(lease) => Turn::Come(Ticket { lease, _seeker: Some(seeker) }),
        }
    }

    async fn wait_for_all(&self, leases: &Leases, key: &CacheKey, scope: &Scope, label: &Label) -> Shared {
        let found = async || self.tiers.find_one(key, scope, label).await;
        let count = |outcome| self.metrics.turn(outcome);
        // What is under way here is joined here.
        if leases.holds(key) {
            return Shared::Come(None);
        }
        for holders in 0.. {
            match leases.take(key).await {
                Taken::Held(lease) => {
                    // Somebody has had it of late: what he kept may have come since it was looked for.
                    if lease.fence() > 1
                        && let Ok((payload, tier)) = found().await
                    {
                        count(TurnOutcome::Found);
                        return Shared::Found(payload, tier);
                    }
                    count(TurnOutcome::Held);
                    return Shared::Come(Some(Arc::new(Mutex::new(Some(lease)))));
                }
                Taken::Other(waiting) if holders < HOLDERS => {
                    if waiting.over().await == Ended::Alone {
                        break;
                    }
                    if let Ok((payload, tier)) = found().await {
                        count(TurnOutcome::Found);
                        return Shared::Found(payload, tier);
                    }
                }
                Taken::Other(_) | Taken::Alone => break,
            }
        }
        count(TurnOutcome::Alone);
        Shared::Come(None)
    }

    /// Whether another replica asks for `key` just now, as far as that can be told.
    pub async fn is_elsewhere(&self, key: &CacheKey) -> bool {
        match &self.leases {
            Some(Leased { leases, .. }) => leases.is_elsewhere(key).await,
            None => false,
        }
    }

    /// Keeps the leases, until `stop`.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        if let Some(Leased { leases, .. }) = &self.leases {
            leases.run(stop).await;
        }
    }
}

impl Turn {
    fn alone() -> Self {
        Turn::Come(Ticket::default())
    }
}

// === impl Ticket ===

impl Ticket {
    /// The lease, if there is one and nobody has taken it along.
    pub fn lease(&self) -> Option<Lease> {
        self.lease.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
