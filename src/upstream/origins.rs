//! What the upstream says to a browser's `Origin`, learned by asking it, so that an answer from the
//! memory carries the same verdict as one from the model.

use super::{Client, UpstreamCall};
use crate::domain::{Error, Kind};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    ttl: Duration,
    /// With the moment at which it was said.
    known: moka::sync::Cache<HeaderValue, (Verdict, Instant)>,
}

impl Origins {
    pub fn new(client: Arc<Client>) -> Self {
        let known = moka::sync::Cache::builder().max_capacity(MOST).build();
        Origins { client, ttl: TTL, known }
    }

    /// The verdict on `origin`, asked for with a `HEAD /` when it is not known.
    ///
    /// # Errors
    /// When it is not known and the upstream cannot be asked.
    pub async fn judge(&self, origin: &HeaderValue) -> Result<Verdict, Error> {
        if let Some(verdict) = self.last_known(origin, Duration::ZERO) {
            return Ok(verdict);
        }
        let asked = Instant::now();
        let headers = HeaderMap::from_iter([(header::ORIGIN, origin.clone())]);
        let target = Bytes::from_static(b"/");
        let call = UpstreamCall { method: Method::HEAD, target, headers, body: Bytes::new() };
        let mut incoming = self.client.send(&call).await?;
        let head = incoming.head();
        if matches!(head.status.as_u16(), 502..=504) {
            // Whatever stands before it cannot reach it: it has not judged.
            return Err(Error::new(Kind::UpstreamUnreachable, "the upstream cannot say who may ask it"));
        }
        let verdict = Verdict {
            allowed: head.status.as_u16() != 403,
            headers: Arc::new(head.headers.iter().filter(|(name, _)| is_cors(name)).map(owned).collect()),
        };
        while incoming.chunk().await?.is_some() {}
        self.known.insert(origin.clone(), (verdict.clone(), asked));
        Ok(verdict)
    }

    /// The verdict on `origin` that is believed, or was until so long ago.
    pub fn last_known(&self, origin: &HeaderValue, over: Duration) -> Option<Verdict> {
        let (verdict, said) = self.known.get(origin)?;
        (said.elapsed() < self.ttl.saturating_add(over)).then_some(verdict)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{Address, Config, Target};

    #[tokio::test]
    async fn what_is_no_longer_believed_is_still_known() {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let defaults: toml::Table = include_str!("../../config/default.toml").parse().unwrap();
        let config: Config = defaults["upstream"].clone().try_into().unwrap();
        let config = Config { url: Address::parse(&gone.to_string()).unwrap(), ..config };
        let client = Client::new(Arc::new(Target::new(&config)), &config, "pannier-test");
        let origins = Origins { ttl: Duration::ZERO, ..Origins::new(client) };
        let origin = HeaderValue::from_static("http://localhost:3000");
        let said = Verdict { allowed: true, headers: Arc::default() };
        origins.known.insert(origin.clone(), (said, Instant::now()));

        assert_eq!(
            origins.judge(&origin).await.map_err(|error| error.kind).err(),
            Some(Kind::UpstreamUnreachable)
        );
        assert!(origins.last_known(&origin, Duration::from_secs(3600)).is_some_and(|said| said.allowed));
        assert!(origins.last_known(&origin, Duration::ZERO).is_none());
        let new = HeaderValue::from_static("http://localhost:3001");
        assert!(origins.last_known(&new, Duration::from_secs(3600)).is_none());
    }
}
