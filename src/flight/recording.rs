//! An append-only log of chunks with an end: one writes, many read, each at a place of its own.
//!
//! Below `max_recording` it is kept whole, so a reader that is behind costs nobody anything. Beyond it no reader is
//! admitted any more, what all have read is dropped, and the writer waits for the slowest. Never spawns, and knows no
//! key.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::flights::Limits;
use super::sync::{AbortHandle, Mutex, MutexGuard, lock};

/// What a reader is given next, always in this order: the head, the chunks, then the end or the failure, which is
/// repeated to whoever asks again.
#[derive(Debug)]
pub enum Event<H, E> {
    /// What stands before the body.
    Head(Arc<H>),
    /// The next bytes of the body, as they were pushed; never empty.
    Chunk(Bytes),
    /// The body is complete.
    End,
    /// The trip failed after what was given so far; the body is not complete.
    Failed(E),
}

/// Each takes some forty bytes beside its own, however short it is.
const MOST_CHUNKS: usize = 1 << 20;

pub(super) struct Recording<H, E> {
    limits: Limits,
    state: Mutex<State<H, E>>,
    /// The emptied list of the last wake, kept so that a push need not allocate one.
    spare: Mutex<Vec<Waker>>,
    /// Bytes kept by all recordings of the house.
    recorded: Arc<AtomicUsize>,
}

struct State<H, E> {
    head: Option<Arc<H>>,
    /// What is kept; the first of them is number `dropped` of all that were pushed.
    chunks: VecDeque<Bytes>,
    dropped: usize,
    /// Bytes in `chunks`.
    kept: usize,
    /// Bytes ever pushed.
    length: usize,
    /// It is no longer kept whole.
    outgrown: bool,
    /// `None` while it grows.
    end: Option<Result<(), E>>,
    readers: Readers,
    /// The answer has come, but for its end: nobody's leaving calls the trip off any more.
    held: bool,
    /// Calls the trip off; `None` once it has ended.
    trip: Option<AbortHandle>,
    /// The writer, where it waits for the slowest reader.
    writer: Option<Waker>,
    /// Whoever waits for the last reader to leave.
    watcher: Option<Waker>,
}

/// The readers by slot; a slot is used again when its reader has left.
#[derive(Default)]
struct Readers {
    slots: Vec<Option<Reader>>,
    vacant: Vec<usize>,
    /// How many readers have a waker registered.
    asleep: usize,
}

/// One reader's place.
#[derive(Default)]
struct Reader {
    head_taken: bool,
    /// The number of the chunk it reads next.
    chunk: usize,
    /// The bytes before that chunk.
    byte: usize,
    waker: Option<Waker>,
}

// === impl Recording ===

impl<H, E> Recording<H, E> {
    /// The slot of the reader for whom a recording is begun.
    pub(super) const FIRST: usize = 0;

    /// An empty recording with its first reader, so that it is never taken for one that was given up. Its bytes are
    /// counted in `recorded` as long as they are kept.
    pub(super) fn new(limits: Limits, recorded: Arc<AtomicUsize>) -> Self {
        let state = State {
            head: None,
            chunks: VecDeque::new(),
            dropped: 0,
            kept: 0,
            length: 0,
            outgrown: false,
            end: None,
            held: false,
            readers: Readers { slots: vec![Some(Reader::default())], ..Readers::default() },
            trip: None,
            writer: None,
            watcher: None,
        };
        Self { limits, state: Mutex::new(state), spare: Mutex::default(), recorded }
    }

    /// A slot at the first byte, or `None` where the recording has failed, is given up, or is no longer whole.
    pub(super) fn admit(&self) -> Option<usize> {
        let mut state = lock(&self.state);
        let readable = match &state.end {
            None => state.held || !state.readers.is_empty(),
            Some(end) => end.is_ok(),
        };
        (readable && !state.outgrown).then(|| state.readers.sit())
    }

    /// Names the task that writes, to be called off when the last reader leaves before the end.
    pub(super) fn written_by(&self, trip: AbortHandle) {
        let mut state = lock(&self.state);
        if state.end.is_none() {
            state.trip = Some(trip);
        }
    }

