//! The sources of `src/flight` with the lock and the tasks of shuttle, which tries schedules at random: no wake-up is
//! lost (shuttle reports a deadlock), no flight is orphaned, and one key has one trip at a time.

mod sync {
    use std::sync::PoisonError;

    pub(super) use shuttle::future::AbortHandle;
    pub(super) use shuttle::sync::{Mutex, MutexGuard};

    pub(super) fn spawn(trip: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        shuttle::future::spawn(trip).abort_handle()
    }

    pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[path = "../src/flight/flights.rs"]
mod flights;
#[path = "../src/flight/recorder.rs"]
mod recorder;
#[path = "../src/flight/recording.rs"]
mod recording;

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use shuttle::future::{block_on, spawn, yield_now};

use flights::{Boarding, Flights, Full, Limits, Seat};
use recorder::Recorder;
use recording::Event;

type Sky = Flights<u8, usize, &'static str>;
type Ticket = Seat<usize, &'static str>;
type Pen = Recorder<u8, usize, &'static str>;

const SCHEDULES: usize = 2_000;
const LOST: &str = "lost";
const ROOMY: Limits =
    Limits { max_recording: 1 << 20, window: 1 << 10, max_recorded: usize::MAX, max_flights: 64 };
const NARROW: Limits = Limits { max_recording: 2, window: 1, max_recorded: usize::MAX, max_flights: 64 };

/// Plays a story under many schedules: half drawn evenly, half with few but deliberate preemptions.
fn under_many_schedules<Story: Future<Output = ()> + 'static>(story: fn() -> Story) {
    shuttle::check_random(move || block_on(story()), SCHEDULES / 2);
    shuttle::check_pct(move || block_on(story()), SCHEDULES / 2, 3);
}

/// Counts the futures of trips that have not been dropped.
#[derive(Clone, Default)]
struct Aloft(Arc<AtomicUsize>);

struct Trip(Aloft);

