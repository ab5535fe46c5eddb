//! The shelf: which names are Pannier's own, and which files they mean.

use super::{Cast, Config, Weights};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The models that OpenAI has published, in the order of their size.
const PUBLISHED: [&str; 12] = [
    "tiny",
    "tiny.en",
    "base",
    "base.en",
    "small",
    "small.en",
    "medium",
    "medium.en",
    "large-v1",
    "large-v2",
    "large-v3",
    "large-v3-turbo",
];

/// Other names of them.
const ALIASES: [(&str, &str); 3] =
    [("large", "large-v3"), ("turbo", "large-v3-turbo"), ("large-turbo", "large-v3-turbo")];

/// How their weights may be written; those first that a processor is quick at.
pub(super) const FORMS: [&str; 6] = ["-q8_0", "-q5_1", "-q5_0", "-q4_1", "-q4_0", ""];

/// How the plain form is asked for, which stands last there; its file's name says nothing of it.
pub(super) const PLAIN: &str = "-f16";

/// What OpenAI calls the one that it offers.
const WHISPER: &str = "whisper-1";

/// In the names by which books are kept and rights given: as other models have a tag.
const FAMILY: &str = "whisper:";

/// A model that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// As in `whisper:tiny-q5_1`.
    pub name: Arc<str>,
    pub path: PathBuf,
    pub cast: Cast,
    /// When the file was last written, in nanoseconds: with its length, as good as a digest.
    pub written: u128,
}

/// Why there is no model of a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    #[error("the model {name} is not in {}: `pannier models pull {name}` gets it", dir.display())]
    NotThere { name: String, dir: PathBuf },
    #[error("the model {name} is not in {}, and nobody publishes it: ggml-{name}.bin belongs there", dir.display())]
    Unpublished { name: String, dir: PathBuf },
    #[error("the model {name} cannot be read: {why}")]
    Broken { name: String, why: String },
}

/// All that can be asked for.
#[derive(Debug, Clone)]
pub struct Shelf {
    usual: String,
    dir: PathBuf,
    own: Vec<(String, PathBuf)>,
}

impl Shelf {
    /// `dir`: where models are that are not said to be elsewhere.
    pub fn new(config: &Config, dir: PathBuf) -> Self {
        let own = config.models.iter().map(|own| (bare(&own.name).to_owned(), own.path.clone())).collect();
        Shelf { usual: bare(&config.model).to_owned(), dir, own }
    }

    /// Those of the settings that lie elsewhere, by name.
    pub fn own(&self) -> &[(String, PathBuf)] {
        &self.own
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The name on the shelf of what a request calls `written`; `None` where it is no name of Pannier's.
    pub fn name_of(&self, written: Option<&str>) -> Option<String> {
        let name = match written.map(str::trim) {
            None | Some("" | WHISPER) => self.usual.as_str(),
            Some(name) => name,
        };
        let bare = bare(name);
        if self.own.iter().any(|(own, _)| own == bare) {
            return Some(bare.to_owned());
        }
        let known = (bare == self.usual || is_published(bare)).then(|| unaliased(bare));
        // What the operator has put there, whatever it is called.
        let is_meant = || bare.len() < name.len() || self.path(bare).is_file();
        known.or_else(|| (is_plain(bare) && is_meant()).then(|| bare.to_owned()))
    }

    /// The name that books and rights know.
    pub fn full(name: &str) -> String {
        format!("{FAMILY}{}", bare(name))
    }

    /// The file that is called so and by no other name, whether it is there or not; `None` where no file can be.
    pub fn exactly(&self, name: &str) -> Option<PathBuf> {
        let name = bare(name);
        is_plain(name).then(|| self.path(name))
    }

    /// The file of a name that [`name_of`](Self::name_of) gave.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(&self, name: &str) -> Result<Model, Missing> {
        let own =
            self.own.iter().find(|(own, _)| own == name).map(|(_, path)| (name.to_owned(), path.clone()));
        let found = own.or_else(|| {
            let named = forms(name).into_iter().map(|form| (form.clone(), self.path(&form)));
            named.into_iter().find(|(_, path)| path.is_file())
        });
        let Some((found, path)) = found else {
            let (name, dir) = (name.to_owned(), self.dir.clone());
            return Err(match Weights::of(&name) {
                Some(_) => Missing::NotThere { name, dir },
                None => Missing::Unpublished { name, dir },
            });
        };
        let broken = |error: std::io::Error| Missing::Broken { name: found.clone(), why: error.to_string() };
        let file = fs::File::open(&path).map_err(broken)?;
        let about = file.metadata().map_err(broken)?;
        let cast = Cast::read(file, about.len()).map_err(broken)?;
        let written = about.modified().map_err(broken)?;
        let written = written.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
        Ok(Model { name: Self::full(&found).into(), path, cast, written })
    }

    /// The files that a name may mean, of those that belong into the folder; the best first.
    pub fn paths(&self, name: &str) -> Vec<PathBuf> {
        forms(name).iter().map(|form| self.path(form)).collect()
    }

    /// Where the file of a model belongs.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("ggml-{name}.bin"))
    }
}

