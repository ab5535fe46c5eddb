//! One request upstream and its answer, piece by piece, over a pool of kept connections.
//!
//! Dropping an [`Incoming`] closes its socket, and Ollama stops generating.

use super::Target;
use super::target::off_if_zero;
use crate::domain::{Error, Kind};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora::connectors::ConnectorOptions;
use pingora::connectors::http::v1::Connector;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::v1::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;
use pingora::{BError, ErrorType};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// A request, ready to go.
#[derive(Debug, Clone)]
pub struct UpstreamCall {
    pub method: http::Method,
    /// Path and query, byte for byte as the client sent them.
    pub target: Bytes,
    /// End-to-end fields; `Host`, `Content-Length` and `Via` are written here.
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// An answer's head, hop-by-hop fields left out.
#[derive(Debug, Clone)]
pub struct Head {
    pub status: StatusCode,
    pub headers: HeaderMap,
}

/// The client with its pool.
pub struct Client {
    connector: Connector,
    target: Arc<Target>,
    timeouts: Timeouts,
    via: HeaderValue,
    /// What the last attempt to connect came to: one of `UNTRIED`, `DOWN`, `UP`.
    state: AtomicU8,
}

#[derive(Debug, Clone, Copy)]
struct Timeouts {
    first_byte: Option<Duration>,
    between_bytes: Option<Duration>,
    write: Option<Duration>,
    idle: Option<Duration>,
}

const UNTRIED: u8 = 0;
const DOWN: u8 = 1;
const UP: u8 = 2;

/// An answer on its way.
pub struct Incoming {
    client: Arc<Client>,
    peer: Arc<HttpPeer>,
    session: Option<HttpSession>,
    head: Head,
}

/// Answers before the answer (1xx) that are borne.
const MOST_PRELIMINARY: usize = 16;

/// The fields that present an API key.
pub const CREDENTIALS: [HeaderName; 2] = [header::AUTHORIZATION, HeaderName::from_static("x-api-key")];

/// The fields that speak of one connection only (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

// === impl Client ===

impl Client {
    /// `instance` names this process in `Via`, by which a loop is noticed.
    pub fn new(target: Arc<Target>, config: &super::Config, instance: &str) -> Arc<Self> {
        let options = ConnectorOptions::new(config.idle_connections.max(1));
        Arc::new(Client {
            connector: Connector::new(Some(options)),
            target,
            timeouts: Timeouts {
                first_byte: off_if_zero(config.first_byte_timeout),
                between_bytes: off_if_zero(config.between_bytes_timeout),
                write: off_if_zero(config.write_timeout),
                idle: off_if_zero(config.idle_timeout),
            },
            via: HeaderValue::try_from(format!("1.1 {instance}")).expect("an instance is plain ASCII"),
            state: AtomicU8::new(UNTRIED),
        })
    }

    /// Where it goes.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Whether the upstream could be reached when last tried.
    pub fn is_up(&self) -> bool {
        self.state.load(Ordering::Relaxed) == UP
    }

    /// Notes what somebody else's attempt to connect came to.
    pub fn note(&self, up: bool) {
        let now = if up { UP } else { DOWN };
        if self.state.swap(now, Ordering::Relaxed) != now {
            tracing::info!(url = self.target.url(), up, "upstream");
        }
    }

    /// Sends `call` and waits for the answer's head.
    ///
    /// A kept connection that turns out to be dead before a byte of the answer came is replaced by a
    /// fresh one, once: the upstream closed it while nobody used it.
    ///
    /// # Errors
    /// `UpstreamUnreachable`, `UpstreamTimeout`, `UpstreamAborted`.
    pub async fn send(self: &Arc<Self>, call: &UpstreamCall) -> Result<Incoming, Error> {
        let mut fresh_only = false;
        loop {
            let (peer, session, reused) = self.connect(fresh_only).await?;
            match self.exchange(session, call).await {
                Ok(session) => return Ok(Incoming::new(self.clone(), peer, session)),
                Err(error) if reused && !fresh_only && is_closed(error.etype()) => fresh_only = true,
                Err(error) => return Err(explain(&error)),
            }
        }
    }

