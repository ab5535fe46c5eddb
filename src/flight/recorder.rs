//! The writer's end of a flight: whoever holds it makes the trip, and dropping it ends the flight.

use std::future::{Future, poll_fn};
use std::hash::Hash;
use std::sync::Arc;

use bytes::Bytes;

use super::flights::Board;
use super::recording::Recording;

/// Writes one recording. Dropped without [`seal`](Recorder::seal) or [`fail`](Recorder::fail) (a panic, a future that
/// was dropped), it tells the readers that the trip was lost. There is one for each flight, and the flight counts as
/// under way until it is dropped.
pub struct Recorder<K: Eq + Hash, H, E: Clone> {
    board: Arc<Board<K, H, E>>,
    /// `None` for a solo flight, and once it has left the map.
    key: Option<K>,
    recording: Arc<Recording<H, E>>,
}

impl<K: Eq + Hash, H, E: Clone> Recorder<K, H, E> {
    pub(super) fn new(board: Arc<Board<K, H, E>>, key: Option<K>, recording: Arc<Recording<H, E>>) -> Self {
        Self { board, key, recording }
    }

    /// Gives the readers the head: once, and before the first chunk. A second head is ignored.
    pub fn head(&self, head: H) {
        self.recording.set_head(head);
    }

    /// Appends a chunk; an empty one is left out. Within `max_recording` this returns at once; beyond it, when the
    /// slowest reader is no more than `window` bytes behind. Cancelled while it waits, the chunk is recorded all the
    /// same.
    pub async fn push(&self, chunk: Bytes) {
        self.recording.append(chunk);
        poll_fn(|cx| self.recording.poll_room(cx)).await;
    }

    /// All of the answer is here but for its end, which its readers may not wait for: they have what they wanted.
    /// From here the trip is not called off. To be said before the last chunk is pushed.
    pub fn hold(&self) {
        self.recording.hold();
    }

    /// The recording is complete. From here the trip is not called off, and the flight can be joined until the
    /// recorder is dropped: put the answer into the cache in between, and no equal request falls through the gap.
    pub fn seal(&self) {
        self.recording.end(Ok(()));
    }

    /// The trip has failed: the readers are told after what was recorded, and the flight leaves the map.
    pub fn fail(&self, error: E) {
        self.recording.end(Err(error));
        self.close();
    }

    /// Leaves the map: equal requests start a trip of their own from now on. Those who are seated read on.
    pub fn close(&self) {
        if let Some(key) = &self.key {
            self.board.remove(key, &self.recording);
        }
    }

    /// Everything that was pushed, or `None` where that was more than `max_recording`.
    pub fn chunks(&self) -> Option<Vec<Bytes>> {
        self.recording.chunks()
    }

    /// Resolves when the last seat is given up before the end. The future that `depart` made is dropped at that moment
    /// anyway: this is for a recorder that was handed on to another task. One task at a time may wait.
    pub fn abandoned(&self) -> impl Future<Output = ()> + '_ {
        poll_fn(|cx| self.recording.poll_abandoned(cx))
    }
}

impl<K: Eq + Hash, H, E: Clone> Drop for Recorder<K, H, E> {
    fn drop(&mut self) {
        self.recording.end(Err(self.board.lost()));
        self.board.land(self.key.as_ref(), &self.recording);
    }
}
