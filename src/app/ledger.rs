//! The ledger's parts, and what keeps them going.

use crate::config::Config;
use crate::metering::spool::{Bounds, Spool};
use crate::metering::{Drain, Ledger, RateCard, Sync, Unpriced, WhenFull};
use crate::store::Shared;
use crate::store::prices::PriceTable;
use crate::telemetry::{Metrics, Sampled};
use anyhow::Context;
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
    pub card: Arc<RateCard>,
}

impl Books {
    /// # Errors
    /// When prices make no sense, or the spool has no place on the disk and what cannot be written down is to be
    /// refused.
    pub fn build(config: &Config, database: &Arc<Shared>, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let card = RateCard::new(PriceTable::new(database.clone()), &config.prices);
        let card = Arc::new(card.context("prices.models")?);
        let seen = card.clone();
        metrics.gauge_source(Sampled::Size("prices"), move || seen.len() as i64);
        if !config.ledger.enabled {
            return Ok(Books { ledger: None, drain: None, card });
        }
        let wanted = &config.ledger;
        let folder = config.server.data_dir.join(FOLDER);
        let bounds = Bounds::of(wanted.max_spool as u64);
        let spool = Arc::new(Spool::new(&folder, bounds, wanted.fsync));
        let begun = spool.begin();
        if wanted.when_full == WhenFull::Refuse {
            begun.with_context(|| format!("cannot keep the ledger in {}", folder.display()))?;
        }
        let every = match wanted.fsync {
            Sync::Each => TEND,
            Sync::Every(time) => time,
        };
        tend(Arc::downgrade(&spool), every).context("cannot keep the ledger")?;
        let drain = Drain::new(spool.clone(), card.clone(), database.clone(), wanted.hit_rows_per_second);
        let drain = drain.tell(metrics.keyed(&config.prices.currency), unpriced(metrics));
        show(metrics, &spool, &drain);
        let ledger =
            Arc::new(Ledger::new(spool, card.in_force(), wanted.when_full, wanted.hit_rows_per_second));
        let seen = ledger.clone();
        metrics.gauge_source(Sampled::Size("unlisted_models"), move || seen.unlisted() as i64);
        Ok(Books { ledger: Some(ledger), drain: Some(Arc::new(drain)), card })
    }

    /// Prices that hold from now on, for what happened at any time and is not in the database yet.
    pub fn heed(&self, config: &Config) {
        self.card.heed(&config.prices);
    }

    /// Whether the database does not take over what comes.
    pub fn are_behind(&self) -> bool {
        self.drain.as_ref().is_some_and(|drain| drain.state().is_behind())
    }

    /// Takes the spool over until `stop`, and then what is left; keeps up with prices.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let drained = async {
            if let Some(drain) = &self.drain {
                drain.run(stop.clone()).await;
            }
        };
        tokio::join!(drained, self.card.run(stop.clone()));
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

fn unpriced(metrics: &Arc<Metrics>) -> Arc<Unpriced> {
    let unpriced = Arc::new(Unpriced::new(metrics.clone()));
    let seen = unpriced.clone();
    metrics.gauge_source(Sampled::Size("unpriced_models"), move || seen.named() as i64);
    unpriced
}

fn show(metrics: &Metrics, spool: &Arc<Spool>, drain: &Drain) {
    let seen = spool.clone();
    metrics.gauge_source(Sampled::Size("ledger_spool_bytes"), move || seen.held() as i64);
    let seen = spool.clone();
    metrics.gauge_source(Sampled::Size("ledger_spool_room_bytes"), move || seen.room() as i64);
    let seen = spool.clone();
    metrics.gauge_source(Sampled::Size("ledger_lost_entries"), move || seen.lost() as i64);
    let seen = spool.clone();
    metrics.gauge_source(Sampled::Size("ledger_names"), move || seen.symbols().count() as i64);
    let state = drain.state();
    metrics.gauge_source(Sampled::Size("ledger_unreadable_files"), move || state.troubled() as i64);
    let state = drain.state();
    metrics.gauge_source(Sampled::Size("ledger_refused_entries"), move || state.aside() as i64);
    let (state, seen) = (drain.state(), spool.clone());
    metrics.gauge_source(Sampled::DependencyUp("ledger"), move || {
        (!state.is_behind() && !seen.is_full()).into()
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metering::spool::tests::{is_dirty, on_disk, write};
    use std::time::Instant;

    #[test]
    fn what_has_come_is_made_safe_from_a_power_cut_in_time() {
        let Some(folder) = on_disk() else { return };
        let every = Duration::from_millis(20);
        let spool = Arc::new(Spool::open(folder.path(), Bounds::of(1 << 20), Sync::Every(every)).unwrap());
        write(&spool);
        assert!(is_dirty(folder.path()), "nobody has made it safe");
        tend(Arc::downgrade(&spool), every).unwrap();
        let begun = Instant::now();
        while is_dirty(folder.path()) {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not made safe");
            thread::sleep(every);
        }
    }
}
