//! Several waits as one, without a task for each.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// What each of `futures` gives, in their order, once all have.
pub(super) async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut waits: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut given: Vec<Option<F::Output>> = waits.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (wait, given) in waits.iter_mut().zip(&mut given) {
            if given.is_none()
                && let Poll::Ready(output) = wait.as_mut().poll(context)
            {
                *given = Some(output);
            }
        }
        if given.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    given.into_iter().flatten().collect()
}
