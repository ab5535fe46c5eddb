//! A trip that leads to no upstream: to a process that listens.

use crate::dialect::transcript;
use crate::domain::{Error, Fingerprint, Passage};
use crate::media::voice::{Fault, Heard, Model, Sitting, Task, Transcribers};
use crate::upstream::{Head, Identity};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// What is to be written down, and by whom.
pub struct Job {
    transcribers: Arc<Transcribers>,
    model: Model,
    audio: Bytes,
    task: Task,
    /// For whom it is.
    client: Arc<str>,
    /// The recording may lie open already.
    sitting: Mutex<Option<Sitting>>,
}

/// Somebody who listens. Dropped before the end, the process is ended with it.
pub struct Listening {
    head: Head,
    sitting: Sitting,
    /// What was said first, while nobody has been told of it.
    first: Option<Passage>,
    until: Option<Instant>,
    has_ended: bool,
}

impl Job {
    pub fn new(
        transcribers: Arc<Transcribers>,
        model: Model,
        audio: Bytes,
        task: Task,
        client: Arc<str>,
        sitting: Option<Sitting>,
    ) -> Self {
        Job { transcribers, model, audio, task, client, sitting: Mutex::new(sitting) }
    }

    /// Begins, and waits for what is said first: what keeps anybody from listening is known then.
    ///
    /// # Errors
    /// Why nobody listens.
    pub async fn begin(&self) -> Result<Listening, Error> {
        let open = self.sitting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut sitting = match open {
            Some(sitting) => sitting,
            None => self.transcribers.open(&self.model, &self.audio, &self.client).await?,
        };
        sitting.begin(&self.task).await?;
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        let head = Head { status: StatusCode::OK, headers: HeaderMap::from_iter([kind]) };
        let until = self.transcribers.timeout().map(|timeout| Instant::now() + timeout);
        let mut listening = Listening { head, sitting, first: None, until, has_ended: false };
        listening.first = Some(listening.next().await?);
        Ok(listening)
    }
}

impl Listening {
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next line of the transcript; `None` at its end.
    ///
    /// # Errors
    /// Why it does not go on.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if self.has_ended {
            return Ok(None);
        }
        let passage = match self.first.take() {
            Some(first) => first,
            None => self.next().await?,
        };
        self.has_ended = matches!(passage, Passage::End(_));
        Ok(transcript::line(&passage))
    }

    async fn next(&mut self) -> Result<Passage, Fault> {
        let next = self.sitting.next();
        match self.until {
            Some(until) => tokio::time::timeout_at(until, next).await.unwrap_or(Err(Fault::Slow)),
            None => next.await,
        }
    }
}

/// Of all that decides what is written down, except the model.
pub fn fingerprint(heard: &Heard, task: &Task) -> Fingerprint {
    let Task { translate, language, prompt, temperature, vad } = task;
    let mut hasher = blake3::Hasher::new_derive_key("pannier 2026-11 what is said in a recording");
    hasher.update(&heard.hash);
    hasher.update(&[u8::from(*translate), u8::from(*vad)]);
    hasher.update(&temperature.to_bits().to_le_bytes());
    for text in [language, prompt] {
        // `None` is not the empty text, and no text runs into the next.
        let length = text.as_ref().map_or(u64::MAX, |text| text.len() as u64);
        hasher.update(&length.to_le_bytes());
        hasher.update(text.as_deref().unwrap_or_default().as_bytes());
    }
    Fingerprint(*hasher.finalize().as_bytes())
}

/// By its weights, wherever they lie, and by what listens with them.
pub fn identity(transcribers: &Transcribers, model: &Model, digest: Arc<str>) -> Identity {
    let (name, version) = (model.name.clone(), transcribers.engine(model).into());
    Identity { name, digest, version, remote: false, epoch: 0, since: 0 }
}
