//! The ledger's parts, and what keeps them going.

use crate::config::Config;
use crate::metering::spool::{Bounds, Spool};
use crate::metering::{Drain, Ledger, Prices, Sync, WhenFull};
use crate::store::Shared;
use crate::telemetry::{Metrics, Sampled};
use anyhow::Context;
use arc_swap::ArcSwap;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;
use tokio::sync::watch;

/// The folder of the spool, in the data directory.
const FOLDER: &str = "spool";
/// How often the spool is tended where nothing waits for that.
const TEND: Duration = Duration::from_millis(100);

/// All that the ledger is made of.
#[derive(Clone)]
pub struct Books {
    /// None where no books are kept.
    pub ledger: Option<Arc<Ledger>>,
    drain: Option<Arc<Drain>>,
    prices: Arc<ArcSwap<Prices>>,
}

impl Books {
    /// # Errors
    /// When prices make no sense, or the spool has no place on the disk and what cannot be written down is to be
    /// refused.
    pub fn build(config: &Config, database: &Arc<Shared>, metrics: &Metrics) -> anyhow::Result<Self> {
        let prices = Arc::new(ArcSwap::from_pointee(Prices::new(&config.prices).context("prices.models")?));
        if !config.ledger.enabled {
            return Ok(Books { ledger: None, drain: None, prices });
        }
        let wanted = &config.ledger;
        let folder = config.server.data_dir.join(FOLDER);
        let bounds = Bounds::of(wanted.max_spool as u64);
        let spool = match Spool::open(&folder, bounds, wanted.fsync) {
            Ok(spool) => Arc::new(spool),
            Err(error) if wanted.when_full == WhenFull::Continue => {
                tracing::error!(folder = %folder.display(), %error, "no books are kept: there is no place for them");
                return Ok(Books { ledger: None, drain: None, prices });
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot keep the ledger in {}", folder.display()));
            }
        };
        let every = match wanted.fsync {
            Sync::Each => TEND,
            Sync::Every(time) => time,
        };
        tend(Arc::downgrade(&spool), every).context("cannot keep the ledger")?;
        let drain = Drain::new(spool.clone(), prices.clone(), database.clone(), wanted.hit_rows_per_second);
        let drain = drain.tell(metrics.keyed(&config.prices.currency));
        show(metrics, &spool, &drain);
        let ledger = Arc::new(Ledger::new(spool, prices.clone(), wanted.when_full));
        Ok(Books { ledger: Some(ledger), drain: Some(Arc::new(drain)), prices })
    }

    /// Prices that hold from now on, for what happened at any time and is not in the database yet.
    pub fn heed(&self, config: &Config) {
        // They have been checked.
        if let Ok(prices) = Prices::new(&config.prices) {
            self.prices.store(Arc::new(prices));
        }
    }

    /// Takes the spool over until `stop`, and then what is left.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        if let Some(drain) = &self.drain {
            drain.run(stop).await;
        }
    }
}

/// A thread of its own waits for the disk.
fn tend(spool: Weak<Spool>, every: Duration) -> std::io::Result<()> {
    let work = move || {
        while let Some(spool) = spool.upgrade() {
            spool.tend();
            drop(spool);
            thread::sleep(every);
        }
    };
    thread::Builder::new().name("pannier-spool".into()).spawn(work).map(drop)
}

fn show(metrics: &Metrics, spool: &Arc<Spool>, drain: &Drain) {
    let seen = spool.clone();
    metrics.gauge_source(Sampled::Size("ledger_spool_bytes"), move || seen.held() as i64);
    let seen = spool.clone();
    metrics.gauge_source(Sampled::Size("ledger_lost_entries"), move || seen.lost() as i64);
    let seen = spool.clone();
    metrics.gauge_source(Sampled::Size("ledger_names"), move || seen.symbols().count() as i64);
    let state = drain.state();
    metrics.gauge_source(Sampled::DependencyUp("ledger"), move || (!state.is_behind()).into());
}
