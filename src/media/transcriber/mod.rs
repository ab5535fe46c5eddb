//! The process that listens, seen from within: opens recordings, and writes down what is said in them.
//!
//! All that comes from outside is parsed here and nowhere else. What goes wrong here harms one request.

mod allowance;
mod decode;
mod engine;
mod length;
mod limits;
mod resample;
mod silence;
mod weights;
mod words;

use super::voice::{Ask, Flaw, Heard, Say, read_frame, write_frame};
use allowance::Allowance;
use engine::Engine;
use silence::Silence;
use std::io::{self, Stdin, Stdout};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

pub use weights::load;

/// What listens.
pub fn engine() -> &'static str {
    static ENGINE: LazyLock<String> =
        LazyLock::new(|| format!("whisper.cpp {}, silero 6.2.0", whisper_rs::WHISPER_CPP_VERSION));
    &ENGINE
}

/// Samples a second of what is listened to, of one channel.
const RATE: u32 = 16_000;

/// A recording that lies open.
struct Open {
    samples: Vec<f32>,
    took: Duration,
}

/// What this process is for, until its parent has no more to ask.
struct Transcriber {
    to: Stdout,
    model: PathBuf,
    /// Its weights of five bits are to lie in memory as such of eight.
    unpack: bool,
    threads: usize,
    max_duration: Duration,
    allowance: Arc<Allowance>,
    /// From when it is needed first.
    engine: Option<Engine>,
    silence: Option<Silence>,
    open: Option<Open>,
}

/// Does what the parent asks on standard input, and says on standard output what came of it.
///
/// # Errors
/// When the parent breaks off in the middle of what it says.
pub fn run() -> io::Result<()> {
    // Not to be printed where only messages may stand.
    whisper_rs::install_logging_hooks();
    limits::leave_with_the_parent();
    limits::take_large_pages();
    let mut from = io::stdin();
    let Some(Ask::Begin(limits)) = next(&mut from)? else { return Ok(()) };
    limits::lower(limits.memory);
    let allowance = Arc::<Allowance>::default();
    limits::leave_what_is_hopeless(allowance.clone());
    let mut transcriber = Transcriber {
        to: io::stdout(),
        model: limits.model.into(),
        unpack: limits.unpack,
        threads: limits.threads.max(1),
        max_duration: Duration::from_millis(limits.max_duration),
        allowance,
        engine: None,
        silence: None,
        open: None,
    };
    transcriber.say(&Say::Ready)?;
    while let Some(ask) = next(&mut from)? {
        match ask {
            Ask::Begin(_) => {}
            Ask::Open => {
                let Some(audio) = read_frame(&mut from)? else { break };
                let said = transcriber.open(audio);
                transcriber.say(&said)?;
            }
            Ask::Write(task) => transcriber.write(&task)?,
        }
    }
    Ok(())
}

fn next(from: &mut Stdin) -> io::Result<Option<Ask>> {
    let Some(frame) = read_frame(from)? else { return Ok(None) };
    serde_json::from_slice(&frame).map(Some).map_err(io::Error::from)
}

impl Transcriber {
    fn open(&mut self, audio: Vec<u8>) -> Say {
        self.open = None;
        let began = Instant::now();
        self.allowance.begin();
        let decoding = AssertUnwindSafe(|| decode::decode(audio, self.max_duration, &self.allowance));
        // A decoder that panics has met a recording that cannot be read.
        let decoded = catch_unwind(decoding).unwrap_or_else(|_| Err(Flaw::broken("its decoder gave up")));
        self.allowance.end();
        match decoded {
            Ok(samples) => {
                let heard = Heard { hash: hash(&samples), duration: nanoseconds(samples.len()) };
                self.open = Some(Open { samples, took: began.elapsed() });
                Say::Heard(heard)
            }
            Err(flaw) => Say::Refused(flaw),
        }
    }

    fn say(&mut self, say: &Say) -> io::Result<()> {
        write_frame(&mut self.to, &serde_json::to_vec(say)?)
    }
}

/// Of the samples as they are listened to: the same words in another format have another one.
fn hash(samples: &[f32]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = Vec::with_capacity(1 << 16);
    for samples in samples.chunks(1 << 14) {
        bytes.clear();
        bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
        hasher.update(&bytes);
    }
    *hasher.finalize().as_bytes()
}

/// How long so many samples last.
fn nanoseconds(samples: usize) -> u64 {
    samples as u64 * (1_000_000_000 / u64::from(RATE))
}
