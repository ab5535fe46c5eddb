//! What is asked about recordings: who listens is a model of Pannier's own, and everything else is as with any call.
//! A model that is not Pannier's is the upstream's, and so is the request.

mod ears;
mod fault;
mod fetching;
mod job;
mod theirs;
mod told;

pub use ears::Ears;
pub use fetching::pull;
pub use job::{Job, Listening};

use super::order::{self, Order};
use super::vision::gather;
use super::{Gateway, Policy, Reply, Request, fetch, query};
use crate::cache::Directives;
use crate::dialect::transcript::{self, Hearing, Manner, Sent, Teller, Wish};
use crate::dialect::{Form, encoding};
use crate::domain::{Call, CallFacts, Certainty, Error, Film, Kind, Record, Storable};
use crate::gateway::clearance::may_use;
use crate::media::open;
use crate::media::voice::{Fault, Heard, Missing, Model, Shelf, Sitting, Task, Weights};
use crate::telemetry::RecordingOutcome;
use bytes::Bytes;
use fault::no_bytes;
use http::{HeaderValue, header};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a request turns out to be.
enum Reading {
    /// For a model of the upstream's; `None` where nobody here can read which.
    Theirs(Option<String>),
    /// With the recording, and the hash of its bytes.
    Ours(Box<Wish>, Bytes, [u8; 32]),
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
        let (wish, audio, file) = match self.read_wish(&request, hearing).await? {
            Reading::Theirs(model) => {
                let reply = self.pass_on(&policy, &request, model.as_deref(), directives, record).await?;
                return Ok(reply.with_verdict(verdict));
            }
            Reading::Ours(wish, audio, file) => (wish, audio, file),
        };
        let (name, model) = self.model(&request, &wish, record)?;
        let matter = self.matter(name, model, audio, file, &request.consumer.name).await?;
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
        let encoding = request.content_encoding.as_deref();
        let body = encoding::open(request.form, encoding, &request.body, &self.way.budget)?.plain;
        let kind = request.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let query = String::from_utf8(query(&request.target)).unwrap_or_default();
        let shelf = &self.way.ears.transcribers.shelf;
        let is_limited = request.consumer.rights.limit_models();
        let read = || {
            let sent = Sent::of(kind, &query, &body);
            if hearing.manner == Manner::OpenAi {
                if !sent.is_form() && (is_limited || !sent.is_json()) {
                    return Ok(Reading::Theirs(None));
                }
                if let Some(model) = sent.model().filter(|model| shelf.name_of(Some(model)).is_none()) {
                    let is_certain = !is_limited || sent.is_plain();
                    return Ok(Reading::Theirs(is_certain.then_some(model)));
                }
            }
            let mut wish = Wish::read(hearing, sent)?;
            let audio = std::mem::replace(&mut wish.audio, Film::Bytes(Bytes::new()));
            let audio = open(audio).map_err(no_bytes)?;
            let file = *blake3::hash(&audio).as_bytes();
            Ok(Reading::Ours(Box::new(wish), audio, file))
        };
        self.aside(body.len(), read).await
    }

    /// Which model is to listen: what it is called on the shelf, and its weights.
    fn model(
        &self,
        request: &Request<'_>,
        wish: &Wish,
        record: &mut Record,
    ) -> Result<(String, Model), Error> {
        let ears = &self.way.ears;
        let shelf = &ears.transcribers.shelf;
        let name = shelf.name_of(wish.model.as_deref()).ok_or_else(|| {
            Error::new(
                Kind::NotFound,
                "there is no such model: tiny, base, small, medium, large and turbo are",
            )
        })?;
        let found = shelf.find(&name);
        let published = || Weights::of(&name).map(|weights| Shelf::full(weights.name).into());
        let full: Option<Arc<str>> =
            found.as_ref().map_or_else(|_| published(), |model| Some(model.name.clone()));
        let written = Shelf::full(wish.model.as_deref().unwrap_or(&name));
        let call = transcript::call(full.as_deref().unwrap_or(&written), wish.streamed, Bytes::new());
        let facts = match &full {
            Some(full) => CallFacts::new(&call, full.clone()),
            None => {
                CallFacts { unlisted: Some(written.as_str().into()), ..CallFacts::new(&call, "other".into()) }
            }
        };
        record.call = Some(facts.clone());
        // Whichever of its names is allowed.
        let names = [written.as_str(), &Shelf::full(&name), full.as_deref().unwrap_or(&written)];
        if !names.iter().any(|name| may_use(&request.consumer, None, name).is_ok()) {
            may_use(&request.consumer, None, &written)?;
        }
        if cfg!(not(feature = "audio")) {
            return Err(Fault::NotBuiltIn.into());
        }
        self.way.ledger.as_ref().map_or(Ok(()), |ledger| ledger.admit(&facts))?;
        match found {
            Err(Missing::NotThere { .. }) => Err(ears.first_use(&name)),
            found => Ok((name, found.map_err(Fault::Missing)?)),
        }
    }

    /// What is in the recording.
    async fn matter(
        &self,
        name: String,
        model: Model,
        audio: Bytes,
        file: [u8; 32],
        client: &Arc<str>,
    ) -> Result<Matter, Error> {
        let ears = &self.way.ears;
        let digest = ears.transcribers.digest(&model).await?;
        let counted = |outcome| self.way.metrics.recording(outcome);
        let opening = match ears.heard.get(&file) {
            Some(_) => None,
            None => Some(ears.alone_at(file[0]).await?),
        };
        if let Some(heard) = ears.heard.get(&file) {
            counted(RecordingOutcome::Known);
            return Ok(Matter { name, model, digest, audio, heard, sitting: None });
        }
        let sitting = ears.transcribers.open(&model, &audio, client).await.inspect_err(|fault| {
            if matches!(fault, Fault::Refused(_)) {
                counted(RecordingOutcome::Refused);
            }
        })?;
        counted(RecordingOutcome::Decoded);
        let heard = sitting.heard;
        ears.heard.insert(file, heard);
        drop(opening);
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
        // Nobody holds a place up while another replica may be doing the work.
        let sitting = sitting.filter(|_| !self.way.turns.are_shared());
        let task = self.task(wish);
        let identity = job::identity(&self.way.ears.transcribers, &model, digest);
        let call = Call {
            fingerprint: job::fingerprint(&heard, &task),
            certainty: if task.temperature == 0.0 { Certainty::Greedy } else { Certainty::Sampled },
            storable: Storable::Yes,
            ..transcript::call(&model.name, true, Bytes::new())
        };
        let facts = order::facts(&self.way, &call, Some(&identity));
        record.call = Some(facts.clone());
        self.way.ledger.as_ref().map_or(Ok(()), |ledger| ledger.admit(&facts))?;
        let own = request.of_own(Bytes::from_static(Form::Transcription.path().as_bytes()));
        let client = request.consumer.name.clone();
        let job = Job::new(self.way.ears.transcribers.clone(), model, audio, task, client, sitting);
        let order = Order {
            request: &own,
            call,
            plain: Bytes::new(),
            facts,
            identity: Some(identity),
            directives,
            era: self.way.stock.era(),
            replay: policy.replay,
            job: Some(Arc::new(job)),
        };
        let fetched = fetch::fetch(&self.way, policy, &order).await?;
        (record.cache, record.why) = (fetched.outcome(), fetched.why());
        record.began_trip |= own.began_trip.load(Ordering::Relaxed);
        told::reply(fetched, &order, record)
    }

    fn task(&self, wish: &Wish) -> Task {
        Task {
            translate: wish.hearing.translate,
            language: wish.language.clone(),
            prompt: wish.prompt.clone(),
            temperature: wish.temperature,
            vad: self.way.ears.transcribers.skips_silence(),
        }
    }
}
