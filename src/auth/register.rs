//! Keys that are made, changed and removed while Pannier runs. They stand in a database that other replicas may
//! share; what has changed there is in force here a moment later, and while it is away what was known last stays
//! in force.

use super::directory::{ANONYMOUS, DEFAULT_TEAM, now};
use super::table::Table;
use super::{Config, Pepper, Terms, form};
use crate::domain::{Error, Hidden, Kind, unfit_route};
use crate::store;
use crate::store::keys::{Change, KeyRow, Keys};
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The keys of a database, and what is in force of them.
pub struct Register {
    pub(super) keys: Keys,
    /// Without one no key can be told by its digest, and none is made.
    pub(super) pepper: Option<Pepper>,
    pub(super) stored: Arc<ArcSwap<Table>>,
    settings: Mutex<Settings>,
    /// Templates of all routes that there are; empty where nobody has said.
    routes: Vec<&'static str>,
    /// One reads at a time: nobody puts in force what is older than what is.
    pub(super) reading: tokio::sync::Mutex<()>,
    /// The database's digests were made with this pepper.
    pub(super) is_ours: AtomicBool,
    /// That they were not has been said.
    pub(super) is_foreign: AtomicBool,
    pub(super) is_up: AtomicBool,
}

/// What the settings say that matters here.
pub(super) struct Settings {
    pub(super) terms: Terms,
    /// Names of keys, and their teams.
    keys: Vec<(String, String)>,
}

/// A key to be made.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    pub name: String,
    pub team: Option<String>,
    /// Milliseconds since 1970.
    pub expires: Option<i64>,
    pub is_admin: bool,
    /// Patterns; none for all.
    pub models: Vec<String>,
    pub routes: Vec<String>,
}

/// What is to become of a key; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    pub team: Option<String>,
    /// Milliseconds since 1970; 0 for never.
    pub expires: Option<i64>,
    pub is_disabled: Option<bool>,
    pub models: Option<Vec<String>>,
    pub routes: Option<Vec<String>>,
}

/// One key of all that are known by name.
#[derive(Debug)]
pub enum Listed {
    /// It stands in the settings, and can be changed there.
    Settings {
        name: String,
        team: String,
    },
    Stored(Box<KeyRow>),
}

/// How long the database may take over a question.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// Letters of a name.
const LONGEST_NAME: usize = 64;
/// Of a pattern.
const LONGEST_PATTERN: usize = 256;
/// Of a kind, for one key.
const MOST_PATTERNS: usize = 64;

impl Register {
    pub fn new(keys: Keys, pepper: Option<Pepper>, config: &Config) -> Self {
        Register {
            keys,
            pepper,
            stored: Arc::default(),
            settings: Mutex::new(Settings::of(config)),
            routes: Vec::new(),
            reading: tokio::sync::Mutex::default(),
            is_ours: AtomicBool::new(false),
            is_foreign: AtomicBool::new(false),
            is_up: AtomicBool::new(false),
        }
    }

    /// The templates of all routes that there are: a pattern that fits none of them is a slip of the pen.
    pub fn with_routes(self, routes: Vec<&'static str>) -> Self {
        Register { routes, ..self }
    }

    /// What is in force.
    pub fn stored(&self) -> Arc<ArcSwap<Table>> {
        self.stored.clone()
    }

    /// What the digests of keys are made with; where that cannot be kept, what `else_of` gives.
    pub fn pepper_or_else(&self, else_of: impl FnOnce() -> Pepper) -> Pepper {
        self.pepper.clone().unwrap_or_else(else_of)
    }

