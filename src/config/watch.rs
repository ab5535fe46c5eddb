//! Notices that settings may have changed. Reads none itself: whoever listens loads them.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};

/// An editor writes a file in several steps; this long after the first one they are taken for done.
const SETTLE: Duration = Duration::from_millis(200);

/// Why to load again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// SIGHUP.
    Signal,
    /// The file's bytes are others than before, or it is gone.
    File,
}

/// SIGHUP, and changes of one file.
pub struct Watch {
    hangup: Signal,
    file: Option<Watched>,
}

/// A file and its directories. Directories are watched rather than the file: editors and orchestrators put
/// a new file in the old one's place, and a watch on the old one would never hear of it.
struct Watched {
    path: PathBuf,
    /// Its bytes' hash when last looked at; `None` while it could not be read.
    seen: Option<blake3::Hash>,
    stirred: Arc<Notify>,
    _watcher: notify::RecommendedWatcher,
}

// === impl Watch ===

impl Watch {
    /// Begins to listen at once, so that nothing is missed before [`Watch::run`]. Must be called inside a
    /// tokio runtime. Fails if the signal cannot be had; a file that cannot be watched is only reported,
    /// since SIGHUP still works.
    pub fn new(file: Option<&Path>) -> std::io::Result<Watch> {
        let hangup = signal(SignalKind::hangup())?;
        let file = file.and_then(|path| match Watched::new(path) {
            Ok(watched) => Some(watched),
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "settings file cannot be watched; SIGHUP reloads it");
                None
            }
        });
        Ok(Watch { hangup, file })
    }

    /// Sends a cause whenever there is one, until `shutdown` is done or nobody listens any more. Causes
    /// that come while one is waiting to be taken are dropped: one load serves them all.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>, causes: mpsc::Sender<Cause>) {
        tokio::pin!(shutdown);
        loop {
            let cause = tokio::select! {
                () = &mut shutdown => return,
                () = causes.closed() => return,
                _ = self.hangup.recv() => Cause::Signal,
                () = changed(&mut self.file) => Cause::File,
            };
            let _ = causes.try_send(cause);
        }
    }
}

/// Never, where there is no file.
async fn changed(file: &mut Option<Watched>) {
    match file {
        Some(watched) => watched.changed().await,
        None => std::future::pending().await,
    }
}

// === impl Watched ===

impl Watched {
    fn new(path: &Path) -> notify::Result<Watched> {
        let stirred = Arc::new(Notify::new());
        let bell = stirred.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reading of the file is an access, too.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                bell.notify_one();
            }
        })?;
        for directory in directories(path)? {
            watcher.watch(&directory, RecursiveMode::NonRecursive)?;
        }
        Ok(Watched { seen: hash(path), path: path.to_owned(), stirred, _watcher: watcher })
    }

    /// Returns when the file's bytes are others than at the last look. Whatever else happens in its
    /// directories is looked at and forgotten. May be dropped and called again: it looks first.
    async fn changed(&mut self) {
        loop {
            let now = hash(&self.path);
            if now != self.seen {
                self.seen = now;
                return;
            }
            self.stirred.notified().await;
            tokio::time::sleep(SETTLE).await;
        }
    }
}

/// Where the file is, and where it really is if that is a link.
fn directories(path: &Path) -> std::io::Result<BTreeSet<PathBuf>> {
    let parent = |path: &Path| path.parent().map(Path::to_owned);
    let absolute = std::path::absolute(path)?;
    Ok([parent(&absolute), parent(&absolute.canonicalize()?)].into_iter().flatten().collect())
}

fn hash(path: &Path) -> Option<blake3::Hash> {
    std::fs::read(path).ok().map(|bytes| blake3::hash(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next cause, if it comes within a time.
    async fn cause(causes: &mut mpsc::Receiver<Cause>, patience: Duration) -> Option<Cause> {
        tokio::time::timeout(patience, causes.recv()).await.ok().flatten()
    }

    /// Long enough for a cause that must come.
    const SURELY: Duration = Duration::from_secs(20);
    /// Several times what a cause takes that must not come.
    const HARDLY: Duration = Duration::from_millis(700);

    #[tokio::test]
    async fn a_file_is_watched_through_all_that_editors_do_and_a_signal_is_heard() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let file = directory.join("pannier.toml");
        std::fs::write(&file, "[log]\nlevel = \"info\"\n").unwrap();
        let (tell, mut causes) = mpsc::channel(1);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let watch = Watch::new(Some(&file)).unwrap();
        let running = tokio::spawn(watch.run(async { drop(stopped.await) }, tell));

        std::fs::write(&file, "[log]\nlevel = \"warn\"\n").unwrap();
        assert_eq!(cause(&mut causes, SURELY).await, Some(Cause::File), "written in place");

        let beside = directory.join("pannier.toml~");
        std::fs::write(&beside, "[log]\nlevel = \"debug\"\n").unwrap();
        std::fs::rename(&beside, &file).unwrap();
        assert_eq!(cause(&mut causes, SURELY).await, Some(Cause::File), "replaced");

        std::fs::write(directory.join("other.toml"), "x = 1").unwrap();
        std::fs::write(&file, "[log]\nlevel = \"debug\"\n").unwrap();
        assert_eq!(cause(&mut causes, HARDLY).await, None, "another file, and the same bytes");

        std::fs::remove_file(&file).unwrap();
        assert_eq!(cause(&mut causes, SURELY).await, Some(Cause::File), "removed");
        std::fs::write(&file, "[log]\n").unwrap();
        assert_eq!(cause(&mut causes, SURELY).await, Some(Cause::File), "there again");

        let own = std::process::id().to_string();
        assert!(std::process::Command::new("kill").args(["-HUP", &own]).status().unwrap().success());
        assert_eq!(cause(&mut causes, SURELY).await, Some(Cause::Signal), "signalled");

        drop(stop);
        running.await.unwrap();
        assert_eq!(causes.recv().await, None);
    }

    #[tokio::test]
    async fn a_link_is_watched_as_orchestrators_turn_it() {
        let directory = tempfile::tempdir().unwrap();
        for (version, level) in [("v1", "info"), ("v2", "warn")] {
            std::fs::create_dir(directory.path().join(version)).unwrap();
            let text = format!("[log]\nlevel = \"{level}\"\n");
            std::fs::write(directory.path().join(version).join("pannier.toml"), text).unwrap();
        }
        let link = |name: &str, target: &str| {
            std::os::unix::fs::symlink(target, directory.path().join(name)).unwrap()
        };
        link("current", "v1");
        link("pannier.toml", "current/pannier.toml");
        let (tell, mut causes) = mpsc::channel(8);
        let watch = Watch::new(Some(&directory.path().join("pannier.toml"))).unwrap();
        let running = tokio::spawn(watch.run(std::future::pending(), tell));

        link("next", "v2");
        std::fs::rename(directory.path().join("next"), directory.path().join("current")).unwrap();
        // The test above sends this whole process a signal.
        while cause(&mut causes, SURELY).await.expect("the turned link is noticed") == Cause::Signal {}
        drop(causes);
        tokio::time::timeout(SURELY, running).await.expect("ends when nobody listens").unwrap();
    }
}
