//! One written value: whether it fits its key, and what to say where it does not.
//!
//! Each is tried alone over the defaults, so that whatever is wrong is known to be its own fault, whichever
//! layer it came from, and all faults are found at once.

use super::Config;
use super::defaults::{self, Key, SYNONYMS};
use super::layers::{SECRETS, Setting};
use super::nearest::{suggestion, unknown_name};
use super::problem::{Origin, Problem};
use crate::domain::nearest;
use serde::Deserialize;
use std::borrow::Cow;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A key with its default.
pub(super) fn read_default(key: &'static Key) -> Option<Setting> {
    let value = DeValue::parse(key.default).ok().and_then(|value| to_value(value).ok())?;
    Some(Setting { key, value, origin: Origin::Default })
}

/// Every setting of a file, good or bad; if it is no TOML, only why.
pub(super) fn read_document(path: &Path, text: &str) -> Vec<Result<Setting, Problem>> {
    let at = |offset: usize| Origin::in_file(path, text, offset);
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problem = |error: toml::de::Error| {
            Err(at(error.span().map_or(0, |span| span.start)).problem(error.message()))
        };
        return errors.into_iter().map(problem).collect();
    }
    let sections = in_order(document.into_inner());
    sections
        .flat_map(|(name, content)| read_section(&at, at(name.span().start), name.get_ref(), content))
        .collect()
}

/// A table's entries as they stand in the file.
fn in_order<'i>(table: DeTable<'i>) -> impl Iterator<Item = (Spanned<Cow<'i, str>>, Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.into_iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries.into_iter()
}

fn read_section(
    at: &dyn Fn(usize) -> Origin,
    origin: Origin,
    name: &str,
    content: Spanned<DeValue<'_>>,
) -> Vec<Result<Setting, Problem>> {
    if !is_section(name) {
        return vec![Err(origin.problem(unknown_section(name)))];
    }
    match content.into_inner() {
        DeValue::Table(entries) => in_order(entries)
            .flat_map(|(key, value)| {
                let part = format!("{name}.{}", key.get_ref());
                match is_section(&part) {
                    true => read_section(at, at(key.span().start), &part, value),
                    false => vec![read_entry(at, name, &key, value)],
                }
            })
            .collect(),
        _ => vec![Err(origin.problem(format!("`{name}` is a section, not a value")))],
    }
}

fn is_section(name: &str) -> bool {
    defaults::sections().iter().any(|known| known.name == name)
}

fn read_entry(
    at: &dyn Fn(usize) -> Origin,
    section: &str,
    name: &Spanned<Cow<'_, str>>,
    value: Spanned<DeValue<'_>>,
) -> Result<Setting, Problem> {
    let origin = at(name.span().start);
    let Some(key) = defaults::key(&format!("{section}.{}", name.get_ref())) else {
        return Err(origin.problem(unknown_key(section, name.get_ref())));
    };
    let value_start = value.span().start;
    match fit(key, value) {
        Ok(value) => Ok(Setting { key, value, origin }),
        Err(error) => {
            let start = error.span().map_or(value_start, |span| span.start);
            Err(at(start).problem(misfit(key, &error)))
        }
    }
}

/// A value that came as text: as TOML where that fits the key (or as one of the words that people write
/// for true and false), else as the text itself.
pub(super) fn read_text(key: &'static Key, text: &str, origin: Origin) -> Result<Setting, Problem> {
    let string = Spanned::new(0..0, DeValue::String(Cow::Borrowed(text)));
    let toml = DeValue::parse(text.trim()).ok();
    let word = boolean_word(text).map(|boolean| Spanned::new(0..0, DeValue::Boolean(boolean)));
    let telling = fit(key, toml.clone().unwrap_or_else(|| string.clone()));
    let candidates = [word, Some(string)].into_iter().flatten();
    match telling.or_else(|error| candidates.map(|value| fit(key, value)).find_map(Result::ok).ok_or(error)) {
        Ok(value) => Ok(Setting { key, value, origin }),
        Err(error) => Err(origin.problem(misfit(key, &error))),
    }
}

fn boolean_word(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Whether the defaults with this one value in them are still a [`Config`].
fn fit(key: &Key, value: Spanned<DeValue<'_>>) -> Result<toml::Value, toml::de::Error> {
    let mut table = DeTable::parse(defaults::TEXT)?;
    if let Some(section) = key.section.split('.').try_fold(table.get_mut(), section_in) {
        section.insert(Spanned::new(0..0, Cow::Borrowed(key.name)), value.clone());
    }
    Config::deserialize(toml::Deserializer::from(table))?;
    to_value(value)
}

fn section_in<'a, 'i>(table: &'a mut DeTable<'i>, name: &str) -> Option<&'a mut DeTable<'i>> {
    match table.get_mut(name)?.get_mut() {
        DeValue::Table(section) => Some(section),
        _ => None,
    }
}

fn to_value(value: Spanned<DeValue<'_>>) -> Result<toml::Value, toml::de::Error> {
    toml::Value::deserialize(toml::de::ValueDeserializer::from(value))
}

/// Why a value does not fit its key, with what was perhaps meant.
fn misfit(key: &Key, error: &toml::de::Error) -> String {
    let path = key.path();
    let message = error.message();
    if let Some((written, known)) = unknown_name(message) {
        return format!("{path}: {message}; {}", suggestion(written, &known));
    }
    match message.split_once(", expected ") {
        Some((_, expected)) if SECRETS.contains(&path.as_str()) => {
            format!("{path}: wrong type, expected {expected}")
        }
        _ => format!("{path}: {message}"),
    }
}

fn unknown_section(written: &str) -> String {
    if let Some(key) = defaults::keys().find(|key| key.name == written) {
        return format!("unknown section `{written}`; did you mean `{written}` in [{}]?", key.section);
    }
    let known: Vec<&str> = defaults::sections().iter().map(|section| section.name).collect();
    format!("unknown section `{written}`; {}", suggestion(written, &known))
}

fn unknown_key(section: &str, written: &str) -> String {
    let path = format!("{section}.{written}");
    let keys = defaults::keys().filter(|key| key.section == section).map(|key| key.name);
    let parts = defaults::sections().iter().filter_map(|part| {
        let (whole, part) = part.name.rsplit_once('.')?;
        (whole == section).then_some(part)
    });
    let synonyms = SYNONYMS.iter().filter_map(|(path, _)| path.strip_prefix(section)?.strip_prefix('.'));
    let known: Vec<&str> = keys.chain(parts).chain(synonyms).collect();
    if nearest(written, known.iter().copied()).is_none()
        && let Some(elsewhere) = defaults::keys().find(|key| key.name == written)
    {
        return format!("unknown key `{path}`; did you mean `{written}` in [{}]?", elsewhere.section);
    }
    format!("unknown key `{path}`; {}", suggestion(written, &known))
}

pub(super) fn unknown_variable(written: &str) -> String {
    let known: Vec<String> = defaults::keys().map(Key::variable).collect();
    match nearest(written, known.iter().map(String::as_str)) {
        Some(name) => format!("no setting has this name; did you mean `{name}`?"),
        None => "no setting has this name".to_owned(),
    }
}
