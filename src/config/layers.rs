//! The layers: what was written in the file, the environment and the command line, laid over the defaults.

use super::defaults::{self, Key};
use super::problem::{Origin, Problem, Problems};
use super::written::{read_default, read_document, read_text, unknown_variable};
use super::{Config, Loaded, check};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names a file where `--config` does not.
pub const FILE_VARIABLE: &str = "PANNIER_CONFIG";

/// How a variable begins that names a setting.
const PREFIX: &str = "PANNIER__";

/// Variables of Ollama and of Pannier's predecessors, and the setting that each stands for. A later line
/// wins over an earlier one, and Pannier's own name over all.
pub const ALIASES: &[(&str, &str)] = &[
    ("OLLAMA_HOST", "upstream.url"),
    ("LLM_REQUEST_TIMEOUT", "upstream.first_byte_timeout"),
    ("CACHE_ENABLED", "cache.enabled"),
    ("CACHE_EMBEDDING_TTL", "cache.embedding_ttl"),
    ("CACHE_TTL", "cache.completion_ttl"),
    ("CACHE_INFERENCE_TTL", "cache.completion_ttl"),
    ("REDIS_URL", "cache.redis.url"),
    ("L3_CACHE_ENABLED", "cache.database.enabled"),
    ("L3_CACHE_TTL", "cache.database.embedding_ttl"),
    ("L3_CACHE_TTL", "cache.database.completion_ttl"),
    ("L3_CACHE_TABLE", "cache.database.table"),
    ("BATCH_MAX_WORKERS", "embeddings.workers"),
    ("BATCH_SIZE", "embeddings.batch"),
    ("DEFAULT_VISION_MODEL", "vision.model"),
    ("DEFAULT_AUDIO_MODEL", "audio.model"),
    ("METRICS_MAX_ENTRIES", "retention.max_rows"),
    ("METRICS_RETENTION_HOURS", "retention.rows"),
    ("METRICS_TTL_HOURS", "retention.rows"),
];

/// The settings in which secrets stand.
pub(super) const SECRETS: [&str; 7] = [
    "auth.keys",
    "auth.admin_key",
    "store.database",
    "store.pepper",
    "cache.tiers.secret",
    "cache.redis.url",
    "cache.database.url",
];

/// Where settings are read from. Has no `Debug`: the environment may hold keys.
#[derive(Clone, Default)]
pub struct Sources {
    file: Option<PathBuf>,
    environment: BTreeMap<String, String>,
    flags: Vec<Flag>,
}

/// One setting given on the command line.
#[derive(Clone)]
pub struct Flag {
    /// With its dashes.
    pub name: &'static str,
    /// The setting's path.
    pub path: &'static str,
    pub value: String,
}

/// One setting as it is in force.
#[derive(Clone)]
pub struct Setting {
    pub key: &'static Key,
    /// As it was written. May hold secrets: show [`Setting::masked`].
    pub(super) value: toml::Value,
    pub origin: Origin,
}

// === impl Sources ===

impl Sources {
    /// `file` is what `--config` names. Of the environment only what concerns Pannier is kept.
    pub fn new(
        file: Option<PathBuf>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: Vec<Flag>,
    ) -> Sources {
        let mut environment: BTreeMap<String, String> = environment.into_iter().collect();
        let named = environment.remove(FILE_VARIABLE).filter(|name| !name.is_empty());
        environment
            .retain(|name, _| name.starts_with(PREFIX) || ALIASES.iter().any(|(alias, _)| alias == name));
        Sources { file: file.or(named.map(PathBuf::from)), environment, flags }
    }

