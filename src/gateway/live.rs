//! A reader's view of a trip: the recording, less what this reader did not ask for, with an error told
//! in the reader's own dialect where the stream breaks off.

use super::trip::TripHead;
use crate::dialect::native::Retold;
use crate::dialect::openai::UsageStrip;
use crate::dialect::transcript::Events;
use crate::domain::{Error, Observed};
use crate::flight::{Event, Seat};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// An answer that may still be growing.
pub struct Live {
    seat: Seat<TripHead, Error>,
    lens: Option<Lens>,
    head: Option<Arc<TripHead>>,
    /// Whether what was handed out so far ends where a frame ends.
    at_frame_end: bool,
}

/// Through which a stream is seen that this reader does not get as it is.
enum Lens {
    /// Less what was not asked for.
    Strip(UsageStrip),
    /// In other words.
    Retell(Retold),
    Events(Events),
}

/// A trip that was called off has this long to close its books.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What comes next.
pub enum Piece {
    Body(Bytes),
    /// The clean end, and what the answer was.
    End(Option<Observed>),
    Broken(Error),
}

impl Live {
    pub(super) fn new(seat: Seat<TripHead, Error>, strip: Option<UsageStrip>) -> Self {
        Live { seat, lens: strip.map(Lens::Strip), head: None, at_frame_end: true }
    }

    /// The rest of it, which is a stream, is told in other words.
    pub(super) fn retell(&mut self, retold: Retold) {
        self.lens = Some(Lens::Retell(retold));
    }

    /// The rest of it, which is a transcript, is told as events.
    pub(super) fn events(&mut self, events: Events) {
        self.lens = Some(Lens::Events(events));
    }

    /// Waits for the answer's head, which may be asked for again. Cancel safe.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn head(&mut self) -> Result<Arc<TripHead>, Error> {
        if let Some(head) = &self.head {
            return Ok(head.clone());
        }
        loop {
            match self.seat.next().await {
                Event::Head(head) => {
                    if !head.streamed {
                        self.lens = None;
                    }
                    self.head = Some(head.clone());
                    return Ok(head);
                }
                Event::Failed(error) => return Err(error),
                Event::Chunk(_) | Event::End => {}
            }
        }
    }

    /// Waits for the next piece of the body. Cancel safe.
    pub async fn next(&mut self) -> Piece {
        loop {
            let event = self.seat.next().await;
            if let Some(piece) = self.see(event) {
                return piece;
            }
        }
    }

    /// The next piece of the body, when it is there already.
    pub fn next_if_there(&mut self) -> Option<Piece> {
        loop {
            let event = self.seat.try_next()?;
            if let Some(piece) = self.see(event) {
                return Some(piece);
            }
        }
    }

    /// What an event means to this reader; `None` when it means nothing.
    fn see(&mut self, event: Event<TripHead, Error>) -> Option<Piece> {
        match event {
            Event::Chunk(piece) => {
                let piece = match &mut self.lens {
                    Some(lens) => lens.pass(piece)?,
                    None => piece,
                };
                if piece.is_empty() {
                    return None;
                }
                self.at_frame_end = self.ends_frame(&piece);
                Some(Piece::Body(piece))
            }
            Event::End => match self.lens.take().and_then(|mut lens| lens.finish()) {
                Some(rest) if !rest.is_empty() => Some(Piece::Body(rest)),
                _ => Some(Piece::End(self.observed())),
            },
            Event::Failed(error) => Some(Piece::Broken(error)),
            Event::Head(_) => None,
        }
    }

    /// Whether it may be told otherwise, so that the length is not the upstream's.
    pub fn is_retold(&self) -> bool {
        self.lens.is_some()
    }

    /// Waits for the end of an answer of which nothing but the end is missing: a client that leaves then
    /// has had all of it. `None` when more is missing.
    pub async fn ending(&mut self) -> Option<Piece> {
        if !self.is_all_there() {
            return None;
        }
        match self.next().await {
            Piece::Body(_) => None,
            end => Some(end),
        }
    }

    /// Gives the answer up. What was counted of it, unless others read on: then that is not known yet, and is
    /// theirs to tell.
    pub async fn leave(self) -> Option<Observed> {
        let head = self.head?;
        if self.seat.leave() {
            // The trip has been called off; its books are closed a moment later.
            let _ = tokio::time::timeout(LAST_WORDS, head.observed.wait()).await;
        }
        head.observed.get().copied()
    }

    /// Whether an error may be told in the stream: it comes in frames, and the last one is whole.
    pub fn may_tell_error(&self) -> bool {
        self.at_frame_end && self.head.as_ref().is_some_and(|head| head.streamed)
    }

    /// Whether a frame ends where `piece` does: a line, or an event with its empty line.
    fn ends_frame(&self, piece: &[u8]) -> bool {
        match self.head.as_ref().is_some_and(|head| head.events) {
            true => piece.ends_with(b"\n\n") || piece.ends_with(b"\n\r\n"),
            false => piece.ends_with(b"\n"),
        }
    }

    /// Whether nothing of it is missing but the mere end.
    pub fn is_all_there(&self) -> bool {
        self.seat.is_held()
    }

    /// What the answer was, once nothing of it is missing, or it has broken off.
    pub fn observed(&self) -> Option<Observed> {
        self.head.as_ref().and_then(|head| head.observed.get().copied())
    }
}

impl Lens {
    fn pass(&mut self, piece: Bytes) -> Option<Bytes> {
        match self {
            Lens::Strip(strip) => strip.pass(piece),
            Lens::Retell(retold) => retold.pass(&piece),
            Lens::Events(events) => events.pass(&piece),
        }
    }

    fn finish(&mut self) -> Option<Bytes> {
        match self {
            Lens::Strip(strip) => strip.finish(),
            Lens::Retell(retold) => retold.finish(),
            Lens::Events(_) => None,
        }
    }
}
