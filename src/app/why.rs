//! What the house routes speak of and ask for: they know neither the gateway nor the settings.

use super::reports::Told;
use crate::admin::{self, Explain, Export, Readiness, Show, Warm};
use crate::auth::Register;
use crate::config::Config;
use crate::domain::{Error, Kind};
use crate::gateway::{Gateway, Policy, Way};
use crate::metering::RateCard;
use crate::proxy::Hosts;
use crate::telemetry::Metrics;
use arc_swap::ArcSwap;
use bytes::Bytes;
use std::sync::Arc;

/// Whom they ask, the keys and prices that they look after, and how many requests a second a warming asks unless it says otherwise.
pub struct Asked {
    gateway: Arc<Gateway>,
    keys: Arc<Register>,
    prices: Arc<RateCard>,
    told: Told,
    rate: f64,
}

impl Asked {
    pub fn new(
        config: &Config,
        gateway: &Arc<Gateway>,
        keys: &Arc<Register>,
        prices: &Arc<RateCard>,
        told: &Told,
    ) -> Self {
        let (gateway, keys, prices, told) = (gateway.clone(), keys.clone(), prices.clone(), told.clone());
        Asked { gateway, keys, prices, told, rate: config.cache.warm.rate }
    }

    /// Of a house that is called by the names of `hosts`.
    pub fn parts(
        self,
        metrics: Arc<Metrics>,
        way: &Way,
        policy: &Arc<ArcSwap<Policy>>,
        readiness: Arc<Readiness>,
        hosts: Hosts,
    ) -> admin::Parts {
        let Asked { gateway, keys, prices, told: Told { reports, retention, .. }, rate } = self;
        let named = policy.clone();
        let (keyed, owned, caching) = (policy.clone(), policy.clone(), policy.clone());
        admin::Parts {
            metrics,
            readiness,
            knows_host: Arc::new(move |host| hosts.admit(host, &named.load().allowed_hosts)),
            unlocks: Arc::new(move |presented| keyed.load().keys.unlocks(presented)),
            owns: Arc::new(move |presented| Ok(owned.load().keys.owner(presented)?.name.clone())),
            reports,
            retention,
            keys,
            prices,
            tiers: way.tiers.clone(),
            stock: way.stock.clone(),
            is_caching: Arc::new(move || caching.load().cache.is_enabled()),
            explain: explain(gateway.clone()),
            show: show(gateway.clone()),
            export: export(gateway.clone()),
            warm: warm(gateway, rate),
        }
    }
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

/// One entry.
fn show(gateway: Arc<Gateway>) -> Arc<Show> {
    Arc::new(move |key, with_answer| {
        let gateway = gateway.clone();
        Box::pin(async move {
            let shown = gateway.show(key, with_answer).await?;
            let shown =
                serde_json::to_vec(&shown).map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
            Ok(Bytes::from(shown))
        })
    })
}

/// All that are meant.
fn export(gateway: Arc<Gateway>) -> Arc<Export> {
    Arc::new(move |selection, answers, lines| {
        let gateway = gateway.clone();
        Box::pin(async move {
            gateway.export(&selection, answers, &lines).await;
            Ok(())
        })
    })
}
