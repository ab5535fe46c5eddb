//! Who asks: an API key's owner, or `anonymous`. One hash and one table, no lock, no database.

mod admin;
mod config;

pub use admin::{AdminKey, AdminKeyError, admin_key};
pub use config::{Config, Key, Sharing};

use crate::domain::{Consumer, Scope};
use std::collections::HashMap;
use std::sync::Arc;

/// The known keys, by their digests; immutable, replaced as a whole by a reload.
pub struct Directory {
    known: HashMap<[u8; 32], Arc<Consumer>>,
    anonymous: Arc<Consumer>,
    admin: Option<AdminKey>,
}

/// The team of whoever names none.
const DEFAULT_TEAM: &str = "default";

impl Directory {
    /// `admin` is the key of whoever looks after this Pannier; without one, nobody may.
    pub fn new(config: &Config, admin: Option<AdminKey>) -> Self {
        let consumer = |name: &str, team: &str| {
            let scope = match config.scope {
                Sharing::Team => scope("team", team),
                Sharing::Key => scope("key", name),
                Sharing::Shared => scope("shared", ""),
            };
            Arc::new(Consumer { name: name.into(), team: team.into(), scope })
        };
        let entry = |key: &Key| {
            let team = key.team.as_deref().unwrap_or(DEFAULT_TEAM);
            (*blake3::hash(key.key.expose().as_bytes()).as_bytes(), consumer(&key.name, team))
        };
        Directory {
            known: config.keys.iter().map(entry).collect(),
            anonymous: consumer("anonymous", DEFAULT_TEAM),
            admin,
        }
    }

    /// Whose key `presented` is. An unknown one is nobody's: clients of a bare Ollama send dummies.
    pub fn identify(&self, presented: Option<&[u8]>) -> &Arc<Consumer> {
        match presented {
            Some(key) if !self.known.is_empty() => {
                self.known.get(blake3::hash(key).as_bytes()).unwrap_or(&self.anonymous)
            }
            _ => &self.anonymous,
        }
    }

    /// All who are known, and whoever is not.
    pub fn everybody(&self) -> impl Iterator<Item = &Arc<Consumer>> {
        std::iter::once(&self.anonymous).chain(self.known.values())
    }

    /// Whether `presented` is one of Pannier's own keys, which the upstream must not see.
    pub fn knows(&self, presented: &[u8]) -> bool {
        !Arc::ptr_eq(self.identify(Some(presented)), &self.anonymous)
            || self.admin.is_some_and(|admin| admin.is(presented))
    }

    /// The admin key, if there is one.
    pub fn admin(&self) -> Option<AdminKey> {
        self.admin
    }
}

fn scope(kind: &str, name: &str) -> Scope {
    let mut hasher = blake3::Hasher::new_derive_key("pannier scope");
    hasher.update(kind.as_bytes());
    hasher.update(&[0]);
    hasher.update(name.as_bytes());
    Scope(*hasher.finalize().as_bytes())
}
