//! A recording that has become too large to be kept whole.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::{LOST, Limits, Seen, Sky, by_hand, joined, nothing, poll, read_ready, seat};

const NARROW: Limits = Limits { max_recording: 8, window: 4, max_recorded: usize::MAX, max_flights: 8 };

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
