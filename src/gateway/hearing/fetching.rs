//! Weights that are not there are fetched: when they are asked for first, or when an operator wants them.

use super::Ears;
use super::fault::AGAIN;
use crate::domain::{Error, Kind};
use crate::media::voice::{Delivery, Fault, Missing, Shelf, Trouble, Weights};
use crate::upstream::Download;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

/// After one that was cut off the next begins no sooner...
const REST: Duration = Duration::from_secs(30);
/// ... and after one that came, but cannot be kept or is something else: all of it would come again.
const LONG_REST: Duration = Duration::from_secs(600);
/// Whatever does not bring so many bytes in such a time is given up: others wait for it.
const LEAST: (u64, Duration) = (64 << 10, Duration::from_secs(60));
/// Bytes that are taken from a file at once.
const PIECE: usize = 1 << 18;

/// What is being fetched, by its name.
#[derive(Default)]
pub struct Fetches(Mutex<Vec<(&'static str, Fetch)>>);

enum Fetch {
    UnderWay(Arc<Progress>),
    /// Why, and until when it rests.
    Failed(String, Instant),
}

/// Bytes that are there, and of how many.
#[derive(Default)]
struct Progress {
    have: AtomicU64,
    of: AtomicU64,
}

/// Gets weights from `mirror`, which is an address or a folder. `told` is how many bytes are there, and of how many.
///
/// # Errors
/// Why they do not come.
pub async fn pull(
    weights: Weights,
    shelf: &Shelf,
    mirror: &str,
    mut told: impl FnMut(u64, Option<u64>),
) -> Result<PathBuf, Error> {
    let path = shelf.path(weights.name);
    let mut delivery = Delivery::begin(weights, path).map_err(trouble)?;
    let file = format!("ggml-{}.bin", weights.name);
    if mirror.starts_with("http://") || mirror.starts_with("https://") {
        let url = format!("{}/{file}", mirror.trim_end_matches('/'));
        let mut download = Download::begin(&url, delivery.have).await?;
        if download.from != delivery.have {
            delivery.start_over().map_err(disk)?;
        }
        told(delivery.have, download.length);
        let (mut since, mut had) = (Instant::now(), delivery.have);
        while let Some(piece) = download.chunk().await? {
            delivery.write(&piece).map_err(disk)?;
            told(delivery.have, download.length);
            if since.elapsed() > LEAST.1 {
                if delivery.have - had < LEAST.0 {
                    return Err(Error::new(Kind::UpstreamTimeout, "it comes too slowly"));
                }
                (since, had) = (Instant::now(), delivery.have);
            }
        }
    } else {
        copy(&Path::new(mirror).join(file), &mut delivery, &mut told).await.map_err(disk)?;
    }
    delivery.finish().map_err(trouble)
}

async fn copy(
    from: &Path,
    delivery: &mut Delivery,
    told: &mut impl FnMut(u64, Option<u64>),
) -> std::io::Result<()> {
    delivery.start_over()?;
    let mut file = File::open(from).await?;
    let length = file.metadata().await?.len();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece).await? {
            0 => return Ok(()),
            read => delivery.write(&piece[..read])?,
        }
        told(delivery.have, Some(length));
    }
}

impl Ears {
    /// What is to be said to whoever asks for a model that is not there: it is on its way where it can be.
    pub(super) fn first_use(&self, name: &str) -> Error {
        let missing = || {
            let dir = self.transcribers.shelf.dir().to_owned();
            Error::from(Fault::Missing(Missing::NotThere { name: name.to_owned(), dir }))
        };
        let Some(weights) = Weights::of(name).filter(|_| self.fetches_models) else { return missing() };
        let mut fetches = self.fetches.lock();
        // Nobody can have all of them fetched at once.
        let under_way = fetches.iter().find_map(|(name, fetch)| Some((*name, fetch.progress()?)));
        if let Some((name, progress)) = under_way {
            return on_its_way(name, progress);
        }
        let known = fetches.iter().find(|(name, _)| *name == weights.name);
        if let Some((_, Fetch::Failed(why, until))) = known
            && Instant::now() < *until
        {
            let path = self.transcribers.shelf.path(weights.name);
            let why = format!(
                "the model {name} is not there and cannot be fetched ({why}): without a network, put it at {} or set \
                 audio.mirror",
                path.display()
            );
            return Error::new(Kind::NotFound, why);
        }
        let progress = Arc::<Progress>::default();
        fetches.retain(|(name, _)| *name != weights.name);
        fetches.push((weights.name, Fetch::UnderWay(progress.clone())));
        drop(fetches);
        self.fetch(weights, progress.clone());
        on_its_way(weights.name, &progress)
    }

    fn fetch(&self, weights: Weights, progress: Arc<Progress>) {
        let (transcribers, mirror) = (self.transcribers.clone(), self.mirror.clone());
        let fetches = self.fetches.clone();
        let runtime = tokio::runtime::Handle::current();
        // Files are written, and read again: not on a thread that serves.
        tokio::task::spawn_blocking(move || {
            tracing::info!(model = weights.name, "a model is fetched");
            let told = |have, of: Option<u64>| {
                progress.have.store(have, Ordering::Relaxed);
                progress.of.store(of.unwrap_or(0), Ordering::Relaxed);
            };
            let pulled = runtime.block_on(pull(weights, &transcribers.shelf, &mirror, told));
            let mut fetches = fetches.lock();
            fetches.retain(|(name, _)| *name != weights.name);
            if let Err(error) = pulled {
                tracing::warn!(model = weights.name, why = error.message, "a model cannot be fetched");
                let rest = if error.kind == Kind::Internal { LONG_REST } else { REST };
                fetches.push((weights.name, Fetch::Failed(error.message, Instant::now() + rest)));
            }
        });
    }
}

