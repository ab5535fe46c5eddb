//! How those who share a tier hear of each other's removals: each has things in a memory of its own, and on its
//! way, that the tier knows nothing of.

use super::CacheKey;
use super::tier::{Fault, Prefix, Selection};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Notices stay up for so long ...
pub const KEPT: Duration = Duration::from_secs(3600);
/// ... and there are no more of them.
pub const MOST: usize = 1024;

/// Something was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Who says so: a number that each process draws for itself.
    pub by: u64,
    pub selection: Selection,
    /// Said once more, after whatever could bring something back has ended.
    pub again: bool,
}

/// A place where notices are put up, on what is shared. Cancel safe; each call is bounded in time by the caller.
#[async_trait]
pub trait Board: Send + Sync {
    async fn post(&self, notice: &str) -> Result<(), Fault>;

    /// Those after `last`, oldest first, each with its own name: the next `last`. All of them where it is empty.
    async fn read(&self, last: &str) -> Result<Vec<(String, String)>, Fault>;
}

/// As it is put up.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    by: u64,
    again: bool,
    #[serde(borrow)]
    key: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    prefix: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    model: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    team: Option<std::borrow::Cow<'a, str>>,
}

impl Notice {
    pub fn write(&self) -> String {
        let Selection { key, prefix, model, team, expired: _ } = &self.selection;
        let written = Written {
            by: self.by,
            again: self.again,
            key: key.map(|key| key.to_string().into()),
            prefix: prefix.map(|prefix| prefix.label().into()),
            model: model.as_deref().map(Into::into),
            team: team.as_deref().map(Into::into),
        };
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// What cannot be read, or is of a newer Pannier, may mean anything: it is taken to mean everything.
    pub fn read(text: &str) -> Notice {
        Notice::understood(text).unwrap_or(Notice { by: 0, selection: Selection::default(), again: false })
    }

    fn understood(text: &str) -> Option<Notice> {
        let Written { by, again, key, prefix, model, team } = serde_json::from_str(text).ok()?;
        let selection = Selection {
            key: key.map(|key| CacheKey::from_hex(&key).ok_or(())).transpose().ok()?,
            prefix: match prefix {
                Some(label) => Some(Prefix::named(&label)?),
                None => None,
            },
            model: model.map(|model| model.as_ref().into()),
            team: team.map(|team| team.as_ref().into()),
            expired: false,
        };
        Some(Notice { by, selection, again })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_is_not_understood_means_everything() {
        let all = Notice { by: u64::MAX, selection: Selection::default(), again: true };
        let some = Selection {
            key: Some(CacheKey([7; 32])),
            prefix: Some(Prefix::Chat),
            model: Some("a \"model\":latest".into()),
            team: Some("lab".into()),
            expired: false,
        };
        for notice in [Notice { by: 1, selection: some, again: false }, all] {
            assert_eq!(Notice::read(&notice.write()), notice);
        }
        for text in ["", "{}", "nonsense", r#"{"by":1,"again":false,"prefix":"speech"}"#] {
            assert_eq!(Notice::read(text).selection, Selection::default(), "{text}");
        }
    }
}
