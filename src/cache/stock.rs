//! All that is kept, in whatever tier: put away, counted and removed. To look something up is not its affair: the
//! shortest way goes to the memory itself.

use super::labels::{Kind, Labels};
use super::memory::Tagged;
use super::stop::stopped;
use super::{
    CacheKey, Entry, Era, Fault, Label, Lease, Memory, Payload, Prefix, Selection, Tag, Tally, TierName,
    Tiers, Vector, Vectors,
};
use crate::domain::{Embedding, Operation, Scope};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// What was counted is told again for so long ...
const FRESH: Duration = Duration::from_secs(1);
/// ... and for so many times as long as counting took: asking all the time costs little.
const TIMES: u32 = 10;

/// Between two looks at what others have removed.
const HEAR_EVERY: Duration = Duration::from_secs(1);

/// See the module.
pub struct Stock {
    pub(super) memory: Arc<Memory>,
    pub(super) vectors: Arc<Vectors>,
    pub(super) tiers: Arc<Tiers>,
    labels: Labels,
    counted: tokio::sync::Mutex<Option<Arc<Counts>>>,
}

/// What each tier holds, by kind, largest first.
#[derive(Debug)]
pub struct Counts {
    pub tiers: Vec<(TierName, Result<Vec<Tally>, Fault>)>,
    /// When that was.
    pub at: Instant,
    took: Duration,
}

/// An entry in memory.
#[derive(Debug)]
pub struct Held {
    pub prefix: Prefix,
    pub operation: Operation,
    pub model: Arc<str>,
    pub team: Arc<str>,
    pub bytes: u64,
    pub hits: u64,
    pub stored: Instant,
    pub ttl: Duration,
    pub payload: Payload,
}

/// For whom, and since when, something is put away.
#[derive(Debug, Clone, Copy)]
pub struct Since<'a> {
    pub label: &'a Label,
    pub era: Era,
}

impl Stock {
    pub fn new(memory: Arc<Memory>, vectors: Arc<Vectors>, tiers: Arc<Tiers>) -> Self {
        Stock { memory, vectors, tiers, labels: Labels::default(), counted: Default::default() }
    }

    /// The era that it is: to be read where a road begins, and given back with what it brings home.
    pub fn era(&self) -> Era {
        self.tiers.eras().now()
    }

    /// Bytes that the memory may take.
    pub fn capacity(&self) -> u64 {
        self.memory.capacity().saturating_add(self.vectors.capacity())
    }

    /// How many labels are told apart.
    pub fn labels(&self) -> usize {
        self.labels.len()
    }

    /// Puts an answer into the memory, unless it was removed `since`.
    pub fn remember(&self, key: CacheKey, entry: Arc<Entry>, since: Since<'_>) {
        let put = |tag| self.memory.put(key, entry, tag);
        self.during(Some(&key), since, put);
    }

    /// The same for one that was put together from what stands under other keys.
    pub fn remember_whole(&self, key: CacheKey, entry: Arc<Entry>, since: Since<'_>) {
        self.during(None, since, |tag| self.memory.put(key, entry, tag));
    }

    /// The same for a text's vector, which was `stored` first and may be used for `ttl` from then on.
    pub fn remember_vector(
        &self,
        key: CacheKey,
        embedding: &Embedding,
        (stored, ttl): (Instant, Duration),
        since: Since<'_>,
    ) {
        self.during(Some(&key), since, |tag| self.vectors.put(key, embedding, stored, ttl, tag));
    }

    /// Puts what is new into all tiers behind the memory; never waits. `lease` is given back once that has been
    /// done, or cannot be.
    pub fn keep_below(
        &self,
        key: CacheKey,
        scope: Scope,
        payload: Payload,
        since: Since<'_>,
        lease: Option<Lease>,
    ) {
        self.during(Some(&key), since, |_| {
            self.tiers.keep(key, scope, since.label.clone(), payload, lease);
        });
    }

