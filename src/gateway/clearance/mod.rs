//! What of a route somebody may use, judged by the head alone.
//!
//! Who may not use all models sees no more than the allowed ones: routes whose answers tell of models are read for
//! them, and where it cannot be told which model a request is for, it goes no further.

mod limited;

pub use crate::auth::{Caller, holds_key};
pub use limited::Peek;

use super::Policy;
use crate::dialect::Handling;
use crate::domain::{Consumer, Error, Kind, Route};
use crate::upstream::{Identity, canonical};

/// What is done with a request that may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clearance {
    /// As with everybody's.
    Usual,
    /// It is read, because not all of it may be seen.
    Limited(Limited),
}

/// A route that tells of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// `/api/tags`, `/api/ps`
    Models,
    /// `/v1/models`
    OpenAiModels,
    /// `/v1/models/{model}`
    OpenAiModel,
    /// `/api/show`
    Show,
}

/// Those that neither tell of models nor name one.
const HARMLESS: [&str; 5] =
    ["/", "/api/version", "/api/status", "/api/me", "/api/experimental/model-recommendations"];

/// Those that change what the server has, or who it is, and are not found to by their handling.
const MANAGING: [&str; 3] = ["/api/blobs/{digest}", "/api/signout", "/api/user/keys/{key}"];

/// What `consumer` may do with `route`.
///
/// # Errors
/// `Forbidden`.
pub fn clear(
    method: &str,
    route: Route,
    handling: Handling,
    consumer: &Consumer,
    policy: &Policy,
) -> Result<Clearance, Error> {
    // Asked beforehand by browsers, and does nothing.
    if method == "OPTIONS" {
        return Ok(Clearance::Usual);
    }
    if !consumer.rights.allow_route(route.template) {
        return Err(forbidden("this API key may not use this route"));
    }
    if handling == Handling::ForwardAndRefresh || MANAGING.contains(&route.template) {
        return match policy.keys.manages(&consumer.name) {
            Some(true) => Ok(Clearance::Usual),
            None if !consumer.rights.limit_models() => Ok(Clearance::Usual),
            _ => Err(forbidden("this API key may not manage models")),
        };
    }
    if !consumer.rights.limit_models() {
        return Ok(Clearance::Usual);
    }
    let limited = match (handling, route.template) {
        (Handling::Answer(_) | Handling::Batch | Handling::See(_) | Handling::Hear(_), _) => {
            return Ok(Clearance::Usual);
        }
        (_, template) if HARMLESS.contains(&template) => return Ok(Clearance::Usual),
        (_, "/api/tags" | "/api/ps") => Limited::Models,
        (_, "/v1/models") => Limited::OpenAiModels,
        (_, "/v1/models/{model}") => Limited::OpenAiModel,
        (_, "/api/show") => Limited::Show,
        _ => {
            return Err(forbidden(
                "this API key may use some models only, and it cannot be told which this is for",
            ));
        }
    };
    Ok(Clearance::Limited(limited))
}

/// Whether `consumer` may use the model that is called `written`, and known by `identity` if there is one.
///
/// # Errors
/// `Forbidden`, in the same words whether there is such a model or not.
pub fn may_use(consumer: &Consumer, identity: Option<&Identity>, written: &str) -> Result<(), Error> {
    if !consumer.rights.limit_models() {
        return Ok(());
    }
    match consumer.rights.allow_model(&canonical(identity.map_or(written, |identity| &identity.name))) {
        true => Ok(()),
        false => Err(forbidden("this API key may not use this model")),
    }
}

fn forbidden(why: &str) -> Error {
    Error::new(Kind::Forbidden, why)
}
