//! The tiers behind the memory as the settings want them, and what keeps them going.

use crate::cache::{
    self, Database, DatabaseOptions, Leases, Limits, Redis, Seal, Secret, Tier, Tiers, Turns,
};
use crate::config::Config;
use crate::store::{Place, Table};
use crate::telemetry::{Metrics, Sampled};
use anyhow::Context;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

/// The file of the cache's own database, in the data directory.
const FILE: &str = "cache.db";

/// All that stands behind the memory.
#[derive(Clone)]
pub struct Below {
    pub tiers: Arc<Tiers>,
    pub turns: Arc<Turns>,
    redis: Option<Arc<Redis>>,
    database: Option<Arc<Database>>,
}

impl Below {
    /// Reaches nothing: whatever is away comes when it comes.
    ///
    /// # Errors
    /// When an address or a name in the settings is none.
    pub fn build(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let cache::Config { tiers: wanted, redis, database, .. } = &config.cache;
        let redis = match redis.enabled && !redis.url.expose().is_empty() {
            true => Some(Arc::new(Redis::new(redis).context("cache.redis.url")?)),
            false => None,
        };
        let data_dir = &config.server.data_dir;
        let database = match database.enabled {
            true => Some(Arc::new(Database::new(options(database, data_dir)?, metrics.clone()))),
            false => None,
        };
        if let Some(seen) = database.clone() {
            metrics.gauge_source(Sampled::Size("cache_absent_bytes"), move || seen.remembered() as i64);
        }
        let mut below: Vec<(Arc<dyn Tier>, Limits)> = Vec::new();
        below.extend(redis.iter().map(|tier| (tier.clone() as _, config.cache.redis.limits())));
        below.extend(database.iter().map(|tier| (tier.clone() as _, config.cache.database.limits())));
        let secret = match secret(wanted.secret.expose(), data_dir) {
            Ok(secret) => secret,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "nothing is kept beyond this process");
                let tiers = Arc::new(unsealed(metrics));
                let turns = Arc::new(Turns::new(None, tiers.clone(), metrics.clone()));
                return Ok(Below { tiers, turns, redis: None, database: None });
            }
        };
        let tiers = Arc::new(Tiers::new(Seal::new(&secret), below, wanted.queue, metrics.clone()));
        let leases = leases(&config.cache, redis.as_ref(), database.as_ref(), metrics);
        let turns = Arc::new(Turns::new(leases, tiers.clone(), metrics.clone()));
        Ok(Below { tiers, turns, redis, database })
    }

    /// Keeps them in order until `stop`; then what waits is written.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let redis = async {
            if let Some(redis) = &self.redis {
                redis.run(stop.clone()).await;
            }
        };
        let database = async {
            if let Some(database) = &self.database {
                database.run(stop.clone()).await;
            }
        };
        if self.tiers.is_empty() {
            return;
        }
        // A lease is given back when what it was for has been written.
        let (written, all_written) = watch::channel(false);
        let tiers = async {
            self.tiers.run(stop.clone()).await;
            let _ = written.send(true);
        };
        tokio::join!(tiers, self.turns.run(all_written), redis, database);
    }
}

/// Where replicas agree on who asks: in the first tier that they share.
fn leases(
    config: &cache::Config,
    redis: Option<&Arc<Redis>>,
    database: Option<&Arc<Database>>,
    metrics: &Arc<Metrics>,
) -> Option<(Leases, Limits)> {
    if !config.tiers.share_flights {
        return None;
    }
    let new = |locks, limits: Limits| (Leases::new(locks, limits.timeout, metrics.clone()), limits);
    if let Some(redis) = redis {
        return Some(new(redis.clone(), config.redis.limits()));
    }
    let database = database.filter(|database| database.is_shared())?;
    Some(new(database.clone(), config.database.limits()))
}

fn options(wanted: &cache::DatabaseConfig, data_dir: &Path) -> anyhow::Result<DatabaseOptions> {
    let place = match wanted.url.expose() {
        "" => Place::File(data_dir.join(FILE)),
        url => Place::parse(url).context("cache.database.url")?,
    };
    let table = Table::new(&wanted.table).context("cache.database.table")?;
    Ok(DatabaseOptions { place, table, capacity: wanted.max_bytes as u64, timeout: wanted.timeout })
}

fn secret(given: &str, data_dir: &Path) -> anyhow::Result<Secret> {
    match given {
        "" => Ok(Secret::kept_in(data_dir)?),
        given => Secret::from_hex(given).context("cache.tiers.secret must be 64 hexadecimal digits"),
    }
}

/// No tier at all: the seal is never used.
fn unsealed(metrics: &Arc<Metrics>) -> Tiers {
    Tiers::new(Seal::new(&Secret::of([0; 32])), [], 0, metrics.clone())
}
