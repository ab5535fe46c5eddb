//! What the numbers of a file of the spool mean.

use super::spool::{Entry, Subject};
use crate::store::ledger;
use hashbrown::HashMap;

/// Names as the numbers of one file of the spool mean them.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub accounts: HashMap<u64, ledger::Account>,
    pub subjects: HashMap<u64, ledger::Subject>,
}

/// Of one text: so much of what a client can read of an error is in the books.
const LONGEST: usize = 200;

impl Names {
    /// Takes note of what a number means, and of nothing else.
    pub fn learn(&mut self, entry: &Entry<'_>) {
        match entry {
            Entry::Account { id, key, team } => {
                self.accounts.insert(*id, [key, team].map(|text| clean(text)));
            }
            Entry::Subject { id, subject } => {
                let Subject { model, digest, endpoint, dialect, operation, streamed } = *subject;
                let mode = if streamed { "stream" } else { "whole" };
                let name = [model, digest, endpoint, dialect, operation, mode].map(clean);
                self.subjects.insert(*id, name);
            }
            Entry::Trip(_) | Entry::Answer(_) | Entry::Hits { .. } => {}
        }
    }
}

/// Fit for any database, and for one line.
pub(super) fn clean(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(LONGEST).collect()
}
