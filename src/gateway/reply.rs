//! From where an answer comes to what goes back.

use super::fetch::Fetched;
use super::order::Order;
use super::touch::Warmth;
use super::{Gateway, Policy, Reply, respond};
use crate::cache::Directives;
use crate::domain::{Error, Record};

impl Gateway {
    /// What goes back. `is_plain`: it says nothing to an origin.
    ///
    /// # Errors
    /// `Internal` when a kept answer is not what it was found to be.
    pub(super) fn reply(
        &self,
        policy: &Policy,
        order: &Order<'_>,
        fetched: Fetched,
        is_plain: bool,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        let is_plain = is_plain && order.directives == Directives::default();
        if let Some(warmth) = Warmth::of(&self.way, policy, order) {
            warmth.note(&self.way, fetched.outcome(), fetched.why());
        }
        let is_fresh = matches!(fetched, Fetched::Remembered(_));
        Ok(match fetched {
            Fetched::Remembered(remembered) | Fetched::Stale(remembered) => {
                record.observed = Some(remembered.entry.observed);
                let template = respond::fit(&remembered.entry, order)?;
                let pace = order.pace(&remembered.entry, &template);
                // The shortest way knows no pace, and believes in every answer that it leads to.
                if is_plain && is_fresh && pace.is_none() {
                    self.recall.learn(&self.way, order, policy, &remembered, &template);
                }
                respond::remembered(&remembered, &template, pace, record)
            }
            Fetched::Trip { live, outcome, why, keeps } => {
                respond::live(live, respond::Fresh { outcome, why, keeps })
            }
            Fetched::Assembled(assembled) => {
                record.observed = Some(assembled.observed);
                assembled.reply
            }
        })
    }
}
