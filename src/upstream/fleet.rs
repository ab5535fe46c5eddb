//! The upstreams that texts to be embedded are spread over: the first, and others that have the same models.

use super::{Client, Config, Identity, Inventory, Target};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long one of the others may take to say what it has, and for how long one that did not is left out.
const PATIENCE: Duration = Duration::from_millis(200);
const LEFT_OUT: Duration = Duration::from_secs(1);

/// All of them; the first is number 0.
pub struct Fleet {
    first: Vessel,
    others: Vec<Other>,
    born: Instant,
}

/// One upstream, and what its models' names mean.
#[derive(Clone)]
pub struct Vessel {
    pub client: Arc<Client>,
    pub inventory: Arc<Inventory>,
}

struct Other {
    vessel: Vessel,
    /// Milliseconds since `born` until which it is not asked.
    left_out: AtomicU64,
}

impl Fleet {
    /// The first, and one for each further address of `config`. `instance` is this process's name.
    pub fn new(first: Vessel, config: &Config, instance: &str) -> Self {
        let others = config.embedding_urls.iter().map(|url| {
            let config = Config { url: url.clone(), ..config.clone() };
            let client = Client::new(Arc::new(Target::new(&config)), &config, instance);
            let inventory = Inventory::new(client.clone(), config.inventory_refresh);
            Other { vessel: Vessel { client, inventory }, left_out: AtomicU64::new(0) }
        });
        Fleet { first, others: others.collect(), born: Instant::now() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        1 + self.others.len()
    }

    /// There is always the first.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Number `number`; the first for a number that nobody has.
    pub fn vessel(&self, number: usize) -> &Vessel {
        match number.checked_sub(1).and_then(|number| self.others.get(number)) {
            Some(other) => &other.vessel,
            None => &self.first,
        }
    }

    /// The numbers of those where `model` is what `identity` says it is at the first, and what each says of it.
    pub async fn with(&self, model: &str, identity: &Identity) -> Vec<(usize, Identity)> {
        let mut all = vec![(0, identity.clone())];
        for (number, other) in (1..).zip(&self.others) {
            if let Some(here) =
                other.identify(model, self.born).await.filter(|here| here.is_twin_of(identity))
            {
                all.push((number, here));
            }
        }
        all
    }

    /// Number `number` has failed: it is not counted on for a while.
    pub fn leave_out(&self, number: usize) {
        if let Some(other) = number.checked_sub(1).and_then(|number| self.others.get(number)) {
            other.leave_out(self.born);
        }
    }

    /// Whether number `number` has had `model` all the time as it said `then`, by a reading that begins after
    /// this call.
    pub async fn confirm(&self, number: usize, model: &str, then: &Identity) -> bool {
        self.vessel(number).inventory.confirm(model, then).await
    }
}

impl Other {
    /// What `model` means there; `None` where it does not say so soon enough.
    async fn identify(&self, model: &str, born: Instant) -> Option<Identity> {
        if self.left_out.load(Ordering::Relaxed) > milliseconds(born.elapsed()) {
            return None;
        }
        let asking = self.vessel.inventory.identify(model);
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Ok(here)) => here,
            Ok(Err(_)) | Err(_) => {
                self.leave_out(born);
                None
            }
        }
    }

    fn leave_out(&self, born: Instant) {
        self.left_out.store(milliseconds(born.elapsed() + LEFT_OUT), Ordering::Relaxed);
    }
}

fn milliseconds(time: Duration) -> u64 {
    time.as_millis() as u64
}
