//! One database that several parts of this process share: opened when it can be, and again after it was lost.

use super::{Error, Migrations, Options, Place, Store, Trouble};
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use tokio::sync::Mutex;

/// A database, open or not. Says in the log when it is lost, and when it is back.
pub struct Shared {
    place: Place,
    options: Options,
    /// Each part's own tables.
    parts: Vec<Migrations>,
    open: ArcSwapOption<Store>,
    /// One opens at a time; holds what the last use failed of, to say it once.
    opening: Mutex<Option<Trouble>>,
}

impl Shared {
    /// Touches nothing: the database is opened when it is used first.
    pub fn new(place: Place, options: Options, parts: Vec<Migrations>) -> Self {
        Shared { place, options, parts, open: ArcSwapOption::empty(), opening: Mutex::default() }
    }

    /// The open database; opens it where it is not.
    pub async fn store(&self) -> Result<Arc<Store>, Error> {
        if let Some(store) = self.open.load_full() {
            return Ok(store);
        }
        let mut last = self.opening.lock().await;
        if let Some(store) = self.open.load_full() {
            return Ok(store);
        }
        match self.open_now().await {
            Ok(store) => {
                if last.take().is_some() {
                    tracing::info!(place = %self.place, "the database is back");
                }
                let store = Arc::new(store);
                self.open.store(Some(store.clone()));
                Ok(store)
            }
            Err(error) => {
                if last.replace(error.trouble) != Some(error.trouble) {
                    tracing::warn!(place = %self.place, %error,
                        "the database cannot be used; trying again until it can");
                }
                Err(error)
            }
        }
    }

    /// Takes note of what went wrong with `store`: where its tables are gone, the next to ask opens it anew.
    pub fn heed(&self, store: &Arc<Store>, error: &Error) {
        tracing::debug!(place = %self.place, %error, "the database failed");
        if error.trouble == Trouble::Missing {
            self.open.compare_and_swap(store, None);
        }
    }

    /// Leaves the database to others.
    pub async fn close(&self) {
        if let Some(store) = self.open.swap(None) {
            store.close().await;
        }
    }

    async fn open_now(&self) -> Result<Store, Error> {
        let none = Migrations { part: String::new(), steps: Vec::new() };
        let (first, rest) = self.parts.split_first().map_or((&none, &[][..]), |(first, rest)| (first, rest));
        let store = Store::open(&self.place, &self.options, first).await?;
        for part in rest {
            if let Err(error) = part.apply(&store).await {
                store.close().await;
                return Err(error);
            }
        }
        Ok(store)
    }
}
