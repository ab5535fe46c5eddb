//! Who flies where: the map from a key to the flight that can still be joined, and the seats on it.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::hash::Hash;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::recorder::Recorder;
use super::recording::{Event, Recording};
use super::sync::{Mutex, lock, spawn};

/// How much may be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes up to which a recording is kept whole. A larger one takes no new readers and waits for its slowest.
    pub max_recording: usize,
    /// Bytes that the slowest reader of such a recording may be behind.
    pub window: usize,
    /// Bytes of all recordings up to which each is kept whole; beyond, those that grow are treated as too large.
    pub max_recorded: usize,
    /// Flights under way at once, solo ones included.
    pub max_flights: usize,
}

/// All flights under way. A clone is another handle on the same ones.
pub struct Flights<K, H, E> {
    board: Arc<Board<K, H, E>>,
}

/// What the handles and the recorders share.
pub(super) struct Board<K, H, E> {
    limits: Limits,
    /// What readers are told when a recorder is dropped without a word.
    lost: E,
    departures: Mutex<Departures<K, H, E>>,
    recorded: Arc<AtomicUsize>,
}

struct Departures<K, H, E> {
    /// The flight of each key that was begun last; whether it can be joined is the recording's word.
    by_key: HashMap<K, Arc<Recording<H, E>>>,
    /// Recorders alive: those in the map, those that left it, and the solo ones.
    under_way: usize,
}

/// How a request is served.
pub enum Boarding<T, H, E> {
    /// The answer was there meanwhile: what `recheck` found.
    Landed(T),
    /// The answer is under way.
    Seat(Seat<H, E>),
}

/// One reader's place on a flight. Dropping it gives it up; the last to do so before the end calls the trip off.
pub struct Seat<H, E> {
    recording: Arc<Recording<H, E>>,
    slot: usize,
    joined: bool,
    left: bool,
}

/// As many flights are under way as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

// === impl Flights ===

impl<K: Eq + Hash + Clone, H, E: Clone> Flights<K, H, E> {
    /// No flight yet. `lost` is what readers are told when a trip ends without a word: a panic, a recorder dropped.
    pub fn new(limits: Limits, lost: E) -> Self {
        let departures = Mutex::new(Departures { by_key: HashMap::new(), under_way: 0 });
        Self { board: Arc::new(Board { limits, lost, departures, recorded: Arc::default() }) }
    }

    /// A seat on the flight of `key`, on one that is under way or on a new one.
    ///
    /// Decided in one critical section: a flight that can still be joined, else what `recheck` finds (a synchronous
    /// look into the cache, for an answer that was stored just now), else `depart` is called with a recorder and its
    /// future is spawned on the runtime of the caller. That future is dropped when the last seat is given up before
    /// the end.
    ///
    /// # Errors
    /// [`Full`] where a new flight would be needed and `max_flights` are under way.
    ///
    /// # Panics
    /// Outside of a Tokio runtime, if a new flight is needed.
    pub fn join<T, F, Fut>(
        &self,
        key: K,
        recheck: impl FnOnce() -> Option<T>,
        depart: F,
    ) -> Result<Boarding<T, H, E>, Full>
    where
        F: FnOnce(Recorder<K, H, E>) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let mut departures = lock(&self.board.departures);
        if let Some(recording) = departures.by_key.get(&key)
            && let Some(slot) = recording.admit()
        {
            let recording = recording.clone();
            return Ok(Boarding::Seat(Seat { recording, slot, joined: true, left: false }));
        }
        if let Some(found) = recheck() {
            return Ok(Boarding::Landed(found));
        }
        let recording = self.board.prepare(&mut departures)?;
        let replaced = departures.by_key.insert(key.clone(), recording.clone());
        drop(departures);
        drop(replaced);
        Ok(Boarding::Seat(self.depart(Some(key), recording, depart)))
    }

    /// The only seat on a flight that nobody else can find.
    ///
    /// # Errors
    /// [`Full`] where `max_flights` are under way.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn solo<F, Fut>(&self, depart: F) -> Result<Seat<H, E>, Full>
    where
        F: FnOnce(Recorder<K, H, E>) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let recording = self.board.prepare(&mut lock(&self.board.departures))?;
        Ok(self.depart(None, recording, depart))
    }

    fn depart<F, Fut>(&self, key: Option<K>, recording: Arc<Recording<H, E>>, depart: F) -> Seat<H, E>
    where
        F: FnOnce(Recorder<K, H, E>) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        // The recorder first: whatever panics from here on, the flight leaves the board.
        let recorder = Recorder::new(self.board.clone(), key, recording.clone());
        let seat = Seat { recording, slot: Recording::<H, E>::FIRST, joined: false, left: false };
        let trip = spawn(depart(recorder));
        seat.recording.written_by(trip);
        seat
    }
}

