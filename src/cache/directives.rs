//! What a request says about caching (RFC 9111 §5.2.1).

use crate::domain::Reason;
use http::HeaderMap;
use http::header::{CACHE_CONTROL, PRAGMA};
use std::time::Duration;

/// The directives that mean something to Pannier; all others are ignored, as the RFC wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Directives {
    /// Neither look anything up nor keep the answer.
    pub no_store: bool,
    /// Ask the upstream; the answer may be kept.
    pub no_cache: bool,
    /// Answer from the memory or not at all.
    pub only_if_cached: bool,
    /// Take nothing older.
    pub max_age: Option<Duration>,
    /// Take nothing that will be over sooner.
    pub min_fresh: Option<Duration>,
}

impl Directives {
    pub fn read(headers: &HeaderMap) -> Self {
        let mut read = Directives::default();
        if !headers.contains_key(CACHE_CONTROL) {
            // Without Cache-Control, an HTTP/1.0 client's `Pragma: no-cache` counts (§5.4).
            read.no_cache = headers
                .get_all(PRAGMA)
                .iter()
                .any(|value| value.as_bytes().eq_ignore_ascii_case(b"no-cache"));
            return read;
        }
        for value in headers.get_all(CACHE_CONTROL) {
            for directive in value.to_str().unwrap_or_default().split(',') {
                let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
                let seconds = || argument.trim().trim_matches('"').parse().ok().map(Duration::from_secs);
                match name.trim().to_ascii_lowercase().as_str() {
                    "no-store" => read.no_store = true,
                    "no-cache" => read.no_cache = true,
                    "only-if-cached" => read.only_if_cached = true,
                    // What cannot be read as a number counts as none left (§4.2.1 on the side of freshness).
                    "max-age" => read.max_age = seconds().or(Some(Duration::ZERO)),
                    "min-fresh" => read.min_fresh = seconds().or(Some(Duration::MAX)),
                    _ => {}
                }
            }
        }
        read
    }

    /// Those that were given, as they are written.
    pub fn words(&self) -> Vec<String> {
        let Directives { no_store, no_cache, only_if_cached, max_age, min_fresh } = *self;
        let flags = [(no_store, "no-store"), (no_cache, "no-cache"), (only_if_cached, "only-if-cached")];
        let flags = flags.into_iter().filter(|(given, _)| *given).map(|(_, word)| word.to_owned());
        let spans = [("max-age", max_age), ("min-fresh", min_fresh)];
        let spans = spans.into_iter().filter_map(|(word, span)| Some(format!("{word}={}", span?.as_secs())));
        flags.chain(spans).collect()
    }

    /// Why nothing that is kept may be looked up, if so.
    pub fn forbids(&self) -> Option<Reason> {
        if self.no_store {
            return Some(Reason::NoStore);
        }
        (self.no_cache || self.max_age == Some(Duration::ZERO)).then_some(Reason::Request)
    }

    /// Whether anything that is kept may be looked up.
    pub fn may_look_up(&self) -> bool {
        self.forbids().is_none()
    }

    /// Whether an entry of this `age` that lasts until `ttl` will do.
    ///
    /// # Errors
    /// Why not.
    pub fn accept(&self, age: Duration, ttl: Duration) -> Result<(), Reason> {
        if age >= ttl {
            return Err(Reason::Expired);
        }
        if self.max_age.is_some_and(|most| age > most) {
            return Err(Reason::TooOld);
        }
        match self.min_fresh {
            Some(least) if ttl - age < least => Err(Reason::EndsSoon),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(value: &'static str) -> Directives {
        Directives::read(&HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static(value))]))
    }

    #[test]
    fn directives_are_read_in_any_case_and_company() {
        assert_eq!(read(""), Directives::default());
        assert!(read("No-Store").no_store);
        assert!(read("private, no-cache").no_cache);
        assert!(read("only-if-cached , max-age=5").only_if_cached);
        assert_eq!(read("max-age=\"5\"").max_age, Some(Duration::from_secs(5)));
        assert_eq!(read("max-age=soon").max_age, Some(Duration::ZERO));
    }

    #[test]
    fn age_is_weighed() {
        let seconds = Duration::from_secs;
        assert_eq!(read("max-age=5").accept(seconds(5), seconds(60)), Ok(()));
        assert_eq!(read("max-age=5").accept(seconds(6), seconds(60)), Err(Reason::TooOld));
        assert_eq!(read("min-fresh=10").accept(seconds(50), seconds(60)), Ok(()));
        assert_eq!(read("min-fresh=10").accept(seconds(51), seconds(60)), Err(Reason::EndsSoon));
        assert_eq!(read("").accept(seconds(60), seconds(60)), Err(Reason::Expired));
        assert!(!read("max-age=0").may_look_up());
    }

    #[test]
    fn pragma_counts_only_alone() {
        let pragma = (PRAGMA, HeaderValue::from_static("no-cache"));
        assert!(Directives::read(&HeaderMap::from_iter([pragma.clone()])).no_cache);
        let both = [pragma, (CACHE_CONTROL, HeaderValue::from_static("max-age=60"))];
        assert!(!Directives::read(&HeaderMap::from_iter(both)).no_cache);
    }
}
