//! A library that is told nonsense by a server may panic over it: that is a fault like others, and ends neither a
//! request nor what looks after a tier.

use super::tier::Fault;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// What `work` comes to; [`Fault::Corrupt`] where it panics. It is dropped then, with all that it held.
pub(super) async fn unbroken<T>(work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let mut work = pin!(work);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        polled.unwrap_or(Poll::Ready(Err(Fault::Corrupt)))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_fault() {
        assert_eq!(unbroken(async { Ok(1) }).await, Ok(1));
        let told: Result<u8, _> = "nonsense".parse::<u8>();
        let broken = async {
            tokio::task::yield_now().await;
            Ok(told.expect("a number"))
        };
        assert_eq!(unbroken(broken).await, Err(Fault::Corrupt));
    }
}
