//! A hit can keep its model warm, as the request itself would have done: behind the answer the upstream is asked
//! for nothing, seldom, and only while it has the model loaded.
//!
//! Nothing waits for it and nobody pays for it. What fails is counted, and that is all.

use super::order::Order;
use super::{Gateway, LONG_READ, Policy, Recalled, Way};
use crate::dialect::ollama::{Manner, Residence};
use crate::domain::{CacheOutcome, Error, Reason};
use crate::telemetry::TouchOutcome;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two touches of one model, at the least ...
const SHORTEST: Duration = Duration::from_secs(3);
/// ... and at the most.
const LONGEST: Duration = Duration::from_secs(3600);
/// Of its keep-alive.
const PART: u32 = 3;
/// No touch takes so long.
const IN_HAND: Duration = Duration::from_secs(60);
/// A model that stays no longer may have been told to go, or be gone before it is touched: that would load it.
const TOO_LATE: Duration = Duration::from_secs(1);
/// Models that are kept warm; more are not.
const MOST: usize = 1024;

/// The models that hits keep warm.
pub struct Touches {
    stays: Mutex<HashMap<Arc<str>, Arc<Stay>>>,
    born: Instant,
}

/// One of them.
pub struct Stay {
    model: Arc<str>,
    /// Milliseconds since `Touches::born` until which it is left alone.
    until: AtomicU64,
    known: Mutex<Known>,
}

/// How it is loaded.
#[derive(Default)]
struct Known {
    /// As the last request wanted it that went upstream.
    manner: Option<Manner>,
    /// The context that it had then.
    context: Option<u64>,
}

/// What a hit can do for its model.
pub struct Warmth {
    stay: Arc<Stay>,
    residence: Residence,
}

impl Gateway {
    /// A hit by the shortest way has been answered.
    pub fn keep_warm(&self, recalled: &Recalled, now: Instant) {
        if let Some(warmth) = &recalled.alias.warmth {
            warmth.keep(&self.way, now);
        }
    }
}

impl Touches {
    pub fn new() -> Self {
        Touches { stays: Mutex::default(), born: Instant::now() }
    }

    pub fn len(&self) -> usize {
        self.stays.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of that name; `None` where there are too many.
    fn stay(&self, model: &Arc<str>) -> Option<Arc<Stay>> {
        let mut stays = self.stays.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stay) = stays.get(model) {
            return Some(stay.clone());
        }
        if stays.len() >= MOST {
            // Whoever leads to one that is let go keeps it; a model that is gone costs nothing here.
            let now = self.milliseconds(Instant::now());
            stays.retain(|_, stay| Arc::strong_count(stay) > 1 || stay.until.load(Ordering::Relaxed) > now);
        }
        let stay = || {
            let (until, known) = (AtomicU64::new(0), Mutex::default());
            Arc::new(Stay { model: model.clone(), until, known })
        };
        (stays.len() < MOST).then(|| stays.entry(model.clone()).or_insert_with(stay).clone())
    }

    fn milliseconds(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.born).as_millis() as u64
    }
}

impl Default for Touches {
    fn default() -> Self {
        Touches::new()
    }
}

impl Warmth {
    /// What hits on `order` can do; `None` unless the settings want it.
    pub fn of(way: &Way, policy: &Policy, order: &Order<'_>) -> Option<Self> {
        if !policy.cache.keeps_warm() || order.plain.len() > LONG_READ {
            return None;
        }
        let identity = order.identity.as_ref().filter(|identity| !identity.remote)?;
        let stay = way.touches.stay(&identity.name)?;
        Some(Warmth { stay, residence: Residence::of(order.request.form, &order.plain) })
    }

    /// An answer is on its way that came about so.
    pub fn note(self, way: &Arc<Way>, outcome: CacheOutcome, why: Option<Reason>) {
        match outcome {
            CacheOutcome::Hit | CacheOutcome::HitBelow if why == Some(Reason::Stale) => {}
            CacheOutcome::Hit | CacheOutcome::HitBelow => self.keep(way, Instant::now()),
            CacheOutcome::Miss | CacheOutcome::Joined | CacheOutcome::Bypass => {
                self.stay.is_loaded_for(self.residence.manner);
            }
        }
    }

    /// Has the model touched, if that is due.
    pub fn keep(&self, way: &Arc<Way>, now: Instant) {
        if !self.stay.is_due(&way.touches, now) {
            return;
        }
        let (way, stay, residence) = (way.clone(), self.stay.clone(), self.residence.clone());
        tokio::spawn(async move {
            let touched = stay.touch(&way, residence).await;
            let (outcome, pause) = touched.unwrap_or((TouchOutcome::Failed, SHORTEST));
            way.metrics.touched(outcome);
            let until = way.touches.milliseconds(Instant::now() + pause.clamp(SHORTEST, LONGEST));
            stay.until.store(until, Ordering::Relaxed);
        });
    }
}

impl Stay {
    /// Only one of all who ask at the same time hears yes. While it is not due this is one load.
    fn is_due(&self, touches: &Touches, now: Instant) -> bool {
        let (now, until) = (touches.milliseconds(now), self.until.load(Ordering::Relaxed));
        let in_hand = now + IN_HAND.as_millis() as u64;
        until <= now
            && self.until.compare_exchange(until, in_hand, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// A request went upstream that wants it so.
    fn is_loaded_for(&self, manner: Manner) {
        let mut known = self.known();
        if known.manner.as_ref() != Some(&manner) {
            *known = Known { manner: Some(manner), context: None };
        }
    }

    /// What came of it, and how long the model is then to be left alone.
    async fn touch(&self, way: &Way, residence: Residence) -> Result<(TouchOutcome, Duration), Error> {
        let Some(identity) = way.inventory.identify(&self.model).await? else {
            return Ok((TouchOutcome::NotLoaded, SHORTEST));
        };
        let here = way.client.loaded(&identity.digest).await?;
        let Some(here) = here.filter(|here| here.stays.is_none_or(|stays| stays > TOO_LATE)) else {
            return Ok((TouchOutcome::NotLoaded, SHORTEST));
        };
        let Some(stays) = here.stays else { return Ok((TouchOutcome::Pinned, LONGEST)) };
        let (manner, context) = {
            let known = self.known();
            (known.manner.clone().unwrap_or(residence.manner), known.context)
        };
        // To touch it would load it anew.
        if context.is_some_and(|context| context != here.context) {
            return Ok((TouchOutcome::Otherwise, stays / PART));
        }
        let (path, body) = manner.touch(&self.model, residence.keep_alive.as_ref());
        way.client.touch(path, body).await?;
        let now = way.client.loaded(&identity.digest).await?;
        let mut known = self.known();
        if known.manner.as_ref().is_none_or(|known| *known == manner) {
            *known = Known { manner: Some(manner), context: now.map(|now| now.context) };
        }
        let stays = now.and_then(|now| now.stays).unwrap_or_default();
        Ok((TouchOutcome::Touched, stays / PART))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
