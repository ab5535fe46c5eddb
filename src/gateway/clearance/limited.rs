//! What the upstream says of its models, told to somebody who may use only some of them.

use super::{Limited, may_use};
use crate::dialect::{self, Form, Listing};
use crate::domain::{Consumer, Error, Kind};
use crate::gateway::respond::own_fields;
use crate::gateway::{Body, Gateway, Reply, path};
use crate::upstream::{UpstreamCall, canonical, outgoing};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

/// Such a request, its body read to the end.
pub struct Peek<'a> {
    pub what: Limited,
    pub method: &'static str,
    /// Path and query as they came.
    pub target: Bytes,
    pub headers: &'a HeaderMap,
    pub consumer: &'a Consumer,
    pub own_key: bool,
    /// `Origin`, when it is not Pannier itself.
    pub origin: Option<HeaderValue>,
    pub body: Bytes,
}

/// No answer is larger, in bytes.
const LARGEST: usize = 16 << 20;

/// What would make the answer another one than the whole of it as it is.
const PARTLY: [HeaderName; 7] = [
    header::ACCEPT_ENCODING,
    header::RANGE,
    header::IF_NONE_MATCH,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
];

impl Gateway {
    /// Answers `peek` with no more than the consumer may know.
    ///
    /// # Errors
    /// What is to be said to the client instead of an answer.
    pub async fn peek(&self, peek: Peek<'_>) -> Result<Reply, Error> {
        let verdict = self.way.verdict(&self.policy.load_full(), peek.origin.as_ref()).await?;
        if verdict.as_ref().is_some_and(|verdict| !verdict.allowed) {
            return Ok(Reply::forbidden());
        }
        if let Some(model) = peek.model()? {
            let identity = self.way.inventory.identify(&model).await?;
            may_use(peek.consumer, identity.as_ref(), &model)?;
        }
        let mut incoming = self.way.client.send(&peek.call()).await?;
        let mut body = BytesMut::new();
        while let Some(piece) = incoming.chunk().await? {
            if body.len() + piece.len() > LARGEST {
                return Err(Error::new(Kind::UpstreamAborted, "the upstream's answer is too long"));
            }
            body.extend_from_slice(&piece);
        }
        let (status, mut headers) = (incoming.head().status, own_fields(incoming.head()));
        headers.remove(header::ETAG);
        let body = match peek.what.listing() {
            Some(listing) if status == StatusCode::OK => peek.only_allowed(listing, &body)?,
            _ => body.freeze(),
        };
        Ok(Reply { status, headers, body: Body::Whole(body) }.with_verdict(verdict))
    }
}

impl Peek<'_> {
    /// The model that it names.
    fn model(&self) -> Result<Option<String>, Error> {
        match self.what {
            Limited::Models | Limited::OpenAiModels => Ok(None),
            // Read as the other native routes are: two names of a model are none.
            Limited::Show => {
                dialect::decode(Form::Generate, self.body.clone()).map(|call| Some(call.model.to_string()))
            }
            Limited::OpenAiModel => {
                let path = path(&self.target);
                let name = path.strip_prefix(b"/v1/models/").unwrap_or_default();
                let name = percent_encoding::percent_decode(name).decode_utf8();
                name.map(|name| Some(name.into_owned()))
                    .map_err(|_| Error::new(Kind::BadRequest, "the model's name is not UTF-8"))
            }
        }
    }

    fn call(&self) -> UpstreamCall {
        let mut headers = outgoing(self.headers, self.own_key);
        PARTLY.iter().for_each(|name| drop(headers.remove(name)));
        // What the head of an answer says of its length would count the models.
        let method = if self.method == "POST" { Method::POST } else { Method::GET };
        UpstreamCall { method, target: self.target.clone(), headers, body: self.body.clone() }
    }

    fn only_allowed(&self, listing: Listing, body: &[u8]) -> Result<Bytes, Error> {
        let is_allowed = |model: &str| self.consumer.rights.allow_model(&canonical(model));
        listing.only(body, is_allowed).ok_or_else(|| {
            Error::new(Kind::UpstreamAborted, "the upstream's list of models is not what Ollama sends")
        })
    }
}

impl Limited {
    fn listing(self) -> Option<Listing> {
        match self {
            Limited::Models => Some(Listing::Ollama),
            Limited::OpenAiModels => Some(Listing::OpenAi),
            Limited::OpenAiModel | Limited::Show => None,
        }
    }
}
