//! The texts of an embedding call that were not known, as news of them comes.

use super::Way;
use super::answer::Appearance;
use super::assemble::{self, Forwarded};
use super::fan::{Fan, Found};
use super::fetch::Fetched;
use super::order::Order;
use super::texts::Demand;
use super::wanted::Wanted;
use crate::cache::{Kept, Terms, TierName};
use crate::domain::{Embedding, Error, Reason, Texts};
use crate::upstream::Identity;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What became of the texts that were not known.
pub enum Rest {
    /// The vectors of all different texts.
    Complete(Came),
    /// All were kept while they were being asked for, the lowest of them there: nothing was asked.
    Known(Vec<Kept>, TierName),
    /// The answer as it came, which is this client's whole answer.
    Whole(Fetched),
    /// It cannot be answered text by text.
    Unfit,
}

/// Vectors some of which were not known.
pub struct Came {
    pub each: Vec<Option<Embedding>>,
    /// Those that came from the upstream, and of those the ones that were under way for others.
    pub answered: usize,
    pub joined: usize,
}

/// What has come so far.
struct Gathering<'a> {
    way: &'a Way,
    order: &'a Order<'a>,
    wanted: &'a Wanted,
    looks: Appearance,
    terms: Terms,
    /// For each of the different texts what is kept of it, or what came.
    known: Vec<Option<Kept>>,
    made: Vec<Option<Embedding>>,
    answered: usize,
    joined: usize,
    lowest: TierName,
    why: Option<Reason>,
    /// What the model was where it was asked.
    asked: BTreeMap<(usize, u64), Identity>,
}

/// Has the texts embedded that are not `known`, for the reason `why`, if there is one.
///
/// # Errors
/// Why nothing came from the upstream.
pub async fn rest(
    way: &Arc<Way>,
    order: &Order<'_>,
    texts: &Arc<Texts>,
    wanted: &Wanted,
    identity: &Identity,
    terms: Terms,
    (known, why): (Vec<Option<Kept>>, Option<Reason>),
) -> Result<Rest, Error> {
    let homes = way.fleet.with(&order.call.model, identity).await;
    let demand = Demand::new(order, texts, identity, terms, homes, wanted.asked.clone());
    let unknown = wanted.each.iter().zip(&known).filter(|(_, known)| known.is_none());
    let unknown = unknown.map(|(wanted, _)| *wanted).collect();
    let mut gathering = Gathering {
        way,
        order,
        wanted,
        looks: demand.looks.clone(),
        terms,
        made: vec![None; known.len()],
        known,
        answered: 0,
        joined: 0,
        lowest: TierName::Memory,
        why,
        asked: BTreeMap::from([((0, identity.since), identity.clone())]),
    };
    let mut fan = Fan::new(way, demand, unknown);
    while let Some((number, news)) = fan.next().await {
        if fan.has_departed() {
            order.depart();
        }
        if let Some(early) = gathering.take(wanted.which[number], news?) {
            return Ok(early);
        }
    }
    Ok(gathering.finish().await)
}

impl Gathering<'_> {
    /// Takes what became of the different text `at`; returns what becomes of all, where that is clear already.
    fn take(&mut self, at: usize, found: Found) -> Option<Rest> {
        let length = match found {
            Found::Unfit => return Some(Rest::Unfit),
            Found::Kept(kept, tier) => {
                self.lowest = self.lowest.max(tier);
                self.known[at].insert(kept).embedding.numbers.len()
            }
            Found::Answered { answer, nth, with_others } => {
                self.answered += 1;
                self.joined += usize::from(with_others);
                // An error speaks for the whole request, as it does with bare Ollama.
                let is_all = self.wanted.which.len() == 1 && answer.texts() == 1;
                if (is_all || !answer.is_fine()) && answer.looks == self.looks {
                    let fetched = assemble::as_it_came(self.order, &answer, self.forwarded(with_others));
                    return Some(Rest::Whole(fetched));
                }
                let Some(embedding) = answer.embedding(nth) else { return Some(Rest::Unfit) };
                self.asked.insert((answer.place, answer.identity.since), answer.identity.clone());
                self.made[at].insert(embedding.clone()).numbers.len()
            }
        };
        // Before the others are asked for.
        (!self.way.items.may_hold(self.wanted.which.len(), length)).then_some(Rest::Unfit)
    }

    /// An answer that is the whole one.
    fn forwarded(&self, all_joined: bool) -> Forwarded {
        Forwarded { known: 0, of: 1, all_joined, why: self.why, ttl: self.terms.ttl }
    }

    async fn finish(self) -> Rest {
        if self.answered == 0
            && let Some(known) = self.known.iter().cloned().collect::<Option<Vec<Kept>>>()
        {
            return Rest::Known(known, self.lowest);
        }
        // Vectors of two models must not stand in one answer.
        if self.made.len() > 1 {
            for ((place, _), identity) in self.asked {
                if !self.way.fleet.confirm(place, &self.order.call.model, &identity).await {
                    return Rest::Unfit;
                }
            }
        }
        let each = self.known.into_iter().zip(self.made);
        let each = each.map(|(kept, made)| made.or(kept.map(|kept| kept.embedding))).collect();
        Rest::Complete(Came { each, answered: self.answered, joined: self.joined })
    }
}
