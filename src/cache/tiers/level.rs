//! One tier with what is set about it: how long things stay there, how long it may take, and whether it is
//! asked at all just now. Whatever it does is timed and counted here.

use super::removal::{Heard, Owed};
use crate::cache::breaker::{Breaker, Pass, Standing};
use crate::cache::guard::unbroken;
use crate::cache::tier::unhurried;
use crate::cache::{CacheKey, Fault, Parcel, Selection, Tier, TierName};
use crate::domain::Operation;
use crate::telemetry::{Metrics, TierResult, WriteLoss};
use bytes::Bytes;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What an operator asks for goes through all that a tier has.
const SURVEY_TIMEOUT: Duration = Duration::from_secs(30);
/// To reach a tier anew, its name looked up and its doors opened, may take so much longer.
const REACHING: Duration = Duration::from_millis(500);

/// What is set about one tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// No embedding is used from it that is older; zero keeps them out.
    pub embedding_ttl: Duration,
    /// No completion is used from it that is older; zero keeps them out.
    pub completion_ttl: Duration,
    /// The largest sealed entry that goes in, in bytes.
    pub max_entry: usize,
    /// The longest that a request waits for it.
    pub timeout: Duration,
}

/// How a tier is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierState {
    pub name: TierName,
    pub limits: Limits,
    /// Whether it is read from, and written to.
    pub reading: Standing,
    pub writing: Standing,
    /// The last thing that went wrong since it came back.
    pub fault: Option<Fault>,
}

pub(super) struct Level {
    pub tier: Arc<dyn Tier>,
    pub limits: Limits,
    reading: Breaker,
    writing: Breaker,
    fault: Mutex<Option<Fault>>,
    /// Whether it has been said that something could not be opened.
    told: AtomicBool,
    pub(super) owed: Owed,
    pub(super) heard: tokio::sync::Mutex<Heard>,
    /// What this process signs its notices with.
    pub(super) signature: u64,
    metrics: Arc<Metrics>,
}

// === impl Limits ===

impl Limits {
    /// How long an answer to `operation` may be used from there, if at all.
    pub fn ttl(&self, operation: Operation) -> Option<Duration> {
        let ttl = match operation {
            Operation::Embed => self.embedding_ttl,
            Operation::Chat | Operation::Text | Operation::Transcribe => self.completion_ttl,
        };
        (!ttl.is_zero()).then_some(ttl)
    }

    fn for_writing(&self) -> Duration {
        unhurried(self.timeout)
    }
}

// === impl Level ===

impl Level {
    pub fn new(tier: Arc<dyn Tier>, limits: Limits, metrics: Arc<Metrics>) -> Self {
        metrics.expect_tier(tier.name().label());
        let (reading, writing) = Default::default();
        Level {
            tier,
            limits,
            reading,
            writing,
            fault: Mutex::new(None),
            told: AtomicBool::new(false),
            owed: Owed::default(),
            heard: Default::default(),
            signature: fastrand::u64(1..),
            metrics,
        }
    }

    pub fn name(&self) -> TierName {
        self.tier.name()
    }

