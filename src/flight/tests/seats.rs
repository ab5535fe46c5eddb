//! Who comes, who stays and who leaves.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::{Event, LOST, ROOMY, Seen, Sky, by_hand, joined, nothing, poll, read_all, seat, until};

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
async fn next_is_cancel_safe() {
    let sky = Sky::new(ROOMY, LOST);
    let (mut seat, pen, _) = by_hand(&sky, 1);
    for round in 0..3_u8 {
        assert!(tokio::time::timeout(Duration::from_millis(1), seat.next()).await.is_err());
        pen.push(Bytes::from(vec![round])).await;
        assert!(matches!(seat.next().await, Event::Chunk(chunk) if chunk[..] == [round]));
    }
}
