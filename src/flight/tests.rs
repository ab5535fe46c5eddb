use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::sync::{Notify, oneshot};

use super::{Boarding, Event, Flights, Full, Limits, Recorder, Seat};

type Sky = Flights<u32, &'static str, &'static str>;
type Ticket = Seat<&'static str, &'static str>;
type Pen = Recorder<u32, &'static str, &'static str>;

const LOST: &str = "lost";
const ROOMY: Limits =
    Limits { max_recording: 1 << 20, window: 1 << 10, max_recorded: usize::MAX, max_flights: 8 };
const NARROW: Limits = Limits { max_recording: 8, window: 4, max_recorded: usize::MAX, max_flights: 8 };

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
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_seats_read_equal_bytes_of_one_trip() {
    let sky = Sky::new(ROOMY, LOST);
    let trips = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(Notify::new());
    let mut readers = Vec::new();
    for _ in 0..1_000 {
        let (trips, gate) = (trips.clone(), gate.clone());
        readers.push(tokio::spawn(read_all(seat(sky.join(1, nothing, |recorder| async move {
            trips.fetch_add(1, Ordering::SeqCst);
            gate.notified().await;
            recorder.head("head");
            for number in 0..200_u32 {
                recorder.push(Bytes::from(format!("{number},"))).await;
                tokio::task::yield_now().await;
            }
            recorder.seal();
        })))));
    }
    gate.notify_one();
    let body: String = (0..200_u32).map(|number| format!("{number},")).collect();
    let whole = Seen { head: Some("head"), body: body.into_bytes(), end: Some(Ok(())) };
    for reader in readers {
        assert_eq!(reader.await.unwrap(), whole);
    }
    assert_eq!(trips.load(Ordering::SeqCst), 1);
    until("the flight is over", || sky.is_empty() && sky.recorded_bytes() == 0).await;
}

#[tokio::test]
async fn a_late_joiner_gets_everything_even_after_the_end() {
    let sky = Sky::new(ROOMY, LOST);
    let (first, pen, _) = by_hand(&sky, 1);
    pen.head("head");
    pen.push(Bytes::from_static(b"one ")).await;
    let midway = joined(&sky, 1).unwrap();
    pen.push(Bytes::new()).await;
    pen.push(Bytes::from_static(b"two")).await;
    pen.seal();
    pen.push(Bytes::from_static(b"never")).await;
    let late = joined(&sky, 1).unwrap();
    assert_eq!(pen.chunks().unwrap(), ["one ", "two"]);
    drop(pen);
    assert!(joined(&sky, 1).is_none(), "the flight has left the map");
    let whole = Seen { head: Some("head"), body: b"one two".into(), end: Some(Ok(())) };
    assert_eq!(sky.recorded_bytes(), 7);
    for seat in [first, midway, late] {
        assert_eq!(read_all(seat).await, whole);
    }
    assert_eq!(sky.recorded_bytes(), 0);
}

#[tokio::test]
async fn the_first_may_leave_without_harm() {
    let sky = Sky::new(ROOMY, LOST);
    let (first, pen, gone) = by_hand(&sky, 1);
    let follower = joined(&sky, 1).unwrap();
    pen.push(Bytes::from_static(b"a")).await;
    drop(first);
    let successor = joined(&sky, 1).unwrap();
    pen.push(Bytes::from_static(b"b")).await;
    pen.seal();
    assert!(!gone.load(Ordering::SeqCst));
    for seat in [follower, successor] {
        assert_eq!(read_all(seat).await.body, b"ab");
    }
}

#[tokio::test]
async fn the_last_to_leave_calls_the_trip_off_and_the_next_starts_anew() {
    let sky = Sky::new(ROOMY, LOST);
    let (first, pen, gone) = by_hand(&sky, 1);
    let second = joined(&sky, 1).unwrap();
    drop(first);
    assert!(poll(pin!(pen.abandoned())).is_pending());
    drop(second);
    assert!(poll(pin!(pen.abandoned())).is_ready());
    assert!(joined(&sky, 1).is_none(), "nobody boards a flight that was given up");
    let (_anew, second_pen, second_gone) = by_hand(&sky, 1);
    until("the future is dropped", || gone.load(Ordering::SeqCst)).await;
    assert_eq!(sky.len(), 2);
    drop(pen);
    assert_eq!(sky.len(), 1);
    assert!(sky.any(|key| *key == 1) && !sky.any(|key| *key == 2));
    assert!(joined(&sky, 1).is_some(), "the old flight does not take the new one out of the map");
    assert!(!second_gone.load(Ordering::SeqCst));
    drop(second_pen);
    assert!(sky.is_empty());
}