    fn during(&self, key: Option<&CacheKey>, Since { label, era }: Since<'_>, put: impl FnOnce(Tag)) {
        let tag = self.labels.tag(label);
        self.tiers.eras().during(key, label, era, || put(tag));
    }

    /// What is in memory under `key`, be it over or not; it does not count as used.
    pub fn look(&self, key: &CacheKey) -> Option<Held> {
        let (tag, hits, bytes, payload) = match self.memory.look_closer(key) {
            Some(Tagged { entry, tag }) => {
                (tag, entry.hits.number(), entry.weight().into(), Payload::Answer(entry))
            }
            None => {
                let (kept, tag, hits, bytes) = self.vectors.look_closer(key)?;
                let vector = Vector::of(&kept.embedding, kept.stored, kept.ttl);
                (tag, hits, bytes, Payload::Vector(Arc::new(vector)))
            }
        };
        let kind = self.labels.kinds().into_iter().nth(tag.place())?;
        let (model, team) = kind.shown();
        let (stored, ttl) = (payload.stored(), payload.ttl());
        let (prefix, operation) = (kind.prefix(), kind.operation);
        Some(Held { prefix, operation, model, team, bytes, hits, stored, ttl, payload })
    }

    /// All entries in memory that are meant, as fast as they are `told`; ends early where nobody hears it.
    pub async fn list(self: &Arc<Self>, selection: Selection, told: mpsc::Sender<(CacheKey, Held)>) {
        let stock = self.clone();
        // To go through all of them takes long, and waits for who reads it.
        let listing = tokio::task::spawn_blocking(move || {
            let answers = stock.memory.all().map(|(key, _)| key);
            for key in answers.chain(stock.vectors.keys()) {
                let Some(held) = stock.look(&key) else { continue };
                if held.is_meant(&selection) && told.blocking_send((key, held)).is_err() {
                    return;
                }
            }
        });
        let _ = listing.await;
    }

    /// The `most` entries in memory that were of use most often, of those that are meant.
    pub async fn top(self: &Arc<Self>, selection: Selection, most: usize) -> Vec<(CacheKey, Held)> {
        let stock = self.clone();
        // To go through all of them takes long.
        let looking = tokio::task::spawn_blocking(move || {
            let keys = stock.most_used(&selection, most);
            keys.into_iter().filter_map(|key| Some((key, stock.look(&key)?))).collect()
        });
        looking.await.unwrap_or_default()
    }

    fn most_used(&self, selection: &Selection, most: usize) -> Vec<CacheKey> {
        let is_meant = |kind: &Kind| {
            let (model, team) = kind.shown();
            selection.means_prefix(kind.prefix()) && selection.means_names(&model, &team)
        };
        let meant: Vec<bool> = self.labels.kinds().iter().map(is_meant).collect();
        let mut used = BinaryHeap::new();
        let mut see = |key: CacheKey, tag: Tag, hits: u64| {
            // What has come in meanwhile has not been of use yet.
            if meant.get(tag.place()).is_some_and(|meant| *meant) {
                used.push(Reverse((hits, key.0)));
            }
            if used.len() > most {
                used.pop();
            }
        };
        self.memory.all().for_each(|(key, Tagged { entry, tag })| see(key, tag, entry.hits.number()));
        self.vectors.see_all(|slot, _| see(slot.key, slot.tag, slot.hits.into()));
        used.into_sorted_vec().into_iter().map(|Reverse((_, key))| CacheKey(key)).collect()
    }

    /// What each tier holds, as it was a moment ago.
    pub async fn counts(&self) -> Arc<Counts> {
        // One counts, the others wait for that.
        let mut last = self.counted.lock().await;
        if let Some(last) = &*last
            && last.at.elapsed() < FRESH.max(last.took * TIMES)
        {
            return last.clone();
        }
        let at = Instant::now();
        let mut tiers = vec![(TierName::Memory, Ok(self.tally()))];
        tiers.extend(self.tiers.tally().await);
        let counts = Arc::new(Counts { tiers, at, took: at.elapsed() });
        *last = Some(counts.clone());
        counts
    }

