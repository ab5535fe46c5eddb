//! Settings that change while Pannier runs: good ones are put in force at once for new requests, bad ones
//! are reported and change nothing.

use super::build;
use crate::auth::Register;
use crate::config::{self, Loaded, Watch};
use crate::gateway::Policy;
use arc_swap::ArcSwap;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// What is in force, and where changes are heard of.
pub struct Reload {
    loaded: Loaded,
    policy: Arc<ArcSwap<Policy>>,
    keys: Arc<Register>,
    watch: Watch,
}

impl Reload {
    pub fn new(loaded: Loaded, policy: Arc<ArcSwap<Policy>>, keys: Arc<Register>, watch: Watch) -> Self {
        Reload { loaded, policy, keys, watch }
    }

    /// Reloads whenever there is cause, until `stopped`.
    pub async fn run(self, mut stopped: watch::Receiver<bool>) {
        let Reload { mut loaded, policy, keys, watch } = self;
        let (causes, mut heard) = mpsc::channel(1);
        let shutdown = async move { drop(stopped.wait_for(|stop| *stop).await) };
        tokio::spawn(watch.run(shutdown, causes));
        while let Some(cause) = heard.recv().await {
            match apply(&loaded, &policy, &keys) {
                Ok(Some((new, live))) => {
                    tracing::info!(?cause, changed = live.join(", "), "settings reloaded");
                    loaded = new;
                }
                Ok(None) => tracing::info!(?cause, "settings reloaded: nothing has changed"),
                Err(refused) => tracing::error!(?cause, %refused, "settings not reloaded: the old ones stay"),
            }
        }
    }
}

/// Puts what the sources say now in force. Returns it with the names of what has changed.
fn apply(
    old: &Loaded,
    policy: &ArcSwap<Policy>,
    keys: &Register,
) -> Result<Option<(Loaded, Vec<String>)>, String> {
    let new = old.sources.load().map_err(|problems| problems.to_string())?;
    let difference = config::difference(old, &new);
    if !difference.boot.is_empty() {
        return Err(format!("{} can only be changed by a new start", difference.boot.join(", ")));
    }
    if difference.live.is_empty() {
        return Ok(None);
    }
    let generation = policy.load().generation + 1;
    policy.store(Arc::new(build::policy(&new.config, keys, generation)));
    Ok(Some((new, difference.live)))
}
