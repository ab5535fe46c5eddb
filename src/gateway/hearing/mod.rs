//! What is asked about recordings: who listens is a model of Pannier's own, and everything else is as with any call.
//! A model that is not Pannier's is the upstream's, and so is the request.

mod job;
mod told;

pub use job::{Job, Listening};

use super::order::{self, Order};
use super::vision::gather;
use super::{Gateway, LONG_READ, Policy, Reply, Request, fetch, query, respond};
use crate::cache::Directives;
use crate::dialect::encoding;
use crate::dialect::transcript::{self, Hearing, Manner, Teller, Wish};
use crate::domain::{Call, Certainty, Error, Fingerprint, Kind, Record, Storable};
use crate::gateway::clearance::may_use;
use crate::gateway::fetch::Fetched;
use crate::media::voice::{self, Fault, Flaw, Heard, Missing, Model, Shelf, Sitting, Task, Transcribers};
use crate::media::{self, open};
use crate::telemetry::{Metrics, RecordingOutcome};
use crate::upstream::{Identity, Verdict};
use bytes::Bytes;
use http::{HeaderValue, header};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Recordings of which it is remembered what is in them.
const KNOWN: u64 = 16_384;
/// Nobody who is turned away need wait longer.
const AGAIN: Duration = Duration::from_secs(5);

/// What is needed to listen.
pub struct Ears {
    pub transcribers: Arc<Transcribers>,
    /// By the hash of a file's bytes.
    known: moka::sync::Cache<[u8; 32], Heard>,
}

/// What a request turns out to be.
enum Reading {
    /// For a model of the upstream's.
    Theirs(String),
    Ours(Box<Wish>, Bytes),
}

/// A recording, and who is to listen to it.
struct Matter {
    name: String,
    model: Model,
    digest: Arc<str>,
    audio: Bytes,
    heard: Heard,
    /// It lies open already.
    sitting: Option<Sitting>,
}

impl Ears {
    /// `dir`: where models are that are not said to be elsewhere.
    pub fn new(config: &voice::Config, dir: PathBuf, metrics: &Arc<Metrics>) -> Self {
        let metrics = metrics.clone();
        let transcribers = Arc::new(Transcribers::new(config, dir, move || metrics.transcriber_lost()));
        Ears { transcribers, known: moka::sync::Cache::new(KNOWN) }
    }

    /// Recordings of which it is known what is in them.
    pub fn known(&self) -> u64 {
        self.known.entry_count()
    }
}

impl Gateway {
    /// Answers what is asked about one recording.
    ///
    /// # Errors
    /// What is to be said to the client instead of an answer.
    pub async fn hear(
        &self,
        request: Request<'_>,
        hearing: Hearing,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        let policy = self.policy.load_full();
        let directives = Directives::read(request.headers)?;
        let verdict = self.way.verdict(&policy, request.origin.as_ref()).await?;
        if verdict.as_ref().is_some_and(|verdict| !verdict.allowed) {
            return Ok(Reply::forbidden());
        }
        let (wish, audio) = match self.read_wish(&request, hearing).await? {
            Reading::Theirs(model) => {
                return self.pass_on(&policy, &request, &model, directives, verdict, record).await;
            }
            Reading::Ours(wish, audio) => (wish, audio),
        };
        let matter = self.matter(&request, &wish, audio).await?;
        let teller = Teller {
            hearing,
            shape: wish.shape,
            grain: wish.grain,
            model: wish.model.clone().unwrap_or_else(|| matter.name.clone()),
        };
        let reply = self.listen(&policy, &request, &wish, matter, directives, record).await?;
        let reply = told::retell(reply, &teller, wish.streamed, record).await?;
        Ok(reply.with_verdict(verdict))
    }

    /// A large body is read without holding up whoever shares the thread.
    async fn read_wish(&self, request: &Request<'_>, hearing: Hearing) -> Result<Reading, Error> {
        let body = encoding::open(request.form, request.content_encoding.as_deref(), &request.body)?.plain;
        let kind = request.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let query = String::from_utf8(query(&request.target)).unwrap_or_default();
        let shelf = &self.way.ears.transcribers.shelf;
        let read = || {
            if hearing.manner == Manner::OpenAi
                && let Some(model) = Wish::model_of(kind, &body)
                && shelf.name_of(Some(&model)).is_none()
            {
                return Ok(Reading::Theirs(model));
            }
            let mut wish = Wish::read(hearing, kind, &query, &body)?;
            let audio = std::mem::replace(&mut wish.audio, crate::domain::Film::Bytes(Bytes::new()));
            let audio = open(audio).map_err(no_bytes)?;
            Ok(Reading::Ours(Box::new(wish), audio))
        };
        if body.len() <= LONG_READ {
            return read();
        }
        let _turn = self.long_reads.acquire().await;
        tokio::task::block_in_place(read)
    }

    /// Which model is to listen, and what is in the recording.
    async fn matter(&self, request: &Request<'_>, wish: &Wish, audio: Bytes) -> Result<Matter, Error> {
        let ears = &self.way.ears;
        let shelf = &ears.transcribers.shelf;
        let name = shelf.name_of(wish.model.as_deref()).ok_or_else(|| {
            Error::new(Kind::NotFound, "there is no such model: tiny, base, small, medium, large and turbo are")
        })?;
        may_use(&request.consumer, None, &Shelf::full(&name))?;
        if cfg!(not(feature = "audio")) {
            return Err(Fault::NotBuiltIn.into());
        }
        let model = shelf.find(&name).map_err(Fault::Missing)?;
        let digest = ears.transcribers.digest(&model).await?;
        let file = *blake3::hash(&audio).as_bytes();
        let counted = |outcome| self.way.metrics.recording(outcome);
        if let Some(heard) = ears.known.get(&file) {
            counted(RecordingOutcome::Known);
            return Ok(Matter { name, model, digest, audio, heard, sitting: None });
        }
        let sitting = ears.transcribers.open(&model, &audio).await.inspect_err(|fault| {
            if matches!(fault, Fault::Refused(_)) {
                counted(RecordingOutcome::Refused);
            }
        })?;
        counted(RecordingOutcome::Decoded);
        let heard = sitting.heard;
        ears.known.insert(file, heard);
        Ok(Matter { name, model, digest, audio, heard, sitting: Some(sitting) })
    }

