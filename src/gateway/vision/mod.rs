//! What is asked about pictures: each is made readable, and becomes a call that goes down the ordinary road.
//!
//! So it has the keys, the memory, the flights and the books of that call, which anybody could make by hand, and is
//! told in words of its own.

mod models;
mod told;
mod transcode;

use super::{Gateway, Reply, Request, order, query};
use crate::dialect::native::{Failure, Look, Narrator, View};
use crate::dialect::{self, Form, encoding};
use crate::domain::{CacheOutcome, CallFacts, Error, Film, Kind, Record};
use crate::media::{self, Darkroom, Flaw, Picture};
use crate::telemetry::PictureOutcome;
use crate::upstream::{Abilities, Client};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
pub(super) use told::gather;

/// What is needed to look at pictures.
pub struct Eyes {
    pub darkroom: Darkroom,
    /// What the models can do.
    pub abilities: Abilities,
    config: media::Config,
}

impl Eyes {
    pub fn new(config: &media::Config, client: Arc<Client>) -> Self {
        Eyes { darkroom: Darkroom::new(config), abilities: Abilities::new(client), config: config.clone() }
    }
}

impl Gateway {
    /// Answers what is asked about one picture, or several.
    ///
    /// # Errors
    /// What is to be said to the client instead of an answer.
    pub async fn see(&self, request: Request<'_>, view: View, record: &mut Record) -> Result<Reply, Error> {
        let policy = self.policy.load_full();
        let verdict = self.way.verdict(&policy, request.origin.as_ref()).await?;
        if verdict.as_ref().is_some_and(|verdict| !verdict.allowed) {
            return Ok(Reply::forbidden());
        }
        let mut look = self.read_look(&request, view).await?;
        let model = look.model.take().unwrap_or_else(|| self.way.eyes.config.model.clone());
        let call = dialect::decode(Form::Generate, look.call(&model, ""))?;
        record.call = Some(CallFacts::new(&call, "other".into()));
        let identity = models::check(&self.way, &policy, &request.consumer, &model).await?;
        let facts = order::facts(&self.way, &call, identity.as_ref());
        record.call = Some(facts.clone());
        self.way.ledger.as_ref().map_or(Ok(()), |ledger| ledger.admit(&facts))?;

        let mut films = std::mem::take(&mut look.films);
        let (headers, narrator) = (as_json(request.headers), Narrator::new(view, &model));
        let sitting =
            Sitting { gateway: self, request: &request, headers: &headers, look: &look, model: &model };
        if !look.is_list
            && let Some(film) = films.pop()
        {
            let reply = sitting.ask(self.develop(film).await?, record).await?;
            return told::retell(reply, narrator, record).await;
        }
        let reply = sitting.ask_of_each(films, &narrator, record).await;
        Ok(reply.with_verdict(verdict))
    }

    async fn read_look(&self, request: &Request<'_>, view: View) -> Result<Look, Error> {
        let encoding = request.content_encoding.as_deref();
        let kind = request.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let query = String::from_utf8(query(&request.target)).unwrap_or_default();
        let read = || {
            let body = encoding::open(request.form, encoding, &request.body, &self.way.budget)?.plain;
            Look::read(view, kind, &query, &body, self.way.eyes.config.max_images)
        };
        self.aside(request.size(), read).await
    }

    async fn develop(&self, film: Film) -> Result<Picture, Error> {
        let developed = self.way.eyes.darkroom.develop(film).await;
        self.way.metrics.picture(match &developed {
            Ok(picture) if picture.is_known => PictureOutcome::Known,
            Ok(picture) if picture.is_anew => PictureOutcome::Converted,
            Ok(_) => PictureOutcome::AsIs,
            Err(_) => PictureOutcome::Refused,
        });
        developed.map_err(Error::from)
    }
}

/// Somebody who looks at pictures, with what he wants to know of each.
struct Sitting<'a> {
    gateway: &'a Gateway,
    request: &'a Request<'a>,
    /// Of the calls that are made.
    headers: &'a HeaderMap,
    look: &'a Look,
    model: &'a str,
}

impl Sitting<'_> {
    /// Asks the model about one picture, as if the client had done so.
    async fn ask(&self, picture: Picture, record: &mut Record) -> Result<Reply, Error> {
        let Request { id, started, route, consumer, own_key, origin, .. } = self.request;
        let call = Request {
            id: *id,
            started: *started,
            form: Form::Generate,
            route: *route,
            target: Bytes::from_static(Form::Generate.path().as_bytes()),
            headers: self.headers,
            consumer: consumer.clone(),
            own_key: *own_key,
            origin: origin.clone(),
            content_encoding: None,
            body: self.look.call(self.model, &picture.base64),
            began_trip: AtomicBool::new(false),
        };
        drop(picture);
        // Boxed: it takes much room, and that only until there is an answer.
        Box::pin(self.gateway.answer(call, record)).await
    }

    /// Asks about each by itself, one after the other: there is never more than one of them beside what came. What
    /// fails is told in its place, and loses nothing else.
    async fn ask_of_each(&self, films: Vec<Film>, narrator: &Narrator, record: &mut Record) -> Reply {
        let mut told = Vec::with_capacity(films.len());
        let mut sum = told::Sum::default();
        for film in films {
            told.push(match self.gateway.develop(film).await {
                Ok(picture) => self.ask_of_one(picture, narrator, record, &mut sum).await,
                Err(error) => Err(Failure::of(&error)),
            });
        }
        sum.tell(record, narrator.list(&told), told.len())
    }

    async fn ask_of_one(
        &self,
        picture: Picture,
        narrator: &Narrator,
        record: &mut Record,
        sum: &mut told::Sum,
    ) -> Result<String, Failure> {
        (record.cache, record.observed, record.why) = (CacheOutcome::Bypass, None, None);
        let gathered = match self.ask(picture, record).await {
            Ok(reply) => told::gather(reply).await,
            Err(error) => Err(error),
        };
        sum.asked(record);
        let gathered = gathered.map_err(|error| Failure::of(&error))?;
        sum.add(record, gathered.observed);
        gathered.tell(narrator)
    }
}

/// The fields of a call that is JSON, whatever it was made from.
fn as_json(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.remove(header::CONTENT_ENCODING);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

impl From<Flaw> for Error {
    fn from(flaw: Flaw) -> Self {
        let kind = match &flaw {
            Flaw::Empty | Flaw::NoBase64 | Flaw::Address | Flaw::Broken(_) => Kind::BadRequest,
            Flaw::Format(_) => Kind::Unsupported,
            Flaw::TooLarge(_) => Kind::TooLarge,
            Flaw::Busy => {
                return Error::new(Kind::Overloaded, flaw.to_string()).retry_after(Duration::from_secs(1));
            }
        };
        Error::new(kind, flaw.to_string())
    }
}