    /// How many keys are in force, old ones in their grace among them.
    pub fn len(&self) -> usize {
        self.stored.load().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the database could be used when that was tried last.
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// The settings are others now.
    pub fn heed(&self, config: &Config) {
        let mut settings = self.settings();
        let new = Settings::of(config);
        if new.terms != settings.terms {
            self.put_in_force(self.stored.load().under(&new.terms));
        }
        *settings = new;
    }

    pub(super) fn put_in_force(&self, table: Table) {
        let told: Vec<String> = self.stored.load().shadowed().map(str::to_owned).collect();
        for name in table.shadowed().filter(|name| !told.iter().any(|told| told == name)) {
            tracing::error!(
                key = name,
                "a key of the settings has the name of a stored one, which is refused now"
            );
        }
        self.stored.store(Arc::new(table));
    }

    // === changes ===

    /// Makes a key. Nobody but its owner will ever see it again.
    ///
    /// # Errors
    /// `BadRequest` for a name that cannot be, `Overloaded` while the database is away.
    pub async fn create(&self, draft: Draft) -> Result<(Hidden, KeyRow), Error> {
        self.check_name(&draft.name)?;
        let team = draft.team.unwrap_or_else(|| DEFAULT_TEAM.to_owned());
        check_team(&team)?;
        check_patterns(&draft.models)?;
        self.check_routes(&draft.routes)?;
        let (key, now) = (form::make().map_err(|_| no_randomness())?, now());
        if draft.expires.is_some_and(|expires| expires <= now) {
            return Err(bad("a key cannot have expired before it is made"));
        }
        let row = KeyRow {
            id: form::make_id().map_err(|_| no_randomness())?,
            name: draft.name,
            team,
            start: form::start(&key),
            is_admin: draft.is_admin,
            digest: self.pepper()?.digest(key.expose().as_bytes()),
            old: None,
            expires: draft.expires.unwrap_or(0),
            is_disabled: false,
            created: now,
            rotated: 0,
            used: 0,
            models: draft.models,
            routes: draft.routes,
        };
        self.claim().await?;
        self.changed(self.keys.add(&row)).await?;
        Ok((key, row))
    }

    /// # Errors
    /// `NotFound`, `BadRequest`, or `Overloaded` while the database is away.
    pub async fn edit(&self, who: &str, edit: Edit) -> Result<KeyRow, Error> {
        edit.team.as_deref().map_or(Ok(()), check_team)?;
        edit.models.as_deref().map_or(Ok(()), check_patterns)?;
        edit.routes.as_deref().map_or(Ok(()), |routes| self.check_routes(routes))?;
        self.change(who, move |row| {
            let Edit { team, expires, is_disabled, models, routes } = edit;
            row.team = team.unwrap_or_else(|| std::mem::take(&mut row.team));
            row.expires = expires.unwrap_or(row.expires);
            row.is_disabled = is_disabled.unwrap_or(row.is_disabled);
            row.models = models.unwrap_or_else(|| std::mem::take(&mut row.models));
            row.routes = routes.unwrap_or_else(|| std::mem::take(&mut row.routes));
        })
        .await
    }

    /// Another key in place of the one that is known; that one is good for `grace` yet.
    ///
    /// # Errors
    /// As of [`Register::edit`].
    pub async fn rotate(&self, who: &str, grace: Duration) -> Result<(Hidden, KeyRow), Error> {
        let key = form::make().map_err(|_| no_randomness())?;
        let (digest, start, now) = (self.pepper()?.digest(key.expose().as_bytes()), form::start(&key), now());
        let until = now.saturating_add(i64::try_from(grace.as_millis()).unwrap_or(i64::MAX));
        let row = self.change(who, move |row| {
            row.old = (until > now).then_some((row.digest, until));
            (row.digest, row.start, row.rotated) = (digest, start, now);
        });
        Ok((key, row.await?))
    }

    /// # Errors
    /// As of [`Register::edit`].
    pub async fn remove(&self, who: &str) -> Result<(), Error> {
        self.check_known(who)?;
        self.claim().await?;
        self.changed(self.keys.remove(who)).await
    }

    // === looks ===

    /// All that are known by name.
    ///
    /// # Errors
    /// `Overloaded` while the database is away.
    pub async fn list(&self) -> Result<Vec<Listed>, Error> {
        let mut rows = Vec::new();
        loop {
            let after = rows.last().map_or("", |row: &KeyRow| &row.name);
            match self.asked(self.keys.page(after)).await? {
                page if page.is_empty() => break,
                page => rows.extend(page),
            }
        }
        let of_settings: Vec<_> = {
            let keys = self.settings().keys.clone();
            keys.into_iter().map(|(name, team)| Listed::Settings { name, team }).collect()
        };
        let table = self.stored.load();
        let latest = |row| Listed::Stored(Box::new(with_use(row, &table)));
        Ok(of_settings.into_iter().chain(rows.into_iter().map(latest)).collect())
    }

    /// The one of this id or name.
    ///
    /// # Errors
    /// `NotFound`, or `Overloaded` while the database is away.
    pub async fn find(&self, who: &str) -> Result<KeyRow, Error> {
        self.check_known(who)?;
        let found = self.asked(self.keys.find(who)).await?;
        Ok(with_use(found.ok_or_else(no_such_key)?, &self.stored.load()))
    }

    async fn change(&self, who: &str, edit: impl FnOnce(&mut KeyRow) + Send) -> Result<KeyRow, Error> {
        self.check_known(who)?;
        self.claim().await?;
        let row = self.changed(self.keys.change(who, edit)).await?;
        Ok(with_use(row, &self.stored.load()))
    }

    /// What came of a change. It is in force when this returns, or a moment later if the database went away
    /// right behind it.
    async fn changed<T>(
        &self,
        change: impl Future<Output = Result<Change<T>, store::Error>>,
    ) -> Result<T, Error> {
        match self.asked(change).await? {
            Change::Done(done) => {
                if self.read_anew().await.is_err() {
                    self.is_up.store(false, Ordering::Relaxed);
                }
                Ok(done)
            }
            Change::NoSuchKey => Err(no_such_key()),
            Change::NameTaken => Err(bad("a key of this name is there already")),
            Change::NameSpent => Err(bad(
                "a key of this name was there before, and the books tell of it: whoever had the name would see its \
                 figures. Choose another one",
            )),
        }
    }

    pub(super) fn pepper(&self) -> Result<&Pepper, Error> {
        self.pepper.as_ref().ok_or_else(|| {
            Error::new(
                Kind::Overloaded,
                "no keys can be kept: the data directory cannot be used, and store.pepper is not set",
            )
        })
    }

    /// What the database says, if it does so in time.
    pub(super) async fn asked<T>(
        &self,
        asking: impl Future<Output = Result<T, store::Error>>,
    ) -> Result<T, Error> {
        let told = store::in_time("keys", PATIENCE, asking).await;
        told.inspect_err(|_| self.is_up.store(false, Ordering::Relaxed))
    }

    pub(super) fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_routes(&self, patterns: &[String]) -> Result<(), Error> {
        check_patterns(patterns)?;
        let unfit = |pattern: &String| unfit_route(pattern, &self.routes);
        match patterns.iter().filter(|_| !self.routes.is_empty()).find_map(unfit) {
            Some(why) => Err(bad(why)),
            None => Ok(()),
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Error> {
        if !is_fit(name) || name == ANONYMOUS || name.starts_with("key_") {
            return Err(bad(format!(
                "a key's name is of at most {LONGEST_NAME} letters, digits and any of `._@+-`, does not begin with \
                 `key_`, and is not `{ANONYMOUS}`"
            )));
        }
        match self.settings().keys.iter().any(|(other, _)| other == name) {
            true => Err(bad("a key of this name stands in the settings")),
            false => Ok(()),
        }
    }

    fn check_known(&self, who: &str) -> Result<(), Error> {
        if self.settings().keys.iter().any(|(other, _)| other == who) {
            return Err(bad("this key stands in the settings, and is changed there"));
        }
        if is_fit(who) { Ok(()) } else { Err(no_such_key()) }
    }
}

impl Settings {
    fn of(config: &Config) -> Self {
        let team = |team: &Option<String>| team.clone().unwrap_or_else(|| DEFAULT_TEAM.to_owned());
        let keys = config.keys.iter().map(|key| (key.name.clone(), team(&key.team))).collect();
        Settings { terms: Terms::of(config), keys }
    }
}

/// With its last use, which the database may not have been told yet.
fn with_use(row: KeyRow, table: &Table) -> KeyRow {
    KeyRow { used: table.last_use(&row), ..row }
}

fn check_team(team: &str) -> Result<(), Error> {
    match is_fit(team) {
        true => Ok(()),
        false => Err(bad(format!("a team is of at most {LONGEST_NAME} letters, digits and any of `._@+-`"))),
    }
}

/// Of models or of routes: no name of either has anything else in it.
pub fn is_pattern(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-:/*?{}".contains(&byte);
    (1..=LONGEST_PATTERN).contains(&text.len()) && text.bytes().all(is_fit)
}

fn check_patterns(patterns: &[String]) -> Result<(), Error> {
    if patterns.len() > MOST_PATTERNS {
        return Err(bad(format!("a key has at most {MOST_PATTERNS} patterns of a kind")));
    }
    match patterns.iter().all(|pattern| is_pattern(pattern)) {
        true => Ok(()),
        false => Err(bad(
            "a pattern is of letters, digits, any of `._@+-:/{}`, and `*` and `?` for what is left open",
        )),
    }
}

fn is_fit(name: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_fit)
}

fn bad(why: impl Into<String>) -> Error {
    Error::new(Kind::BadRequest, why)
}

fn no_such_key() -> Error {
    Error::new(Kind::NotFound, "there is no key of this id or name")
}

fn no_randomness() -> Error {
    Error::new(Kind::Internal, "the system gives no random numbers")
}
