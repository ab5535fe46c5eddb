//! Models that the upstream answers for and does not list: those that run elsewhere, and all of them while it does
//! not say which it has. They are in the books under the names that clients write.

use crate::domain::CallFacts;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Names for which an upstream has answered. Others are no more than what somebody made up.
#[derive(Default)]
pub(super) struct Unlisted(Mutex<HashSet<Arc<str>>>);

/// From then on all others are one.
const MOST: usize = 1_000;
/// Bytes of a name: longer ones are cut off in the books, and would be one there.
const LONGEST: usize = 200;

impl Unlisted {
    /// The upstream has answered to this.
    pub fn learn(&self, facts: &CallFacts) {
        if let Some(name) = facts.unlisted.as_ref().filter(|name| name.len() <= LONGEST) {
            let mut known = self.known();
            if known.len() < MOST && !known.contains(name) {
                known.insert(name.clone());
            }
        }
    }

    /// `facts` with the model as the books call it.
    pub fn named<'a>(&self, facts: &'a CallFacts) -> Cow<'a, CallFacts> {
        match &facts.unlisted {
            Some(name) if self.known().contains(name) => {
                Cow::Owned(CallFacts { model: name.clone(), ..facts.clone() })
            }
            _ => Cow::Borrowed(facts),
        }
    }

    pub fn count(&self) -> usize {
        self.known().len()
    }

    fn known(&self) -> MutexGuard<'_, HashSet<Arc<str>>> {
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
        unlisted.learn(&facts("gpt-oss:120b:cloud"));
        unlisted.learn(&facts(&"long".repeat(100)));
        assert_eq!((name("gpt-oss:120b:cloud"), unlisted.count()), ("gpt-oss:120b:cloud".into(), 1));
        (0..2 * MOST).for_each(|number| unlisted.learn(&facts(&number.to_string())));
        assert_eq!((unlisted.count(), name("1"), name("1999")), (MOST, "1".into(), "other".into()));
    }
}
