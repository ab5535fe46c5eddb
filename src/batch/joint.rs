//! One piece of work that several wait for: whoever is there keeps it going, and when all have left it is
//! dropped where it stands.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Work with an outcome of type `T`. Never spawned: it goes on while somebody waits for it.
pub struct Joint<T> {
    state: Mutex<State<T>>,
}

enum State<T> {
    Going(Pin<Box<dyn Future<Output = T> + Send>>),
    Done(T),
}

impl<T: Clone> Joint<T> {
    pub fn new(work: impl Future<Output = T> + Send + 'static) -> Arc<Self> {
        Arc::new(Joint { state: Mutex::new(State::Going(Box::pin(work))) })
    }

    /// Waits for the outcome. Cancel safe: the next in line takes the work on.
    pub async fn outcome(&self) -> T {
        let mut state = self.state.lock().await;
        let outcome = match &mut *state {
            State::Done(outcome) => return outcome.clone(),
            State::Going(work) => work.await,
        };
        *state = State::Done(outcome.clone());
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::{Notify, oneshot};

    #[tokio::test]
    async fn all_get_the_one_outcome() {
        let times = Arc::new(AtomicUsize::new(0));
        let count = times.clone();
        let (go, gone) = oneshot::channel::<()>();
        let joint = Joint::new(async move {
            let _ = gone.await;
            count.fetch_add(1, Ordering::SeqCst) + 41
        });
        let waiting: Vec<_> = (0..5)
            .map(|_| {
                let joint = joint.clone();
                tokio::spawn(async move { joint.outcome().await })
            })
            .collect();
        tokio::task::yield_now().await;
        go.send(()).expect("somebody keeps it going");
        for one in waiting {
            assert_eq!(one.await.expect("no panic"), 41);
        }
        assert_eq!(joint.outcome().await, 41);
    }

    #[tokio::test]
    async fn who_leaves_hands_the_work_on_and_the_last_one_drops_it() {
        let (go, was_dropped) = (Arc::new(Notify::new()), Arc::new(()));
        let (wait, held) = (go.clone(), was_dropped.clone());
        let joint = Joint::new(async move {
            let _held = held;
            wait.notified().await;
        });
        let first = tokio::spawn({
            let joint = joint.clone();
            async move { joint.outcome().await }
        });
        let second = tokio::spawn({
            let joint = joint.clone();
            async move { joint.outcome().await }
        });
        tokio::task::yield_now().await;
        first.abort();
        let _ = first.await;
        go.notify_one();
        second.await.expect("the work went on");

        let wait = go.clone();
        let held = was_dropped.clone();
        let abandoned = Joint::new(async move {
            let _held = held;
            wait.notified().await;
        });
        let only = tokio::spawn(async move { abandoned.outcome().await });
        tokio::task::yield_now().await;
        only.abort();
        let _ = only.await;
        assert_eq!(Arc::strong_count(&was_dropped), 1, "nobody waits, and nothing is held");
    }
}
