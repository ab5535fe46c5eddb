//! How a trip departs, ends and leaves the map.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use super::{Boarding, Event, Full, LOST, Limits, ROOMY, Seen, Sky};
use super::{by_hand, joined, nothing, read_all, seat, until};

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
