//! What entries in memory are, in two bytes for each: labels stand once in a bounded table.

use super::{Label, Prefix, Selection};
use crate::domain::Operation;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Different ones that are told apart; entries with further ones are counted together.
const MOST: usize = 8192;

/// What stands for the names of those.
const OTHER: &str = "other";

/// Where a label stands in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tag(u16);

/// What is known of the entries with one tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Kind {
    pub operation: Operation,
    /// `None` where there were too many to tell them apart.
    pub names: Option<Names>,
}

/// A model's full name, and whose request an entry answered first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Names {
    pub model: Arc<str>,
    pub team: Arc<str>,
}

/// The table. What has come in stays: models and teams are few.
pub struct Labels(RwLock<Table>);

struct Table {
    kinds: Vec<Kind>,
    tags: HashMap<Kind, Tag>,
}

impl Labels {
    /// The tag of entries with this label.
    pub fn tag(&self, label: &Label) -> Tag {
        let names = Names { model: label.model.clone(), team: label.team.clone() };
        let kind = Kind { operation: label.operation, names: Some(names) };
        if let Some(tag) = self.0.read().unwrap_or_else(PoisonError::into_inner).tags.get(&kind) {
            return *tag;
        }
        self.0.write().unwrap_or_else(PoisonError::into_inner).add(kind)
    }

    /// All kinds, each in the place that its tag names.
    pub fn kinds(&self) -> Vec<Kind> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).kinds.clone()
    }

    pub fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).kinds.len()
    }
}

impl Default for Labels {
    fn default() -> Self {
        let mut table = Table { kinds: Vec::new(), tags: HashMap::new() };
        for operation in Operation::ALL {
            table.add(Kind { operation, names: None });
        }
        Labels(RwLock::new(table))
    }
}

impl Table {
    fn add(&mut self, kind: Kind) -> Tag {
        // Another may have been faster.
        if let Some(tag) = self.tags.get(&kind) {
            return *tag;
        }
        if self.kinds.len() >= MOST {
            return self.tags[&Kind { names: None, ..kind }];
        }
        let tag = Tag(self.kinds.len() as u16);
        self.kinds.push(kind.clone());
        self.tags.insert(kind, tag);
        tag
    }
}

impl Tag {
    /// Which of the kinds it names.
    pub fn place(self) -> usize {
        self.0.into()
    }
}

impl Kind {
    pub fn prefix(&self) -> Prefix {
        Prefix::of(self.operation)
    }

    /// Model and team, as they are shown.
    pub fn shown(&self) -> (Arc<str>, Arc<str>) {
        let names = self.names.clone();
        names.map_or_else(|| (OTHER.into(), OTHER.into()), |Names { model, team }| (model, team))
    }

    /// Whether entries of this kind may be among those that are meant by `selection`, as far as it says what
    /// they are: where that is not known, they may.
    pub fn may_be_meant(&self, selection: &Selection) -> bool {
        let named = |names: &Names| selection.means_names(&names.model, &names.team);
        selection.means_prefix(self.prefix()) && self.names.as_ref().is_none_or(named)
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::label;
    use super::*;

    #[test]
    fn equal_labels_have_one_tag_and_the_table_is_bounded() {
        let labels = Labels::default();
        let tag = labels.tag(&label(Operation::Chat, "m", "lab"));
        assert_eq!(labels.tag(&label(Operation::Chat, "m", "lab")), tag);
        let others = [
            label(Operation::Text, "m", "lab"),
            label(Operation::Chat, "n", "lab"),
            label(Operation::Chat, "m", "office"),
        ];
        for other in others {
            assert_ne!(labels.tag(&other), tag);
        }
        assert_eq!(labels.kinds()[tag.place()].names.as_ref().unwrap().model.as_ref(), "m");
        for n in 0..2 * MOST {
            labels.tag(&label(Operation::Embed, &n.to_string(), "lab"));
        }
        assert_eq!(labels.len(), MOST);
        let beyond = labels.tag(&label(Operation::Embed, "one more", "lab"));
        let kind = &labels.kinds()[beyond.place()];
        assert_eq!(*kind, Kind { operation: Operation::Embed, names: None });
        assert_eq!(labels.tag(&label(Operation::Chat, "m", "lab")), tag, "what is in stays in");
    }

    #[test]
    fn what_is_not_known_may_be_meant() {
        let selection = Selection { model: Some("m".into()), ..Selection::default() };
        let names = |model: &str| Some(Names { model: model.into(), team: "lab".into() });
        let kind = |names| Kind { operation: Operation::Chat, names };
        assert!(kind(names("m")).may_be_meant(&selection) && kind(None).may_be_meant(&selection));
        assert!(!kind(names("n")).may_be_meant(&selection));
        let selection = Selection { prefix: Some(Prefix::Embedding), ..selection };
        assert!(!kind(names("m")).may_be_meant(&selection) && !kind(None).may_be_meant(&selection));
    }
}
