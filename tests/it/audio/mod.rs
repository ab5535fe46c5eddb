//! `/v1/audio/*` and `/audio/*`: what is said in recordings, by real weights.
//!
//! Weights and recordings are no part of the repository. They are looked for in `PANNIER_TEST_ASSETS`, or beside the
//! checkout in `shared/assets`; where there are none, what needs them says that it is skipped.

mod answers;
mod bad;
mod books;
mod faults;
mod foreign;
mod kept;
mod models;
mod pool;

use crate::stage::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

/// Listening takes all of a core: one test at a time does.
static LISTENING: Mutex<()> = Mutex::const_new(());

/// How long a busy machine may take to write down a few words.
const MINUTES: Duration = Duration::from_secs(300);

const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";
const SENTENCE: &str = "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country.";

/// The folder of real recordings and weights.
fn assets() -> Option<PathBuf> {
    let given = std::env::var_os("PANNIER_TEST_ASSETS").map(PathBuf::from);
    let folder = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/assets"));
    let is_there =
        folder.join("whisper/ggml-tiny-q5_1.bin").is_file() && folder.join("audio/jfk.wav").is_file();
    if !is_there {
        eprintln!(
            "SKIPPED: no whisper/ggml-tiny-q5_1.bin, or no audio/jfk.wav, in PANNIER_TEST_ASSETS ({folder:?})"
        );
    }
    is_there.then_some(folder)
}

/// Real assets, an upstream, and a Pannier in front of it that has the weights.
struct Studio {
    assets: PathBuf,
    upstream: Upstream,
    pannier: Pannier,
    _listening: MutexGuard<'static, ()>,
}

/// The same without weights: there is a model in name only, with which recordings are opened and no more.
struct Lobby {
    upstream: Upstream,
    pannier: Pannier,
    models: TempDir,
}

impl Studio {
    async fn open() -> Option<Studio> {
        Studio::open_with(|launch| launch).await
    }

    async fn open_with(settings: impl FnOnce(Launch) -> Launch) -> Option<Studio> {
        let assets = assets()?;
        let _listening = LISTENING.lock().await;
        let upstream = Upstream::start().await;
        let launch = Launch::before(&upstream).set("audio.model", "tiny").set("audio.threads", "1");
        let launch = launch.set("audio.models_dir", &assets.join("whisper").to_string_lossy());
        let pannier = settings(launch).start().await;
        Some(Studio { assets, upstream, pannier, _listening })
    }

    fn recording(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.assets.join("audio").join(name)).expect("a recording")
    }

    /// What is said in a recording, by OpenAI's route.
    async fn hear(&self, recording: &str, fields: &[(&str, &str)]) -> Reply {
        patiently(&self.pannier, &form(TRANSCRIPTIONS, &self.recording(recording), fields)).await
    }
}

impl Lobby {
    async fn open() -> Lobby {
        Lobby::open_with(|launch| launch).await
    }

    async fn open_with(settings: impl FnOnce(Launch) -> Launch) -> Lobby {
        let models = TempDir::new().expect("a folder");
        std::fs::write(models.path().join("ggml-tiny.bin"), Lobby::weights()).expect("room");
        let upstream = Upstream::start().await;
        let launch = Launch::before(&upstream).set("audio.model", "tiny").set("audio.download", "false");
        let launch = launch.set("audio.models_dir", &models.path().to_string_lossy());
        let pannier = settings(launch).start().await;
        Lobby { upstream, pannier, models }
    }

    /// As many as there are in the head of a file of weights: none.
    fn weights() -> Vec<u8> {
        let head = [0x6767_6d6c_u32, 51_865, 1500, 384, 6, 4, 448, 384, 6, 4, 80, 1];
        head.iter().flat_map(|number| number.to_le_bytes()).collect()
    }
}

/// Asks, and waits for as long as listening takes.
async fn patiently(pannier: &Pannier, ask: &Ask) -> Reply {
    let mut wire = pannier.open().await;
    wire.ask(ask).await;
    tokio::time::timeout(MINUTES, wire.something()).await.expect("an answer");
    wire.reply(&ask.method).await
}

/// The processes that listen for a Pannier.
fn transcribers(pannier: &Pannier) -> Vec<i32> {
    let parent = pannier.id().to_string();
    let is_one = |id: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // The name may have anything in it, but ends with the last bracket.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let is_dead = matches!(fields.next(), Some("Z" | "X") | None);
        !is_dead && fields.next() == Some(parent.as_str())
    };
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(is_one).collect()
}

/// Bytes of data that a process has.
fn data_of(process: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("its status");
    let data = status.lines().find_map(|line| line.strip_prefix("VmData:")).expect("VmData");
    data.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// A WAV of 16-bit samples of one channel.
fn wav(rate: u32, samples: impl Iterator<Item = i16>) -> Vec<u8> {
    let data: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    let length = u32::try_from(data.len()).expect("a short one");
    let mut file = Vec::new();
    file.extend(b"RIFF");
    file.extend((length + 36).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16u32.to_le_bytes());
    file.extend([1u16, 1].iter().flat_map(|number| number.to_le_bytes()));
    file.extend([rate, rate.wrapping_mul(2)].iter().flat_map(|number| number.to_le_bytes()));
    file.extend([2u16, 16].iter().flat_map(|number| number.to_le_bytes()));
    file.extend(b"data");
    file.extend(length.to_le_bytes());
    file.extend(data);
    file
}

/// A form with a file in it.
fn form(path: &str, file: &[u8], fields: &[(&str, &str)]) -> Ask {
    let mut body = Vec::new();
    for (name, value) in fields {
        let head = format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend(head.as_bytes());
    }
    let head = "--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"../../a.wav\"\r\n\r\n";
    body.extend(head.as_bytes());
    body.extend(file);
    body.extend(b"\r\n--edge--\r\n");
    Ask::new("POST", path).with("Content-Type", "multipart/form-data; boundary=edge").bytes(body)
}

/// The part of words that are wrong, missing or too many.
fn error_rate(said: &Value, wanted: &str) -> f64 {
    let words = |text: &str| -> Vec<String> {
        let plain = text.to_lowercase().replace(|c: char| !c.is_alphanumeric(), " ");
        plain.split_whitespace().map(str::to_owned).collect()
    };
    let (said, wanted) = (words(said.as_str().expect("a text")), words(wanted));
    let mut row: Vec<usize> = (0..=wanted.len()).collect();
    for (at, word) in said.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, other) in wanted.iter().enumerate() {
            let cost = diagonal + usize::from(word != other);
            diagonal = row[column + 1];
            row[column + 1] = cost.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[wanted.len()] as f64 / wanted.len() as f64
}
