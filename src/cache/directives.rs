//! What a request says about caching: RFC 9111 §5.2.1, and two fields of Pannier's own.

use crate::domain::{Error, Kind, Reason, units};
use http::header::{CACHE_CONTROL, HeaderName, PRAGMA};
use http::{HeaderMap, HeaderValue};
use std::time::Duration;

/// `bypass`: neither look nor keep. `refresh`: ask the upstream, keep its answer. `only`: a kept answer or none.
pub const OWN_CACHE: HeaderName = HeaderName::from_static("x-pannier-cache");
/// How long the answer may be kept, where the settings do not say a shorter time.
pub const OWN_TTL: HeaderName = HeaderName::from_static("x-pannier-cache-ttl");

/// The directives that mean something to Pannier; all others are ignored, as the RFC wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Directives {
    /// Neither look anything up nor keep the answer.
    pub no_store: bool,
    /// Ask the upstream; the answer may be kept.
    pub no_cache: bool,
    /// As `no_store`, in Pannier's own words.
    pub bypass: bool,
    /// As `no_cache`, in Pannier's own words.
    pub refresh: bool,
    /// Whatever is asked goes on as it came.
    pub no_transform: bool,
    /// Answer from the memory or not at all.
    pub only_if_cached: bool,
    /// Take nothing older.
    pub max_age: Option<Duration>,
    /// Take nothing that will be over sooner.
    pub min_fresh: Option<Duration>,
    /// Keep the answer for no longer.
    pub ttl: Option<Duration>,
}

impl Directives {
    /// # Errors
    /// `BadRequest` where a field of Pannier's own says what Pannier does not know.
    pub fn read(headers: &HeaderMap) -> Result<Self, Error> {
        let mut read = Self::of_the_rfc(headers);
        for value in headers.get_all(OWN_CACHE) {
            match value.as_bytes().to_ascii_lowercase().as_slice() {
                b"bypass" => read.bypass = true,
                b"refresh" => read.refresh = true,
                b"only" => read.only_if_cached = true,
                _ => return Err(bad("X-Pannier-Cache is bypass, refresh or only")),
            }
        }
        for value in headers.get_all(OWN_TTL) {
            let ttl = duration(value).ok_or_else(|| {
                bad("X-Pannier-Cache-TTL is a number of seconds, or a text like 90s or 10m")
            })?;
            read.ttl = Some(read.ttl.map_or(ttl, |other| other.min(ttl)));
        }
        Ok(read)
    }

    fn of_the_rfc(headers: &HeaderMap) -> Self {
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
                    "no-transform" => read.no_transform = true,
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
        let Directives { no_store, no_cache, bypass, refresh, .. } = *self;
        let Directives { no_transform, only_if_cached, max_age, min_fresh, ttl, .. } = *self;
        let flags = [
            (no_store, "no-store"),
            (no_cache, "no-cache"),
            (bypass, "bypass"),
            (refresh, "refresh"),
            (no_transform, "no-transform"),
            (only_if_cached, "only-if-cached"),
        ];
        let flags = flags.into_iter().filter(|(given, _)| *given).map(|(_, word)| word.to_owned());
        let spans = [("max-age", max_age), ("min-fresh", min_fresh), ("ttl", ttl)];
        let spans = spans.into_iter().filter_map(|(word, span)| Some(format!("{word}={}", span?.as_secs())));
        flags.chain(spans).collect()
    }

    /// Why nothing that is kept may be looked up, if so.
    pub fn forbids(&self) -> Option<Reason> {
        if self.refresh {
            return self.secrecy().or(Some(Reason::Refresh));
        }
        let asks_anew = self.no_cache || self.max_age == Some(Duration::ZERO);
        self.secrecy().or(asks_anew.then_some(Reason::Request))
    }

    /// Why the answer may not be kept either, if so.
    pub fn secrecy(&self) -> Option<Reason> {
        match self {
            Directives { bypass: true, .. } => Some(Reason::Bypass),
            Directives { no_store: true, .. } => Some(Reason::NoStore),
            _ => None,
        }
    }

    /// Whether anything that is kept may be looked up.
    pub fn may_look_up(&self) -> bool {
        self.forbids().is_none()
    }

    /// Whether an entry of this `age` that lasts until `ttl`, and for `stale` beyond it where nothing better can
    /// be had, will do then.
    ///
    /// # Errors
    /// Why not.
    pub fn accept_stale(&self, age: Duration, ttl: Duration, stale: Duration) -> Result<(), Reason> {
        if let Some(why) = self.forbids() {
            return Err(why);
        }
        match self.min_fresh {
            Some(_) => self.accept(age, ttl),
            None => self.accept(age, ttl.saturating_add(stale)),
        }
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

/// A number of seconds, or a text as in the settings.
fn duration(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    let read = match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    read.map(|duration| duration.min(units::LONGEST))
}

fn bad(message: &'static str) -> Error {
    Error::new(Kind::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &'static str) -> Directives {
        reading(&[(CACHE_CONTROL, value)]).unwrap()
    }

    fn reading(fields: &[(HeaderName, &'static str)]) -> Result<Directives, Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        Directives::read(&headers)
    }

    #[test]
    fn pannier_has_words_of_its_own() {
        let own = |value| reading(&[(OWN_CACHE, value)]).unwrap();
        assert_eq!(own("Bypass").secrecy(), Some(Reason::Bypass));
        assert_eq!(own("bypass").forbids(), Some(Reason::Bypass));
        assert_eq!((own("refresh").secrecy(), own("refresh").forbids()), (None, Some(Reason::Refresh)));
        assert!(own("only").only_if_cached && own("only").may_look_up());
        for ttl in ["600", "10m", " 600s "] {
            assert_eq!(reading(&[(OWN_TTL, ttl)]).unwrap().ttl, Some(Duration::from_secs(600)), "{ttl}");
        }
        let both = reading(&[(OWN_TTL, "600"), (OWN_TTL, "60")]).unwrap();
        assert_eq!(both.ttl, Some(Duration::from_secs(60)));
        for (name, value) in [(OWN_CACHE, "off"), (OWN_CACHE, ""), (OWN_TTL, "-1"), (OWN_TTL, "soon")] {
            assert_eq!(reading(&[(name, value)]).unwrap_err().kind, Kind::BadRequest, "{value}");
        }
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
        assert_eq!(read("max-stale=99").accept(seconds(60), seconds(60)), Err(Reason::Expired), "not read");
        assert!(!read("max-age=0").may_look_up());
    }

    #[test]
    fn what_is_over_will_do_only_for_those_who_do_not_mind() {
        let stale = |value, age| {
            read(value).accept_stale(
                Duration::from_secs(age),
                Duration::from_secs(60),
                Duration::from_secs(40),
            )
        };
        assert_eq!(stale("", 99), Ok(()));
        assert_eq!(stale("", 100), Err(Reason::Expired));
        assert_eq!(stale("max-age=70", 70), Ok(()));
        assert_eq!(stale("max-age=70", 71), Err(Reason::TooOld));
        assert_eq!(stale("min-fresh=1", 61), Err(Reason::Expired));
        assert_eq!(stale("no-cache", 1), Err(Reason::Request));
    }

    #[test]
    fn pragma_counts_only_alone() {
        let pragma = (PRAGMA, "no-cache");
        assert!(reading(std::slice::from_ref(&pragma)).unwrap().no_cache);
        assert!(!reading(&[pragma, (CACHE_CONTROL, "max-age=60")]).unwrap().no_cache);
    }
}
