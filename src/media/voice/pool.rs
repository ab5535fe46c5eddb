//! The processes that listen: started when they are needed, kept while they may be needed again, and ended when they
//! do not behave. What one of them does harms nobody but the request that it was for.

use super::message::shortened;
use super::seats::{Seat, Seats};
use super::worker::Worker;
use super::{Config, Flaw, Heard, Limits, Missing, Model, Shelf, Task};
use crate::domain::Passage;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

/// Between two looks at who is not needed any more.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bytes of a second of a recording: its samples, and what the engine makes of them.
const EACH_SECOND: u64 = 128_000;
/// The cores that one recording is given where the settings do not say.
const MOST_CORES: usize = 4;

/// Why nothing is written down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Refused(#[from] Flaw),
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error("too many recordings wait to be listened to")]
    Busy,
    #[error("the model needs {needed} MiB, and `audio.max_memory` are {most}")]
    TooLarge { needed: u64, most: u64 },
    #[error("listening to the recording took too long")]
    Slow,
    #[error("the process that listened has died")]
    Died,
    #[error("the process that listens cannot go on: {0}")]
    Failed(String),
    #[error("this Pannier was built without speech to text")]
    NotBuiltIn,
}

/// All of them.
pub struct Transcribers {
    pub shelf: Shelf,
    config: Config,
    /// So many are at work.
    seats: Arc<Seats>,
    /// Mebibytes that all may take together.
    memory: Arc<Semaphore>,
    /// Those that wait to be asked, the one that has waited longest first.
    idle: Mutex<VecDeque<Worker>>,
    returned: Notify,
    /// Told of each that ends amidst its work, or by itself.
    lost: Box<dyn Fn() + Send + Sync>,
    is_well: AtomicBool,
    digests: Mutex<HashMap<PathBuf, Digest>>,
    /// One file of weights is read at a time: they are large, and all want the same.
    digesting: tokio::sync::Mutex<()>,
}

/// Of weights that were of that length and written then.
struct Digest {
    length: u64,
    written: u128,
    digest: Arc<str>,
}

/// A recording that lies open before somebody who listens. Dropped, it is put away, and so is whoever is in the middle
/// of it.
pub struct Sitting {
    worker: Option<Worker>,
    _seat: Seat,
    pool: Arc<Transcribers>,
    pub heard: Heard,
}

/// Where somebody who listens comes from.
enum Room {
    Taken(Box<Worker>),
    Free(OwnedSemaphorePermit),
}

/// One of those who wait.
struct Place<'a>(&'a AtomicUsize);

impl Transcribers {
    /// `dir`: where models are that are not said to be elsewhere. `lost` is told of each process that ends amidst its
    /// work, or by itself.
    pub fn new(config: &Config, dir: PathBuf, lost: impl Fn() + Send + Sync + 'static) -> Self {
        Transcribers {
            shelf: Shelf::new(config, dir),
            seats: Seats::new(config.workers, config.max_waiting),
            memory: Arc::new(Semaphore::new(mebibytes(config.max_memory as u64) as usize)),
            idle: Mutex::default(),
            returned: Notify::new(),
            lost: Box::new(lost),
            is_well: AtomicBool::new(true),
            digests: Mutex::default(),
            digesting: tokio::sync::Mutex::default(),
            config: config.clone(),
        }
    }

    /// Opens a recording before somebody who has `model`, when it is the client's turn. Whoever leaves before gives the
    /// turn up.
    ///
    /// # Errors
    /// Why it cannot be listened to.
    pub async fn open(
        self: &Arc<Self>,
        model: &Model,
        audio: &Bytes,
        client: &Arc<str>,
    ) -> Result<Sitting, Fault> {
        if cfg!(not(feature = "audio")) {
            return Err(Fault::NotBuiltIn);
        }
        let turn = async { self.seats.take(client).await.ok_or(Fault::Busy) };
        let seat = self.in_time(turn).await?;
        let mut worker = self.worker(model).await?;
        let heard = match worker.open(audio).await {
            Ok(heard) => heard,
            Err(fault) => {
                // What a recording does to those who open it is the recording's fault.
                let is_of_its_own = matches!(fault, Fault::Died) && !worker.was_killed().await;
                self.put_back(worker);
                return Err(if is_of_its_own { Flaw::broken("its decoder gave up").into() } else { fault });
            }
        };
        Ok(Sitting { worker: Some(worker), _seat: seat, pool: self.clone(), heard })
    }

    /// Waits for others, as one of the few that are counted in `line`.
    ///
    /// # Errors
    /// When too many wait, or it takes too long.
    pub async fn in_line<T>(
        &self,
        line: &AtomicUsize,
        turn: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let _place = Place::among(line, self.config.max_waiting).ok_or(Fault::Busy)?;
        self.in_time(turn).await
    }

    /// Nobody waits for others for longer than listening may take.
    async fn in_time<T>(&self, waiting: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        match self.timeout() {
            Some(timeout) => tokio::time::timeout(timeout, waiting).await.unwrap_or(Err(Fault::Busy)),
            None => waiting.await,
        }
    }

    /// How long all of it may take.
    pub fn timeout(&self) -> Option<Duration> {
        Some(self.config.timeout).filter(|timeout| !timeout.is_zero())
    }

    /// What listens with a model: what its numbers are made of may make it hear something else.
    pub fn engine(&self, model: &Model) -> String {
        match self.config.unpack && model.cast.is_packed() {
            true => format!("{}, of eight bits", super::engine()),
            false => super::engine().to_owned(),
        }
    }

    /// Whether what is no speech is left out.
    pub fn skips_silence(&self) -> bool {
        self.config.vad
    }

    /// Requests that wait for their turn.
    pub fn waiting(&self) -> usize {
        self.seats.waiting()
    }

