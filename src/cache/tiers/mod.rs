//! The tiers behind the memory, in the order in which they are asked. Whatever goes wrong in one is a miss;
//! what is kept in them is written behind the answers, never before them.

mod level;
mod look;
mod queue;
mod removal;

pub use level::{Limits, TierState};
pub use look::{Look, Sight, Told};

use super::join::join_all;
use super::payload::{Moment, Payload};
use super::sharing::Sharing;
use super::stop::stopped;
use super::{
    CacheKey, Era, Eras, Fault, Label, Lease, Listing, Parcel, Seal, Selection, Standing, Tally, Tier,
    TierName,
};
use crate::domain::{Reason, Scope};
use crate::telemetry::{Metrics, Sampled, TierResult, WriteLoss};
use bytes::Bytes;
use level::Level;
use queue::{Errand, Keeping, Load, Queue};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Keys that a tier is asked for at once.
const CHUNK: usize = 256;
/// Errands done in one go, and their bytes.
const GROUP: usize = 128;
const GROUP_BYTES: usize = 4 << 20;
/// Errands that may wait.
const QUEUE: usize = 65_536;
/// Between two looks at whether a tier is there.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// After a start nothing is written before each tier has been tried once, or this long has passed: one that is
/// still being opened would lose it.
const SETTLING: Duration = Duration::from_secs(5);
/// What still waits at the end has this long.
const LAST_WRITES: Duration = Duration::from_secs(3);
/// So much is sealed at a stretch; then others have a turn.
const STRETCH: usize = 256 << 10;

/// What stands under a key, and which tier had it, or why there is nothing, where there is more to say than that
/// nothing was kept.
pub type Sought = Result<(Payload, TierName), Option<Reason>>;

/// All tiers behind the memory.
pub struct Tiers {
    levels: Vec<Level>,
    seal: Seal,
    queue: Arc<Queue>,
    sharing: Arc<Sharing<Sought>>,
    eras: Eras,
    /// Held while a group is written.
    writing: tokio::sync::Mutex<()>,
    metrics: Arc<Metrics>,
}

impl Tiers {
    /// `tiers` in the order in which they are asked; `queue_bytes` may wait to be written.
    pub fn new(
        seal: Seal,
        tiers: impl IntoIterator<Item = (Arc<dyn Tier>, Limits)>,
        queue_bytes: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        let level = |(tier, limits)| Level::new(tier, limits, metrics.clone());
        let levels: Vec<Level> = tiers.into_iter().map(level).collect();
        let queue = Arc::new(Queue::new(QUEUE, queue_bytes, metrics.clone()));
        let sharing = Arc::new(Sharing::default());
        if !levels.is_empty() {
            let lookups = sharing.clone();
            metrics.gauge_source(Sampled::Size("cache_lookups"), move || lookups.len() as i64);
            let number = queue.clone();
            metrics.gauge_source(Sampled::Size("cache_writes"), move || number.size().0 as i64);
            let bytes = queue.clone();
            metrics.gauge_source(Sampled::Size("cache_write_bytes"), move || bytes.size().1 as i64);
        }
        Tiers { levels, seal, queue, sharing, eras: Eras::default(), writing: Default::default(), metrics }
    }

    /// Whether there is any tier at all.
    pub fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// What has been removed, and when.
    pub fn eras(&self) -> &Eras {
        &self.eras
    }

    /// What stands under `key`, and which tier had it, so that it can be put into the memory. Takes no longer
    /// than the timeouts of the tiers together. `label` says whether a tier keeps such entries, and goes with
    /// the entry into the tiers above.
    pub async fn find(&self, key: &CacheKey, scope: &Scope, label: &Label) -> Sought {
        if self.levels.is_empty() {
            return Err(None);
        }
        let look_up = async || self.find_one(key, scope, label).await;
        self.sharing.find(key, scope, self.eras.now(), look_up).await
    }

    /// As [`Tiers::find`], for whoever does not look together with others.
    pub(super) async fn find_one(&self, key: &CacheKey, scope: &Scope, label: &Label) -> Sought {
        self.find_many(std::slice::from_ref(key), scope, label).await.pop().unwrap_or(Err(None))
    }

