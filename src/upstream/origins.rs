//! What the upstream says to a browser's `Origin`, learned by asking it, so that an answer from the
//! memory carries the same verdict as one from the model.

use super::{Client, UpstreamCall};
use crate::domain::Error;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use std::sync::Arc;
use std::time::Duration;

/// How long a verdict is believed, and how many are remembered.
const TTL: Duration = Duration::from_secs(60);
const MOST: u64 = 256;

/// What the upstream says to one origin.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Otherwise: 403 with an empty body, as the upstream does it.
    pub allowed: bool,
    /// `Access-Control-*` and `Vary`, to be put on every answer.
    pub headers: Arc<HeaderMap>,
}

/// The verdicts of late.
pub struct Origins {
    client: Arc<Client>,
    known: moka::sync::Cache<HeaderValue, Verdict>,
}

impl Origins {
    pub fn new(client: Arc<Client>) -> Self {
        let known = moka::sync::Cache::builder().max_capacity(MOST).time_to_live(TTL).build();
        Origins { client, known }
    }

    /// The verdict on `origin`, asked for with a `HEAD /` when it is not known.
    ///
    /// # Errors
    /// When it is not known and the upstream cannot be asked.
    pub async fn judge(&self, origin: &HeaderValue) -> Result<Verdict, Error> {
        if let Some(verdict) = self.known.get(origin) {
            return Ok(verdict);
        }
        let headers = HeaderMap::from_iter([(header::ORIGIN, origin.clone())]);
        let target = Bytes::from_static(b"/");
        let call = UpstreamCall { method: Method::HEAD, target, headers, body: Bytes::new() };
        let mut incoming = self.client.send(&call).await?;
        let head = incoming.head();
        let verdict = Verdict {
            allowed: head.status.as_u16() != 403,
            headers: Arc::new(head.headers.iter().filter(|(name, _)| is_cors(name)).map(owned).collect()),
        };
        while incoming.chunk().await?.is_some() {}
        self.known.insert(origin.clone(), verdict.clone());
        Ok(verdict)
    }

    /// How many verdicts are remembered.
    pub fn len(&self) -> u64 {
        self.known.entry_count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whether a field of an answer belongs to the verdict rather than to the answer.
pub fn is_cors(name: &HeaderName) -> bool {
    *name == header::VARY || name.as_str().starts_with("access-control-")
}

fn owned((name, value): (&HeaderName, &HeaderValue)) -> (HeaderName, HeaderValue) {
    (name.clone(), value.clone())
}
