//! What models can do, as `/api/show` tells it. Asked once for each digest.

use super::{Client, Identity};
use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use std::sync::Arc;

/// Models of which it is remembered.
const MOST: u64 = 1024;

/// Which models can see.
pub struct Abilities {
    client: Arc<Client>,
    /// By digest; `None` where the upstream says nothing of abilities.
    known: moka::sync::Cache<Arc<str>, Option<bool>>,
}

#[derive(Deserialize)]
struct Shown {
    capabilities: Option<Vec<String>>,
}

impl Abilities {
    pub fn new(client: Arc<Client>) -> Self {
        Abilities { client, known: moka::sync::Cache::new(MOST) }
    }

    /// Whether the model can see pictures; `None` where nobody knows.
    pub async fn sees(&self, model: &Identity) -> Option<bool> {
        if let Some(known) = self.known.get(&model.digest) {
            return known;
        }
        let asked = Bytes::from(serde_json::json!({ "model": &*model.name }).to_string());
        let (_, body) = self.client.whole(Method::POST, "/api/show", asked).await.ok()?;
        let shown: Shown = serde_json::from_slice(&body).ok()?;
        let sees = shown.capabilities.map(|abilities| abilities.iter().any(|ability| ability == "vision"));
        self.known.insert(model.digest.clone(), sees);
        sees
    }

    pub fn len(&self) -> u64 {
        self.known.entry_count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