    /// What is said in it: what is remembered, or what is being written down, or what is to be.
    async fn listen(
        &self,
        policy: &Policy,
        request: &Request<'_>,
        wish: &Wish,
        matter: Matter,
        directives: Directives,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        let Matter { model, digest, audio, heard, sitting, .. } = matter;
        let task = Task {
            translate: wish.hearing.translate,
            language: wish.language.clone(),
            prompt: wish.prompt.clone(),
            temperature: wish.temperature,
            vad: self.way.ears.transcribers.skips_silence(),
        };
        let identity = Identity {
            name: model.name.clone(),
            digest,
            version: voice::ENGINE.into(),
            remote: false,
            epoch: 0,
            since: 0,
        };
        let call = Call {
            fingerprint: fingerprint(&heard, &task),
            certainty: if task.temperature == 0.0 { Certainty::Greedy } else { Certainty::Sampled },
            storable: Storable::Yes,
            ..transcript::call(&model.name, true, Bytes::new())
        };
        let facts = order::facts(&self.way, &call, Some(&identity));
        record.call = Some(facts.clone());
        self.way.ledger.as_ref().map_or(Ok(()), |ledger| ledger.admit(&facts))?;
        let transcribers = self.way.ears.transcribers.clone();
        let own = request.of_own(transcript_target());
        let order = Order {
            request: &own,
            call,
            plain: Bytes::new(),
            facts,
            identity: Some(identity),
            directives,
            era: self.way.stock.era(),
            replay: policy.replay,
            job: Some(Arc::new(Job::new(transcribers, model, audio, task, sitting))),
        };
        let fetched = fetch::fetch(&self.way, policy, &order).await?;
        (record.cache, record.why) = (fetched.outcome(), fetched.why());
        record.began_trip |= own.began_trip.load(Ordering::Relaxed);
        Ok(match fetched {
            Fetched::Remembered(remembered) | Fetched::Stale(remembered) => {
                record.observed = Some(remembered.entry.observed);
                let template = respond::fit(&remembered.entry, &order)?;
                respond::remembered(&remembered, &template, None, record)
            }
            Fetched::Trip { live, outcome, why, keeps } => {
                respond::live(live, respond::Fresh { outcome, why, keeps })
            }
            Fetched::Assembled(assembled) => assembled.reply,
        })
    }

    /// Asks the upstream, with the very bytes that came.
    async fn pass_on(
        &self,
        policy: &Policy,
        request: &Request<'_>,
        model: &str,
        directives: Directives,
        verdict: Option<Verdict>,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        let call = transcript::call(model, false, request.body.clone());
        let (identity, down) = super::stale::identify(&self.way, policy, model).await?;
        may_use(&request.consumer, identity.as_ref(), model)?;
        let facts = order::facts(&self.way, &call, identity.as_ref());
        record.call = Some(facts.clone());
        self.way.ledger.as_ref().map_or(Ok(()), |ledger| ledger.admit(&facts))?;
        if let Some(error) = down {
            return Err(error);
        }
        let (era, replay) = (self.way.stock.era(), policy.replay);
        let plain = request.body.clone();
        let order = Order { request, call, plain, facts, identity, directives, era, replay, job: None };
        let fetched = fetch::fetch(&self.way, policy, &order).await?;
        (record.cache, record.why) = (fetched.outcome(), fetched.why());
        record.began_trip |= request.began_trip.load(Ordering::Relaxed);
        match fetched {
            Fetched::Trip { live, outcome, why, keeps } => {
                let reply = respond::live(live, respond::Fresh { outcome, why, keeps });
                Ok(reply.with_verdict(verdict))
            }
            _ => Err(Error::new(Kind::Internal, "nothing of the upstream's is remembered here")),
        }
    }
}

/// Where it would have been asked for as everybody does.
fn transcript_target() -> Bytes {
    Bytes::from_static(crate::dialect::Form::Transcription.path().as_bytes())
}

/// Of all that decides what is written down, except the model.
fn fingerprint(heard: &Heard, task: &Task) -> Fingerprint {
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

fn no_bytes(flaw: media::Flaw) -> Error {
    let why = match flaw {
        media::Flaw::Address => "the recording is an address, and none is fetched: send its bytes as base64",
        _ => "the recording is not base64",
    };
    Error::new(Kind::BadRequest, why)
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let kind = match &fault {
            Fault::Refused(flaw) => match flaw {
                Flaw::Format(_) => Kind::Unsupported,
                Flaw::TooLong(_) => Kind::TooLarge,
                Flaw::Empty | Flaw::Broken(_) | Flaw::Language(_) | Flaw::EnglishOnly => Kind::BadRequest,
            },
            Fault::Missing(Missing::NotThere { .. }) => Kind::NotFound,
            Fault::Missing(Missing::Broken { .. }) | Fault::TooLarge { .. } | Fault::Failed(_) => Kind::Internal,
            Fault::Busy => return Error::new(Kind::Overloaded, fault.to_string()).retry_after(AGAIN),
            Fault::Slow => Kind::UpstreamTimeout,
            Fault::Died => Kind::UpstreamAborted,
            Fault::NotBuiltIn => Kind::NotFound,
        };
        Error::new(kind, fault.to_string())
    }
}