impl Fetch {
    fn progress(&self) -> Option<&Progress> {
        match self {
            Fetch::UnderWay(progress) => Some(progress),
            Fetch::Failed(..) => None,
        }
    }
}

impl Fetches {
    fn lock(&self) -> MutexGuard<'_, Vec<(&'static str, Fetch)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn on_its_way(name: &str, progress: &Progress) -> Error {
    let mebibytes = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed) >> 20;
    let (have, of) = (mebibytes(&progress.have), mebibytes(&progress.of));
    let why = format!("the model {name} is being fetched ({have} of {of} MiB): ask again");
    Error::new(Kind::Overloaded, why).retry_after(AGAIN)
}

fn trouble(trouble: Trouble) -> Error {
    Error::new(Kind::Internal, trouble.to_string())
}

fn disk(error: std::io::Error) -> Error {
    Error::new(Kind::Internal, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::voice::Config;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    fn weights(bytes: &[u8]) -> Weights {
        let sum = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
        Weights { name: "tiny-q5_1", sha1: crate::domain::hex::write(sum.as_ref()).leak() }
    }

    fn shelf(dir: &Path) -> Shelf {
        let defaults: toml::Table = include_str!("../../../config/default.toml").parse().expect("TOML");
        let config: Config = defaults["audio"].clone().try_into().expect("settings");
        Shelf::new(&config, dir.to_owned())
    }

    /// A mirror that leads to another place, where the file breaks off in the middle when it is wanted from its
    /// beginning.
    fn mirror(file: Vec<u8>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut reader = BufReader::new(stream);
                let (mut line, mut head) = (String::new(), String::new());
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    head.push_str(&std::mem::take(&mut line).to_lowercase());
                }
                let from =
                    head.lines().find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-'));
                let (said, bytes) = match (head.starts_with("get /there "), from) {
                    (false, _) => {
                        ("302 Found\r\nLocation: /there\r\nContent-Length: 0".to_owned(), &file[..0])
                    }
                    (true, None) => {
                        (format!("200 OK\r\nContent-Length: {}", file.len()), &file[..file.len() / 2])
                    }
                    (true, Some(from)) => {
                        let from: usize = from.parse().expect("a number");
                        let (last, of) = (file.len() - 1, file.len());
                        let range = format!("Content-Range: bytes {from}-{last}/{of}");
                        let said = format!("206 Partial Content\r\n{range}\r\nContent-Length: {}", of - from);
                        (said, &file[from..])
                    }
                };
                let mut stream = reader.into_inner();
                let _ = stream.write_all(format!("HTTP/1.1 {said}\r\nConnection: close\r\n\r\n").as_bytes());
                let _ = stream.write_all(bytes);
            }
        });
        address
    }

    #[tokio::test]
    async fn what_comes_in_two_halves_from_elsewhere_is_there_in_the_end() {
        let file: Vec<u8> =
            (0..3_000_000u32).map(|number| number.to_le_bytes()[number as usize % 3]).collect();
        let (dir, address) = (tempfile::tempdir().expect("a folder"), mirror(file.clone()));
        let (weights, shelf) = (weights(&file), shelf(dir.path()));
        let cut = pull(weights, &shelf, &address, |_, _| {}).await.expect_err("it breaks off");
        assert_ne!(cut.kind, Kind::Internal, "{cut}");
        assert!(!shelf.path("tiny-q5_1").exists());
        let mut told = Vec::new();
        let path = pull(weights, &shelf, &address, |have, of| told.push((have, of))).await.expect("the rest");
        assert_eq!(std::fs::read(&path).expect("the file"), file);
        assert_eq!(
            (path, std::fs::read_dir(dir.path()).expect("a folder").count()),
            (shelf.path("tiny-q5_1"), 1)
        );
        let all = file.len() as u64;
        assert_eq!((told.first(), told.last()), (Some(&(all / 2, Some(all))), Some(&(all, Some(all)))));
    }

    #[tokio::test]
    async fn what_lies_in_a_folder_is_copied() {
        let (from, to) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let file = vec![7; 600_000];
        std::fs::write(from.path().join("ggml-tiny-q5_1.bin"), &file).expect("room");
        let (mirror, shelf) = (from.path().to_string_lossy(), shelf(to.path()));
        let path = pull(weights(&file), &shelf, &mirror, |_, _| {}).await.expect("it is there");
        assert_eq!(std::fs::read(path).expect("the file"), file);
        let other = pull(Weights { sha1: "", ..weights(&file) }, &shelf, &mirror, |_, _| {}).await;
        assert_eq!(other.expect_err("it is something else").kind, Kind::Internal);
        assert!(shelf.path("tiny-q5_1").exists(), "what was there stays");
    }
}