impl<K, H, E> Flights<K, H, E> {
    /// Flights under way: those whose recorder has not been dropped yet.
    pub fn len(&self) -> usize {
        lock(&self.board.departures).under_way
    }

    /// Whether no flight is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is a flight for which `is_meant` holds.
    pub fn any(&self, is_meant: impl FnMut(&K) -> bool) -> bool {
        lock(&self.board.departures).by_key.keys().any(is_meant)
    }

    /// Bytes that all recordings hold, those included that are complete and still being read.
    pub fn recorded_bytes(&self) -> usize {
        self.board.recorded.load(Ordering::Relaxed)
    }
}

impl<K, H, E> Clone for Flights<K, H, E> {
    fn clone(&self) -> Self {
        Self { board: self.board.clone() }
    }
}

// === impl Board ===

impl<K: Eq + Hash, H, E: Clone> Board<K, H, E> {
    /// A recording with its first reader, counted as under way.
    fn prepare(&self, departures: &mut Departures<K, H, E>) -> Result<Arc<Recording<H, E>>, Full> {
        if departures.under_way >= self.limits.max_flights {
            return Err(Full);
        }
        departures.under_way += 1;
        Ok(Arc::new(Recording::new(self.limits, self.recorded.clone())))
    }

    pub(super) fn lost(&self) -> E {
        self.lost.clone()
    }

    /// Takes the flight out of the map, unless another has taken its place there.
    pub(super) fn remove(&self, key: &K, recording: &Arc<Recording<H, E>>) {
        lock(&self.departures).remove(key, recording);
    }

    /// The flight is over.
    pub(super) fn land(&self, key: Option<&K>, recording: &Arc<Recording<H, E>>) {
        let mut departures = lock(&self.departures);
        departures.under_way -= 1;
        if let Some(key) = key {
            departures.remove(key, recording);
        }
    }
}

impl<K: Eq + Hash, H, E> Departures<K, H, E> {
    fn remove(&mut self, key: &K, recording: &Arc<Recording<H, E>>) {
        if self.by_key.get(key).is_some_and(|current| Arc::ptr_eq(current, recording)) {
            self.by_key.remove(key);
        }
    }
}

// === impl Seat ===

impl<H, E: Clone> Seat<H, E> {
    /// Whether the trip was begun for somebody else.
    pub fn joined(&self) -> bool {
        self.joined
    }

    /// Whether all of the answer is there but for its end: whoever has read it all has what there is.
    pub fn is_held(&self) -> bool {
        self.recording.is_held()
    }

    /// The next event, as soon as there is one. Cancel safe: an event is taken or it is not.
    pub async fn next(&mut self) -> Event<H, E> {
        poll_fn(|cx| self.recording.poll_take(self.slot, cx)).await
    }

    /// The next event, if it is there already: several pending chunks can be written at once.
    pub fn try_next(&mut self) -> Option<Event<H, E>> {
        self.recording.take(self.slot)
    }

    /// Gives it up, as dropping it does. Whether this called the trip off: nobody else is seated, and the end had
    /// not come.
    pub fn leave(mut self) -> bool {
        self.give_up()
    }
}

impl<H, E> Seat<H, E> {
    fn give_up(&mut self) -> bool {
        !mem::replace(&mut self.left, true) && self.recording.leave(self.slot)
    }
}

impl<H, E> Drop for Seat<H, E> {
    fn drop(&mut self) {
        self.give_up();
    }
}

// === impl Full ===

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many flights under way")
    }
}

impl Error for Full {}