    async fn connect(&self, fresh_only: bool) -> Result<(Arc<HttpPeer>, HttpSession, bool), Error> {
        let mut tried = 0;
        loop {
            let peer = self.target.peer().await.inspect_err(|_| self.note(false))?;
            if fresh_only {
                // Whatever else lies in the pool is as old as the one that was dead.
                while self.connector.reused_http_session(&*peer).await.is_some() {}
            }
            match self.connector.get_http_session(&*peer).await {
                Ok((session, reused)) => {
                    self.note(true);
                    return Ok((peer, session, reused));
                }
                Err(error) => {
                    tried += 1;
                    let choices = self.target.choices();
                    self.target.next();
                    if tried >= choices {
                        self.note(false);
                        return Err(explain(&error));
                    }
                }
            }
        }
    }

    async fn exchange(&self, mut session: HttpSession, call: &UpstreamCall) -> Result<HttpSession, BError> {
        session.read_timeout = self.timeouts.first_byte;
        session.write_timeout = self.timeouts.write;
        session.write_request_header(Box::new(self.head_of(call)?)).await?;
        // An upstream may answer before it has read everything, and close: its answer counts.
        let written = session.write_body(&call.body).await;
        let mut preliminary = 0;
        loop {
            if let Err(error) = session.read_response().await {
                written?;
                return Err(error);
            }
            if session.get_status().is_none_or(|status| !status.is_informational()) {
                break;
            }
            preliminary += 1;
            if preliminary > MOST_PRELIMINARY {
                return Err(pingora::Error::new_up(ErrorType::InvalidHTTPHeader));
            }
        }
        session.read_timeout = self.timeouts.between_bytes;
        Ok(session)
    }

