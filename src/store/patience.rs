//! A database is waited for so long, and no longer.

use super::Error;
use crate::domain::{self, Kind};
use std::future::Future;
use std::time::Duration;

/// When it is worth while to ask again.
const SOON: Duration = Duration::from_secs(5);

/// What the database of the `what` (keys, prices, books) says, if it does so in time.
///
/// # Errors
/// `Overloaded`, in words for whoever asked.
pub async fn in_time<T>(
    what: &str,
    patience: Duration,
    asking: impl Future<Output = Result<T, Error>>,
) -> Result<T, domain::Error> {
    let why = match tokio::time::timeout(patience, asking).await {
        Ok(Ok(told)) => return Ok(told),
        Ok(Err(error)) => error.trouble.to_string(),
        Err(_) => "it does not answer".to_owned(),
    };
    let message = format!("the database of the {what} cannot be used: {why}");
    Err(domain::Error::new(Kind::Overloaded, message).retry_after(SOON))
}
