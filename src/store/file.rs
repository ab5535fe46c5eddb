//! A SQLite file: claimed by one process, and put aside when it is damaged.

use super::Error;
use super::error::Trouble;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// How many damaged files of one name are kept: enough to look into, too few to fill a disk.
const KEPT: usize = 3;

/// What tells a file from all others that are there.
pub(super) type Number = (u64, u64);

/// What SQLite keeps beside its file.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];

/// Its write-ahead log.
pub(super) fn log_of(path: &Path) -> PathBuf {
    beside(path, COMPANIONS[0])
}

/// Makes this process the only one of Pannier's that uses the file, until the claim is dropped or the
/// process ends. It stands in a file of its own, which stays: SQLite's own locks come and go.
pub(super) fn claim(path: &Path) -> Result<File, Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let claim = ours().open(beside(path, ".lock"))?;
    match claim.try_lock() {
        Ok(()) => Ok(claim),
        Err(TryLockError::WouldBlock) => Err(Error::new(Trouble::InUse, path.to_string_lossy())),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Makes a file that is not there yet, for its owner's eyes only; SQLite makes the others alike.
pub(super) fn create(path: &Path) -> io::Result<()> {
    match ours().create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(drop),
    }
}

/// Which file of which disk this is called now.
pub(super) fn number(path: &Path) -> io::Result<Number> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Moves the file and its companions to `<path>.corrupt-<unix time>`; nobody may have it open.
pub(super) fn put_aside(path: &Path) -> io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // Later than all others, though the clock has been set back or it is the same second.
    let second = put_aside_before(path).last().map_or(now, |last| now.max(last + 1));
    let aside = beside(path, &format!(".corrupt-{second}"));
    for companion in COMPANIONS {
        move_if_there(&beside(path, companion), &beside(&aside, companion))?;
    }
    move_if_there(path, &aside)?;
    forget_the_oldest(path, KEPT);
    Ok(aside)
}

/// Removes the file, its companions, and all that was put aside; nobody may have it open.
pub(super) fn discard(path: &Path) -> io::Result<()> {
    forget_the_oldest(path, 0);
    // The file itself last: whoever is interrupted here has still lost nothing but what is to go.
    for name in COMPANIONS.map(|companion| beside(path, companion)).iter().map(PathBuf::as_path).chain([path])
    {
        if let Err(error) = fs::remove_file(name)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
    }
    Ok(())
}

fn ours() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

fn move_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Of what was put aside, `kept` stay. That this fails costs room, and nothing else.
fn forget_the_oldest(path: &Path, kept: usize) {
    let seconds = put_aside_before(path);
    for second in seconds.iter().rev().skip(kept) {
        let aside = beside(path, &format!(".corrupt-{second}"));
        for companion in COMPANIONS {
            let _ = fs::remove_file(beside(&aside, companion));
        }
        let _ = fs::remove_file(aside);
    }
}

/// When files of this name were put aside, the oldest first.
fn put_aside_before(path: &Path) -> Vec<u64> {
    let marker = beside(path, ".corrupt-");
    let marker = marker.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut seconds: Vec<u64> =
        names.filter_map(|name| name.to_string_lossy().strip_prefix(&*marker)?.parse().ok()).collect();
    seconds.sort_unstable();
    seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_claim() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/cache.db");
        let first = claim(&path).unwrap();
        assert_eq!(claim(&path).unwrap_err().trouble, Trouble::InUse);
        drop(first);
        claim(&path).unwrap();
    }

    #[test]
    fn what_is_put_aside_stays_together_and_does_not_pile_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.db");
        let mut asides = Vec::new();
        for n in 0..5 {
            for ending in ["", "-wal", "-shm"] {
                fs::write(beside(&path, ending), format!("{n}{ending}")).unwrap();
            }
            asides.push(put_aside(&path).unwrap());
            assert!(!path.exists());
        }
        for (n, aside) in asides.iter().enumerate() {
            for ending in ["", "-wal", "-shm"] {
                let kept = fs::read_to_string(beside(aside, ending)).ok();
                assert_eq!(kept, (n >= 2).then(|| format!("{n}{ending}")));
            }
        }
    }
}