/// Without the family that it may be called by.
fn bare(name: &str) -> &str {
    name.strip_prefix(FAMILY).unwrap_or(name)
}

/// Names of the files that will do, the best first: without a form, any.
fn forms(name: &str) -> Vec<String> {
    if let Some(plain) = name.strip_suffix(PLAIN) {
        return vec![name.to_owned(), plain.to_owned()];
    }
    match FORMS.iter().any(|form| !form.is_empty() && name.ends_with(form)) {
        true => vec![name.to_owned()],
        false => FORMS.iter().map(|form| format!("{name}{form}")).collect(),
    }
}

fn unaliased(name: &str) -> String {
    let alias = ALIASES.iter().find_map(|(alias, meant)| Some((name.strip_prefix(alias)?, meant)));
    match alias {
        Some((form, meant)) if form == PLAIN || FORMS.contains(&form) => format!("{meant}{form}"),
        _ => name.to_owned(),
    }
}

fn is_published(name: &str) -> bool {
    let name = unaliased(name);
    let mut forms = FORMS.iter().filter(|form| !form.is_empty()).chain([&PLAIN]);
    let bare = forms.find_map(|form| name.strip_suffix(form));
    PUBLISHED.contains(&bare.unwrap_or(&name))
}

/// Cannot lead out of the folder.
fn is_plain(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !name.is_empty() && name.len() <= 100 && !name.starts_with('.') && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::super::Own;
    use super::*;
    use std::time::Duration;

    pub(crate) fn config(model: &str) -> Config {
        Config {
            model: model.into(),
            models_dir: PathBuf::new(),
            models: vec![Own { name: "mine".into(), path: "/nowhere/x.bin".into() }],
            download: false,
            mirror: String::new(),
            workers: 1,
            threads: 1,
            max_waiting: 1,
            keep_alive: Duration::ZERO,
            timeout: Duration::ZERO,
            max_duration: Duration::ZERO,
            unpack: false,
            max_memory: 1,
            vad: true,
        }
    }

    fn shelf() -> Shelf {
        Shelf::new(&config("base"), "/models".into())
    }

    #[test]
    fn names_are_ours_or_the_upstreams() {
        let name = |written: &str| shelf().name_of(Some(written));
        for (written, meant) in [
            ("tiny", "tiny"),
            ("tiny.en-q5_1", "tiny.en-q5_1"),
            ("large", "large-v3"),
            ("large-q5_0", "large-v3-q5_0"),
            ("turbo", "large-v3-turbo"),
            ("whisper-1", "base"),
            ("", "base"),
            ("mine", "mine"),
            ("whisper:tiny", "tiny"),
            ("whisper:their-own_1.bin", "their-own_1.bin"),
        ] {
            assert_eq!(name(written).as_deref(), Some(meant), "{written}");
        }
        for other in
            ["gemma4", "tiny:latest", "tinyllama", "largest", "whisper:../x", "whisper:", "whisper:.x"]
        {
            assert_eq!(name(other), None, "{other}");
        }
        assert_eq!(shelf().name_of(None).as_deref(), Some("base"));
        assert_eq!([Shelf::full("tiny"), Shelf::full("whisper:tiny")], ["whisper:tiny", "whisper:tiny"]);
    }

    #[test]
    fn one_of_the_settings_may_be_called_by_its_family() {
        let mut config = config("whisper:mine");
        config.models[0].name = "whisper:mine".into();
        let shelf = Shelf::new(&config, "/models".into());
        for name in [None, Some("whisper-1"), Some("mine"), Some("whisper:mine")] {
            assert_eq!(shelf.name_of(name).as_deref(), Some("mine"), "{name:?}");
        }
    }

    #[test]
    fn of_several_files_the_quickest_is_taken() {
        let dir = tempfile::tempdir().expect("a folder");
        let shelf = Shelf::new(&config("base"), dir.path().to_owned());
        let missing = shelf.find("tiny").expect_err("nothing is there");
        assert!(missing.to_string().contains("pannier models pull tiny"), "{missing}");
        let head = [0x6767_6d6c, 1, 1, 384, 1, 4, 1, 1, 1, 1, 1, 1];
        let weights: Vec<u8> = head.into_iter().flat_map(u32::to_le_bytes).collect();
        for (form, best) in [("", "tiny"), ("-q5_1", "tiny-q5_1"), ("-q8_0", "tiny-q8_0")] {
            fs::write(shelf.path(&format!("tiny{form}")), &weights).expect("room");
            let model = shelf.find("tiny").expect("a model");
            assert_eq!((&*model.name, model.path), (&*format!("whisper:{best}"), shelf.path(best)));
        }
        assert_eq!(shelf.name_of(Some("theirs")), None, "an upstream's");
        fs::write(shelf.path("theirs"), &weights).expect("room");
        assert_eq!(shelf.name_of(Some("theirs")).as_deref(), Some("theirs"));
        assert_eq!(&*shelf.find("theirs").expect("a model").name, "whisper:theirs");
        fs::write(shelf.path("base"), "no weights").expect("room");
        assert!(matches!(shelf.find("base"), Err(Missing::Broken { .. })));
    }
}