    /// As [`Tiers::find`] for each of `keys`, in their order, with few questions. A tier that fails is not
    /// asked for the rest.
    pub async fn find_many(&self, keys: &[CacheKey], scope: &Scope, label: &Label) -> Vec<Sought> {
        let mut found = vec![Err(None); keys.len()];
        let era = self.eras.now();
        for (depth, level) in self.levels.iter().enumerate() {
            let Some(ttl) = level.limits.ttl(label.operation) else { continue };
            let missing: Vec<usize> = (0..keys.len()).filter(|at| found[*at].is_err()).collect();
            for (nth, chunk) in missing.chunks(CHUNK).enumerate() {
                let wanted: Vec<CacheKey> = chunk.iter().map(|at| keys[*at]).collect();
                if level.still_has_removed(&wanted, label) {
                    break;
                }
                let Some(sealed) = level.find(&wanted, label.operation).await else {
                    let unasked = missing[nth * CHUNK..].iter().filter(|at| !level.tier.lacks(&keys[**at]));
                    unasked.for_each(|at| add(&mut found[*at], Err(Some(Reason::TierDown))));
                    break;
                };
                for (at, sealed) in chunk.iter().zip(sealed) {
                    let open = |sealed| self.open(depth, &keys[*at], scope, (label, era), ttl, sealed);
                    let opened = sealed.map_or(Err(None), |sealed| open(sealed).map_err(Some));
                    let result = if opened.is_ok() { TierResult::Hit } else { TierResult::Miss };
                    level.count(result, label.operation, 1);
                    add(&mut found[*at], opened.map(|payload| (payload, level.name())));
                }
            }
        }
        found
    }

    /// What `sealed` is, if it may be used; it then goes into the tiers above as well. What cannot be opened
    /// goes.
    ///
    /// # Errors
    /// Why it may not be used.
    fn open(
        &self,
        depth: usize,
        key: &CacheKey,
        scope: &Scope,
        (label, era): (&Label, Era),
        ttl: Duration,
        sealed: Bytes,
    ) -> Result<Payload, Reason> {
        let now = Moment::now();
        let Some(payload) = self.seal.open(key, scope, &sealed, now) else {
            self.levels[depth].count_unopened();
            self.queue.put(Errand::Remove { depth, key: *key });
            return Err(Reason::Unopened);
        };
        if !payload.is_fresh(now.instant) || payload.age(now.instant) >= ttl {
            return Err(Reason::Expired);
        }
        let (stored, life) = (payload.stored(), payload.ttl());
        if depth > 0 {
            let (load, label_kept) = (Load::Sealed(sealed), label.clone());
            let keeping = Keeping {
                key: *key,
                scope: *scope,
                label: label_kept,
                load,
                stored,
                ttl: life,
                depth,
                lease: None,
            };
            self.eras.during(Some(key), label, era, || self.queue.put(Errand::Keep(Box::new(keeping))));
        }
        Ok(payload)
    }

    /// Puts `payload` into every tier that takes such entries, soon: never waits. `lease` is given back once
    /// that has been done, or cannot be.
    pub fn keep(&self, key: CacheKey, scope: Scope, label: Label, payload: Payload, lease: Option<Lease>) {
        if self.levels.iter().all(|level| level.limits.ttl(label.operation).is_none()) {
            return;
        }
        let (stored, ttl) = (payload.stored(), payload.ttl());
        let (load, depth) = (Load::Payload(payload), self.levels.len());
        let keeping = Keeping { key, scope, label, load, stored, ttl, depth, lease };
        self.queue.put(Errand::Keep(Box::new(keeping)));
    }

    /// Writes what waits, and looks whether tiers are there, until `stop`; then writes for a few seconds more.
    pub async fn run(&self, stop: watch::Receiver<bool>) {
        let (watching, removing) = (self.watch_over(stop.clone()), self.remove_rest(stop.clone()));
        tokio::join!(watching, removing, self.write_behind(stop));
        let rest = async {
            if self.queue.size().0 > 0 {
                self.settled().await;
            }
            while self.queue.size().0 > 0 {
                self.write_group().await;
            }
        };
        let _ = tokio::time::timeout(LAST_WRITES, rest).await;
        let lost = self.queue.take(usize::MAX, usize::MAX).len();
        self.metrics.write_lost(WriteLoss::Stopping, lost as u64);
    }