    /// Whether the process that was started last came up; as long as none was, it is taken for granted.
    pub fn is_well(&self) -> bool {
        self.is_well.load(Ordering::Relaxed)
    }

    /// Processes that wait to be asked.
    pub fn idle(&self) -> usize {
        self.idlers().len()
    }

    /// Of the weights, wherever they lie; read once while the file stays the same.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn digest(&self, model: &Model) -> Result<Arc<str>, Fault> {
        let (length, written) = (model.cast.length, model.written);
        let known = || {
            let digests = locked(&self.digests);
            let known = digests.get(&model.path)?;
            ((known.length, known.written) == (length, written)).then(|| known.digest.clone())
        };
        if let Some(digest) = known() {
            return Ok(digest);
        }
        let _alone = self.digesting.lock().await;
        if let Some(digest) = known() {
            return Ok(digest);
        }
        let path = model.path.clone();
        let hash =
            move || blake3::Hasher::new().update_reader(File::open(path)?).map(|hasher| hasher.finalize());
        let hash = tokio::task::spawn_blocking(hash).await.unwrap_or_else(|_| Err(ErrorKind::Other.into()));
        let hash = hash.map_err(|error| Fault::Failed(shortened(error)))?;
        let digest = Arc::<str>::from(hash.to_hex().as_str());
        let known = Digest { length, written, digest: digest.clone() };
        locked(&self.digests).insert(model.path.clone(), known);
        Ok(digest)
    }

    /// Ends those that have not been needed for a while, until `stop`; then all.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            let keep_alive = self.config.keep_alive;
            self.idlers().retain_mut(|idle| self.is_there(idle) && idle.used.elapsed() < keep_alive);
            self.returned.notify_waiters();
        }
        self.idlers().clear();
    }

    /// One that has the model, of those that are there, or a new one.
    async fn worker(&self, model: &Model) -> Result<Worker, Fault> {
        let memory = match self.in_time(self.room(model)).await? {
            Room::Taken(worker) => return Ok(*worker),
            Room::Free(memory) => memory,
        };
        let threads = match self.config.threads {
            0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_CORES)),
            threads => threads,
        };
        let limits = Limits {
            model: model.path.to_string_lossy().into_owned(),
            unpack: self.config.unpack,
            memory: self.needs(model),
            max_duration: u64::try_from(self.config.max_duration.as_millis()).unwrap_or(u64::MAX),
            threads,
        };
        let started = Worker::start(model, limits, memory).await;
        self.is_well.store(started.is_ok(), Ordering::Relaxed);
        started.map_err(|fault| match fault {
            Fault::Died => Fault::Failed("it does not come up".to_owned()),
            Fault::Failed(why) => Fault::Failed(shortened(why)),
            other => other,
        })
    }

    fn idle_with(&self, model: &Model) -> Option<Worker> {
        let mut idle = self.idlers();
        idle.retain_mut(|worker| self.is_there(worker));
        let last = idle.iter().rposition(|worker| worker.model == *model)?;
        idle.remove(last)
    }

    /// Bytes that a process may take: for its model, and for the longest recording.
    fn needs(&self, model: &Model) -> u64 {
        model
            .cast
            .memory(self.config.unpack)
            .saturating_add(self.config.max_duration.as_secs().saturating_mul(EACH_SECOND))
    }

    /// One of those who wait who has the model; or else memory for one more, for which those go that are not needed now.
    async fn room(&self, model: &Model) -> Result<Room, Fault> {
        let (needed, most) = (mebibytes(self.needs(model)), mebibytes(self.config.max_memory as u64));
        if needed > most {
            return Err(Fault::TooLarge { needed: needed.into(), most: most.into() });
        }
        loop {
            let returned = self.returned.notified();
            if let Some(worker) = self.idle_with(model) {
                return Ok(Room::Taken(Box::new(worker)));
            }
            if let Ok(memory) = self.memory.clone().try_acquire_many_owned(needed) {
                return Ok(Room::Free(memory));
            }
            let oldest = self.idlers().pop_front();
            if oldest.is_none() {
                returned.await;
            }
        }
    }

    /// Whoever is not ready for more is ended.
    fn put_back(&self, mut worker: Worker) {
        if !worker.is_quiet {
            (self.lost)();
            drop(worker);
        } else if self.is_there(&mut worker) && !self.config.keep_alive.is_zero() {
            self.idlers().push_back(worker);
        } else {
            drop(worker);
        }
        self.returned.notify_waiters();
    }

    fn is_there(&self, worker: &mut Worker) -> bool {
        let is_alive = worker.is_alive();
        if !is_alive {
            (self.lost)();
        }
        is_alive
    }

    fn idlers(&self) -> MutexGuard<'_, VecDeque<Worker>> {
        locked(&self.idle)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sitting {
    /// Begins to write down what is said.
    ///
    /// # Errors
    /// When nobody listens any more.
    pub async fn begin(&mut self, task: &Task) -> Result<(), Fault> {
        self.worker()?.begin(task).await
    }

    /// What is said next; after the end there is nothing to be asked for.
    ///
    /// # Errors
    /// Why nothing more is written down.
    pub async fn next(&mut self) -> Result<Passage, Fault> {
        self.worker()?.next().await
    }

    fn worker(&mut self) -> Result<&mut Worker, Fault> {
        self.worker.as_mut().ok_or(Fault::Died)
    }
}

impl Drop for Sitting {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            self.pool.put_back(worker);
        }
    }
}

impl<'a> Place<'a> {
    fn among(all: &'a AtomicUsize, most: usize) -> Option<Self> {
        let place = (all.fetch_add(1, Ordering::Relaxed), Place(all));
        (place.0 < most).then_some(place.1)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn mebibytes(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX)
}