    /// Sets the head, once and before the first chunk.
    pub(super) fn set_head(&self, head: H) {
        let mut state = lock(&self.state);
        if state.head.is_none() && state.end.is_none() {
            state.head = Some(Arc::new(head));
            self.wake_readers(state);
        }
    }

    /// Appends a chunk. After the end, and when it is empty, it is left out.
    pub(super) fn append(&self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        let mut state = lock(&self.state);
        if state.end.is_some() {
            return;
        }
        state.kept += chunk.len();
        state.length += chunk.len();
        let together = self.recorded.fetch_add(chunk.len(), Ordering::Relaxed) + chunk.len();
        state.outgrown |= state.length > self.limits.max_recording || together > self.limits.max_recorded;
        state.chunks.push_back(chunk);
        state.outgrown |= state.chunks.len() > MOST_CHUNKS;
        self.wake_readers(state);
    }

    /// Ready when the writer may go on: at once while the recording is kept whole; beyond that, what all have read is
    /// dropped, and the writer waits until the slowest is within the window.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if !state.outgrown {
            return Poll::Ready(());
        }
        let read_by_all = state.drop_read();
        self.recorded.fetch_sub(read_by_all, Ordering::Relaxed);
        let length = state.length;
        if state.readers.iter().all(|reader| length - reader.byte <= self.limits.window) {
            return Poll::Ready(());
        }
        let stale = register(&mut state.writer, cx);
        drop(state);
        drop(stale);
        Poll::Pending
    }

    /// From now on nobody's leaving calls the trip off.
    pub(super) fn hold(&self) {
        lock(&self.state).held = true;
    }

    pub(super) fn is_held(&self) -> bool {
        lock(&self.state).held
    }

    /// Ends the recording and tells the readers. The first end stands.
    pub(super) fn end(&self, end: Result<(), E>) {
        let mut state = lock(&self.state);
        if state.end.is_some() {
            return;
        }
        state.end = Some(end);
        let trip = state.trip.take();
        self.wake_readers(state);
        drop(trip);
    }

    /// Everything that was pushed, or `None` where that was more than `max_recording`.
    pub(super) fn chunks(&self) -> Option<Vec<Bytes>> {
        let state = lock(&self.state);
        (!state.outgrown).then(|| state.chunks.iter().cloned().collect())
    }

    /// Ready when no reader is left and the end has not come.
    pub(super) fn poll_abandoned(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.is_abandoned() {
            return Poll::Ready(());
        }
        let stale = register(&mut state.watcher, cx);
        drop(state);
        drop(stale);
        Poll::Pending
    }

    /// Gives up the slot. The last one to leave before the end calls the trip off: whether that was so.
    pub(super) fn leave(&self, slot: usize) -> bool {
        let mut state = lock(&self.state);
        let reader = state.readers.leave(slot);
        let writer = state.writer.take();
        let (trip, watcher) =
            if state.is_abandoned() { (state.trip.take(), state.watcher.take()) } else { (None, None) };
        drop(state);
        drop(reader);
        let called_off = trip.is_some();
        if let Some(trip) = trip {
            trip.abort();
        }
        writer.into_iter().chain(watcher).for_each(Waker::wake);
        called_off
    }

    /// Wakes all who sleep, with the lock given back first.
    fn wake_readers(&self, mut state: MutexGuard<'_, State<H, E>>) {
        if state.readers.asleep == 0 {
            return;
        }
        let mut woken = mem::take(&mut *lock(&self.spare));
        state.readers.take_wakers(&mut woken);
        drop(state);
        woken.drain(..).for_each(Waker::wake);
        *lock(&self.spare) = woken;
    }
}

impl<H, E: Clone> Recording<H, E> {
    /// What the reader in `slot` has not seen yet, if there is something.
    pub(super) fn take(&self, slot: usize) -> Option<Event<H, E>> {
        let mut state = lock(&self.state);
        let event = state.take(slot)?;
        self.let_writer_on(state, slot, &event);
        Some(event)
    }