    async fn watch_over(&self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = self.probe() => {}
            }
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = tokio::time::sleep(PROBE_EVERY) => {}
            }
        }
    }

    /// Looks at each tier whether it is there, and reaches for those that are not.
    pub async fn probe(&self) {
        join_all(self.levels.iter().map(Level::probe)).await;
    }

    async fn write_behind(&self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            () = stopped(&mut stop) => return,
            _ = tokio::time::timeout(SETTLING, self.settled()) => {}
        }
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = self.queue.filled() => {}
            }
            self.write_group().await;
        }
    }

    /// Waits until each tier has been tried once.
    async fn settled(&self) {
        join_all(self.levels.iter().map(|level| level.tier.settled())).await;
    }

    async fn write_group(&self) {
        let _writing = self.writing.lock().await;
        let mut keepings = Vec::new();
        for errand in self.queue.take(GROUP, GROUP_BYTES) {
            match errand {
                Errand::Keep(keeping) => keepings.push(keeping),
                Errand::Remove { depth, key } => self.levels[depth].throw_out(key).await,
            }
        }
        let mut sealed = self.seal_all(&keepings).await;
        for (_, sealed) in keepings.iter().zip(&mut sealed).filter(|(keeping, _)| keeping.is_overtaken()) {
            *sealed = None;
            self.metrics.write_lost(WriteLoss::Overtaken, 1);
        }
        let now = Moment::now();
        let parcels = self.levels.iter().enumerate().map(|(depth, level)| -> Vec<Parcel> {
            let meant = keepings.iter().zip(&sealed).filter(|(keeping, _)| depth < keeping.depth);
            meant
                .filter_map(|(keeping, sealed)| keeping.parcel(sealed.clone()?, &level.limits, now))
                .collect()
        });
        let parcels: Vec<Vec<Parcel>> = parcels.collect();
        join_all(self.levels.iter().zip(&parcels).map(|(level, parcels)| level.keep(parcels))).await;
        // Only now: whoever waited for a lease looks into the tiers.
        drop(keepings);
    }

    async fn seal_all(&self, keepings: &[Box<Keeping>]) -> Vec<Option<Bytes>> {
        let mut sealed = Vec::with_capacity(keepings.len());
        let mut stretch = 0;
        for keeping in keepings {
            let bytes = match &keeping.load {
                Load::Sealed(sealed) => Some(sealed.clone()),
                Load::Payload(payload) => {
                    self.seal.seal(&keeping.key, &keeping.scope, payload, Moment::now())
                }
            };
            if bytes.is_none() {
                self.metrics.write_lost(WriteLoss::TooLarge, 1);
            }
            stretch += bytes.as_ref().map_or(0, Bytes::len);
            if stretch > STRETCH {
                stretch = 0;
                tokio::task::yield_now().await;
            }
            sealed.push(bytes);
        }
        sealed
    }

    /// What each tier holds, by kind, largest first. One that is left out for now is not asked.
    pub async fn tally(&self) -> Vec<(TierName, Result<Vec<Tally>, Fault>)> {
        let tally = async |level: &Level| match level.state() {
            TierState { reading: Standing::Open, fault, .. } => Err(fault.unwrap_or(Fault::Unreachable)),
            _ => level.survey("tally", level.tier.tally()).await,
        };
        let tallies = join_all(self.levels.iter().map(tally)).await;
        self.levels.iter().map(Level::name).zip(tallies).collect()
    }

    /// The `most` entries of each tier that were used most often, of those that are meant.
    pub async fn top(
        &self,
        selection: &Selection,
        most: usize,
    ) -> Vec<(TierName, Result<Vec<Listing>, Fault>)> {
        self.ask("top", |tier| tier.top(selection, most)).await
    }

    async fn ask<'a, T, F: Future<Output = Result<T, Fault>>>(
        &'a self,
        op: &'static str,
        work: impl Fn(&'a dyn Tier) -> F,
    ) -> Vec<(TierName, Result<T, Fault>)> {
        let asked = self.levels.iter().map(|level| level.survey(op, work(&*level.tier)));
        let names = self.levels.iter().map(Level::name);
        names.zip(join_all(asked).await).collect()
    }

    /// How each tier is.
    pub fn state(&self) -> Vec<TierState> {
        self.levels.iter().map(Level::state).collect()
    }

    /// How many entries wait to be written, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        self.queue.size()
    }
}

/// Adds to what was `found` so far what one more tier says.
fn add(found: &mut Sought, said: Sought) {
    *found = match (said, &*found) {
        (Err(why), Err(before)) => Err(Reason::telling(*before, why)),
        (said, _) => said,
    };
}

impl Keeping {
    /// Another may have the lease by now: what it stores is newer.
    fn is_overtaken(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| !lease.is_held())
    }

    /// For a tier with `limits`, if it takes this.
    fn parcel(&self, sealed: Bytes, limits: &Limits, now: Moment) -> Option<Parcel> {
        let ttl = self.ttl.min(limits.ttl(self.label.operation)?);
        let stored = now.wall_at(self.stored);
        let expires = stored + ttl;
        let fits = sealed.len() <= limits.max_entry && expires > now.wall;
        fits.then(|| Parcel { key: self.key, label: self.label.clone(), sealed, stored, expires })
    }
}

#[cfg(test)]
mod tests;
