//! Who asks: an API key's owner, or `anonymous`. One hash and a look into a table, no lock, no database.

use super::table::Table;
use super::{AdminKey, Config, Mode, Pepper, Terms, form};
use crate::domain::{Consumer, Error, Kind};
use crate::store::keys::Digest;
use arc_swap::ArcSwap;
use hashbrown::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The known keys: those of the settings, and those of the database.
pub struct Directory {
    mode: Mode,
    pepper: Pepper,
    known: HashMap<Digest, Arc<Consumer>>,
    stored: Arc<ArcSwap<Table>>,
    anonymous: Arc<Consumer>,
    admin: Option<AdminKey>,
    /// Who may manage models; empty for all.
    managers: Vec<String>,
}

/// Who asks.
pub struct Caller {
    pub consumer: Arc<Consumer>,
    /// A presented key is one of Pannier's own: the upstream must not see it.
    pub own_key: bool,
}

/// Whether what is locked opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    Opens,
    Shut,
    /// No key opens it: there is none.
    NoKey,
}

/// What a presented key is.
enum Standing {
    Known(Arc<Consumer>),
    Admin,
    Refused(Error),
    /// None of Pannier's. Clients of a bare Ollama send dummies.
    Stranger,
}

/// The team of whoever names none.
pub const DEFAULT_TEAM: &str = "default";
/// The name of those without a key.
pub const ANONYMOUS: &str = "anonymous";

/// For one who comes before the keys have been read.
const SOON: Duration = Duration::from_secs(2);

// === impl Directory ===

impl Directory {
    /// `admin` is the key of whoever looks after this Pannier; without one, only an admin's of the database opens
    /// what is locked. `stored` is kept up to date by others.
    pub fn new(
        config: &Config,
        admin: Option<AdminKey>,
        pepper: Pepper,
        stored: Arc<ArcSwap<Table>>,
    ) -> Self {
        let terms = Terms::of(config);
        let known = config.keys.iter().map(|key| {
            let team = key.team.as_deref().unwrap_or(DEFAULT_TEAM);
            let own = Arc::new(key.limits());
            let consumer = terms.consumer(key.name.as_str().into(), team.into(), Some(&own));
            (pepper.digest(key.key.expose().as_bytes()), Arc::new(consumer))
        });
        Directory {
            mode: config.mode,
            known: known.collect(),
            stored,
            anonymous: Arc::new(terms.consumer(ANONYMOUS.into(), DEFAULT_TEAM.into(), None)),
            admin,
            managers: config.management.clone(),
            pepper,
        }
    }

