//! What it costs to hand one answer to many readers: 1,000 chunks of a token's size, on one thread, so that a figure
//! is CPU time. An item is one chunk taken by one reader.

use std::convert::Infallible;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use pannier::flight::{Boarding, Event, Flights, Limits, Seat};
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

const CHUNKS: usize = 1_000;
const READERS: [usize; 3] = [1, 64, 500];
const TOKEN: Bytes = Bytes::from_static(&[b'x'; 120]);
const LIMITS: Limits =
    Limits { max_recording: 64 << 20, window: 1 << 20, max_recorded: usize::MAX, max_flights: 4_096 };

fn main() {
    divan::main();
}

/// Every reader sleeps between two tokens, as they do while a model is thinking.
#[divan::bench(args = READERS)]
fn token_by_token(bencher: Bencher, readers: usize) {
    let runtime = thread();
    bencher
        .counter(ItemsCount::new(CHUNKS * readers))
        .bench_local(|| runtime.block_on(answer(readers, true)));
}

/// The chunks are there before anybody reads them, as for a late joiner.
#[divan::bench(args = READERS)]
fn catching_up(bencher: Bencher, readers: usize) {
    let runtime = thread();
    bencher
        .counter(ItemsCount::new(CHUNKS * readers))
        .bench_local(|| runtime.block_on(answer(readers, false)));
}

fn thread() -> Runtime {
    Builder::new_current_thread().build().expect("a runtime of one thread")
}

async fn answer(readers: usize, paced: bool) {
    let flights: Flights<u8, (), ()> = Flights::new(LIMITS, ());
    let readers: Vec<_> = (0..readers).map(|_| tokio::spawn(read(board(&flights, paced)))).collect();
    for reader in readers {
        assert_eq!(reader.await.expect("a reader"), CHUNKS * TOKEN.len());
    }
}

fn board(flights: &Flights<u8, (), ()>, paced: bool) -> Seat<(), ()> {
    let boarding = flights.join(
        1,
        || None::<Infallible>,
        move |recorder| async move {
            recorder.head(());
            for _ in 0..CHUNKS {
                recorder.push(TOKEN).await;
                if paced {
                    yield_now().await;
                }
            }
            recorder.seal();
        },
    );
    match boarding {
        Ok(Boarding::Seat(seat)) => seat,
        Ok(Boarding::Landed(never)) => match never {},
        Err(full) => panic!("{full}"),
    }
}

async fn read(mut seat: Seat<(), ()>) -> usize {
    let mut bytes = 0;
    loop {
        match seat.next().await {
            Event::Head(_) => {}
            Event::Chunk(chunk) => bytes += chunk.len(),
            Event::End => return bytes,
            Event::Failed(()) => panic!("the trip was lost"),
        }
    }
}