    pub fn state(&self) -> TierState {
        TierState {
            name: self.name(),
            limits: self.limits,
            reading: self.reading.standing(),
            writing: self.writing.standing(),
            fault: *self.fault.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// What it has under `keys`, in their order; `None` where it could not be asked, or did not tell in time.
    pub async fn find(&self, keys: &[CacheKey], operation: Operation) -> Option<Vec<Option<Bytes>>> {
        let sought: Vec<CacheKey> = keys.iter().filter(|key| !self.tier.lacks(key)).copied().collect();
        if sought.is_empty() {
            return Some(vec![None; keys.len()]);
        }
        let asked = sought.len() as u64;
        // Where there is no connection it is for the probe to make one: no request could.
        let Some(pass) = self.reading.enter_closed() else {
            self.count(TierResult::Bypass, operation, asked);
            return None;
        };
        let found = self.time("find", self.limits.timeout, self.tier.find(&sought)).await;
        self.judge(pass, &self.reading, &found);
        match found {
            Ok(found) if found.len() == sought.len() => {
                let mut found = sought.iter().zip(found).peekable();
                let next = |key| found.next_if(|(sought, _)| *sought == key).and_then(|(_, found)| found);
                Some(keys.iter().map(next).collect())
            }
            Ok(_) | Err(_) => {
                self.count(TierResult::Error, operation, asked);
                None
            }
        }
    }

    pub async fn keep(&self, parcels: &[Parcel]) {
        let number = parcels.len() as u64;
        if parcels.is_empty() {
            return;
        }
        let Some(pass) = self.writing.enter(Instant::now()) else {
            self.metrics.write_lost(WriteLoss::TierDown, number);
            return;
        };
        let kept = self.time("keep", self.limits.for_writing(), self.tier.keep(parcels)).await;
        self.judge(pass, &self.writing, &kept);
        if kept.is_err() {
            self.metrics.write_lost(WriteLoss::TierFailed, number);
        }
    }

    /// Removes what could not be opened.
    pub async fn throw_out(&self, key: CacheKey) {
        let Some(pass) = self.writing.enter(Instant::now()) else { return };
        let selection = Selection { key: Some(key), ..Selection::default() };
        let removed = self.time("remove", self.limits.for_writing(), self.tier.remove(&selection)).await;
        self.judge(pass, &self.writing, &removed);
    }

    /// What an operator asks for: takes its time, and is not kept away by earlier failures.
    pub async fn survey<T>(
        &self,
        op: &'static str,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        self.time(op, SURVEY_TIMEOUT, work).await
    }

    /// Whether it can be used. To reach it anew may take long; to count as well, it must then answer as
    /// quickly as requests need it.
    pub async fn probe(&self) {
        let Some(pass) = self.reading.enter(Instant::now()) else { return };
        let began = Instant::now();
        let deadline = unhurried(self.limits.timeout) + REACHING;
        let mut probed = self.time("probe", deadline, self.tier.probe()).await;
        if probed.is_ok() && began.elapsed() > self.limits.timeout {
            probed = self.time("probe", self.limits.timeout, self.tier.probe()).await;
        }
        // While requests go through it is they who know best: they may fail where a probe does not.
        if probed.is_ok() && self.reading.standing() == Standing::Closed {
            self.metrics.dependency_up(self.name().label(), true);
            return;
        }
        self.judge(pass, &self.reading, &probed);
    }

    /// Whether it has failed of late.
    pub fn is_left_out(&self) -> bool {
        self.reading.standing() == Standing::Open
    }

    pub fn count(&self, result: TierResult, operation: Operation, number: u64) {
        self.metrics.tier_asked(self.name().label(), result, operation, number);
    }

    pub fn count_unopened(&self) {
        self.metrics.unopened(self.name().label());
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                tier = self.name().label(),
                "an entry cannot be opened: it is damaged, or others write there with another secret"
            );
        }
    }

    pub(super) async fn time<T>(
        &self,
        op: &'static str,
        deadline: Duration,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let began = Instant::now();
        let done = tokio::time::timeout(deadline, unbroken(work)).await.unwrap_or(Err(Fault::TimedOut));
        self.metrics.dependency_asked(self.name().label(), op, began.elapsed(), done.is_ok());
        done
    }

    /// Tells `breaker` how it went, and everybody else where that changed something.
    fn judge<T>(&self, pass: Pass<'_>, breaker: &Breaker, done: &Result<T, Fault>) {
        let (tier, what) = (self.name().label(), self.what(breaker));
        match done {
            Ok(_) => {
                if pass.succeeded() {
                    self.note(None);
                    tracing::info!(tier, what, "a cache tier is in use again");
                }
            }
            Err(fault) => {
                self.note(Some(*fault));
                if pass.failed(Instant::now()) {
                    tracing::warn!(tier, what, %fault, "a cache tier is left out for now");
                }
            }
        }
        let closed = self.reading.standing() == Standing::Closed;
        // One failure says little; and what has never answered is not up.
        if done.is_ok() || !closed {
            self.metrics.dependency_up(tier, closed);
        }
    }

    fn note(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    fn what(&self, breaker: &Breaker) -> &'static str {
        if std::ptr::eq(breaker, &self.reading) { "reading" } else { "writing" }
    }
}
