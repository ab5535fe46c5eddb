//! How many bytes of request bodies are held at once, of all clients together.
//!
//! Never waits: whoever cannot have more is refused, so that half-read bodies cannot wait for each other.

use super::{Error, Kind};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What all together may hold. A clone is another handle on the same.
#[derive(Clone)]
pub struct Budget(Arc<Account>);

struct Account {
    most: usize,
    held: AtomicUsize,
}

/// One body's part of it, given back when it is dropped.
pub struct Share {
    account: Arc<Account>,
    bytes: usize,
}

/// How soon a refused client may come again.
const AGAIN: Duration = Duration::from_secs(1);

// === impl Budget ===

impl Budget {
    /// `most`: bytes.
    pub fn new(most: usize) -> Self {
        Budget(Arc::new(Account { most, held: AtomicUsize::new(0) }))
    }

    /// A share of `bytes`, which may be none as yet; `None` when there is not so much left.
    pub fn take(&self, bytes: usize) -> Option<Share> {
        let mut share = Share { account: self.0.clone(), bytes: 0 };
        share.grow(bytes).then_some(share)
    }

    /// What a client is told for whose body there is no room.
    pub fn no_room() -> Error {
        Error::new(Kind::Overloaded, "too many request bodies are being read").retry_after(AGAIN)
    }

    /// `body`, which has a share of it as long as anybody has it.
    ///
    /// # Errors
    /// `Overloaded` where there is not so much left.
    pub fn hold(&self, body: Bytes) -> Result<Bytes, Error> {
        let share = self.take(body.len()).ok_or_else(Budget::no_room)?;
        Ok(share.hold(body))
    }

    /// Bytes held now.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }
}

// === impl Share ===

impl Share {
    /// Takes so many bytes more; false, and nothing taken, when there are not so many left.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let Account { most, held } = &*self.account;
        let more = |held: usize| held.checked_add(bytes).filter(|held| held <= most);
        let grown = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        self.bytes += if grown { bytes } else { 0 };
        grown
    }

    /// Ties the share to what it is for: it is given back with the last clone of the returned bytes.
    pub fn hold(self, body: Bytes) -> Bytes {
        Bytes::from_owner(Held { body, _share: self })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.account.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Held {
    body: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_are_bounded() {
        let budget = Budget::new(100);
        let mut first = budget.take(60).unwrap();
        assert!(budget.take(41).is_none());
        assert_eq!(budget.held(), 60, "what is refused takes nothing");
        let second = budget.take(40).unwrap();
        assert!(!first.grow(1) && budget.held() == 100);
        drop(second);
        assert!(first.grow(40) && budget.held() == 100);
        assert!(!first.grow(usize::MAX), "no sum overflows");
        drop(first);
        assert_eq!(budget.held(), 0);
        assert!(budget.take(0).is_some());
    }

    #[test]
    fn a_share_lives_as_long_as_its_body() {
        let budget = Budget::new(100);
        let body = budget.take(5).unwrap().hold(Bytes::from_static(b"hello"));
        let part = body.slice(1..3);
        assert_eq!((&body[..], &part[..]), (&b"hello"[..], &b"el"[..]));
        drop(body);
        assert_eq!(budget.held(), 5, "a part holds the whole");
        drop(part);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn many_threads_never_hold_more_than_all_may() {
        let budget = Budget::new(64);
        std::thread::scope(|scope| {
            for thread in 1..=8 {
                let budget = budget.clone();
                scope.spawn(move || {
                    for _ in 0..5_000 {
                        if let Some(mut share) = budget.take(thread) {
                            share.grow(thread * 3);
                            assert!(budget.held() <= 64);
                        }
                    }
                });
            }
        });
        assert_eq!(budget.held(), 0);
    }
}
