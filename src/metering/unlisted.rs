//! Models that the upstream answers for and does not list: those that run elsewhere, and all of them while it does
//! not say which it has. They are in the books under the names that clients write.

use crate::domain::CallFacts;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Names for which an upstream has answered, and when it last did. Others are no more than what somebody made up.
#[derive(Default)]
pub(super) struct Unlisted(Mutex<HashMap<Arc<str>, Instant>>);

/// From then on all others are one ...
const MOST: usize = 1_000;
/// ... but for those that take the place of one that has not been answered for so long.
const IDLE: Duration = Duration::from_secs(86_400);
/// Bytes of a name: longer ones are cut off in the books, and would be one there.
const LONGEST: usize = 200;

impl Unlisted {
    /// The upstream has answered to this.
    pub fn learn(&self, facts: &CallFacts, now: Instant) {
        let Some(name) = facts.unlisted.as_ref().filter(|name| name.len() <= LONGEST) else { return };
        let mut known = self.known();
        if known.len() >= MOST && !known.contains_key(name) {
            known.retain(|_, answered| now.duration_since(*answered) < IDLE);
        }
        if known.len() < MOST || known.contains_key(name) {
            known.insert(name.clone(), now);
        }
    }

    /// `facts` with the model as the books call it.
    pub fn named<'a>(&self, facts: &'a CallFacts) -> Cow<'a, CallFacts> {
        match &facts.unlisted {
            Some(name) if self.known().contains_key(name) => {
                Cow::Owned(CallFacts { model: name.clone(), ..facts.clone() })
            }
            _ => Cow::Borrowed(facts),
        }
    }

    /// What the books will call the model if the upstream answers for it.
    pub fn would_be<'a>(&self, facts: &'a CallFacts, now: Instant) -> &'a str {
        let Some(name) = &facts.unlisted else { return &facts.model };
        let known = self.known();
        let makes_room = || known.values().any(|answered| now.duration_since(*answered) >= IDLE);
        let has_room = name.len() <= LONGEST && (known.len() < MOST || makes_room());
        if has_room || known.contains_key(name) { name } else { &facts.model }
    }

    pub fn count(&self) -> usize {
        self.known().len()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Arc<str>, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Operation;

    fn facts(name: &str) -> CallFacts {
        let (operation, streamed) = (Operation::Chat, false);
        let unlisted = Some(name.into());
        CallFacts { operation, streamed, model: "other".into(), digest: "".into(), unlisted }
    }

    #[test]
    fn what_was_answered_has_its_name_and_what_was_made_up_has_none() {
        let unlisted = Unlisted::default();
        let name = |name: &str| unlisted.named(&facts(name)).model.to_string();
        assert_eq!(name("made-up:latest"), "other");
        let now = Instant::now();
        unlisted.learn(&facts("gpt-oss:120b:cloud"), now);
        unlisted.learn(&facts(&"long".repeat(100)), now);
        assert_eq!((name("gpt-oss:120b:cloud"), unlisted.count()), ("gpt-oss:120b:cloud".into(), 1));
        (0..2 * MOST).for_each(|number| unlisted.learn(&facts(&number.to_string()), now));
        assert_eq!((unlisted.count(), name("1"), name("1999")), (MOST, "1".into(), "other".into()));
    }

    #[test]
    fn what_is_not_answered_for_long_makes_room() {
        let (unlisted, now) = (Unlisted::default(), Instant::now());
        (0..MOST).for_each(|number| unlisted.learn(&facts(&number.to_string()), now));
        unlisted.learn(&facts("7"), now + IDLE / 2);
        unlisted.learn(&facts("early"), now + IDLE / 2);
        let name = |name: &str| unlisted.named(&facts(name)).model.to_string();
        assert_eq!(
            (name("early"), unlisted.would_be(&facts("early"), now + IDLE / 2)),
            ("other".into(), "other")
        );
        assert_eq!(unlisted.would_be(&facts("late"), now + IDLE), "late", "there will be room");
        unlisted.learn(&facts("late"), now + IDLE);
        assert_eq!((name("late"), name("7"), name("8")), ("late".into(), "7".into(), "other".into()));
        assert_eq!(
            (unlisted.count(), unlisted.would_be(&facts("8"), now + IDLE)),
            (2, "8"),
            "it may be answered again"
        );
    }
}
