//! What a request's query asks for.

use super::problem::{self, bad};
use crate::domain::Error;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::response::Response;

/// A query's names and values, in order.
#[derive(Debug, Default)]
pub struct Asked(Vec<(String, String)>);

impl Asked {
    /// Refuses other names than these, and any that is there twice: with a slip of the pen in the name of what is
    /// meant, everything would be.
    ///
    /// # Errors
    /// `BadRequest`, with all names that are known.
    pub fn only(&self, known: &[&str]) -> Result<(), Error> {
        for (at, (name, _)) in self.0.iter().enumerate() {
            if !known.contains(&name.as_str()) || self.0[..at].iter().any(|(before, _)| before == name) {
                return Err(bad(format!("the query may name each of these once: {}", known.join(", "))));
            }
        }
        Ok(())
    }

    /// The first value of that name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.pairs().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(pairs)) => Ok(Asked(pairs)),
            Err(_) => Err(problem::response(&bad("the query cannot be read"))),
        }
    }
}
