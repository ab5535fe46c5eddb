//! The admin key: whoever has it may see and change what is kept. From the settings, else from a file that the
//! first start makes and only its owner can read. Never shown.

use super::Config;
use crate::domain::{Hidden, hex};
use crate::store::{Private, PrivateError};
use std::path::{Path, PathBuf};

/// In the data directory.
const FILE_NAME: &str = "admin.key";
/// How a key begins that was made here, so that it is known for what it is where it should not be. Behind it are
/// 256 random bits.
const MARK: &str = "pannier_admin_";

/// What an admin key is known by; the key itself is not kept.
#[derive(Debug, Clone, Copy)]
pub struct AdminKey(blake3::Hash);

/// Why there is no key. Shows nothing of one.
#[derive(Debug, thiserror::Error)]
pub enum AdminKeyError {
    #[error("`{}` does not hold an admin key; without it, a new one is made", path.display())]
    Malformed { path: PathBuf },
    #[error("there is no `{}`: a Pannier that serves with these settings makes it", path.display())]
    Missing { path: PathBuf },
    #[error(transparent)]
    Unavailable(#[from] PrivateError),
}

impl AdminKey {
    pub fn of(key: &Hidden) -> Self {
        AdminKey(blake3::hash(key.expose().as_bytes()))
    }

    /// That of the settings, else that of `data_dir`, where one is made if there is none.
    pub fn kept(config: &Config, data_dir: &Path) -> Result<Self, AdminKeyError> {
        if !config.admin_key.expose().is_empty() {
            return Ok(AdminKey::of(&config.admin_key));
        }
        let file = Private::new(data_dir, FILE_NAME);
        let key = file.text(make)?;
        checked(key, &file).map(|key| AdminKey::of(&key))
    }

    /// Whether `presented` is the key. Takes as long for one that is nearly right as for any other.
    pub fn is(&self, presented: &[u8]) -> bool {
        blake3::hash(presented) == self.0
    }
}

/// The key itself, for those who present it; makes none.
pub fn admin_key(config: &Config, data_dir: &Path) -> Result<Hidden, AdminKeyError> {
    if !config.admin_key.expose().is_empty() {
        return Ok(config.admin_key.clone());
    }
    let file = Private::new(data_dir, FILE_NAME);
    let key = file.read()?.ok_or_else(|| AdminKeyError::Missing { path: file.path() })?;
    checked(key, &file)
}

fn make(random: &[u8; 32]) -> String {
    [MARK, &hex::write(random)].concat()
}

fn checked(key: String, file: &Private) -> Result<Hidden, AdminKeyError> {
    match key.strip_prefix(MARK).and_then(hex::read) {
        Some(_) => Ok(Hidden::new(key)),
        None => Err(AdminKeyError::Malformed { path: file.path() }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Mode, Sharing};
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn config(admin_key: &str) -> Config {
        let (keys, teams, management) = (Vec::new(), Vec::new(), Vec::new());
        let admin_key = Hidden::new(admin_key);
        Config { mode: Mode::Open, scope: Sharing::Team, keys, teams, management, admin_key }
    }

    #[test]
    fn the_first_start_makes_it_and_later_ones_find_it() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("state");
        assert!(matches!(admin_key(&config(""), &place), Err(AdminKeyError::Missing { .. })));
        let kept = AdminKey::kept(&config(""), &place).unwrap();
        let key = admin_key(&config(""), &place).unwrap();
        assert!(key.expose().starts_with(MARK) && key.expose().len() == MARK.len() + 64);
        assert!(kept.is(key.expose().as_bytes()));
        assert!(AdminKey::kept(&config(""), &place).unwrap().is(key.expose().as_bytes()));
        for wrong in ["", MARK, &key.expose()[1..], &format!("{} ", key.expose())] {
            assert!(!kept.is(wrong.as_bytes()), "{wrong}");
        }
        let mode = std::fs::metadata(place.join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let elsewhere = tempfile::tempdir().unwrap();
        assert!(!AdminKey::kept(&config(""), elsewhere.path()).unwrap().is(key.expose().as_bytes()));
    }

    #[test]
    fn one_that_is_given_needs_no_directory() {
        let nowhere = Path::new("/dev/null/no/directory");
        let given = config("an admin key of one's own");
        assert!(AdminKey::kept(&given, nowhere).unwrap().is(b"an admin key of one's own"));
        assert_eq!(admin_key(&given, nowhere).unwrap(), given.admin_key);
        assert!(AdminKey::kept(&config(""), nowhere).is_err());
    }

    #[test]
    fn what_is_no_key_is_an_error_that_names_the_file_and_shows_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let short = format!("{MARK}{}", "a".repeat(63));
        for wrong in ["", "sesame", MARK, &short] {
            std::fs::write(directory.path().join(FILE_NAME), wrong).unwrap();
            let error = AdminKey::kept(&config(""), directory.path()).unwrap_err().to_string();
            assert!(error.contains("admin.key") && !error.contains("sesame"), "{error}");
            assert!(admin_key(&config(""), directory.path()).is_err());
        }
    }
}