#[tokio::test]
async fn whoever_watches_is_told_when_the_last_seat_is_given_up() {
    let sky = Sky::new(ROOMY, LOST);
    let (seat, pen, _) = by_hand(&sky, 1);
    let watcher = tokio::spawn(async move { pen.abandoned().await });
    tokio::task::yield_now().await;
    drop(seat);
    watcher.await.unwrap();
    assert!(sky.is_empty());
}

#[tokio::test]
async fn a_sealed_trip_is_not_called_off() {
    let sky = Sky::new(ROOMY, LOST);
    let (stored, told) = oneshot::channel();
    let gate = Arc::new(Notify::new());
    let opened = gate.clone();
    let mut reader = seat(sky.join(1, nothing, |recorder| async move {
        recorder.push(Bytes::from_static(b"x")).await;
        recorder.seal();
        opened.notified().await;
        stored.send(recorder.chunks()).unwrap();
    }));
    assert!(matches!(reader.next().await, Event::Chunk(_)));
    assert!(matches!(reader.next().await, Event::End));
    assert!(matches!(reader.next().await, Event::End), "the end is repeated");
    drop(reader);
    assert!(joined(&sky, 1).is_some(), "a sealed flight without seats can be joined");
    gate.notify_one();
    assert_eq!(told.await.unwrap().unwrap(), ["x"]);
    until("the flight is over", || sky.is_empty()).await;
}

#[tokio::test]
async fn a_failure_comes_after_what_was_recorded_and_leaves_the_map() {
    let sky = Sky::new(ROOMY, LOST);
    let (seat, pen, _) = by_hand(&sky, 1);
    pen.head("head");
    pen.push(Bytes::from_static(b"half")).await;
    pen.fail("reset");
    pen.seal();
    assert!(joined(&sky, 1).is_none());
    drop(pen);
    let told = Seen { head: Some("head"), body: b"half".into(), end: Some(Err("reset")) };
    assert_eq!(read_all(seat).await, told);
}

#[tokio::test]
async fn a_panic_and_a_future_that_just_returns_are_told_as_lost() {
    let sky = Sky::new(ROOMY, LOST);
    let returns = seat(sky.join(1, nothing, |recorder| async move {
        recorder.push(Bytes::from_static(b"half")).await;
    }));
    let panics = seat(sky.join(2, nothing, |recorder| async move {
        recorder.head("head");
        panic!("on purpose");
    }));
    assert_eq!(read_all(returns).await, Seen { head: None, body: b"half".into(), end: Some(Err(LOST)) });
    assert_eq!(read_all(panics).await, Seen { head: Some("head"), body: vec![], end: Some(Err(LOST)) });
    until("both flights are over", || sky.is_empty()).await;
}

#[tokio::test]
async fn a_departure_that_panics_leaves_no_flight_behind() {
    let sky = Sky::new(ROOMY, LOST);
    let join = || sky.join(1, nothing, |_| -> std::future::Ready<()> { panic!("on purpose") });
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(join)).is_err());
    let recheck = || sky.join(1, || -> Option<()> { panic!("on purpose") }, |_| async {});
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(recheck)).is_err());
    assert!(sky.is_empty());
    let (_seat, _pen, _) = by_hand(&sky, 1);
}

#[tokio::test]
async fn the_recheck_finds_what_was_stored_meanwhile() {
    let sky = Sky::new(ROOMY, LOST);
    let boarding = sky.join(1, || Some("stored"), |_| async { panic!("no trip is needed") });
    assert!(matches!(boarding, Ok(Boarding::Landed("stored"))));
    assert!(sky.is_empty());
}

#[tokio::test]
async fn a_closed_flight_is_finished_for_those_on_board_only() {
    let sky = Sky::new(ROOMY, LOST);
    let (seat, pen, _) = by_hand(&sky, 1);
    pen.close();
    assert!(joined(&sky, 1).is_none());
    let (_other, _other_pen, _) = by_hand(&sky, 1);
    pen.close();
    assert!(joined(&sky, 1).is_some(), "a second close does not take another flight out");
    pen.push(Bytes::from_static(b"private")).await;
    pen.seal();
    assert_eq!(read_all(seat).await.body, b"private");
    assert_eq!(sky.len(), 2);
}

#[tokio::test]
async fn a_solo_flight_is_found_by_nobody() {
    let sky = Sky::new(ROOMY, LOST);
    let seat = sky
        .solo(|recorder| async move {
            recorder.push(Bytes::from_static(b"alone")).await;
            recorder.seal();
        })
        .unwrap();
    assert!(!seat.joined());
    assert_eq!(sky.len(), 1);
    assert_eq!(read_all(seat).await.body, b"alone");
    until("the flight is over", || sky.is_empty()).await;
}