    /// As [`Recording::take`]; where there is nothing, the reader is woken when there is.
    pub(super) fn poll_take(&self, slot: usize, cx: &mut Context<'_>) -> Poll<Event<H, E>> {
        let mut state = lock(&self.state);
        if let Some(event) = state.take(slot) {
            self.let_writer_on(state, slot, &event);
            return Poll::Ready(event);
        }
        let stale = state.readers.sleep(slot, cx);
        drop(state);
        drop(stale);
        Poll::Pending
    }

    /// Wakes a writer that waits, if the reader in `slot` was too far behind until it took `event`.
    fn let_writer_on(&self, mut state: MutexGuard<'_, State<H, E>>, slot: usize, event: &Event<H, E>) {
        let Event::Chunk(chunk) = event else { return };
        let behind = state.length - state.readers.at(slot).byte;
        if behind <= self.limits.window && behind + chunk.len() > self.limits.window {
            let writer = state.writer.take();
            drop(state);
            writer.into_iter().for_each(Waker::wake);
        }
    }
}

impl<H, E> Drop for Recording<H, E> {
    fn drop(&mut self) {
        let kept = lock(&self.state).kept;
        self.recorded.fetch_sub(kept, Ordering::Relaxed);
    }
}

// === impl State ===

impl<H, E> State<H, E> {
    fn is_abandoned(&self) -> bool {
        self.end.is_none() && !self.held && self.readers.is_empty()
    }

    /// Drops the chunks that every reader has read, and returns their bytes.
    fn drop_read(&mut self) -> usize {
        let pushed = self.dropped + self.chunks.len();
        let slowest = self.readers.iter().map(|reader| reader.chunk).min().unwrap_or(pushed);
        let read_by_all = self.chunks.drain(..slowest - self.dropped).map(|chunk| chunk.len()).sum();
        self.dropped = slowest;
        self.kept -= read_by_all;
        read_by_all
    }
}

impl<H, E: Clone> State<H, E> {
    fn take(&mut self, slot: usize) -> Option<Event<H, E>> {
        let reader = self.readers.at(slot);
        if !reader.head_taken
            && let Some(head) = &self.head
        {
            reader.head_taken = true;
            return Some(Event::Head(head.clone()));
        }
        if let Some(chunk) = self.chunks.get(reader.chunk - self.dropped) {
            reader.chunk += 1;
            reader.byte += chunk.len();
            return Some(Event::Chunk(chunk.clone()));
        }
        self.end.clone().map(|end| end.map_or_else(Event::Failed, |()| Event::End))
    }
}

// === impl Readers ===

impl Readers {
    fn sit(&mut self) -> usize {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(Reader::default());
        slot
    }

    fn leave(&mut self, slot: usize) -> Option<Reader> {
        let reader = self.slots[slot].take();
        self.vacant.push(slot);
        self.asleep -= usize::from(reader.as_ref().is_some_and(|reader| reader.waker.is_some()));
        reader
    }

    /// The reader in `slot`, who stays there until he leaves.
    fn at(&mut self, slot: usize) -> &mut Reader {
        self.slots[slot].as_mut().expect("a seat holds its slot until it is dropped")
    }

    /// Registers the reader's waker, and returns the one it replaces, to be dropped outside the lock.
    fn sleep(&mut self, slot: usize, cx: &Context<'_>) -> Option<Waker> {
        let waker = &mut self.at(slot).waker;
        let newly = waker.is_none();
        let stale = register(waker, cx);
        self.asleep += usize::from(newly);
        stale
    }

    fn take_wakers(&mut self, into: &mut Vec<Waker>) {
        into.extend(self.slots.iter_mut().flatten().filter_map(|reader| reader.waker.take()));
        self.asleep = 0;
    }

    fn iter(&self) -> impl Iterator<Item = &Reader> {
        self.slots.iter().flatten()
    }

    fn is_empty(&self) -> bool {
        self.slots.len() == self.vacant.len()
    }
}

/// Keeps the task's waker in `place`, and returns the one that it replaces: to drop a waker may run a task's
/// destructors, which must not happen under a lock.
fn register(place: &mut Option<Waker>, cx: &Context<'_>) -> Option<Waker> {
    if place.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        return None;
    }
    place.replace(cx.waker().clone())
}
