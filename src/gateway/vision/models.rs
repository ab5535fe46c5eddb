//! Which model is asked: one that is there, that may be used, and that can see.

use crate::domain::{Consumer, Error, Kind};
use crate::gateway::clearance::may_use;
use crate::gateway::{Policy, Way, stale};
use crate::upstream::{Identity, canonical};
use std::time::{Duration, Instant};

/// Models that are asked whether they could see, where one cannot; and how long that may take.
const MOST_ASKED: usize = 64;
const PATIENCE: Duration = Duration::from_secs(5);

/// Which model that is, if it can be asked about a picture, as far as anybody knows. An upstream that is down, or does not say,
/// is left to judge by itself.
///
/// # Errors
/// `Forbidden`, `NotFound` and `BadRequest`, the latter two with the names of models that can.
pub async fn check(
    way: &Way,
    policy: &Policy,
    consumer: &Consumer,
    model: &str,
) -> Result<Option<Identity>, Error> {
    let (identity, down) = stale::identify(way, policy, model).await?;
    may_use(consumer, identity.as_ref(), model)?;
    if down.is_some() {
        return Ok(identity);
    }
    let (kind, why) = match &identity {
        Some(known) if known.remote => return Ok(identity),
        Some(known) => match way.eyes.abilities.sees(known).await {
            Some(false) => (Kind::BadRequest, "the model cannot see pictures"),
            _ => return Ok(identity),
        },
        None if way.inventory.epoch(Instant::now()).is_none() => return Ok(None),
        None => (Kind::NotFound, "there is no such model"),
    };
    Err(instead(way, consumer, kind, why).await)
}

/// Says which would do.
async fn instead(way: &Way, consumer: &Consumer, kind: Kind, why: &str) -> Error {
    let others = tokio::time::timeout(PATIENCE, seeing(way, consumer)).await.unwrap_or_default();
    let others = match others.is_empty() {
        true => "none here can be asked about pictures; `ollama pull llava` gets one that can".to_owned(),
        false => format!("of those here these can be asked about pictures: {}", others.join(", ")),
    };
    Error::new(kind, format!("{why}; {others}"))
}

/// The names of those that may be used and can see, in their order.
async fn seeing(way: &Way, consumer: &Consumer) -> Vec<String> {
    let mut names: Vec<_> = way.inventory.models().into_iter().map(|(name, _)| name).collect();
    names.retain(|name| consumer.rights.allow_model(&canonical(name)));
    names.sort();
    let mut seeing = Vec::new();
    for name in names.iter().take(MOST_ASKED) {
        let known: Option<Identity> = way.inventory.last_known(name);
        if let Some(model) = known.filter(|model| !model.remote)
            && way.eyes.abilities.sees(&model).await == Some(true)
        {
            seeing.push(name.to_string());
        }
    }
    seeing
}
