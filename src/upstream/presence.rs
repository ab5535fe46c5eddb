//! Whether the upstream is there, as last seen.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

const DOWN: u8 = 1;
const UP: u8 = 2;

/// What was last seen of it.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// What the last attempt to connect came to: `DOWN` or `UP`, and 0 before the first.
    connecting: AtomicU8,
    /// Whether what answers there is Pannier.
    itself: AtomicBool,
}

impl Presence {
    /// Whether it is of use to send something there.
    pub(super) fn is_up(&self) -> bool {
        self.connecting.load(Ordering::Relaxed) == UP && !self.is_itself()
    }

    pub(super) fn is_itself(&self) -> bool {
        self.itself.load(Ordering::Relaxed)
    }

    /// Notes what an attempt to connect came to, and says whether that is news.
    pub(super) fn connected(&self, up: bool) -> bool {
        let now = if up { UP } else { DOWN };
        self.connecting.swap(now, Ordering::Relaxed) != now
    }

    /// Notes whether Pannier has met itself there, and says whether that is news.
    pub(super) fn met(&self, itself: bool) -> bool {
        self.itself.swap(itself, Ordering::Relaxed) != itself
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_news_once() {
        let presence = Presence::default();
        assert!(!presence.is_up() && presence.connected(false) && !presence.connected(false));
        assert!(presence.connected(true) && !presence.connected(true) && presence.is_up());
    }

    #[test]
    fn a_connection_to_oneself_is_no_upstream() {
        let presence = Presence::default();
        presence.connected(true);
        assert!(presence.met(true) && !presence.met(true) && !presence.is_up());
        presence.connected(true);
        assert!(!presence.is_up() && presence.met(false) && presence.is_up());
    }
}
