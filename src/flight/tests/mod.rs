//! One flight and many, by hand and in any order of events.

mod outgrown;
mod schedules;
mod seats;
mod trips;

use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{Boarding, Event, Flights, Full, Limits, Recorder, Seat};

type Sky = Flights<u32, &'static str, &'static str>;
type Ticket = Seat<&'static str, &'static str>;
type Pen = Recorder<u32, &'static str, &'static str>;

const LOST: &str = "lost";
const ROOMY: Limits =
    Limits { max_recording: 1 << 20, window: 1 << 10, max_recorded: usize::MAX, max_flights: 8 };

/// What a reader has seen: the head, the bytes, and the end or the failure.
#[derive(Debug, Default, PartialEq, Clone)]
struct Seen {
    head: Option<&'static str>,
    body: Vec<u8>,
    end: Option<Result<(), &'static str>>,
}

impl Seen {
    fn note(&mut self, event: Event<&'static str, &'static str>) {
        assert_eq!(self.end, None, "nothing comes after the end");
        match event {
            Event::Head(head) => {
                assert!(self.head.is_none() && self.body.is_empty(), "the head comes once, and first");
                self.head = Some(*head);
            }
            Event::Chunk(chunk) => self.body.extend_from_slice(&chunk),
            Event::End => self.end = Some(Ok(())),
            Event::Failed(error) => self.end = Some(Err(error)),
        }
    }
}

/// Sets its flag when it is dropped: put into a trip's future, it tells that the future is gone.
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn nothing() -> Option<Infallible> {
    None
}

fn seat<T>(boarding: Result<Boarding<T, &'static str, &'static str>, Full>) -> Ticket {
    match boarding {
        Ok(Boarding::Seat(seat)) => seat,
        Ok(Boarding::Landed(_)) => panic!("landed"),
        Err(full) => panic!("{full}"),
    }
}

/// A flight whose recorder is in the hands of the test, while its future waits to be dropped.
fn by_hand(sky: &Sky, key: u32) -> (Ticket, Pen, Arc<AtomicBool>) {
    let gone = Arc::new(AtomicBool::new(false));
    let guard = Gone(gone.clone());
    let mut pen = None;
    let seat = seat(sky.join(key, nothing, |recorder| {
        pen = Some(recorder);
        async move {
            let _guard = guard;
            pending().await
        }
    }));
    assert!(!seat.joined());
    (seat, pen.expect("a new flight departs"), gone)
}

fn joined(sky: &Sky, key: u32) -> Option<Ticket> {
    match sky.join(key, || Some(()), |_| async {}) {
        Ok(Boarding::Seat(seat)) => {
            assert!(seat.joined());
            Some(seat)
        }
        Ok(Boarding::Landed(())) => None,
        Err(full) => panic!("{full}"),
    }
}

async fn read_all(mut seat: Ticket) -> Seen {
    let mut seen = Seen::default();
    while seen.end.is_none() {
        seen.note(seat.next().await);
    }
    seen
}

fn read_ready(seat: &mut Ticket, seen: &mut Seen) {
    while seen.end.is_none()
        && let Some(event) = seat.try_next()
    {
        seen.note(event);
    }
}

fn poll(future: Pin<&mut impl Future<Output = ()>>) -> Poll<()> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..30_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}