    /// Who presents these keys. Two that differ are nobody's, if one of them is Pannier's.
    ///
    /// # Errors
    /// Why whoever presents them may not come in.
    pub fn judge<'a>(&self, mut presented: impl Iterator<Item = &'a [u8]>) -> Result<Caller, Error> {
        let Some(key) = presented.next() else { return self.nobody(false) };
        let mut others = presented.filter(|other| *other != key);
        if let Some(other) = others.next() {
            return match std::iter::once(key).chain([other]).chain(others).any(|key| self.owns(key)) {
                true => Err(refused("the request presents two different API keys")),
                false => self.nobody(false),
            };
        }
        match self.standing(key) {
            Standing::Known(consumer) => Ok(Caller { consumer, own_key: true }),
            Standing::Refused(error) => Err(error),
            Standing::Admin => self.nobody(true),
            Standing::Stranger => self.nobody(false),
        }
    }

    /// Whose key `presented` is, without the reasons why not.
    pub fn identify(&self, presented: Option<&[u8]>) -> Option<Arc<Consumer>> {
        match presented.map_or(Standing::Stranger, |key| self.standing(key)) {
            Standing::Known(consumer) => Some(consumer),
            Standing::Refused(_) => None,
            Standing::Admin | Standing::Stranger => (self.mode == Mode::Open).then(|| self.anonymous.clone()),
        }
    }

    /// Whose figures may be seen with this key, beside an admin's.
    ///
    /// # Errors
    /// Why nobody's: those of everybody who has no key are nobody's own.
    pub fn owner(&self, presented: &[u8]) -> Result<Arc<Consumer>, Error> {
        match self.standing(presented) {
            Standing::Known(consumer) => Ok(consumer),
            Standing::Refused(error) => Err(error),
            Standing::Admin | Standing::Stranger => Err(refused(
                "an API key of this Pannier is wanted, which shows its own figures, or the admin key, which shows \
                 everybody's: as Authorization: Bearer or X-API-Key",
            )),
        }
    }

    /// Whether `presented` is, or says that it is, one of Pannier's own keys, good or not.
    pub fn owns(&self, presented: &[u8]) -> bool {
        !matches!(self.standing(presented), Standing::Stranger)
    }

    /// Whether it opens what is for admins only.
    pub fn unlocks(&self, presented: &[u8]) -> Lock {
        let stored = self.stored.load();
        let now = now();
        let is_admin = || match stored.find(&self.pepper.digest(presented), now) {
            Some(Ok(key)) if key.is_admin() => {
                key.note_use(now);
                true
            }
            _ => false,
        };
        match self.admin {
            Some(admin) if admin.is(presented) => Lock::Opens,
            _ if form::is_sound(presented) && is_admin() => Lock::Opens,
            None if stored.is_empty() => Lock::NoKey,
            _ => Lock::Shut,
        }
    }

    /// Whether the key of this name is among those that may manage models; `None` where all are.
    pub fn manages(&self, name: &str) -> Option<bool> {
        (!self.managers.is_empty()).then(|| self.managers.iter().any(|manager| manager == name))
    }

    /// Whoever has no key.
    pub fn anonymous(&self) -> &Arc<Consumer> {
        &self.anonymous
    }

    /// All who are known, and whoever is not.
    pub fn everybody(&self) -> impl Iterator<Item = Arc<Consumer>> {
        let stored: Vec<_> = self.stored.load().consumers().cloned().collect();
        std::iter::once(&self.anonymous).chain(self.known.values()).cloned().chain(stored)
    }

    /// Who presents no key that counts.
    fn nobody(&self, own_key: bool) -> Result<Caller, Error> {
        match (self.mode, own_key) {
            (Mode::Open, _) => Ok(Caller { consumer: self.anonymous.clone(), own_key }),
            (Mode::Required, true) => Err(refused("the admin key opens Pannier's own routes only")),
            (Mode::Required, false) => {
                Err(refused("an API key of this Pannier is wanted, as Authorization: Bearer or X-API-Key"))
            }
        }
    }

    fn standing(&self, key: &[u8]) -> Standing {
        let is_sound = form::is_sound(key);
        let digest = (is_sound || !self.known.is_empty()).then(|| self.pepper.digest(key));
        if let Some(consumer) = digest.and_then(|digest| self.known.get(&digest)) {
            return Standing::Known(consumer.clone());
        }
        if is_sound {
            let stored = self.stored.load();
            let now = now();
            match digest.and_then(|digest| stored.find(&digest, now)) {
                Some(Ok(key)) => {
                    key.note_use(now);
                    return Standing::Known(key.consumer().clone());
                }
                Some(Err(error)) => return Standing::Refused(error),
                None if !stored.is_read() => {
                    let unread = Error::new(Kind::Overloaded, "the API keys cannot be read yet");
                    return Standing::Refused(unread.retry_after(SOON));
                }
                None => {}
            }
        }
        if self.admin.is_some_and(|admin| admin.is(key)) {
            return Standing::Admin;
        }
        match form::is_marked(key) {
            true => Standing::Refused(refused("this is no API key of this Pannier")),
            false => Standing::Stranger,
        }
    }
}

fn refused(why: &str) -> Error {
    Error::new(Kind::Unauthenticated, why)
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
