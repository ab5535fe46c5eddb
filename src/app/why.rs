//! What the house routes ask of the gateway, which they do not know.

use crate::admin::{Explain, Warm};
use crate::domain::{Error, Kind};
use crate::gateway::Gateway;
use bytes::Bytes;
use std::sync::Arc;

/// Explanations and warmings; these at `rate`, unless they say otherwise.
pub fn asked(gateway: &Arc<Gateway>, rate: f64) -> (Arc<Explain>, Arc<Warm>) {
    (explain(gateway.clone()), warm(gateway.clone(), rate))
}

fn explain(gateway: Arc<Gateway>) -> Arc<Explain> {
    Arc::new(move |written| {
        let gateway = gateway.clone();
        Box::pin(async move {
            let said = gateway.explain(&written).await?;
            let said =
                serde_json::to_vec(&said).map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
            Ok(Bytes::from(said))
        })
    })
}

fn warm(gateway: Arc<Gateway>, rate: f64) -> Arc<Warm> {
    Arc::new(move |written, lines| {
        let gateway = gateway.clone();
        Box::pin(async move { gateway.warm_as_written(&written, rate, &lines).await })
    })
}
