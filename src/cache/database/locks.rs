//! Leases on a PostgreSQL that replicas share.

use super::Database;
use crate::cache::lease::{Holding, Locks, Token};
use crate::cache::{CacheKey, Fault, TierName};
use async_trait::async_trait;
use std::time::Duration;

#[async_trait]
impl Locks for Database {
    fn name(&self) -> &'static str {
        TierName::Database.label()
    }

    async fn take(&self, key: &CacheKey, token: &Token, term: Duration) -> Result<Option<u64>, Fault> {
        let entries = self.opened()?;
        entries.take(&key.0, &token.0, term).await.map_err(|error| self.heed(&entries, error))
    }

    async fn renew(&self, held: &[Holding], term: Duration) -> Result<Vec<Holding>, Fault> {
        if held.is_empty() {
            return Ok(Vec::new());
        }
        let entries = self.opened()?;
        let renewed = entries.renew(&pairs(held), term).await.map_err(|error| self.heed(&entries, error))?;
        Ok(held.iter().filter(|(key, _)| !renewed.contains(&key.0)).cloned().collect())
    }

    async fn release(&self, held: &[Holding]) -> Result<(), Fault> {
        if held.is_empty() {
            return Ok(());
        }
        let entries = self.opened()?;
        entries.release(&pairs(held)).await.map_err(|error| self.heed(&entries, error))
    }

    async fn is_taken(&self, key: &CacheKey) -> Result<bool, Fault> {
        let entries = self.opened()?;
        entries.is_taken(&key.0).await.map_err(|error| self.heed(&entries, error))
    }
}

fn pairs(held: &[Holding]) -> Vec<(&[u8; 32], &str)> {
    held.iter().map(|(key, token)| (&key.0, &*token.0)).collect()
}
