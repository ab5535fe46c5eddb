//! `config/default.toml`: every key with its default, its meaning, and whether it can change while Pannier
//! runs, all read from that one file.

use std::sync::LazyLock;

/// The file, as it was when Pannier was built.
pub const TEXT: &str = include_str!("../../config/default.toml");

/// When a change of a setting takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// At the next start; a reload that changes it is refused.
    Boot,
    /// At once.
    Live,
}

/// `[name]`, perhaps a part of another section (`[cache.redis]`), and the ruler above it: `# --- boot: title -----`.
#[derive(Debug, PartialEq)]
pub struct Section {
    pub name: &'static str,
    pub mark: Mark,
    pub title: &'static str,
    pub keys: Vec<Key>,
}

/// One setting.
#[derive(Debug, PartialEq)]
pub struct Key {
    pub section: &'static str,
    pub name: &'static str,
    pub mark: Mark,
    /// In TOML.
    pub default: &'static str,
    /// The comment above it, on one line.
    pub about: String,
}

static SECTIONS: LazyLock<Vec<Section>> = LazyLock::new(|| parse(TEXT));

/// In the file's order.
pub fn sections() -> &'static [Section] {
    &SECTIONS
}

/// Every key, in the file's order.
pub(super) fn keys() -> impl Iterator<Item = &'static Key> {
    sections().iter().flat_map(|section| &section.keys)
}

/// Paths under which a setting is looked for, and the one under which it stands.
pub const SYNONYMS: &[(&str, &str)] = &[("cache.hit_price", "prices.hit")];

/// The key at a path like `server.listen`, or at another that is understood as well.
pub(super) fn key(path: &str) -> Option<&'static Key> {
    let path = SYNONYMS.iter().find(|(synonym, _)| *synonym == path).map_or(path, |(_, own)| own);
    let (section, name) = path.rsplit_once('.')?;
    keys().find(|key| key.section == section && key.name == name)
}

/// The key that a variable like `PANNIER__SERVER__LISTEN` names.
pub(super) fn key_of_variable(variable: &str) -> Option<&'static Key> {
    let synonym = SYNONYMS.iter().find(|(synonym, _)| variable_of(synonym) == variable);
    match synonym {
        Some((synonym, _)) => key(synonym),
        None => keys().find(|key| key.variable() == variable),
    }
}

fn variable_of(path: &str) -> String {
    format!("PANNIER__{}", path.replace('.', "__")).to_uppercase()
}

/// The last paragraph of the comment at the top: how values are written.
pub(super) fn notes() -> impl Iterator<Item = &'static str> {
    let top = TEXT.split("\n\n").next().unwrap_or_default();
    let last = top.split("\n#\n").last().unwrap_or_default();
    last.lines().map(|line| line.trim_start_matches("# "))
}

// === impl Key ===

impl Key {
    /// `server.listen`
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// `PANNIER__SERVER__LISTEN`
    pub fn variable(&self) -> String {
        variable_of(&self.path())
    }
}

/// Knows only the TOML that the file is written in: rulers, comments, headers, and a key a line.
fn parse(text: &'static str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut ruler = None;
    let mut comment: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(marked) = line.strip_prefix("# --- ") {
            ruler = read_ruler(marked);
        } else if let Some(words) = line.strip_prefix('#') {
            comment.push(words.trim());
            continue;
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            if let Some((mark, title)) = ruler.take() {
                sections.push(Section { name, mark, title, keys: Vec::new() });
            }
        } else if let (Some((name, default)), Some(section)) = (line.split_once(" = "), sections.last_mut()) {
            let about = comment.join(" ");
            // One that must wait for the next start, among others that need not.
            let (mark, about) = match about.strip_prefix("boot: ") {
                Some(about) => (Mark::Boot, about.to_owned()),
                None => (section.mark, about),
            };
            section.keys.push(Key { section: section.name, name, mark, default, about });
        }
        comment.clear();
    }
    sections
}

/// `boot: title -----`
fn read_ruler(marked: &'static str) -> Option<(Mark, &'static str)> {
    let (mark, title) = marked.split_once(": ")?;
    let mark = match mark {
        "boot" => Mark::Boot,
        "live" => Mark::Live,
        _ => return None,
    };
    Some((mark, title.trim_end_matches('-').trim_end()))
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::super::nearest::unknown_name;
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeSet;

    /// serde itself is asked what a struct's fields are: it lists them when it meets one that it does not know.
    fn fields_of(section: Option<&str>) -> BTreeSet<String> {
        let mut table: toml::Table = toml::from_str(TEXT).unwrap();
        let mut place = &mut table;
        for name in section.iter().flat_map(|section| section.split('.')) {
            place = place[name].as_table_mut().unwrap();
        }
        place.insert("zzz".to_owned(), toml::Value::Boolean(true));
        let error = Config::deserialize(table).unwrap_err();
        let (written, known) = unknown_name(error.message()).unwrap();
        assert_eq!(written, "zzz");
        known.into_iter().map(str::to_owned).collect()
    }

    /// Every table with its whole name.
    fn tables<'a>(table: &'a toml::Table, prefix: &str) -> Vec<(String, &'a toml::Table)> {
        let parts =
            table.iter().filter_map(|(name, value)| Some((format!("{prefix}{name}"), value.as_table()?)));
        parts
            .flat_map(|(name, part)| {
                let inner = tables(part, &format!("{name}."));
                std::iter::once((name, part)).chain(inner).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn every_field_is_in_the_default_file_and_every_key_is_a_field() {
        let default: toml::Table = toml::from_str(TEXT).unwrap();
        assert_eq!(fields_of(None), default.keys().cloned().collect());
        for (name, section) in tables(&default, "") {
            let keys = section.keys().cloned().collect();
            assert_eq!(fields_of(Some(&name)), keys, "[{name}]");
        }
    }

    #[test]
    fn the_default_file_is_read_whole_by_its_own_reader() {
        let default: toml::Table = toml::from_str(TEXT).unwrap();
        let known = |section: &str| sections().iter().find(|known| known.name == section).unwrap();
        let tables = tables(&default, "");
        assert_eq!(sections().len(), tables.len());
        for (name, section) in tables {
            let keys: BTreeSet<&str> = known(&name).keys.iter().map(|key| key.name).collect();
            let values = section.iter().filter(|(_, value)| !value.is_table());
            assert_eq!(keys, values.map(|(key, _)| key.as_str()).collect(), "[{name}]");
            for key in &known(&name).keys {
                assert!(!key.about.is_empty(), "{} has no comment", key.path());
                let value: toml::Table = toml::from_str(&format!("x = {}", key.default)).unwrap();
                assert_eq!(value["x"], section[key.name], "{}", key.path());
            }
        }
        let marks: Vec<(&str, Mark)> =
            sections().iter().map(|section| (section.name, section.mark)).collect();
        assert!(
            marks.contains(&("server", Mark::Boot)) && marks.contains(&("cache", Mark::Live)),
            "{marks:?}"
        );
        assert_eq!(known("upstream").title, "the way to Ollama");
        let prices = known("prices").keys.iter().map(|key| (key.name, key.mark)).collect::<Vec<_>>();
        assert_eq!(prices[..2], [("currency", Mark::Boot), ("builtin", Mark::Live)]);
    }
}
