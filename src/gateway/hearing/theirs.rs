//! A recording for a model of the upstream's.

use crate::cache::Directives;
use crate::dialect::transcript;
use crate::domain::{CallFacts, Error, Record};
use crate::gateway::clearance::may_use;
use crate::gateway::order::{self, Order};
use crate::gateway::{Gateway, Policy, Reply, Request, fetch, stale};
use std::sync::atomic::Ordering;

impl Gateway {
    /// Asks the upstream, with the very bytes that came. Where it cannot be told which model they are for, whoever may
    /// not use all of them may not use any.
    ///
    /// # Errors
    /// What is to be said to the client instead of an answer.
    pub(super) async fn pass_on(
        &self,
        policy: &Policy,
        request: &Request<'_>,
        model: Option<&str>,
        directives: Directives,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        let call = transcript::call(model.unwrap_or_default(), false, request.body.clone());
        record.call = Some(match model {
            Some(_) => order::facts(&self.way, &call, None),
            None => CallFacts::new(&call, "other".into()),
        });
        let (identity, down) = match model {
            Some(model) => stale::identify(&self.way, policy, model).await?,
            None => (None, None),
        };
        may_use(&request.consumer, identity.as_ref(), model.unwrap_or_default())?;
        let facts = match model {
            Some(_) => order::facts(&self.way, &call, identity.as_ref()),
            None => CallFacts::new(&call, "other".into()),
        };
        record.call = Some(facts.clone());
        self.way.ledger.as_ref().map_or(Ok(()), |ledger| ledger.admit(&facts))?;
        if let Some(error) = down {
            return Err(error);
        }
        let (era, replay) = (self.way.stock.era(), policy.replay);
        let plain = request.body.clone();
        let order = Order { request, call, plain, facts, identity, directives, era, replay, job: None };
        let fetched = fetch::fetch(&self.way, policy, &order).await?;
        (record.cache, record.why) = (fetched.outcome(), fetched.why());
        record.began_trip |= request.began_trip.load(Ordering::Relaxed);
        super::told::reply(fetched, &order, record)
    }
}
