//! What is warmed without being told: the most used at the start, and what a changed model was asked most.

use super::Gateway;
use super::warm::{Manner, Wish};
use crate::cache::WarmConfig;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// See the module. Does nothing but by its settings.
pub struct Warmer {
    gateway: Arc<Gateway>,
    config: WarmConfig,
}

/// Between two looks at what the models are, and at whether the tiers can say what was used.
const EVERY: Duration = Duration::from_millis(500);
/// So often the tiers are asked at the start.
const TRIES: usize = 120;
/// Models whose digests are remembered.
const MODELS: usize = 4096;

impl Warmer {
    pub fn new(gateway: Arc<Gateway>, config: WarmConfig) -> Self {
        Warmer { gateway, config }
    }

    /// Until `shutdown`.
    pub async fn run(&self, mut shutdown: watch::Receiver<bool>) {
        let work = async {
            tokio::join!(self.start(), self.follow());
        };
        tokio::select! {
            () = work => {}
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
    }

    /// Loads what was used most, once the tiers are there.
    async fn start(&self) {
        if self.config.at_start == 0 {
            return;
        }
        for _ in 0..TRIES {
            if let Some(wishes) = self.gateway.most_used(None, self.config.at_start).await {
                return self.warm("all", wishes).await;
            }
            tokio::time::sleep(EVERY).await;
        }
        tracing::warn!("nothing is warmed: no cache tier says what was used most");
    }

    /// Asks again what changed models were asked most.
    async fn follow(&self) {
        if self.config.after_pull == 0 {
            return;
        }
        let mut known: HashMap<Arc<str>, Arc<str>> = HashMap::new();
        loop {
            for (model, digest) in self.gateway.way().inventory.models() {
                if known.len() >= MODELS && !known.contains_key(&model) {
                    continue;
                }
                let before = known.insert(model.clone(), digest.clone());
                if before.is_some_and(|before| before != digest)
                    && let Some(wishes) = self.gateway.most_used(Some(&model), self.config.after_pull).await
                {
                    self.warm(&model, wishes).await;
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn warm(&self, model: &str, wishes: Vec<Wish>) {
        let manner = Manner { dry: false, rate: self.config.rate };
        let tally = self.gateway.warm_and_tell(wishes, manner, None).await;
        let (known, loaded, asked) = (tally.known, tally.loaded, tally.asked);
        let failed = tally.failed + tally.unfit;
        tracing::info!(model, known, loaded, asked, failed, "the memory is warmed");
    }
}
