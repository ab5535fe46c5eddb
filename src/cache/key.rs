//! Under what name an answer is kept.

use crate::domain::{Fingerprint, Scope, hex};
use std::fmt;

/// Changes when entries of an older Pannier must not be found any more.
const FORMAT: &str = "pannier 2";

/// 256 bits over everything that decides the answer and over who may have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey(pub [u8; 32]);

/// What goes into a [`CacheKey`]. Taken apart in [`CacheKey::of`], so that the compiler stops whoever
/// adds a part and forgets to hash it.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    pub scope: Scope,
    /// The operator's own salt: `cache.epoch`.
    pub epoch: &'a str,
    /// Which upstream answers.
    pub upstream: &'a str,
    /// The server's version, and the model's digest, as the upstream writes them.
    pub version: &'a str,
    pub digest: &'a str,
    /// The route's path, and the request's query.
    pub path: &'a str,
    pub query: &'a [u8],
    pub fingerprint: Fingerprint,
}

impl CacheKey {
    pub fn of(parts: Parts<'_>) -> Self {
        let Parts { scope, epoch, upstream, version, digest, path, query, fingerprint } = parts;
        let mut hasher = blake3::Hasher::new();
        let texts = [FORMAT, epoch, upstream, version, digest, path].map(str::as_bytes);
        for text in texts.into_iter().chain([query]) {
            // A length before each part: no two lists of parts run together into the same bytes.
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text);
        }
        hasher.update(&scope.0);
        hasher.update(&fingerprint.0);
        CacheKey(*hasher.finalize().as_bytes())
    }

    /// That which its `Display` wrote.
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::read(text).map(CacheKey)
    }

    /// Of one text's vector, where this is the key of all vectors that are made in one manner.
    pub fn of_text(self, text: Fingerprint) -> Self {
        let mut both = [0; 64];
        both[..32].copy_from_slice(&self.0);
        both[32..].copy_from_slice(&text.0);
        CacheKey(*blake3::hash(&both).as_bytes())
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::write(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Parts<'static> {
        Parts {
            scope: Scope([1; 32]),
            epoch: "e",
            upstream: "u",
            version: "v",
            digest: "d",
            path: "/p",
            query: b"q",
            fingerprint: Fingerprint([2; 32]),
        }
    }

    #[test]
    fn every_part_counts() {
        let same = CacheKey::of(parts());
        assert_eq!(same, CacheKey::of(parts()));
        let others = [
            Parts { scope: Scope([9; 32]), ..parts() },
            Parts { epoch: "x", ..parts() },
            Parts { upstream: "x", ..parts() },
            Parts { version: "x", ..parts() },
            Parts { digest: "x", ..parts() },
            Parts { path: "/x", ..parts() },
            Parts { query: b"x", ..parts() },
            Parts { fingerprint: Fingerprint([9; 32]), ..parts() },
        ];
        for other in others {
            assert_ne!(same, CacheKey::of(other), "{other:?}");
        }
    }

    #[test]
    fn each_text_has_a_key_of_its_own_in_each_manner() {
        let (one, other) = (CacheKey::of(parts()), CacheKey::of(Parts { digest: "x", ..parts() }));
        let (text, another) = (Fingerprint([3; 32]), Fingerprint([4; 32]));
        let keys = [one, one.of_text(text), one.of_text(another), other.of_text(text)];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key));
        }
        assert_eq!(one.of_text(text), one.of_text(text));
    }

    #[test]
    fn parts_do_not_run_together() {
        let one = Parts { version: "ab", digest: "c", ..parts() };
        let other = Parts { version: "a", digest: "bc", ..parts() };
        assert_ne!(CacheKey::of(one), CacheKey::of(other));
    }
}
