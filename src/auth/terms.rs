//! What holds for all keys of a kind, wherever they stand.

use super::{Config, Sharing};
use crate::domain::{Consumer, Limits, Rights, Scope};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Who shares answers, and what teams may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    sharing: Sharing,
    teams: HashMap<String, Arc<Limits>>,
    /// Keys of the settings: what the books have under such a name is theirs.
    names: HashSet<String>,
}

impl Terms {
    pub fn of(config: &Config) -> Self {
        let teams = config.teams.iter().map(|team| (team.name.clone(), Arc::new(team.limits())));
        let names = config.keys.iter().map(|key| key.name.clone());
        Terms { sharing: config.scope, teams: teams.collect(), names: names.collect() }
    }

    /// Whether a key of the settings has this name.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Somebody with limits of their own, besides those of the team.
    pub fn consumer(&self, name: Arc<str>, team: Arc<str>, own: Option<&Arc<Limits>>) -> Consumer {
        let scope = self.scope(&name, &team);
        let of_team = self.teams.get(&*team);
        Consumer { rights: Rights::within(own.into_iter().chain(of_team).cloned()), name, team, scope }
    }

    /// Inside of which answers are shared.
    fn scope(&self, name: &str, team: &str) -> Scope {
        let (kind, name) = match self.sharing {
            Sharing::Team => ("team", team),
            Sharing::Key => ("key", name),
            Sharing::Shared => ("shared", ""),
        };
        let mut hasher = blake3::Hasher::new_derive_key("pannier scope");
        hasher.update(kind.as_bytes());
        hasher.update(&[0]);
        hasher.update(name.as_bytes());
        Scope(*hasher.finalize().as_bytes())
    }
}
