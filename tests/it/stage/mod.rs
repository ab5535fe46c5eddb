//! What every test stands on: a scripted Ollama, a real Pannier in front of it, and a client that shows bytes.

mod answers;
mod client;
pub mod embedder;
mod faults;
mod recorded;
mod samples;
mod server;
mod upstream;

pub use answers::{chunked, head, json, ndjson, sse, whole, with_cors};
pub use client::{Ask, Ending, Framing, Payload, Reply, Wire, find};
pub use faults::{Fault, can_trace};
pub use recorded::{MODELS, Recording, Route, model_entry, route, routes, text_frames};
pub use samples::{Samples, sample_lines};
pub use server::{Launch, Pannier, free_address};
pub use upstream::{Act, Gate, Upstream, Visit};

use std::future::Future;
use std::time::{Duration, Instant};

/// No wait in this suite is longer: what takes this long hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How soon the upstream must see that the last interested client has left (RELIABILITY.md D-10, D-11).
pub const CALLED_OFF: Duration = Duration::from_millis(250);

/// How late a deadline of a second may be kept on a busy machine.
pub const LATEST: Duration = Duration::from_millis(3200);

/// What waits for nothing is over by then, however busy the machine is. What it must not wait for never comes in the
/// tests, or takes far longer.
pub const PROMPTLY: Duration = Duration::from_secs(10);

/// Waits for `what`, and fails the test with its name when it hangs.
pub async fn within<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

/// Asks again and again until `check` gives something; fails the test with `what` where it never does.
pub async fn eventually<T, F, W>(what: &str, check: F) -> T
where
    F: FnMut() -> W,
    W: Future<Output = Option<T>>,
{
    eventually_within(PATIENCE, what, check).await
}

/// As `eventually`, with another patience.
pub async fn eventually_within<T, F, W>(patience: Duration, what: &str, mut check: F) -> T
where
    F: FnMut() -> W,
    W: Future<Output = Option<T>>,
{
    let until = Instant::now() + patience;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < until, "never came true: {what}");
        pause(10).await;
    }
}

/// A loopback address of which no test takes a port by chance, neither to listen nor to connect.
pub const APART: &str = "127.0.0.77:0";

/// Milliseconds; for the few places where a test waits for time itself.
pub async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