    fn head_of(&self, call: &UpstreamCall) -> Result<RequestHeader, BError> {
        let target = match self.target.base_path() {
            "" => call.target.clone(),
            base => [base.as_bytes(), &call.target].concat().into(),
        };
        let mut head = RequestHeader::build(call.method.clone(), &target, Some(call.headers.len() + 3))?;
        head.insert_header(header::HOST, self.target.authority())?;
        for (name, value) in &call.headers {
            head.append_header(name.clone(), value.clone())?;
        }
        head.append_header(header::VIA, self.via.clone())?;
        head.insert_header(header::CONTENT_LENGTH, call.body.len())?;
        Ok(head)
    }
}

// === impl Incoming ===

impl Incoming {
    fn new(client: Arc<Client>, peer: Arc<HttpPeer>, session: HttpSession) -> Self {
        let head = match session.resp_header() {
            Some(head) => Head { status: head.status, headers: end_to_end(&head.headers) },
            None => Head { status: StatusCode::BAD_GATEWAY, headers: HeaderMap::new() },
        };
        Incoming { client, peer, session: Some(session), head }
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next piece of the body as it came off the socket; `None` at its clean end, when the
    /// connection goes back to the pool.
    ///
    /// # Errors
    /// `UpstreamTimeout`, `UpstreamAborted`; the socket is closed then.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(session) = self.session.as_mut() else { return Ok(None) };
        match session.read_body_bytes().await {
            Ok(Some(piece)) => Ok(Some(piece)),
            Ok(None) => {
                if let Some(session) = self.session.take() {
                    let idle = self.client.timeouts.idle;
                    self.client.connector.release_http_session(session, &*self.peer, idle).await;
                }
                Ok(None)
            }
            Err(error) => {
                self.session = None;
                let error = explain(&error);
                Err(match error.kind {
                    Kind::UpstreamTimeout => error,
                    _ => Error::new(Kind::UpstreamAborted, "the upstream broke off its answer"),
                })
            }
        }
    }
}

/// Takes the fields out of an answer that speak of one connection only; its framing stays.
pub fn strip_hop_by_hop(answer: &mut ResponseHeader) {
    for name in named_by_connection(&answer.headers) {
        answer.remove_header(&name);
    }
    for name in HOP_BY_HOP.iter().filter(|name| **name != header::TRANSFER_ENCODING) {
        answer.remove_header(name);
    }
}

/// `headers` without those that speak of one connection only, and those that `Connection` names.
pub fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(headers);
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if !HOP_BY_HOP.contains(name) && !named.contains(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// The fields that `Connection` names as its own.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !name.eq_ignore_ascii_case("close") && !name.eq_ignore_ascii_case("keep-alive"))
        .filter_map(|name| HeaderName::try_from(name).ok())
        // Nobody may have a credential dropped on the way by naming it there.
        .filter(|name| !CREDENTIALS.contains(name))
        .collect()
}

/// Whether the connection was closed or reset before a byte of an answer came.
pub fn is_closed(kind: &ErrorType) -> bool {
    matches!(kind, ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError)
}

/// What Pingora says, in our own words: nothing of the request may stand in them.
fn explain(error: &BError) -> Error {
    explain_type(error.etype())
}

/// The same for an error of the upstream's whose kind is all that is known.
pub fn explain_type(kind: &ErrorType) -> Error {
    match kind {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => {
            Error::new(Kind::UpstreamTimeout, "the upstream does not accept the connection")
        }
        ErrorType::ReadTimedout => Error::new(Kind::UpstreamTimeout, "the upstream does not answer"),
        ErrorType::WriteTimedout => {
            Error::new(Kind::UpstreamTimeout, "the upstream does not take the request")
        }
        ErrorType::ConnectRefused
        | ErrorType::ConnectNoRoute
        | ErrorType::ConnectError
        | ErrorType::SocketError
        | ErrorType::BindError => Error::new(Kind::UpstreamUnreachable, "the upstream cannot be reached")
            .retry_after(Duration::from_secs(1)),
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError => Error::new(
            Kind::UpstreamUnreachable,
            "the upstream's certificate is not trusted, or it does not speak TLS",
        ),
        ErrorType::InvalidHTTPHeader => {
            Error::new(Kind::UpstreamAborted, "the upstream's answer is not valid HTTP")
        }
        _ => Error::new(Kind::UpstreamAborted, "the upstream closed the connection without an answer"),
    }
}

impl UpstreamCall {
    /// 256 bits over the body and over those fields by which an upstream may answer otherwise: who asks,
    /// how the answer is to be packed, and under which condition it is wanted.
    pub fn likeness(&self) -> [u8; 32] {
        const MATTER: [HeaderName; 7] = [
            header::AUTHORIZATION,
            HeaderName::from_static("x-api-key"),
            header::ACCEPT_ENCODING,
            header::RANGE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            header::COOKIE,
        ];
        let mut hasher = blake3::Hasher::new();
        for name in MATTER {
            for value in self.headers.get_all(&name) {
                hasher.update(name.as_str().as_bytes());
                hasher.update(&(value.len() as u64).to_le_bytes());
                hasher.update(value.as_bytes());
            }
        }
        hasher.update(&[0]);
        hasher.update(&self.body);
        *hasher.finalize().as_bytes()
    }
}

/// A field meant for Pannier: the upstream does not see it.
pub fn is_ours(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-pannier-")
}

/// The fields of a client's request that go on to the upstream in a request of our own: end-to-end
/// ones, less those that are written anew, answered here (`Expect`, `Origin`), or meant for Pannier.
/// `own_key`: the presented key is Pannier's, not the upstream's.
pub fn outgoing(headers: &HeaderMap, own_key: bool) -> HeaderMap {
    const ANEW: [HeaderName; 4] = [header::HOST, header::CONTENT_LENGTH, header::EXPECT, header::ORIGIN];
    let stays =
        |name: &HeaderName| ANEW.contains(name) || (own_key && CREDENTIALS.contains(name)) || is_ours(name);
    let mut kept = end_to_end(headers);
    let dropped: Vec<HeaderName> = kept.keys().filter(|name| stays(name)).cloned().collect();
    for name in dropped {
        kept.remove(name);
    }
    kept
}
