//! `/v1/audio/*` and `/audio/*`: what is said in recordings, by real weights.
//!
//! Weights and recordings are no part of the repository. They are looked for in `PANNIER_TEST_ASSETS`, or beside the
//! checkout in `shared/assets`; where there are none, what needs them says that it is skipped.

mod answers;

use crate::stage::*;
use serde_json::Value;
use std::path::{Path, PathBuf};

const TRANSCRIPTIONS: &str = "/v1/audio/transcriptions";
const SENTENCE: &str =
    "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country.";

/// The folder of real recordings and weights.
fn assets() -> Option<PathBuf> {
    let given = std::env::var_os("PANNIER_TEST_ASSETS").map(PathBuf::from);
    let folder = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/assets"));
    let is_there = folder.join("whisper/ggml-tiny-q5_1.bin").is_file() && folder.join("audio/jfk.wav").is_file();
    if !is_there {
        eprintln!("SKIPPED: no whisper/ggml-tiny-q5_1.bin, or no audio/jfk.wav, in PANNIER_TEST_ASSETS ({folder:?})");
    }
    is_there.then_some(folder)
}

/// Real assets, an upstream, and a Pannier in front of it that has the weights.
struct Studio {
    assets: PathBuf,
    upstream: Upstream,
    pannier: Pannier,
}

impl Studio {
    async fn open() -> Option<Studio> {
        Studio::open_with(|launch| launch).await
    }

    async fn open_with(settings: impl FnOnce(Launch) -> Launch) -> Option<Studio> {
        let assets = assets()?;
        let upstream = Upstream::start().await;
        let launch = Launch::before(&upstream).set("audio.model", "tiny").set("audio.threads", "1");
        let launch = launch.set("audio.models_dir", &assets.join("whisper").to_string_lossy());
        let pannier = settings(launch).start().await;
        Some(Studio { assets, upstream, pannier })
    }

    fn recording(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.assets.join("audio").join(name)).expect("a recording")
    }

    /// What is said in a recording, by OpenAI's route.
    async fn hear(&self, recording: &str, fields: &[(&str, &str)]) -> Reply {
        self.pannier.ask(&form(TRANSCRIPTIONS, &self.recording(recording), fields)).await
    }
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
