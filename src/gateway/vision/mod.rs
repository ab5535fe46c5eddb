//! What is asked about pictures: each is made readable, and becomes a call that goes down the ordinary road.
//!
//! So it has the keys, the memory, the flights and the books of that call, which anybody could make by hand, and is
//! told in words of its own.

mod models;
mod told;
mod transcode;

use super::{Gateway, LONG_READ, Reply, Request, query};
use crate::dialect::Form;
use crate::dialect::encoding;
use crate::dialect::native::{Failure, Look, Narrator, View};
use crate::domain::{CacheOutcome, Error, Film, Kind, Record};
use crate::media::{self, Darkroom, Flaw, Picture};
use crate::telemetry::PictureOutcome;
use crate::upstream::{Abilities, Client};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use told::Gathered;

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
    pub async fn see(
        &self,
        mut request: Request<'_>,
        view: View,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        let policy = self.policy.load_full();
        let verdict = self.way.verdict(&policy, request.origin.as_ref()).await?;
        if verdict.as_ref().is_some_and(|verdict| !verdict.allowed) {
            return Ok(Reply::forbidden());
        }
        let mut look = self.read_look(&request, view).await?;
        let model = look.model.take().unwrap_or_else(|| self.way.eyes.config.model.clone());
        models::check(&self.way, &policy, &request.consumer, &model).await?;

        let mut pictures = Vec::with_capacity(look.films.len());
        for film in std::mem::take(&mut look.films) {
            pictures.push(self.develop(film).await);
        }
        // What it was made from is not needed while the model thinks.
        request.body = Bytes::new();
        let headers = as_json(request.headers);
        let sitting =
            Sitting { gateway: self, request: &request, headers: &headers, look: &look, model: &model };
        let narrator = Narrator::new(view, &model);
        if look.is_list {
            let reply = sitting.see_each(pictures, &narrator, record).await;
            return Ok(reply.with_verdict(verdict));
        }
        let picture = pictures.pop().ok_or_else(|| Error::new(Kind::Internal, "the picture was lost"))??;
        let reply = sitting.ask(&picture, record).await?;
        told::retell(reply, narrator, record).await
    }

    /// A large body is read without holding up whoever shares the thread.
    async fn read_look(&self, request: &Request<'_>, view: View) -> Result<Look, Error> {
        let body = encoding::open(request.form, request.content_encoding.as_deref(), &request.body)?.plain;
        let kind = request.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let query = String::from_utf8(query(&request.target)).unwrap_or_default();
        let read = || Look::read(view, kind, &query, &body, self.way.eyes.config.max_images);
        if body.len() <= LONG_READ {
            return read();
        }
        let _turn = self.long_reads.acquire().await;
        tokio::task::block_in_place(read)
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
    async fn ask(&self, picture: &Picture, record: &mut Record) -> Result<Reply, Error> {
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
        // Boxed: it takes much room, and that only until there is an answer.
        Box::pin(self.gateway.answer(call, record)).await
    }

    /// Asks about each by itself: what fails is told in its place, and loses nothing else.
    async fn see_each(
        &self,
        pictures: Vec<Result<Picture, Error>>,
        narrator: &Narrator,
        record: &mut Record,
    ) -> Reply {
        let mut told = Vec::with_capacity(pictures.len());
        let mut sum = told::Sum::default();
        for picture in pictures {
            let gathered = match picture {
                Ok(picture) => self.see_one(&picture, record).await,
                Err(error) => Err(error),
            };
            let gathered = gathered.map_err(|error| Failure::of(&error));
            let one = gathered.and_then(|gathered| {
                sum.add(record, gathered.observed);
                gathered.tell(narrator)
            });
            told.push(one);
        }
        sum.tell(record, narrator.list(&told), told.len())
    }

    async fn see_one(&self, picture: &Picture, record: &mut Record) -> Result<Gathered, Error> {
        record.cache = CacheOutcome::Bypass;
        told::gather(self.ask(picture, record).await?).await
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
