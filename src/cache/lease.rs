//! One flight across replicas: whoever has the lease of a key asks the upstream, the others wait for what it
//! stores. A lease is renewed while it is held, given back when it is dropped, and over by itself soon after
//! its holder died. Where nobody can be asked, everybody goes alone: a lease saves work, and decides nothing.

use super::CacheKey;
use super::breaker::Breaker;
use super::guard::unbroken;
use super::stop::stopped;
use super::tier::{Fault, unhurried};
use crate::telemetry::Metrics;
use async_trait::async_trait;
use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

const RENEW_EVERY: Duration = Duration::from_secs(1);
/// Renewals within one term: of those in a row, all but the last may fail or be late.
const RENEWALS: u32 = 3;
/// Between two looks at whether a lease is still held.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LAST_LOOK: Duration = Duration::from_millis(100);
/// The fault of a look is believed at the third in a row.
const FAULTS: u32 = 3;

/// Leases that are renewed or given back in one go.
const AT_ONCE: usize = 256;

/// Locks that all replicas see. Cancel safe; each call is bounded in time by the caller.
#[async_trait]
pub trait Locks: Send + Sync {
    /// As a label value: the dependency that they stand in.
    fn name(&self) -> &'static str;

    /// Takes `key` for `term` if nobody has it. The number is larger than at every earlier taking of it, and 1
    /// where nobody has had it of late.
    async fn take(&self, key: &CacheKey, token: &Token, term: Duration) -> Result<Option<u64>, Fault>;

    /// Holds each of `held` for another `term` from now on; returns those that are not their token's any more.
    async fn renew(&self, held: &[Holding], term: Duration) -> Result<Vec<Holding>, Fault>;

    /// Gives back those of `held` that are still their token's.
    async fn release(&self, held: &[Holding]) -> Result<(), Fault>;

    /// Whether anybody has `key`.
    async fn is_taken(&self, key: &CacheKey) -> Result<bool, Fault>;
}

/// Who holds a lock: no two takings have the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token(pub String);

/// A key, and by whom it is held.
pub type Holding = (CacheKey, Token);

/// Hands out leases. A clone is one reference more.
#[derive(Clone)]
pub struct Leases(Arc<Office>);

/// Who asks the upstream.
pub enum Taken {
    /// The caller.
    Held(Lease),
    /// Somebody else: wait for it, then look into the tiers.
    Other(Waiting),
    /// The caller, and perhaps others: nobody could be asked.
    Alone,
}

/// The right to ask the upstream for one key. Dropping it gives it back.
#[derive(Debug)]
pub struct Lease {
    key: CacheKey,
    fence: u64,
    held: Arc<Held>,
    office: Arc<Office>,
}

/// For somebody else's lease.
pub struct Waiting {
    key: CacheKey,
    office: Arc<Office>,
}

/// Why waiting has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The holder is done, or dead: look into the tiers, and take the lease if nothing is there.
    Free,
    /// Nobody can be asked any more: go on alone.
    Alone,
}

struct Office {
    locks: Arc<dyn Locks>,
    /// The longest that a request waits for an answer of the locks.
    timeout: Duration,
    /// The longest that upkeep takes over one go.
    upkeep: Duration,
    /// Nobody waits longer for a holder that has died.
    term: Duration,
    breaker: Breaker,
    owner: String,
    serial: AtomicU64,
    books: Mutex<Books>,
    returned: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Books {
    held: HashMap<CacheKey, Arc<Held>>,
    /// Dropped since then, and not given back yet: what nobody here holds, and others still see as taken.
    returned: HashMap<CacheKey, (Token, Instant)>,
}

#[derive(Debug)]
struct Held {
    token: Token,
    /// Until when nobody else can have it; `None` once somebody may. Reckoned from before it was asked for, so
    /// that it is over here no later than there: whoever was stopped for a while knows at once.
    until: Mutex<Option<Instant>>,
}

// === impl Leases ===

impl Leases {
    /// `timeout` is the longest that taking one may take. A lease that is not renewed lasts for three times as
    /// long, and for three seconds at the least.
    pub fn new(locks: Arc<dyn Locks>, timeout: Duration, metrics: Arc<Metrics>) -> Self {
        let upkeep = unhurried(timeout);
        let owner = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        Leases(Arc::new(Office {
            locks,
            timeout,
            upkeep,
            term: upkeep.saturating_mul(RENEWALS),
            breaker: Breaker::default(),
            owner,
            serial: AtomicU64::new(0),
            books: Mutex::default(),
            returned: Notify::new(),
            metrics,
        }))
    }

