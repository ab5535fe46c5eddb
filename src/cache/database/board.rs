//! Notices on a PostgreSQL that replicas share.

use super::Database;
use crate::cache::Fault;
use crate::cache::board::{Board, KEPT, MOST};
use async_trait::async_trait;

#[async_trait]
impl Board for Database {
    async fn post(&self, notice: &str) -> Result<(), Fault> {
        let entries = self.opened()?;
        entries.post(notice, KEPT).await.map_err(|error| self.heed(&entries, error))
    }

    async fn read(&self, last: &str) -> Result<Vec<(String, String)>, Fault> {
        let entries = self.opened()?;
        let last = last.parse().unwrap_or(i64::MIN);
        let notices = entries.notices(last, MOST).await.map_err(|error| self.heed(&entries, error))?;
        Ok(notices.into_iter().map(|(name, notice)| (name.to_string(), notice)).collect())
    }
}