#[tokio::test]
async fn a_full_sky_refuses_departures_but_no_joiner() {
    let sky = Sky::new(Limits { max_flights: 2, ..ROOMY }, LOST);
    let (_first, pen, _) = by_hand(&sky, 1);
    let (_second, _second_pen, _) = by_hand(&sky, 2);
    assert!(matches!(sky.join(3, nothing, |_| async {}), Err(Full)));
    assert!(matches!(sky.solo(|_| async {}), Err(Full)));
    assert!(joined(&sky, 1).is_some());
    assert!(joined(&sky, 3).is_none(), "what was stored meanwhile needs no departure");
    drop(pen);
    by_hand(&sky, 3);
}

#[tokio::test]
async fn beyond_the_limit_the_recorder_waits_for_the_slowest() {
    let sky = Sky::new(NARROW, LOST);
    let (mut quick, pen, _) = by_hand(&sky, 1);
    let mut slow = joined(&sky, 1).unwrap();
    let (mut quick_seen, mut slow_seen) = (Seen::default(), Seen::default());
    pen.push(Bytes::from_static(b"12345678")).await;
    assert!(pen.chunks().is_some(), "at the limit it is whole");

    let mut push = pin!(pen.push(Bytes::from_static(b"9abc")));
    assert!(poll(push.as_mut()).is_pending());
    assert!(joined(&sky, 1).is_none(), "too large for new readers");
    assert!(pen.chunks().is_none());
    read_ready(&mut quick, &mut quick_seen);
    assert_eq!(quick_seen.body, b"123456789abc");
    assert!(poll(push.as_mut()).is_pending(), "one is still twelve bytes behind");
    assert_eq!(sky.recorded_bytes(), 12);
    slow_seen.note(slow.next().await);
    assert!(poll(push.as_mut()).is_ready(), "four bytes behind is within the window");
    assert_eq!(sky.recorded_bytes(), 4, "what both have read is dropped");

    let mut push = pin!(pen.push(Bytes::from_static(b"d")));
    assert!(poll(push.as_mut()).is_pending(), "five bytes behind is not");
    assert_eq!(sky.recorded_bytes(), 5);
    drop(slow);
    assert!(poll(push.as_mut()).is_ready(), "who has left is waited for no longer");
    pen.seal();
    read_ready(&mut quick, &mut quick_seen);
    assert_eq!(quick_seen, Seen { head: None, body: b"123456789abcd".into(), end: Some(Ok(())) });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_quick_readers_of_an_outgrown_recording_read_the_same() {
    let sky = Sky::new(NARROW, LOST);
    let gate = Arc::new(Notify::new());
    let opened = gate.clone();
    let first = seat(sky.join(1, nothing, |recorder| async move {
        opened.notified().await;
        for number in 0..500_u32 {
            recorder.push(Bytes::from(format!("{number},"))).await;
        }
        recorder.seal();
    }));
    let seats = (1..8).map(|_| joined(&sky, 1).unwrap()).chain([first]);
    let readers: Vec<_> = seats
        .enumerate()
        .map(|(number, mut seat)| {
            tokio::spawn(async move {
                let mut seen = Seen::default();
                while seen.end.is_none() {
                    seen.note(seat.next().await);
                    for _ in 0..number {
                        tokio::task::yield_now().await;
                    }
                }
                seen.body
            })
        })
        .collect();
    gate.notify_one();
    let body: String = (0..500_u32).map(|number| format!("{number},")).collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), body.as_bytes());
    }
}

#[tokio::test]
async fn next_is_cancel_safe() {
    let sky = Sky::new(ROOMY, LOST);
    let (mut seat, pen, _) = by_hand(&sky, 1);
    for round in 0..3_u8 {
        assert!(tokio::time::timeout(Duration::from_millis(1), seat.next()).await.is_err());
        pen.push(Bytes::from(vec![round])).await;
        assert!(matches!(seat.next().await, Event::Chunk(chunk) if chunk[..] == [round]));
    }
}

#[derive(Debug, Clone)]
enum Step {
    Join,
    Leave(prop::sample::Index),
    Read(prop::sample::Index),
    Drain(prop::sample::Index),
    Head,
    Push(Vec<u8>),
    End(Result<(), &'static str>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Join),
        2 => any::<prop::sample::Index>().prop_map(Step::Leave),
        6 => any::<prop::sample::Index>().prop_map(Step::Read),
        2 => any::<prop::sample::Index>().prop_map(Step::Drain),
        1 => Just(Step::Head),
        8 => prop::collection::vec(any::<u8>(), 0..6).prop_map(Step::Push),
        1 => prop_oneof![Just(Ok(())), Just(Err("reset"))].prop_map(Step::End),
    ];
    prop::collection::vec(step, 0..120)
}

/// One flight as it should be: the reference that the real one is held against.
#[derive(Default)]
struct Reference {
    head: Option<&'static str>,
    body: Vec<u8>,
    end: Option<Result<(), &'static str>>,
}