    /// Takes the lease of `key`, if nobody has it.
    pub async fn take(&self, key: &CacheKey) -> Taken {
        let office = &self.0;
        if office.lock().returned.contains_key(key) {
            // It would only be waited for until this very replica has given it back.
            return Taken::Alone;
        }
        let serial = office.serial.fetch_add(1, Ordering::Relaxed);
        let token = Token(format!("{}:{serial}", office.owner));
        // From here on it may be ours without our knowing: whatever keeps us from the answer, it is given back.
        let mut unsure = Unsure { office, taking: Some((*key, token.clone())) };
        let until = Instant::now() + office.term;
        let taken = office.ask("take", office.timeout, office.locks.take(key, &token, office.term)).await;
        match taken {
            Some(Ok(Some(fence))) => {
                unsure.taking = None;
                let held = Arc::new(Held { token, until: Mutex::new(Some(until)) });
                if let Some(before) = office.lock().held.insert(*key, held.clone()) {
                    // Its term was over without our knowing.
                    before.lose();
                }
                Taken::Held(Lease { key: *key, fence, held, office: office.clone() })
            }
            Some(Ok(None)) => {
                unsure.taking = None;
                Taken::Other(Waiting { key: *key, office: office.clone() })
            }
            Some(Err(_)) => Taken::Alone,
            None => {
                unsure.taking = None;
                Taken::Alone
            }
        }
    }

    /// Renews what is held and gives back what was dropped, until `stop`; then gives everything back.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        let office = &self.0;
        let mut renewal = tokio::time::interval(RENEW_EVERY);
        renewal.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopped(&mut stop) => break,
                () = office.returned.notified() => office.give_back().await,
                _ = renewal.tick() => {
                    office.renew().await;
                    office.give_back().await;
                }
            }
        }
        office.give_back().await;
    }

    /// Whether it is this replica that has the lease of `key`.
    pub fn holds(&self, key: &CacheKey) -> bool {
        self.0.lock().held.contains_key(key)
    }

    /// Whether another replica has the lease of `key`, as far as that can be told.
    pub async fn is_elsewhere(&self, key: &CacheKey) -> bool {
        let office = &self.0;
        let look = || office.ask("look", office.timeout, office.locks.is_taken(key));
        !self.holds(key) && matches!(look().await, Some(Ok(true)))
    }

    /// How many are held, or were and are not given back yet.
    pub fn held(&self) -> usize {
        let books = self.0.lock();
        books.held.len() + books.returned.len()
    }
}

/// A taking whose answer has not come.
struct Unsure<'a> {
    office: &'a Office,
    taking: Option<Holding>,
}

impl Drop for Unsure<'_> {
    fn drop(&mut self) {
        if let Some((key, token)) = self.taking.take() {
            self.office.lock().returned.insert(key, (token, Instant::now()));
            self.office.returned.notify_one();
        }
    }
}

// === impl Lease ===

impl Lease {
    /// Larger than that of every earlier holder of this key.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Whether nobody else can have it by now.
    pub fn is_held(&self) -> bool {
        self.held.until().is_some_and(|until| Instant::now() < until)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut books = self.office.lock();
        if books.held.get(&self.key).is_some_and(|held| Arc::ptr_eq(held, &self.held)) {
            books.held.remove(&self.key);
        }
        if self.held.until().is_some() {
            books.returned.insert(self.key, (self.held.token.clone(), Instant::now()));
            drop(books);
            self.office.returned.notify_one();
        }
    }
}

// === impl Held ===

