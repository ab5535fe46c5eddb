//! How long a forwarded request has waited for the head of its answer. Pingora's own clock starts anew with
//! each byte of that head.

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Shared by the request and by whoever watches over it.
#[derive(Debug, Clone)]
pub struct Vigil(watch::Sender<Waiting>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    NotYet,
    Since(Instant),
    Over,
}

impl Default for Vigil {
    fn default() -> Self {
        Vigil(watch::Sender::new(Waiting::NotYet))
    }
}

impl Vigil {
    /// The upstream has been given something to answer, or more of it.
    pub fn ask(&self) {
        self.0.send_replace(Waiting::Since(Instant::now()));
    }

    /// The head of the answer is there.
    pub fn answered(&self) {
        self.0.send_replace(Waiting::Over);
    }

    /// Resolves when the upstream has kept us waiting for longer than `limit`; without one, never.
    pub async fn too_long(&self, limit: Option<Duration>) {
        let Some(limit) = limit else { return std::future::pending().await };
        let mut waiting = self.0.subscribe();
        loop {
            let now = *waiting.borrow_and_update();
            let until = match now {
                Waiting::Since(asked) => asked + limit,
                Waiting::NotYet | Waiting::Over => {
                    // It cannot close: this very Vigil is one of its senders.
                    let _ = waiting.changed().await;
                    continue;
                }
            };
            tokio::select! {
                _ = waiting.changed() => {}
                () = tokio::time::sleep_until(until) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Option<Duration> = Some(Duration::from_secs(10));

    async fn is_too_long_after(vigil: &Vigil, seconds: u64) -> bool {
        tokio::time::timeout(Duration::from_secs(seconds), vigil.too_long(LIMIT)).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn only_an_open_question_takes_too_long() {
        let vigil = Vigil::default();
        assert!(!is_too_long_after(&vigil, 100).await, "nothing was asked");
        vigil.ask();
        assert!(!is_too_long_after(&vigil, 6).await);
        vigil.ask();
        assert!(!is_too_long_after(&vigil, 6).await, "more of the question came");
        assert!(is_too_long_after(&vigil, 6).await);
        vigil.answered();
        assert!(!is_too_long_after(&vigil, 100).await);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_it_is_never_too_long() {
        let vigil = Vigil::default();
        vigil.ask();
        let waited = tokio::time::timeout(Duration::from_secs(1 << 20), vigil.too_long(None)).await;
        assert!(waited.is_err());
    }
}