impl Aloft {
    fn trip(&self) -> Trip {
        self.0.fetch_add(1, Ordering::SeqCst);
        Trip(self.clone())
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for Trip {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn nothing() -> Option<Infallible> {
    None
}

fn seat<T>(boarding: Result<Boarding<T, usize, &'static str>, Full>) -> Ticket {
    match boarding {
        Ok(Boarding::Seat(seat)) => seat,
        Ok(Boarding::Landed(_)) => panic!("landed"),
        Err(full) => panic!("{full}"),
    }
}

/// What comes up to the end, or up to `events` of it; the end is `None` where it was not reached.
async fn read(seat: &mut Ticket, events: usize) -> (Vec<u8>, Option<Result<(), &'static str>>) {
    let mut body = Vec::new();
    for _ in 0..events {
        match seat.next().await {
            Event::Head(_) => assert!(body.is_empty(), "the head comes first"),
            Event::Chunk(chunk) => body.extend_from_slice(&chunk),
            Event::End => return (body, Some(Ok(()))),
            Event::Failed(error) => return (body, Some(Err(error))),
        }
    }
    (body, None)
}

async fn push_all(pen: &Pen) {
    pen.head(0);
    for chunk in ["a", "b", "c"] {
        pen.push(Bytes::from_static(chunk.as_bytes())).await;
    }
}

/// Nothing may be left once everybody has what he came for.
async fn is_quiet(sky: &Sky, aloft: &Aloft) {
    for _ in 0..10_000 {
        if sky.is_empty() && aloft.count() == 0 && sky.recorded_bytes() == 0 && !sky.any(|_| true) {
            return;
        }
        yield_now().await;
    }
    panic!("left: {} flights, {} trips, {} bytes", sky.len(), aloft.count(), sky.recorded_bytes());
}

#[test]
fn a_stampede_makes_one_trip_whenever_its_answer_is_stored() {
    under_many_schedules(|| async {
        let (sky, aloft) = (Sky::new(ROOMY, LOST), Aloft::default());
        let trips = Arc::new(AtomicUsize::new(0));
        let cache: Arc<Mutex<Option<Vec<Bytes>>>> = Arc::default();
        let asker = || {
            let (sky, aloft, trips, cache) = (sky.clone(), aloft.clone(), trips.clone(), cache.clone());
            async move {
                let stored = cache.clone();
                let recheck = || cache.lock().unwrap().clone();
                let boarding = sky.join(1, recheck, move |pen| {
                    let number = trips.fetch_add(1, Ordering::SeqCst);
                    let trip = aloft.trip();
                    async move {
                        let _trip = trip;
                        assert_eq!(number, 0, "one trip is enough");
                        push_all(&pen).await;
                        pen.seal();
                        yield_now().await;
                        *stored.lock().unwrap() = pen.chunks();
                    }
                });
                match boarding {
                    Ok(Boarding::Landed(chunks)) => assert_eq!(chunks.concat(), b"abc"),
                    Ok(Boarding::Seat(mut seat)) => {
                        assert_eq!(read(&mut seat, usize::MAX).await, (b"abc".to_vec(), Some(Ok(()))));
                    }
                    Err(full) => panic!("{full}"),
                }
            }
        };
        let askers: Vec<_> = (0..4).map(|_| spawn(asker())).collect();
        for asker in askers {
            asker.await.unwrap();
        }
        is_quiet(&sky, &aloft).await;
    });
}

#[test]
fn who_stays_gets_everything_whoever_comes_and_goes() {
    under_many_schedules(|| async {
        let (sky, aloft) = (Sky::new(ROOMY, LOST), Aloft::default());
        let readers: Vec<_> = [0, 1, 2, usize::MAX, usize::MAX]
            .map(|patience| {
                let (sky, aloft) = (sky.clone(), aloft.clone());
                spawn(async move {
                    let trip = aloft.trip();
                    let mut seat = seat(sky.join(1, nothing, |pen| async move {
                        let _trip = trip;
                        push_all(&pen).await;
                        yield_now().await;
                        pen.seal();
                    }));
                    let (body, end) = read(&mut seat, patience).await;
                    assert!(b"abc".starts_with(&body[..]));
                    assert!(patience < usize::MAX || (body == b"abc" && end == Some(Ok(()))));
                })
            })
            .into();
        for reader in readers {
            reader.await.unwrap();
        }
        is_quiet(&sky, &aloft).await;
    });
}

/// The trips of this story never end by themselves, so whoever is seated at once must be seated on one and the same,
/// and whoever leaves last knows that he was.
#[test]
fn all_who_are_seated_at_once_are_on_one_trip() {
    under_many_schedules(|| async {
        let (sky, aloft) = (Sky::new(ROOMY, LOST), Aloft::default());
        let (trips, called_off) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let seated: Arc<Mutex<Vec<usize>>> = Arc::default();
        let passenger = || {
            let (sky, aloft, trips, seated) = (sky.clone(), aloft.clone(), trips.clone(), seated.clone());
            let called_off = called_off.clone();
            async move {
                let mut seat = seat(sky.join(1, nothing, move |pen| {
                    pen.head(trips.fetch_add(1, Ordering::SeqCst));
                    let trip = aloft.trip();
                    async move {
                        let (_trip, _pen) = (trip, pen);
                        std::future::pending::<()>().await;
                    }
                }));
                let Event::Head(trip) = seat.next().await else { panic!("the head comes first") };
                let on_board = {
                    let mut seated = seated.lock().unwrap();
                    seated.push(*trip);
                    seated.clone()
                };
                assert!(on_board.iter().all(|other| *other == *trip), "{on_board:?}");
                yield_now().await;
                seated.lock().unwrap().retain({
                    let mut here = true;
                    move |other| *other != *trip || !std::mem::take(&mut here)
                });
                called_off.fetch_add(seat.leave().into(), Ordering::SeqCst);
            }
        };
        let passengers: Vec<_> = (0..4)
            .map(|_| {
                let (first, again) = (passenger(), passenger());
                spawn(async move {
                    first.await;
                    again.await;
                })
            })
            .collect();
        for passenger in passengers {
            passenger.await.unwrap();
        }
        let counts = [&called_off, &trips].map(|count| count.load(Ordering::SeqCst));
        assert_eq!(counts[0], counts[1], "of each trip, one knows that it was called off by his leaving");
        is_quiet(&sky, &aloft).await;
    });
}

#[test]
fn an_outgrown_recording_waits_for_its_readers_and_for_nobody_else() {
    under_many_schedules(|| async {
        let (sky, aloft) = (Sky::new(NARROW, LOST), Aloft::default());
        let readers: Vec<_> = [1, 2, usize::MAX, usize::MAX]
            .map(|patience| {
                let trip = aloft.trip();
                let mut seat = seat(sky.join(1, nothing, |pen| async move {
                    let _trip = trip;
                    push_all(&pen).await;
                    push_all(&pen).await;
                    assert!(pen.chunks().is_none());
                    pen.seal();
                }));
                spawn(async move {
                    let (body, end) = read(&mut seat, patience).await;
                    assert!(b"abcabc".starts_with(&body[..]));
                    assert!(patience < usize::MAX || (body == b"abcabc" && end == Some(Ok(()))));
                })
            })
            .into();
        for reader in readers {
            reader.await.unwrap();
        }
        is_quiet(&sky, &aloft).await;
    });
}

#[test]
fn a_trip_that_ends_badly_is_told_to_everybody() {
    under_many_schedules(|| async {
        let (sky, aloft) = (Sky::new(ROOMY, LOST), Aloft::default());
        for (key, told) in [(1, "reset"), (2, LOST)] {
            let reader = || {
                let (sky, trip) = (sky.clone(), aloft.trip());
                async move {
                    let mut seat = seat(sky.join(key, nothing, |pen| async move {
                        let _trip = trip;
                        push_all(&pen).await;
                        if told != LOST {
                            pen.fail(told);
                        }
                    }));
                    assert_eq!(read(&mut seat, usize::MAX).await, (b"abc".to_vec(), Some(Err(told))));
                }
            };
            let readers: Vec<_> = (0..3).map(|_| spawn(reader())).collect();
            for reader in readers {
                reader.await.unwrap();
            }
        }
        is_quiet(&sky, &aloft).await;
    });
}

/// A recorder that was handed on to another task, which is told when nobody reads any more.
#[test]
fn the_watcher_is_woken_by_whoever_leaves_last() {
    under_many_schedules(|| async {
        let (sky, aloft) = (Sky::new(Limits { max_flights: 1, ..ROOMY }, LOST), Aloft::default());
        let mut watcher = None;
        let mut first = seat(sky.join(1, nothing, |pen| {
            pen.head(0);
            watcher = Some(spawn(async move { pen.abandoned().await }));
            let trip = aloft.trip();
            async move {
                let _trip = trip;
                std::future::pending::<()>().await;
            }
        }));
        let second = seat(sky.join(1, nothing, |_| async {}));
        assert!(second.joined() && !first.joined());
        assert!(matches!(sky.solo(|_| async {}), Err(Full)));
        let leavers =
            [spawn(async move { drop(second) }), spawn(async move { assert!(first.try_next().is_some()) })];
        for leaver in leavers {
            leaver.await.unwrap();
        }
        watcher.expect("a new flight departs").await.unwrap();
        is_quiet(&sky, &aloft).await;
    });
}

/// Whoever leaves as soon as the last chunk is there takes nothing from those who come later.
#[test]
fn a_held_trip_comes_to_its_end_though_all_leave() {
    under_many_schedules(|| async {
        let (sky, aloft) = (Sky::new(ROOMY, LOST), Aloft::default());
        let ended = Arc::new(AtomicUsize::new(0));
        let (trip, end) = (aloft.trip(), ended.clone());
        let mut hasty = seat(sky.join(1, nothing, |pen| async move {
            let _trip = trip;
            pen.head(0);
            pen.hold();
            pen.push(Bytes::from_static(b"a")).await;
            yield_now().await;
            pen.seal();
            end.fetch_add(1, Ordering::SeqCst);
        }));
        let leaver = spawn(async move {
            assert_eq!(read(&mut hasty, 2).await, (b"a".to_vec(), None));
            assert!(hasty.is_held());
        });
        leaver.await.unwrap();
        is_quiet(&sky, &aloft).await;
        assert_eq!(ended.load(Ordering::SeqCst), 1, "called off");
    });
}

/// Those on board read on; whoever comes later has a trip of his own.
#[test]
fn a_closed_flight_is_boarded_by_nobody() {
    under_many_schedules(|| async {
        let (sky, aloft) = (Sky::new(ROOMY, LOST), Aloft::default());
        let closed = Arc::new(AtomicUsize::new(0));
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let (sky, trip, closed) = (sky.clone(), aloft.trip(), closed.clone());
                spawn(async move {
                    let before = closed.load(Ordering::SeqCst);
                    let mut seat = seat(sky.join(1, nothing, |pen| async move {
                        let _trip = trip;
                        pen.close();
                        let number = closed.fetch_add(1, Ordering::SeqCst);
                        pen.head(number);
                        yield_now().await;
                        pen.seal();
                    }));
                    let Event::Head(trip) = seat.next().await else { panic!("the head comes first") };
                    assert!(*trip >= before, "boarded a flight that had been closed before");
                    assert_eq!(read(&mut seat, usize::MAX).await, (vec![], Some(Ok(()))));
                })
            })
            .collect();
        for reader in readers {
            reader.await.unwrap();
        }
        is_quiet(&sky, &aloft).await;
    });
}