    /// What is in memory, by kind, largest first.
    fn tally(&self) -> Vec<Tally> {
        let mut amounts: Vec<(u64, u64)> = Vec::new();
        let mut count = |tag: Tag, bytes: u64| {
            if amounts.len() <= tag.place() {
                amounts.resize(tag.place() + 1, (0, 0));
            }
            let (entries, all) = &mut amounts[tag.place()];
            (*entries, *all) = (*entries + 1, *all + bytes);
        };
        self.memory.all().for_each(|(_, Tagged { entry, tag })| count(tag, entry.weight().into()));
        self.vectors.see_all(|slot, bytes| count(slot.tag, bytes as u64));
        let tally = |(kind, (entries, bytes)): (Kind, (u64, u64))| {
            let (model, team) = kind.shown();
            Tally { prefix: kind.prefix(), operation: kind.operation, model, team, entries, bytes }
        };
        // A kind whose entry was counted was there before.
        let held = self.labels.kinds().into_iter().zip(amounts).filter(|(_, (entries, _))| *entries > 0);
        let mut tallies: Vec<Tally> = held.map(tally).collect();
        tallies.sort_by(|one, other| other.bytes.cmp(&one.bytes).then_with(|| one.model.cmp(&other.model)));
        tallies
    }

    /// Removes what is meant from all tiers, for good: how many each had, as far as it could be asked. Goes on
    /// when nobody waits for it any more.
    pub async fn remove(self: &Arc<Self>, selection: Selection) -> Vec<(TierName, Result<u64, Fault>)> {
        let stock = self.clone();
        let removing = tokio::spawn(async move { stock.remove_all(&selection).await });
        removing.await.unwrap_or_default()
    }

    async fn remove_all(&self, selection: &Selection) -> Vec<(TierName, Result<u64, Fault>)> {
        // What is over is used by nobody, so nobody can bring it back.
        let _removal = (!selection.expired).then(|| self.tiers.eras().begin(selection));
        let mut removed = vec![(TierName::Memory, Ok(self.forget(selection)))];
        removed.extend(self.tiers.remove(selection).await);
        *self.counted.lock().await = None;
        removed
    }

    /// Drops what others remove from the tiers that they share with this process, until `stop`.
    pub async fn follow(&self, mut stop: watch::Receiver<bool>) {
        let work = async {
            loop {
                tokio::time::sleep(HEAR_EVERY).await;
                for selection in self.tiers.heard().await {
                    let _removal = self.tiers.eras().begin(&selection);
                    self.forget(&selection);
                    self.tiers.remove_own(&selection).await;
                }
            }
        };
        tokio::select! {
            () = stopped(&mut stop) => {}
            () = work => {}
        }
    }

    /// Takes what is meant out of the memory; returns how many that were.
    fn forget(&self, selection: &Selection) -> u64 {
        let kinds = self.labels.kinds();
        let is_meant = |tag: Tag| kinds.get(tag.place()).is_none_or(|kind| kind.may_be_meant(selection));
        let now = Instant::now();
        if selection.key.is_some() {
            // Answers to embedding calls are put together from vectors: this may be of one of them.
            let is_whole =
                |tag: Tag| kinds.get(tag.place()).is_none_or(|kind| kind.operation == Operation::Embed);
            self.memory.remove(|_, Tagged { tag, .. }| is_whole(*tag));
        }
        let answers = self.memory.remove(|key, Tagged { entry, tag }| {
            is_meant(*tag)
                && selection.key.is_none_or(|wanted| wanted == *key)
                && (!selection.expired || !entry.is_fresh(now))
        });
        let vectors = self.vectors.remove(now, |slot, is_over| {
            is_meant(slot.tag)
                && selection.key.is_none_or(|wanted| wanted == slot.key)
                && (!selection.expired || is_over)
        });
        answers + vectors
    }
}

impl Held {
    fn is_meant(&self, selection: &Selection) -> bool {
        selection.means_prefix(self.prefix) && selection.means_names(&self.model, &self.team)
    }
}