    /// The file that is read, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reads every layer anew.
    pub fn load(&self) -> Result<Loaded, Problems> {
        let mut problems = Vec::new();
        let mut settings: Vec<Setting> = defaults::keys().filter_map(read_default).collect();
        for written in self.read_file().into_iter().chain(self.read_environment()).chain(self.read_flags()) {
            match written {
                Ok(setting) => lay(&mut settings, setting),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let config =
            assemble(&settings).map_err(|error| Problems(vec![Origin::Default.problem(error.message())]))?;
        let at = |(path, message): (&str, String)| {
            origin_of(&settings, path).problem(format!("{path}: {message}"))
        };
        let wrong: Vec<Problem> = check::wrong(&config).into_iter().map(at).collect();
        if !wrong.is_empty() {
            return Err(Problems(wrong));
        }
        let warnings = check::odd(&config).into_iter().map(at).collect();
        Ok(Loaded { config, settings, warnings, sources: self.clone() })
    }

    fn read_file(&self) -> Vec<Result<Setting, Problem>> {
        let Some(path) = &self.file else { return Vec::new() };
        match std::fs::read_to_string(path) {
            Ok(text) => read_document(path, &text),
            Err(error) => {
                let place = path.display().to_string();
                vec![Err(Problem { place, message: format!("cannot be read: {error}") })]
            }
        }
    }

    fn read_environment(&self) -> Vec<Result<Setting, Problem>> {
        let aliases = ALIASES.iter().filter_map(|(name, path)| {
            let text = self.environment.get(*name).filter(|text| !text.is_empty())?;
            let text = in_its_unit(name, text);
            Some(read_text(defaults::key(path)?, &text, Origin::Environment((*name).to_owned())))
        });
        let own = self.environment.iter().filter(|(name, _)| name.starts_with(PREFIX)).map(|(name, text)| {
            let origin = Origin::Environment(name.clone());
            match defaults::key_of_variable(name) {
                Some(key) => read_text(key, text, origin),
                None => Err(origin.problem(unknown_variable(name))),
            }
        });
        aliases.chain(own).collect()
    }

    fn read_flags(&self) -> Vec<Result<Setting, Problem>> {
        let read = |flag: &Flag| {
            let key = defaults::key(flag.path)?;
            Some(read_text(key, &flag.value, Origin::Flag(flag.name)))
        };
        self.flags.iter().filter_map(read).collect()
    }
}

// === impl Loaded ===

impl Loaded {
    /// Whether Pannier can serve with these settings.
    ///
    /// # Errors
    /// When the upstream is seen to be Pannier itself.
    pub fn fit_to_serve(self) -> Result<Loaded, Problems> {
        match check::looped(&self.config) {
            None => Ok(self),
            Some((path, message)) => {
                let origin = origin_of(&self.settings, path);
                Err(Problems(vec![origin.problem(format!("{path}: {message}"))]))
            }
        }
    }
}

// === impl Setting ===

impl Setting {
    /// The value with `***` in place of every secret.
    pub fn masked(&self) -> toml::Value {
        let mut value = self.value.clone();
        if !SECRETS.contains(&self.key.path().as_str()) {
            return value;
        }
        for entry in value.as_array_mut().into_iter().flatten() {
            if let Some(secret) = entry.get_mut("key") {
                *secret = toml::Value::String("***".to_owned());
            }
        }
        if let toml::Value::String(text) = &mut value {
            *text = masked(text);
        }
        value
    }
}

/// Of an address what stands before and after the user and the password; of everything else nothing.
fn masked(secret: &str) -> String {
    let address = secret.split_once("://").filter(|(_, place)| !place.contains(','));
    match address.map(|(scheme, place)| (scheme, place.rsplit_once('@'), place)) {
        Some((scheme, Some((_, place)), _)) => format!("{scheme}://***@{place}"),
        Some((scheme, None, place)) => format!("{scheme}://{place}"),
        None if secret.is_empty() => String::new(),
        None => "***".to_owned(),
    }
}

/// A number of what the variable's name says: a plain number would be seconds.
fn in_its_unit<'t>(name: &str, text: &'t str) -> Cow<'t, str> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    if name.ends_with("_HOURS") && is_number { format!("{text}h").into() } else { text.into() }
}

fn lay(settings: &mut [Setting], written: Setting) {
    if let Some(setting) = settings.iter_mut().find(|setting| setting.key == written.key) {
        *setting = written;
    }
}

fn origin_of(settings: &[Setting], path: &str) -> Origin {
    let found = settings.iter().find(|setting| setting.key.path() == path);
    found.map_or(Origin::Default, |setting| setting.origin.clone())
}

/// What the settings mean together.
pub(super) fn assemble(settings: &[Setting]) -> Result<Config, toml::de::Error> {
    let mut table = toml::Table::new();
    for Setting { key, value, .. } in settings {
        if let Some(section) = section_of(&mut table, key.section) {
            section.insert(key.name.to_owned(), value.clone());
        }
    }
    Config::deserialize(table)
}

/// The section of this name in `table`, made where it is not there yet.
fn section_of<'a>(table: &'a mut toml::Table, name: &str) -> Option<&'a mut toml::Table> {
    let part = |table: &'a mut toml::Table, name: &str| {
        table.entry(name).or_insert_with(|| toml::Table::new().into()).as_table_mut()
    };
    name.split('.').try_fold(table, part)
}
