//! A file of weights on its way: it stands under its own name when all of it is there and is what it should be, and
//! not before. What has come of one that was cut off is kept for the next try.

use super::Weights;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What has come so far.
pub struct Delivery {
    weights: Weights,
    part: File,
    part_path: PathBuf,
    path: PathBuf,
    sum: Context,
    /// Bytes.
    pub have: u64,
}

/// Why it does not come in.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("it is being fetched already")]
    UnderWay,
    #[error("what came is not what whisper.cpp publishes under this name, and was thrown away")]
    Another,
    #[error("what had come of it was thrown away meanwhile")]
    Gone,
    #[error(transparent)]
    Disk(#[from] io::Error),
}

impl Delivery {
    /// Goes on where the last try was cut off.
    ///
    /// # Errors
    /// When somebody else is at it, or nothing can be written.
    pub fn begin(weights: Weights, path: PathBuf) -> Result<Self, Trouble> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let part_path = part_of(&path);
        let mut part = File::options().read(true).append(true).create(true).open(&part_path)?;
        lock(&part)?;
        // Before the lock was ours, another may have finished it, or thrown it away.
        if !is_at(&part, &part_path)? {
            return Err(Trouble::UnderWay);
        }
        let (mut sum, mut have) = (Context::new(&SHA1_FOR_LEGACY_USE_ONLY), 0);
        let mut room = vec![0; 1 << 18];
        part.seek(SeekFrom::Start(0))?;
        loop {
            match part.read(&mut room)? {
                0 => break,
                read => {
                    sum.update(&room[..read]);
                    have += read as u64;
                }
            }
        }
        Ok(Delivery { weights, part, part_path, path, sum, have })
    }

    /// What was there is not gone on with.
    ///
    /// # Errors
    /// When it cannot be thrown away.
    pub fn start_over(&mut self) -> io::Result<()> {
        self.part.set_len(0)?;
        (self.have, self.sum) = (0, Context::new(&SHA1_FOR_LEGACY_USE_ONLY));
        Ok(())
    }

    /// # Errors
    /// When there is no room; others may need what this has taken of it, and nothing is kept for the next try.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.part.write_all(bytes) {
            if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                self.start_over()?;
            }
            return Err(error);
        }
        self.sum.update(bytes);
        self.have += bytes.len() as u64;
        Ok(())
    }

    /// All of it has come: where it lies now.
    ///
    /// # Errors
    /// When it is something else.
    pub fn finish(self) -> Result<PathBuf, Trouble> {
        if crate::domain::hex::write(self.sum.finish().as_ref()) != self.weights.sha1 {
            fs::remove_file(&self.part_path)?;
            return Err(Trouble::Another);
        }
        self.part.sync_all()?;
        if !is_at(&self.part, &self.part_path)? {
            return Err(Trouble::Gone);
        }
        fs::rename(&self.part_path, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder).and_then(|folder| folder.sync_all())?;
        }
        Ok(self.path)
    }
}

/// Bytes that are there of a file that has not come whole.
pub fn kept_of(path: &Path) -> u64 {
    fs::metadata(part_of(path)).map_or(0, |part| part.len())
}

/// What has come of a file so far.
pub fn part_of(path: &Path) -> PathBuf {
    path.with_extension("bin.part")
}

/// Throws away what has come of a file so far.
///
/// # Errors
/// When somebody is at it, or it cannot be.
pub fn forget_part(path: &Path) -> Result<(), Trouble> {
    let part_path = part_of(path);
    match File::open(&part_path) {
        Ok(part) => lock(&part)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    Ok(fs::remove_file(&part_path)?)
}

fn lock(part: &File) -> Result<(), Trouble> {
    match part.try_lock() {
        Ok(()) => Ok(()),
        Err(fs::TryLockError::WouldBlock) => Err(Trouble::UnderWay),
        Err(fs::TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Whether `file` is what stands at `path`.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let one = file.metadata()?;
    match fs::metadata(path) {
        Ok(other) => Ok((one.dev(), one.ino()) == (other.dev(), other.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEIGHTS: Weights = Weights { name: "tiny", sha1: "" };

    fn sum(bytes: &[u8]) -> String {
        crate::domain::hex::write(ring::digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref())
    }

    fn weights(bytes: &[u8]) -> Weights {
        Weights { sha1: sum(bytes).leak(), ..WEIGHTS }
    }

    #[test]
    fn one_that_was_cut_off_goes_on_and_stands_there_when_it_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("models/ggml-tiny.bin");
        let begin = || Delivery::begin(weights(b"weights"), path.clone());
        let mut first = begin().expect("a delivery");
        first.write(b"weig").expect("room");
        assert!(matches!(begin(), Err(Trouble::UnderWay)));
        drop(first);
        assert!(!path.exists());
        let mut second = begin().expect("a delivery");
        assert_eq!(second.have, 4);
        second.write(b"hts").expect("room");
        assert_eq!(second.finish().expect("the weights"), path);
        assert_eq!(fs::read(&path).expect("a file"), b"weights");
        assert_eq!(fs::read_dir(path.parent().expect("a folder")).expect("a folder").count(), 1);
    }

    #[test]
    fn what_is_something_else_never_stands_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ggml-tiny.bin");
        let mut delivery = Delivery::begin(weights(b"weights"), path.clone()).expect("a delivery");
        delivery.write(b"weighty").expect("room");
        assert!(matches!(delivery.finish(), Err(Trouble::Another)));
        let mut delivery = Delivery::begin(weights(b"weights"), path.clone()).expect("a delivery");
        assert_eq!(delivery.have, 0);
        delivery.write(b"half").expect("room");
        delivery.start_over().expect("room");
        delivery.write(b"weights").expect("room");
        delivery.finish().expect("the weights");
        forget_part(&path).expect("nothing is there");
    }

    /// Nobody's half takes the place of somebody else's whole.
    #[test]
    fn what_was_thrown_away_meanwhile_is_put_nowhere() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("ggml-tiny.bin");
        let begin = || Delivery::begin(weights(b"weights"), path.clone());
        let mut first = begin().expect("the first");
        first.write(b"weights").expect("room");
        assert!(matches!(forget_part(&path), Err(Trouble::UnderWay)));
        fs::remove_file(part_of(&path)).expect("it was there");
        let mut second = begin().expect("another");
        second.write(b"wei").expect("room");
        assert!(matches!(first.finish(), Err(Trouble::Gone)));
        assert!(!path.exists());
        drop(second);
        assert_eq!(begin().expect("again").have, 3);
    }
}
