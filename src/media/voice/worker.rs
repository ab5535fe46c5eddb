//! One process that listens, seen from outside.

use super::frames::LONGEST;
use super::{Ask, Fault, Heard, Limits, Model, Say, Task};
use crate::domain::Passage;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::OwnedSemaphorePermit;

/// It has this long to begin, and to open a recording, for which it has a part of the longest one's time besides. What
/// a recording may take of a processor it bounds by itself, and much sooner; this is for one that is held up.
const PATIENCE: Duration = Duration::from_secs(30);
const OF_THE_LONGEST: u32 = 10;
/// What it says is no longer, but for a recording.
const LONGEST_SAYING: usize = 1 << 20;

/// A process with a model of its own. Dropped, it is killed.
pub struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub model: Model,
    /// It waits to be asked.
    pub is_quiet: bool,
    /// When it last had something to do.
    pub used: Instant,
    /// How long it may take to open a recording.
    patience: Duration,
    /// Its part of the memory that all may take.
    _memory: OwnedSemaphorePermit,
}

impl Worker {
    /// # Errors
    /// When it does not come up.
    pub async fn start(model: &Model, limits: Limits, memory: OwnedSemaphorePermit) -> Result<Self, Fault> {
        let mut child = command().spawn().map_err(|error| Fault::Failed(error.to_string()))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Fault::Failed("it has no pipes".to_owned()));
        };
        let mut worker = Worker {
            child,
            input,
            output: BufReader::new(output),
            model: model.clone(),
            is_quiet: false,
            used: Instant::now(),
            patience: PATIENCE + Duration::from_millis(limits.max_duration) / OF_THE_LONGEST,
            _memory: memory,
        };
        worker.ask(&Ask::Begin(limits)).await?;
        match within(PATIENCE, worker.hear()).await? {
            Say::Ready => {
                worker.is_quiet = true;
                Ok(worker)
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Has it open a recording.
    ///
    /// # Errors
    /// `Refused` where it is none.
    pub async fn open(&mut self, audio: &[u8]) -> Result<Heard, Fault> {
        self.is_quiet = false;
        let opened = within(self.patience, async {
            self.ask(&Ask::Open).await?;
            self.send(audio).await?;
            self.hear().await
        });
        let said = opened.await?;
        self.rest();
        match said {
            Say::Heard(heard) => Ok(heard),
            Say::Refused(flaw) => Err(Fault::Refused(flaw)),
            other => Err(unexpected(&other)),
        }
    }

    /// Has it write down what is said in the recording that it opened last.
    ///
    /// # Errors
    /// When it is gone.
    pub async fn begin(&mut self, task: &Task) -> Result<(), Fault> {
        self.is_quiet = false;
        self.ask(&Ask::Write(task.clone())).await
    }

    /// The next passage; after the last there is none to be asked for.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn next(&mut self) -> Result<Passage, Fault> {
        match self.hear().await? {
            Say::Passage(passage) => {
                if matches!(passage, Passage::End(_)) {
                    self.rest();
                }
                Ok(passage)
            }
            Say::Refused(flaw) => {
                self.rest();
                Err(Fault::Refused(flaw))
            }
            Say::Failed(why) => Err(Fault::Failed(why)),
            other => Err(unexpected(&other)),
        }
    }

    /// Whether it is still there.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Whether somebody else has ended it, who knows nothing of what it was at: an operator, or a system without memory.
    pub async fn was_killed(&mut self) -> bool {
        /// SIGHUP, SIGINT, SIGKILL and SIGTERM: what others send, and nothing that goes wrong within.
        const OTHERS: [i32; 4] = [1, 2, 9, 15];
        let ended = within(PATIENCE, async { self.child.wait().await.map_err(|_| Fault::Died) }).await;
        ended.is_ok_and(|status| status.signal().is_some_and(|signal| OTHERS.contains(&signal)))
    }

    fn rest(&mut self) {
        (self.is_quiet, self.used) = (true, Instant::now());
    }

    async fn ask(&mut self, ask: &Ask) -> Result<(), Fault> {
        let ask = serde_json::to_vec(ask).map_err(|error| Fault::Failed(error.to_string()))?;
        self.send(&ask).await
    }

    async fn send(&mut self, frame: &[u8]) -> Result<(), Fault> {
        let length = u32::try_from(frame.len()).ok().filter(|length| *length as usize <= LONGEST);
        let length = length.ok_or(Fault::Failed("the recording is too large".to_owned()))?;
        let sent = async {
            self.input.write_all(&length.to_le_bytes()).await?;
            self.input.write_all(frame).await?;
            self.input.flush().await
        };
        sent.await.map_err(|_: io::Error| Fault::Died)
    }

    async fn hear(&mut self) -> Result<Say, Fault> {
        let length = self.output.read_u32_le().await.map_err(|_| Fault::Died)? as usize;
        if length > LONGEST_SAYING {
            return Err(Fault::Failed("it says more than anybody listens to".to_owned()));
        }
        let mut frame = vec![0; length];
        self.output.read_exact(&mut frame).await.map_err(|_| Fault::Died)?;
        serde_json::from_slice(&frame)
            .map_err(|_| Fault::Failed("it says what nobody understands".to_owned()))
    }
}

async fn within<T>(time: Duration, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::time::timeout(time, work).await.unwrap_or(Err(Fault::Slow))
}

fn unexpected(said: &Say) -> Fault {
    match said {
        Say::Failed(why) => Fault::Failed(why.clone()),
        _ => Fault::Failed("it says what it was not asked".to_owned()),
    }
}

/// This very program, with nothing of the surroundings but where its libraries are.
fn command() -> Command {
    let mut command = Command::new(program());
    command.arg0("pannier").arg("transcriber").env_clear().kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(libraries) = std::env::var_os("LD_LIBRARY_PATH") {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    // One heap, of which no more is asked for than is used: what it takes is bounded.
    command.env("MALLOC_ARENA_MAX", "1").env("MIMALLOC_ARENA_EAGER_COMMIT", "0");
    // An engine that gives up would have a debugger write down why, on a pipe for other things.
    command.env("GGML_NO_BACKTRACE", "1");
    command
}

/// Also where its file has been replaced by a newer one.
fn program() -> PathBuf {
    let running = Path::new("/proc/self/exe");
    match running.exists() {
        true => running.to_owned(),
        false => std::env::current_exe().unwrap_or_else(|_| "pannier".into()),
    }
}
