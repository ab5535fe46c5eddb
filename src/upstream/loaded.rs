//! What the upstream has loaded, and asking it for nothing so that a model stays.

use super::{Client, UpstreamCall};
use crate::domain::{Error, Kind};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, header};
use jiff::Timestamp;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A longer answer is not read.
const LARGEST: usize = 1 << 20;
/// How long the upstream may take for one.
const PATIENCE: Duration = Duration::from_secs(5);
/// "For ever" is a date some hundred years from now.
const FOR_EVER: Duration = Duration::from_secs(20 * 365 * 24 * 3600);

/// How a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    /// How long it stays if nobody asks it; `None` for ever.
    pub stays: Option<Duration>,
    /// Tokens of its context; 0 where the upstream does not say.
    pub context: u64,
}

#[derive(Deserialize)]
struct Running {
    models: Option<Vec<Model>>,
}

#[derive(Deserialize)]
struct Model {
    digest: String,
    expires_at: String,
    #[serde(default)]
    context_length: u64,
}

impl Client {
    /// How the model of that digest is loaded, if it is.
    ///
    /// # Errors
    /// When the upstream does not say.
    pub async fn loaded(self: &Arc<Self>, digest: &str) -> Result<Option<Loaded>, Error> {
        let (now, body) = self.whole(Method::GET, "/api/ps", Bytes::new()).await?;
        let running: Running = serde_json::from_slice(&body).map_err(|_| odd())?;
        let model = running.models.unwrap_or_default().into_iter().find(|model| model.digest == digest);
        model.map(|model| model.read(now)).transpose()
    }

    /// Has `body` answered, whatever the answer is.
    ///
    /// # Errors
    /// When it is not.
    pub async fn touch(self: &Arc<Self>, path: &'static str, body: String) -> Result<(), Error> {
        self.whole(Method::POST, path, body.into()).await.map(drop)
    }

    /// A whole answer of 200, and what time it was there.
    pub(super) async fn whole(
        self: &Arc<Self>,
        method: Method,
        path: &'static str,
        body: Bytes,
    ) -> Result<(SystemTime, Bytes), Error> {
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
        let call = UpstreamCall { method, target: Bytes::from_static(path.as_bytes()), headers, body };
        let answer = async {
            let mut incoming = self.send(&call).await?;
            if incoming.head().status != 200 {
                return Err(odd());
            }
            let date = incoming.head().headers.get(header::DATE).and_then(|date| date.to_str().ok());
            let now = date.and_then(|date| httpdate::parse_http_date(date).ok());
            let mut body = BytesMut::new();
            while let Some(piece) = incoming.chunk().await? {
                if body.len() + piece.len() > LARGEST {
                    return Err(odd());
                }
                body.extend_from_slice(&piece);
            }
            Ok((now.unwrap_or_else(SystemTime::now), body.freeze()))
        };
        let late = |_| Error::new(Kind::UpstreamTimeout, "the upstream does not answer");
        tokio::time::timeout(PATIENCE, answer).await.map_err(late)?
    }
}

impl Model {
    fn read(self, now: SystemTime) -> Result<Loaded, Error> {
        let until = moment(&self.expires_at).ok_or_else(odd)?;
        let stays = until.duration_since(now).unwrap_or_default();
        Ok(Loaded { stays: (stays < FOR_EVER).then_some(stays), context: self.context_length })
    }
}

/// RFC 3339, with any offset: Go writes its own zone.
fn moment(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok().map(SystemTime::from)
}

fn odd() -> Error {
    Error::new(Kind::UpstreamAborted, "the upstream does not say what is with its models")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_model_stays() {
        let now = humantime::parse_rfc3339("2026-11-29T05:27:00Z").unwrap();
        let stays = |expires_at: &str| {
            let model = Model { digest: String::new(), expires_at: expires_at.into(), context_length: 0 };
            model.read(now).map(|loaded| loaded.stays).map_err(|_| ())
        };
        let after = |milliseconds| Ok(Some(Duration::from_millis(milliseconds)));
        assert_eq!(stays("2026-11-29T05:28:30.5Z"), after(90_500));
        assert_eq!(stays("2026-11-29T06:28:30.500000001+01:00").map(|_| ()), Ok(()));
        assert_eq!(stays("2026-11-29T06:27:01+01:00"), after(1000));
        assert_eq!(stays("2026-11-28T23:57:01-05:30"), after(1000));
        assert_eq!(stays("2026-11-29T05:26:59Z"), after(0));
        assert_eq!(stays("2319-03-12T06:15:31Z"), Ok(None), "keep_alive -1");
        for bad in ["", "Z", "soon", "2026-11-29T06:27:01é01:00"] {
            assert_eq!(stays(bad), Err(()), "{bad}");
        }
    }
}