impl Reference {
    fn joinable(&self, seated: usize, limits: Limits) -> bool {
        self.body.len() <= limits.max_recording
            && match self.end {
                None => seated > 0,
                Some(end) => end.is_ok(),
            }
    }

    fn agrees(&self, seen: &Seen) -> bool {
        let whole = seen.body == self.body;
        self.body.starts_with(&seen.body) && (seen.end.is_none() || (whole && seen.end == self.end))
    }
}

proptest! {
    /// Whatever the order of joins, leaves, reads and pushes: everybody reads a prefix of the same bytes and the same
    /// end, joining succeeds exactly where it should, and the recorder waits exactly while somebody is too far behind.
    #[test]
    fn every_schedule_reads_the_reference(steps in steps(), max_recording in 0_usize..60, window in 0_usize..12) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let limits = Limits { max_recording, window, max_recorded: usize::MAX, max_flights: 1 };
        let sky = Sky::new(limits, LOST);
        let (first, pen, _) = by_hand(&sky, 1);
        let mut readers = vec![(first, Seen::default())];
        let mut reference = Reference::default();
        for step in steps {
            match step {
                Step::Join => {
                    let seat = joined(&sky, 1);
                    prop_assert_eq!(seat.is_some(), reference.joinable(readers.len(), limits));
                    readers.extend(seat.map(|seat| (seat, Seen::default())));
                }
                Step::Leave(who) if !readers.is_empty() => drop(readers.swap_remove(who.index(readers.len()))),
                Step::Read(who) if !readers.is_empty() => {
                    let who = who.index(readers.len());
                    let (seat, seen) = &mut readers[who];
                    if seen.end.is_none() && let Some(event) = seat.try_next() {
                        seen.note(event);
                    }
                }
                Step::Drain(who) if !readers.is_empty() => {
                    let who = who.index(readers.len());
                    let (seat, seen) = &mut readers[who];
                    read_ready(seat, seen);
                    prop_assert_eq!(seen.end, reference.end);
                    prop_assert_eq!(&seen.body, &reference.body);
                }
                Step::Head if reference.body.is_empty() => {
                    pen.head("head");
                    if reference.end.is_none() {
                        reference.head = Some("head");
                    }
                }
                Step::Push(bytes) => {
                    if reference.end.is_none() {
                        reference.body.extend_from_slice(&bytes);
                    }
                    let outgrown = reference.body.len() > max_recording;
                    let behind = |seen: &Seen| reference.body.len() - seen.body.len() > window;
                    let waits = outgrown && readers.iter().any(|(_, seen)| behind(seen));
                    prop_assert_eq!(poll(pin!(pen.push(Bytes::from(bytes)))).is_pending(), waits);
                }
                Step::End(end) => {
                    match end {
                        Ok(()) => pen.seal(),
                        Err(error) => pen.fail(error),
                    }
                    // A failure after the seal only takes the flight out of the map.
                    if reference.end.is_none() {
                        reference.end = Some(end);
                    } else if end.is_err() {
                        reference.end = reference.end.filter(Result::is_err);
                        prop_assert!(joined(&sky, 1).is_none());
                        break;
                    }
                }
                _ => {}
            }
            for (_, seen) in &readers {
                prop_assert!(reference.agrees(seen), "{:?} of {:?}", seen, reference.body);
            }
        }
        drop(pen);
        prop_assert_eq!(sky.len(), 0);
        drop(readers);
        prop_assert_eq!(sky.recorded_bytes(), 0);
    }

    /// Real tasks in real threads: who stays reads everything, whoever else comes and goes.
    #[test]
    fn who_stays_reads_everything(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..9), 1..40),
        patience in prop::collection::vec(prop::option::of(0_usize..20), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        let body: Arc<[u8]> = chunks.concat().into();
        runtime.block_on(async {
            let sky = Sky::new(ROOMY, LOST);
            let readers: Vec<_> = patience.iter().map(|leaves_after| {
                let (sky, chunks, body) = (sky.clone(), chunks.clone(), body.clone());
                let leaves_after = *leaves_after;
                tokio::spawn(async move {
                    let mut seat = seat(sky.join(1, nothing, |recorder| async move {
                        for chunk in chunks {
                            recorder.push(chunk.into()).await;
                            tokio::task::yield_now().await;
                        }
                        recorder.seal();
                    }));
                    let mut seen = Seen::default();
                    for _ in 0..leaves_after.unwrap_or(usize::MAX) {
                        if seen.end.is_some() {
                            break;
                        }
                        seen.note(seat.next().await);
                    }
                    assert!(body.starts_with(&seen.body));
                    assert!(leaves_after.is_some() || (seen.body[..] == body[..] && seen.end == Some(Ok(()))));
                })
            }).collect();
            for reader in readers {
                reader.await.unwrap();
            }
            until("all flights are over", || sky.is_empty() && sky.recorded_bytes() == 0).await;
        });
    }
}
