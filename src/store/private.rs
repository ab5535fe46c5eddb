//! A text of random making in a file that only its owner can read: made once, by whoever is first.

use ring::rand::{SecureRandom, SystemRandom};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Readable and writable by its owner, and by nobody else.
const MODE: u32 = 0o600;
/// A text is never longer, in bytes; a little more than is right is enough to see that it is too much.
const LONGEST: u64 = 128;

/// One such file. Never shows what is in it.
#[derive(Debug, Clone)]
pub struct Private {
    directory: PathBuf,
    name: &'static str,
}

/// Why a text could not be had.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    #[error("cannot read or make `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the system gives no random numbers")]
    NoRandomness,
}

impl Private {
    pub fn new(directory: &Path, name: &'static str) -> Self {
        Private { directory: directory.to_owned(), name }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.join(self.name)
    }

    /// The text, less the line's end; empty where the file holds no text. Where there is no file it is made, with
    /// what `write` makes of 256 random bits. The first to ask makes it; whoever asks at the same time gets the
    /// same.
    pub fn text(&self, write: impl Fn(&[u8; 32]) -> String) -> Result<String, PrivateError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(|e| self.io(e))?;
        loop {
            if let Some(text) = self.read()? {
                return Ok(text);
            }
            let text = write(&random()?);
            match self.keep(&text) {
                Ok(()) => return Ok(text),
                // Another was quicker: theirs is the one.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.io(error)),
            }
        }
    }

    /// The text, if there is a file; makes none.
    pub fn read(&self) -> Result<Option<String>, PrivateError> {
        match File::open(self.path()) {
            Ok(file) => self.read_from(file).map(Some).map_err(|error| self.io(error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.io(error)),
        }
    }

    fn read_from(&self, mut file: File) -> io::Result<String> {
        let mode = file.metadata()?.permissions().mode();
        if mode & 0o077 != 0 {
            tracing::warn!(path = %self.path().display(), "a secret could be read by others; no longer");
            file.set_permissions(std::fs::Permissions::from_mode(MODE))?;
        }
        let mut text = String::new();
        match (&mut file).take(LONGEST).read_to_string(&mut text) {
            Ok(_) => Ok(text.trim_end().to_owned()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(String::new()),
            Err(error) => Err(error),
        }
    }

    /// Written whole under a name of its own, then given its real name, which a link never takes from another:
    /// nobody sees half a text, and nobody's is replaced.
    fn keep(&self, text: &str) -> io::Result<()> {
        let suffix = random().map_err(io::Error::other)?;
        let suffix = u64::from_le_bytes(std::array::from_fn(|at| suffix[at]));
        let draft = self.directory.join(format!(".{}.{suffix:016x}", self.name));
        let kept = write(&draft, text).and_then(|()| std::fs::hard_link(&draft, self.path()));
        let removed = std::fs::remove_file(&draft);
        kept?;
        removed?;
        File::open(&self.directory)?.sync_all()
    }

    fn io(&self, source: io::Error) -> PrivateError {
        PrivateError::Io { path: self.path(), source }
    }
}

fn write(draft: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(draft)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

fn random() -> Result<[u8; 32], PrivateError> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| PrivateError::NoRandomness)?;
    Ok(bytes)
}
