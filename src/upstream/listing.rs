//! What the upstream says of its models, read once: the names, and what they mean.

use crate::domain::{Error, Kind};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// What one name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The model's canonical name, fit for a label: at most as many as there are models.
    pub name: Arc<str>,
    /// The digest of the model's manifest as the upstream writes it.
    pub digest: Arc<str>,
    /// The server's version.
    pub version: Arc<str>,
    /// It runs elsewhere (a cloud model, a remote stub): its answers are never kept.
    pub remote: bool,
    /// Changes whenever any name's meaning changes.
    pub epoch: u64,
    /// The epoch in which the name came to mean this. A model that was made anew has another one, also where
    /// it is the same again: in between it may have been another.
    pub since: u64,
}

impl Identity {
    /// Of a model that nobody knows.
    pub fn nobody() -> Self {
        let nothing = Arc::<str>::from("");
        let (digest, version) = (nothing.clone(), nothing);
        Identity { name: "other".into(), digest, version, remote: false, epoch: 0, since: 0 }
    }

    /// Whether `model` names it in upper and lower case as well.
    pub fn is_spelled(&self, model: &str) -> bool {
        filled_in(model) == filled_in(&self.name)
    }

    /// Whether that is the same model of the same server, wherever and since when that is so.
    pub fn is_twin_of(&self, other: &Identity) -> bool {
        (&self.digest, &self.version) == (&other.digest, &other.version)
    }
}

/// What one reading found.
#[derive(Default)]
pub struct Listing {
    pub epoch: u64,
    version: Arc<str>,
    models: HashMap<String, Model>,
    /// When the reading began; none for the listing before the first.
    pub began: Option<Instant>,
    /// How often something may have changed the models by then.
    pub changes: u64,
}

struct Model {
    name: Arc<str>,
    digest: Arc<str>,
    remote: bool,
    /// When it was made, as the upstream writes it; empty where it does not say.
    made: String,
    since: u64,
}

#[derive(Deserialize)]
struct Tags {
    models: Option<Vec<Tag>>,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    remote_host: Option<String>,
    #[serde(default)]
    modified_at: String,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

// === impl Listing ===

impl Listing {
    /// Reads the answers of `/api/tags` and `/api/version`, which were asked at `began`.
    ///
    /// # Errors
    /// When they are not what Ollama sends.
    pub fn read(tags: &[u8], version: &[u8], began: Instant) -> Result<Self, Error> {
        let (tags, version): (Tags, Version) = (parse(tags)?, parse(version)?);
        let mut models: HashMap<String, Model> = HashMap::new();
        for (name, model) in tags.models.unwrap_or_default().into_iter().map(Model::entry) {
            // Two that only differ in case: nobody can say here which one is meant.
            let twin = models.get(&name).is_some_and(|other| other.digest != model.digest);
            models.insert(name, Model { remote: model.remote || twin, ..model });
        }
        Ok(Listing { epoch: 0, version: version.version.into(), models, began: Some(began), changes: 0 })
    }

    /// Counts on from the listing `before`.
    pub fn after(mut self, before: &Listing) -> Self {
        let next = before.epoch + 1;
        let same_server = before.began.is_some() && before.version == self.version;
        for (name, model) in &mut self.models {
            let known = before.models.get(name).filter(|known| same_server && known.is(model));
            model.since = known.map_or(next, |known| known.since);
        }
        let is_new = |model: &Model| model.since == next;
        let same =
            same_server && before.models.len() == self.models.len() && !self.models.values().any(is_new);
        self.epoch = if same { before.epoch } else { next };
        self
    }

    pub fn look_up(&self, model: &str) -> Option<Identity> {
        let model = self.models.get(&canonical(model))?;
        Some(Identity {
            name: model.name.clone(),
            digest: model.digest.clone(),
            version: self.version.clone(),
            remote: model.remote,
            epoch: self.epoch,
            since: model.since,
        })
    }

