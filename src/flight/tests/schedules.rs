//! Any order of events, held against one flight as it should be.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::{LOST, Limits, ROOMY, Seen, Sky, by_hand, joined, nothing, poll, read_ready, seat, until};

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
