//! A warming as it is ordered and told of: JSON in, a line for each question out.

use super::Gateway;
use super::inquiry::{Defaults, Inquiry};
use super::warm::{Manner, Outcome, Warmed, Wish};
use crate::domain::{Error, Kind};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// `{"requests": [{"path": "/api/chat", "body": {…}}, …]}`, with `path` bodies alone; or
/// `{"model": "llama3", "most": 100}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    requests: Vec<Box<RawValue>>,
    path: Option<String>,
    key_name: Option<String>,
    team: Option<String>,
    model: Option<String>,
    most: Option<usize>,
    #[serde(default)]
    dry_run: bool,
    /// Requests a second.
    rate: Option<f64>,
}

/// How many there were of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Tally {
    pub known: usize,
    pub loaded: usize,
    pub asked: usize,
    pub unknown: usize,
    pub unfit: usize,
    pub failed: usize,
}

/// The last line.
#[derive(Serialize)]
struct Done {
    done: bool,
    #[serde(flatten)]
    tally: Tally,
    seconds: f64,
}

/// So many entries may be asked for by their use.
const MOST: usize = 10_000;
/// After so long without news a line says that there is none.
const SILENCE: Duration = Duration::from_secs(10);
/// Lines that may wait for who reads them.
const WAITING: usize = 16;

impl Gateway {
    /// Does what is `written`, at `rate` unless that says otherwise, and writes a line on each question: first
    /// how many there are, last how many came to what. Ends early when nobody reads the lines.
    ///
    /// # Errors
    /// `BadRequest` for what is no such order; `NotFound` where the tiers cannot say what is used most.
    pub async fn warm_as_written(
        &self,
        written: &[u8],
        rate: f64,
        lines: &mpsc::Sender<Bytes>,
    ) -> Result<(), Error> {
        let wrong = |error: serde_json::Error| Error::new(Kind::BadRequest, error.to_string());
        let written: Written = serde_json::from_slice(written).map_err(wrong)?;
        let manner = Manner { dry: written.dry_run, rate: written.rate.unwrap_or(rate) };
        let wishes = self.wishes(written).await?;
        if lines.send(line(&serde_json::json!({ "of": wishes.len() }))).await.is_err() {
            return Ok(());
        }
        let began = Instant::now();
        let tally = self.warm_and_tell(wishes, manner, Some(lines)).await;
        let done = Done { done: true, tally, seconds: began.elapsed().as_secs_f64() };
        let _ = lines.send(line(&done)).await;
        Ok(())
    }

    /// Grants `wishes`, and counts what came of them.
    pub async fn warm_and_tell(
        &self,
        wishes: Vec<Wish>,
        manner: Manner,
        lines: Option<&mpsc::Sender<Bytes>>,
    ) -> Tally {
        let (told, mut heard) = mpsc::channel(WAITING);
        let work = async move { self.warm(wishes, manner, &told).await };
        let tell = async move {
            let mut tally = Tally::default();
            loop {
                let Ok(heard) = tokio::time::timeout(SILENCE, heard.recv()).await else {
                    let waits = line(&serde_json::json!({ "waits": true }));
                    match lines {
                        Some(lines) if lines.send(waits).await.is_err() => break,
                        _ => continue,
                    }
                };
                let Some(warmed) = heard else { break };
                tally.count(&warmed);
                if let Some(lines) = lines
                    && lines.send(line(&warmed)).await.is_err()
                {
                    break;
                }
            }
            tally
        };
        tokio::join!(work, tell).1
    }

    async fn wishes(&self, written: Written) -> Result<Vec<Wish>, Error> {
        let Written { requests, path, key_name, team, model, most, .. } = written;
        if let Some(most) = most {
            if !requests.is_empty() {
                return Err(Error::new(
                    Kind::BadRequest,
                    "give either requests, or how many of the most used",
                ));
            }
            let wishes = self.most_used(model.as_deref(), most.min(MOST)).await;
            return wishes.ok_or_else(|| Error::new(Kind::NotFound, "no tier can say what is used most"));
        }
        let policy = self.policy.load_full();
        let defaults =
            Defaults { path: path.as_deref(), key_name: key_name.as_deref(), team: team.as_deref() };
        let wish = |request: &RawValue| {
            Wish::Asked(Box::new(Inquiry::read_with(request.get().as_bytes(), &defaults, &policy)))
        };
        Ok(requests.iter().map(|request| wish(request)).collect())
    }
}

impl Tally {
    fn count(&mut self, warmed: &Warmed) {
        let count = match warmed.result {
            Outcome::Known => &mut self.known,
            Outcome::Loaded => &mut self.loaded,
            Outcome::Asked => &mut self.asked,
            Outcome::Unknown => &mut self.unknown,
            Outcome::Unfit => &mut self.unfit,
            Outcome::Failed => &mut self.failed,
        };
        *count += 1;
    }
}

fn line(value: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