    /// Names and digests.
    pub fn models(&self) -> Vec<(Arc<str>, Arc<str>)> {
        self.models.values().map(|model| (model.name.clone(), model.digest.clone())).collect()
    }
}

// === impl Model ===

impl Model {
    fn entry(tag: Tag) -> (String, Model) {
        // A tag may be called as a source is: which of both is meant depends on the server's version.
        let ambiguous = sourced_here(&tag.name).is_some();
        let elsewhere = tag.remote_host.is_some_and(|host| !host.is_empty());
        let remote = elsewhere || ambiguous || tag.digest.is_empty();
        let (key, made) = (canonical(&tag.name), tag.modified_at);
        (key, Model { name: tag.name.into(), digest: tag.digest.into(), remote, made, since: 0 })
    }

    /// Whether nothing has become of it since it was `other`.
    fn is(&self, other: &Model) -> bool {
        (&self.name, &self.digest, self.remote, &self.made)
            == (&other.name, &other.digest, other.remote, &other.made)
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|_| {
        Error::new(Kind::UpstreamAborted, "the upstream's list of models is not what Ollama sends")
    })
}

/// Where models are from whose names do not say it.
const REGISTRY: &str = "registry.ollama.ai";

/// The one spelling of a model's name: Ollama fills in registry, namespace and tag, takes any scheme before a
/// registry, and matches without regard to case.
pub fn canonical(model: &str) -> String {
    filled_in(&model.to_lowercase())
}

/// The same with upper and lower case as they stand there.
fn filled_in(model: &str) -> String {
    let name = model.trim();
    let name = sourced_here(name).unwrap_or(name);
    let mut parts = name.rsplitn(3, '/');
    let mut name = match (parts.next(), parts.next(), parts.next()) {
        (Some(model), Some("library"), None) => model.to_owned(),
        (Some(model), Some(namespace), Some(host)) => {
            let host = match host.split_once("://") {
                Some((_, "")) => REGISTRY,
                Some((_, host)) => host,
                None => host,
            };
            match (host, namespace) {
                (REGISTRY, "library") => model.to_owned(),
                (REGISTRY, _) => format!("{namespace}/{model}"),
                _ => format!("{host}/{namespace}/{model}"),
            }
        }
        _ => name.to_owned(),
    };
    let last_segment = name.rsplit('/').next().unwrap_or_default();
    if !last_segment.contains(':') {
        name.push_str(":latest");
    }
    name
}

/// The name of a model that is said to be this server's own, without that.
fn sourced_here(name: &str) -> Option<&str> {
    let (name, source) = name.rsplit_once(':')?;
    source.trim().eq_ignore_ascii_case("local").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `made` is when, one digit.
    fn listed(models: &[(&str, &str, u8)], version: &str) -> Listing {
        let tags: Vec<_> = models
            .iter()
            .map(|(name, digest, made)| {
                format!(r#"{{"name":"{name}","digest":"{digest}","modified_at":"2026-01-0{made}"}}"#)
            })
            .collect();
        let tags = format!(r#"{{"models":[{}]}}"#, tags.join(","));
        let version = format!(r#"{{"version":"{version}"}}"#);
        Listing::read(tags.as_bytes(), version.as_bytes(), Instant::now()).unwrap()
    }

    #[test]
    fn the_epoch_tells_that_something_has_changed_and_since_what() {
        let first = listed(&[("a", "1", 1), ("b", "1", 1)], "1").after(&Listing::default());
        let since = |listing: &Listing, name| listing.look_up(name).map(|identity| identity.since);
        assert_eq!((first.epoch, since(&first, "a"), since(&first, "b")), (1, Some(1), Some(1)));
        let same = listed(&[("a", "1", 1), ("b", "1", 1)], "1").after(&first);
        assert_eq!((same.epoch, since(&same, "a"), since(&same, "b")), (1, Some(1), Some(1)));
        let other = listed(&[("a", "2", 2), ("b", "1", 1)], "1").after(&same);
        assert_eq!((other.epoch, since(&other, "a"), since(&other, "b")), (2, Some(2), Some(1)));
        let made_anew = listed(&[("a", "2", 3), ("b", "1", 1)], "1").after(&other);
        assert_eq!((made_anew.epoch, since(&made_anew, "a"), since(&made_anew, "b")), (3, Some(3), Some(1)));
        let fewer = listed(&[("b", "1", 1)], "1").after(&made_anew);
        assert_eq!((fewer.epoch, since(&fewer, "a"), since(&fewer, "b")), (4, None, Some(1)));
        let served_anew = listed(&[("b", "1", 1)], "2").after(&fewer);
        assert_eq!((served_anew.epoch, since(&served_anew, "b")), (5, Some(5)));
    }

    #[test]
    fn a_list_without_models_is_one_as_well() {
        let none = listed(&[], "1").after(&Listing::default());
        assert_eq!((none.epoch, none.models().len()), (1, 0));
        assert_eq!(listed(&[], "1").after(&none).epoch, 1);
    }

    #[test]
    fn of_two_that_differ_in_case_nothing_is_kept() {
        let both = listed(&[("a:x", "1", 1), ("A:x", "2", 1)], "1").after(&Listing::default());
        assert!(both.look_up("a:x").unwrap().remote);
    }

    #[test]
    fn of_a_tag_that_is_called_as_a_source_nothing_is_kept() {
        for tags in [&[("a:local", "1", 1), ("a:latest", "2", 1)][..], &[("a:local", "1", 1)]] {
            assert!(listed(tags, "1").look_up("a:local").unwrap().remote);
        }
    }

    #[test]
    fn a_model_is_spelled_as_it_is_listed() {
        let listing = listed(&[("Llama3:latest", "1", 1)], "1").after(&Listing::default());
        let is_spelled = |model: &str| listing.look_up(model).unwrap().is_spelled(model);
        assert!(["Llama3", " library/Llama3:latest"].into_iter().all(is_spelled));
        assert!(!["llama3", "LLAMA3:latest", "Llama3:Latest"].into_iter().any(is_spelled));
    }

    #[test]
    fn spellings_of_one_model() {
        for spelling in
            ["Llama3", "llama3:latest", "registry.ollama.ai/library/llama3", "library/llama3:LATEST"]
        {
            assert_eq!(canonical(spelling), "llama3:latest", "{spelling}");
        }
        // All of them are answered by Ollama.
        for spelling in [
            "https://registry.ollama.ai/library/llama3",
            "HTTPS://Registry.Ollama.AI/library/llama3:latest",
            "://registry.ollama.ai/library/llama3",
            "https:///library/llama3:local",
            ":///library/llama3",
            "a/b://registry.ollama.ai/library/llama3",
            "a:b://registry.ollama.ai/library/llama3:Local",
            "llama3:local",
            " llama3:latest: local ",
        ] {
            assert_eq!(canonical(spelling), "llama3:latest", "{spelling}");
        }
        assert_eq!(canonical("x://hf.co/Some/Model"), canonical("hf.co/Some/Model"));
        assert_eq!(canonical("smollm2:135m"), "smollm2:135m");
        assert_eq!(canonical("hf.co/Some/Model"), "hf.co/some/model:latest");
        assert_eq!(canonical("registry.ollama.ai/me/llama3"), canonical("me/llama3"));
        // Ollama takes a registry's name for a namespace's there, and refuses it.
        for other in [
            "me/llama3",
            "registry.ollama.ai/llama3",
            "registry.ollama.ai//llama3",
            "library/library/llama3",
            "x://llama3",
            "x://library/llama3",
            "x:////llama3",
            "/library/llama3",
            "x://y://registry.ollama.ai/library/llama3",
            "llama3 :local",
            "llama3:local:local",
            "llama3:cloud",
        ] {
            assert_ne!(canonical(other), canonical("llama3"), "{other}");
        }
    }
}
