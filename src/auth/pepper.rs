//! What keys are known by: a digest that is worth nothing without a secret of this Pannier's own. The secret comes
//! from the settings, else from a file that the first start makes and only its owner can read. Never shown.

use crate::domain::{Hidden, hex};
use crate::store::keys::Digest;
use crate::store::{Private, PrivateError};
use std::fmt;
use std::path::{Path, PathBuf};

/// In the data directory.
const FILE_NAME: &str = "keys.secret";

/// 256 random bits that every digest is made with.
#[derive(Clone)]
pub struct Pepper([u8; 32]);

/// Why there is none. Shows nothing of one.
#[derive(Debug, thiserror::Error)]
pub enum PepperError {
    #[error("`{}` does not hold 64 hexadecimal digits; without it, a new one is made", path.display())]
    Malformed { path: PathBuf },
    #[error(transparent)]
    Unavailable(#[from] PrivateError),
}

impl Pepper {
    pub fn of(bytes: [u8; 32]) -> Self {
        Pepper(bytes)
    }

    /// 64 hexadecimal digits, as `openssl rand -hex 32` writes them.
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::read(text).map(Pepper)
    }

    /// The one that is given, else that of `data_dir`, where one is made if there is none.
    pub fn kept(given: &Hidden, data_dir: &Path) -> Result<Self, PepperError> {
        let file = Private::new(data_dir, FILE_NAME);
        let text = if given.expose().is_empty() {
            Hidden::new(file.text(|bytes| hex::write(bytes))?)
        } else {
            given.clone()
        };
        Pepper::from_hex(text.expose()).ok_or_else(|| PepperError::Malformed { path: file.path() })
    }

    /// What a key is known by. From it nobody can tell the key, nor try keys out on it without the pepper.
    pub fn digest(&self, key: &[u8]) -> Digest {
        *blake3::keyed_hash(&self.0, key).as_bytes()
    }

    /// By which a database knows whether its digests were made with this one.
    pub fn mark(&self) -> Digest {
        blake3::derive_key("pannier 2026 mark of the pepper of keys", &self.0)
    }
}

/// Shows nothing.
impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_worth_nothing_without_it() {
        let (one, other) = (Pepper::of([1; 32]), Pepper::of([2; 32]));
        assert_eq!(one.digest(b"k"), Pepper::from_hex(&"01".repeat(32)).unwrap().digest(b"k"));
        assert_ne!(one.digest(b"k"), other.digest(b"k"));
        assert_ne!(one.digest(b"k"), *blake3::hash(b"k").as_bytes());
        assert_ne!(one.digest(&one.digest(b"k")), one.digest(b"k"));
        assert_ne!(one.mark(), other.mark());
        assert_eq!(format!("{one:?}"), "***");
    }

    #[test]
    fn what_is_no_secret_is_none() {
        for wrong in ["", "0", &"g".repeat(64), &"0".repeat(63), &"0".repeat(66), &"é".repeat(32)] {
            assert!(Pepper::from_hex(wrong).is_none(), "{wrong}");
        }
    }
}
