//! Settings that change while Pannier runs: good ones are put in force at once for new requests, bad ones
//! are reported and change nothing.

use super::build::{self, House};
use super::ledger::Books;
use super::reports::Told;
use crate::auth::Register;
use crate::config::{self, Config, Loaded, Watch};
use crate::gateway::Policy;
use arc_swap::ArcSwap;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// What is in force, and where changes are heard of.
pub struct Reload {
    loaded: Loaded,
    live: Live,
    watch: Watch,
}

/// What changes with the settings.
pub struct Live {
    policy: Arc<ArcSwap<Policy>>,
    keys: Arc<Register>,
    books: Books,
    told: Told,
}

impl Live {
    pub fn of(house: &House) -> Self {
        Live {
            policy: house.policy.clone(),
            keys: house.keys.clone(),
            books: house.books.clone(),
            told: house.told.clone(),
        }
    }

    /// Puts what the settings say now in force.
    fn apply(&self, config: &Config) {
        let generation = self.policy.load().generation + 1;
        self.books.heed(config);
        self.told.heed(config);
        self.policy.store(Arc::new(build::policy(config, &self.keys, generation)));
    }
}

impl Reload {
    pub fn new(loaded: Loaded, live: Live, watch: Watch) -> Self {
        Reload { loaded, live, watch }
    }

    /// Reloads whenever there is cause, until `stopped`.
    pub async fn run(self, mut stopped: watch::Receiver<bool>) {
        let Reload { mut loaded, live, watch } = self;
        let (causes, mut heard) = mpsc::channel(1);
        let shutdown = async move { drop(stopped.wait_for(|stop| *stop).await) };
        tokio::spawn(watch.run(shutdown, causes));
        while let Some(cause) = heard.recv().await {
            match anew(&loaded) {
                Ok(Some((new, changed))) => {
                    live.apply(&new.config);
                    tracing::info!(?cause, changed = changed.join(", "), "settings reloaded");
                    loaded = new;
                }
                Ok(None) => tracing::info!(?cause, "settings reloaded: nothing has changed"),
                Err(refused) => tracing::error!(?cause, %refused, "settings not reloaded: the old ones stay"),
            }
        }
    }
}

/// What the sources say now, with the names of what has changed.
fn anew(old: &Loaded) -> Result<Option<(Loaded, Vec<String>)>, String> {
    let new = old.sources.load().map_err(|problems| problems.to_string())?;
    let difference = config::difference(old, &new);
    if !difference.boot.is_empty() {
        return Err(format!("{} can only be changed by a new start", difference.boot.join(", ")));
    }
    Ok((!difference.live.is_empty()).then_some((new, difference.live)))
}
