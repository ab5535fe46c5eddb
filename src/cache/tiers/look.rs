//! Looking without touching: what each tier has, for who asks why, or what is used most. Nothing that is seen
//! here counts as used, goes into other tiers, or is thrown out.

use super::level::TierState;
use super::{CHUNK, Tiers};
use crate::cache::payload::{Moment, Payload};
use crate::cache::{CacheKey, Fault, Listing, Selection, Standing, TierName};
use crate::domain::{Operation, Scope};
use std::time::Duration;
use tokio::sync::mpsc;

/// What one tier has under some keys.
#[derive(Debug)]
pub struct Look {
    pub tier: TierName,
    /// No entry is used from it that is older.
    pub ttl: Duration,
    pub told: Told,
}

/// What came of looking.
#[derive(Debug)]
pub enum Told {
    /// It keeps no such entries.
    Unused,
    /// It is left alone for now.
    LeftOut(Option<Fault>),
    Failed(Fault),
    /// In the order of the keys.
    Has(Vec<Sight>),
}

/// What stands under one key.
#[derive(Debug, Clone)]
pub enum Sight {
    Nothing,
    /// Something that cannot be opened.
    Unopenable,
    /// It may be over.
    There(Payload),
}

impl Look {
    /// Whether any of what is there is not over.
    pub fn has_fresh(&self) -> bool {
        let now = Moment::now().instant;
        let is_fresh = |sight: &Sight| matches!(sight, Sight::There(payload) if payload.is_fresh(now));
        matches!(&self.told, Told::Has(sights) if sights.iter().any(is_fresh))
    }
}

impl Tiers {
    /// What each tier has under `keys`.
    pub async fn look(&self, keys: &[CacheKey], scope: &Scope, operation: Operation) -> Vec<Look> {
        let mut looks = Vec::new();
        for level in &self.levels {
            let TierState { name: tier, reading, fault, limits, .. } = level.state();
            let told = match limits.ttl(operation) {
                None => Told::Unused,
                Some(_) if keys.iter().all(|key| level.tier.lacks(key)) => {
                    Told::Has(vec![Sight::Nothing; keys.len()])
                }
                Some(_) if reading == Standing::Open => Told::LeftOut(fault),
                Some(_) => match self.look_at(tier, keys).await {
                    Ok(sealed) => {
                        let open = |(key, sealed)| self.sight(key, &[*scope], sealed);
                        Told::Has(keys.iter().zip(sealed).map(open).collect())
                    }
                    Err(fault) => Told::Failed(fault),
                },
            };
            looks.push(Look { tier, ttl: limits.ttl(operation).unwrap_or_default(), told });
        }
        looks
    }

    /// These were of use in memory, each so often: the tiers count them as their own.
    pub fn used_in_memory(&self, used: &[(CacheKey, u32)]) {
        self.levels.iter().for_each(|level| level.tier.used_above(used));
    }

    /// The `most` entries of those that are meant that were used most often, as the lowest tier knows it.
    ///
    /// `None` where there is no tier, or it cannot say.
    pub async fn most_used(&self, selection: &Selection, most: usize) -> Option<(TierName, Vec<Listing>)> {
        let level = self.levels.last()?;
        let listed = level.survey("top", level.tier.top(selection, most)).await.ok()?;
        Some((level.name(), listed))
    }

    /// All entries of the lowest tier that are meant, a few at a time, as fast as they are `told`; ends early where
    /// nobody hears it.
    pub async fn list(
        &self,
        selection: &Selection,
        told: &mpsc::Sender<(TierName, Vec<Listing>)>,
    ) -> Result<(), Fault> {
        let Some(level) = self.levels.last() else { return Ok(()) };
        let (pages, mut page) = mpsc::channel(1);
        let list = async move { level.tier.list(selection, &pages).await };
        let tell = async move {
            while let Some(listed) = page.recv().await {
                if told.send((level.name(), listed)).await.is_err() {
                    return;
                }
            }
        };
        tokio::join!(list, tell).0
    }

    /// What the lowest tier has of entries that it has listed. `scopes` are those in which each may be.
    pub async fn open_listed(
        &self,
        listed: &[Listing],
        scopes: impl Fn(&Listing) -> Vec<Scope>,
    ) -> Vec<Sight> {
        let Some(level) = self.levels.last() else { return vec![Sight::Nothing; listed.len()] };
        let keys: Vec<CacheKey> = listed.iter().map(|listing| listing.key).collect();
        let Ok(sealed) = self.look_at(level.name(), &keys).await else {
            return vec![Sight::Nothing; listed.len()];
        };
        let open = |(listing, sealed): (&Listing, _)| self.sight(&listing.key, &scopes(listing), sealed);
        listed.iter().zip(sealed).map(open).collect()
    }

    /// What `tier` has under `key`, in one of `scopes`.
    pub async fn open_in(&self, tier: TierName, key: &CacheKey, scopes: &[Scope]) -> Sight {
        match self.look_at(tier, std::slice::from_ref(key)).await {
            Ok(mut sealed) => self.sight(key, scopes, sealed.pop().flatten()),
            Err(_) => Sight::Nothing,
        }
    }

    async fn look_at(&self, tier: TierName, keys: &[CacheKey]) -> Result<Vec<Option<bytes::Bytes>>, Fault> {
        let Some(level) = self.levels.iter().find(|level| level.name() == tier) else {
            return Ok(vec![None; keys.len()]);
        };
        let mut found = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(CHUNK) {
            let part = level.survey("look", level.tier.look(chunk)).await?;
            found.extend(part);
        }
        match found.len() == keys.len() {
            true => Ok(found),
            false => Err(Fault::Corrupt),
        }
    }

    fn sight(&self, key: &CacheKey, scopes: &[Scope], sealed: Option<bytes::Bytes>) -> Sight {
        let Some(sealed) = sealed else { return Sight::Nothing };
        let opened = scopes.iter().find_map(|scope| self.seal.open(key, scope, &sealed, Moment::now()));
        opened.map_or(Sight::Unopenable, Sight::There)
    }
}