impl Held {
    fn until(&self) -> Option<Instant> {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// It is held until `then`, unless it was lost before.
    fn prolong(&self, then: Instant) {
        if let Some(until) = &mut *self.until.lock().unwrap_or_else(PoisonError::into_inner) {
            *until = then;
        }
    }
}

// === impl Waiting ===

impl Waiting {
    /// Waits until the holder has given it back, or has died: then no longer than its term. A holder that lives
    /// and works is waited for as long as it works: bound it by the time that the client has.
    pub async fn over(&self) -> Ended {
        let mut pause = FIRST_LOOK;
        let mut faults = 0;
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_LOOK);
            let Office { locks, timeout, .. } = &*self.office;
            match self.office.ask("look", *timeout, locks.is_taken(&self.key)).await {
                Some(Ok(true)) => faults = 0,
                Some(Ok(false)) => return Ended::Free,
                Some(Err(_)) => faults += 1,
                None => return Ended::Alone,
            }
            if faults >= FAULTS {
                return Ended::Alone;
            }
        }
    }
}

// === impl Office ===

impl Office {
    async fn renew(&self) {
        let held: Vec<(CacheKey, Arc<Held>)> =
            self.lock().held.iter().map(|(key, held)| (*key, held.clone())).collect();
        let holdings: Vec<Holding> = held.iter().map(|(key, held)| (*key, held.token.clone())).collect();
        for (held, holdings) in held.chunks(AT_ONCE).zip(holdings.chunks(AT_ONCE)) {
            // A fault says nothing: the leases may be over or not.
            let asked = Instant::now();
            let renewing = self.ask("renew", self.upkeep, self.locks.renew(holdings, self.term)).await;
            let Some(Ok(lost)) = renewing else { return };
            for (_, held) in held {
                match lost.iter().any(|(_, token)| *token == held.token) {
                    true => held.lose(),
                    false => held.prolong(asked + self.term),
                }
            }
        }
    }

    async fn give_back(&self) {
        let owed: Vec<Holding> =
            self.lock().returned.iter().map(|(key, (token, _))| (*key, token.clone())).collect();
        for owed in owed.chunks(AT_ONCE) {
            let releasing = self.ask("release", self.upkeep, self.locks.release(owed));
            let given = matches!(releasing.await, Some(Ok(())));
            let mut books = self.lock();
            for (key, token) in owed {
                // What cannot be given back is over by itself.
                if books
                    .returned
                    .get(key)
                    .is_some_and(|(other, since)| other == token && (given || since.elapsed() > self.term))
                {
                    books.returned.remove(key);
                }
            }
        }
    }

    /// `None` where the locks are left out for now.
    async fn ask<T>(
        &self,
        op: &'static str,
        limit: Duration,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Option<Result<T, Fault>> {
        let began = Instant::now();
        let pass = self.breaker.enter(began)?;
        let done = tokio::time::timeout(limit, unbroken(work)).await.unwrap_or(Err(Fault::TimedOut));
        let took = began.elapsed();
        self.metrics.dependency_asked(self.locks.name(), op, took, done.is_ok());
        // What upkeep can wait for is too late for a request.
        match done.is_ok() && took <= self.timeout {
            true => pass.succeeded(),
            false => pass.failed(Instant::now()),
        };
        Some(done)
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Office {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Office")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Unasked;

    #[async_trait]
    impl Locks for Unasked {
        fn name(&self) -> &'static str {
            "redis"
        }

        async fn take(&self, _: &CacheKey, _: &Token, _: Duration) -> Result<Option<u64>, Fault> {
            panic!("it was asked")
        }

        async fn renew(&self, _: &[Holding], _: Duration) -> Result<Vec<Holding>, Fault> {
            panic!("it was asked")
        }

        async fn release(&self, _: &[Holding]) -> Result<(), Fault> {
            panic!("it was asked")
        }

        async fn is_taken(&self, _: &CacheKey) -> Result<bool, Fault> {
            panic!("it was asked")
        }
    }

    #[tokio::test]
    async fn locks_that_only_upkeep_can_wait_for_are_left_out() {
        let timeout = Duration::from_millis(1);
        let leases = Leases::new(Arc::new(Unasked), timeout, Arc::new(Metrics::new()));
        let late = || async {
            tokio::time::sleep(timeout * 2).await;
            Ok(())
        };
        let mut answered = 0;
        while leases.0.ask("release", leases.0.upkeep, late()).await.is_some() {
            assert!(answered < 100, "late answers are taken for good ones");
            answered += 1;
        }
        let key = CacheKey([7; 32]);
        assert!(matches!(leases.take(&key).await, Taken::Alone));
    }
}
