//! The secret with which entries are sealed: from the settings, else from a file that the first start makes
//! and only its owner can read. Never shown.

use crate::domain::hex;
use crate::store::{Private, PrivateError};
use std::fmt;
use std::path::{Path, PathBuf};

/// In the data directory.
const FILE_NAME: &str = "cache.secret";

/// 256 random bits.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

/// Why there is no secret. Shows nothing of one.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("`{}` does not hold 64 hexadecimal digits; without it, a new one is made", path.display())]
    Malformed { path: PathBuf },
    #[error(transparent)]
    Unavailable(#[from] PrivateError),
}

impl Secret {
    pub fn of(bytes: [u8; 32]) -> Self {
        Secret(bytes)
    }

    /// 64 hexadecimal digits, as `openssl rand -hex 32` writes them.
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::read(text).map(Secret)
    }

    /// That of `directory`, which is made where it is not there. The first to ask makes the secret; whoever
    /// asks at the same time gets the same.
    pub fn kept_in(directory: &Path) -> Result<Self, SecretError> {
        let file = Private::new(directory, FILE_NAME);
        let text = file.text(|bytes| hex::write(bytes))?;
        Secret::from_hex(&text).ok_or_else(|| SecretError::Malformed { path: file.path() })
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Shows nothing.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_first_start_makes_it_and_later_ones_find_it() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("not/there/yet");
        let made = Secret::kept_in(&place).unwrap();
        assert_eq!(made, Secret::kept_in(&place).unwrap());
        assert_eq!(mode(&place.join(FILE_NAME)), 0o600);
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 1, "no draft is left");
        let elsewhere = tempfile::tempdir().unwrap();
        assert_ne!(made, Secret::kept_in(elsewhere.path()).unwrap());
    }

    #[test]
    fn all_who_come_at_once_get_the_same() {
        for _ in 0..20 {
            let directory = tempfile::tempdir().unwrap();
            let start = std::sync::Barrier::new(16);
            let ask = || {
                start.wait();
                Secret::kept_in(directory.path()).unwrap()
            };
            let secrets: Vec<Secret> = std::thread::scope(|scope| {
                let asking: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
                asking.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(secrets.iter().all(|secret| *secret == secrets[0]));
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn one_that_others_could_read_is_closed_to_them() {
        let directory = tempfile::tempdir().unwrap();
        let made = Secret::kept_in(directory.path()).unwrap();
        let path = directory.path().join(FILE_NAME);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(made, Secret::kept_in(directory.path()).unwrap());
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn what_is_no_secret_is_an_error_that_names_the_file_and_replaces_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        let longer = "a".repeat(66);
        for wrong in [&b""[..], b"abc", b"\xff\xfe", longer.as_bytes(), &[b'g'; 64]] {
            std::fs::write(&path, wrong).unwrap();
            let error = Secret::kept_in(directory.path()).unwrap_err();
            assert!(matches!(error, SecretError::Malformed { .. }), "{error}");
            assert!(error.to_string().contains("cache.secret"), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), wrong);
        }
    }

    #[test]
    fn one_from_the_settings_is_never_shown() {
        let secret = Secret::from_hex(&"07".repeat(32)).unwrap();
        assert_eq!(secret, Secret::of([7; 32]));
        assert_eq!(format!("{secret:?}"), "***");
    }
}
