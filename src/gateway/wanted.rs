//! The different texts of an embedding call, and what their vectors come to.

use super::order::Order;
use super::{Policy, Way};
use crate::cache::{CacheKey, Hits, Kept, Question, Terms};
use crate::dialect::ollama;
use crate::domain::{Embedding, Texts};
use crate::upstream::Identity;
use std::collections::HashMap;
use std::time::Instant;

/// The different texts of a call.
pub struct Wanted {
    /// For each text of the call, which of the different ones it is.
    pub which: Vec<usize>,
    /// For each different one, its number in the call and the key of its vector.
    pub each: Vec<(usize, CacheKey)>,
    /// Where a shorter vector is asked for and may be made of a whole one: how short, and the key of those.
    pub shortened: Option<(usize, CacheKey)>,
    /// What all their questions have in common.
    pub asked: Question,
}

impl Wanted {
    pub fn of(way: &Way, policy: &Policy, order: &Order<'_>, texts: &Texts, identity: &Identity) -> Self {
        let key = |manner| order.key_of_texts(way, policy, identity, manner);
        let manner = key(texts.manner);
        let mut seen = HashMap::with_capacity(texts.items.len());
        let (mut which, mut each) = (Vec::with_capacity(texts.items.len()), Vec::new());
        for (number, item) in texts.items.iter().enumerate() {
            let next = each.len();
            let at = *seen.entry(item.text).or_insert(next);
            if at == next {
                each.push((number, manner.of_text(item.text)));
            }
            which.push(at);
        }
        let shortened = texts.shortened.filter(|_| way.items.shortens);
        let shortened = shortened.map(|(dimensions, manner)| (dimensions, key(manner)));
        Wanted { which, each, shortened, asked: order.asked(way, policy, identity) }
    }

    /// What is in memory of the different text `at`, as far as it is `fit`.
    pub fn look_up(
        &self,
        way: &Way,
        texts: &Texts,
        at: usize,
        terms: Terms,
        now: Instant,
        fit: impl Fn(Kept) -> Option<Kept>,
    ) -> Option<Kept> {
        let find = |key: &CacheKey| fit(way.vectors.get(key, now, terms.stale)?);
        let (number, key) = self.each.get(at)?;
        let shortened = || {
            let (dimensions, whole) = self.shortened?;
            let mut kept = find(&whole.of_text(texts.items[*number].text))?;
            kept.embedding.numbers = ollama::shorten(&kept.embedding.numbers, dimensions);
            Some(kept)
        };
        find(key).or_else(shortened)
    }

    /// Whether the whole answer may be put together of these: else it is the upstream's to write.
    pub fn fits<'a>(&self, way: &Way, mut of: impl Iterator<Item = &'a Embedding>) -> bool {
        of.next().is_none_or(|one| way.items.may_hold(self.which.len(), one.numbers.len()))
    }

    /// Those of the whole answer are hits of its texts.
    pub fn hits(&self) -> Hits {
        Hits::of_parts(self.each.iter().map(|(_, key)| *key))
    }

    /// The vector of every text of the call.
    pub fn each_of(&self, known: &[Kept]) -> Vec<Embedding> {
        self.which.iter().map(|at| known[*at].embedding.clone()).collect()
    }
}
