//! One request upstream and its answer, piece by piece, over a pool of kept connections.
//!
//! Dropping an [`Incoming`] closes its socket, and Ollama stops generating.

use super::Target;
use super::fields::{end_to_end, is_framed_plainly};
use super::line::{Line, is_quiet};
use super::link::Link;
use super::opening::{Opening, Socket, unreachable};
use super::pool::Pool;
use super::presence::Presence;
use super::target::off_if_zero;
use crate::domain::{Error, Kind};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::Full;
use std::sync::Arc;
use std::time::Duration;

/// A request, ready to go.
#[derive(Debug, Clone)]
pub struct UpstreamCall {
    pub method: Method,
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
    target: Arc<Target>,
    opening: Opening,
    timeouts: Timeouts,
    links: Pool<Link>,
    lines: Pool<Socket>,
    host: HeaderValue,
    via: HeaderValue,
    pub(super) presence: Presence,
}

/// How long an answer may keep us waiting.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Until its head is there.
    pub first_byte: Option<Duration>,
    between_bytes: Option<Duration>,
}

/// An answer on its way.
pub struct Incoming {
    client: Arc<Client>,
    /// Until its end has come.
    open: Option<(Link, hyper::body::Incoming)>,
    head: Head,
}

/// Why there is no answer.
enum Failure {
    /// The connection closed before anything of an answer came.
    Closed,
    Other(Error),
}

// === impl Client ===

impl Client {
    /// `instance` names this process in `Via`, by which a loop is noticed.
    pub fn new(target: Arc<Target>, config: &super::Config, instance: &str) -> Arc<Self> {
        let write = off_if_zero(config.write_timeout);
        let (most, idle) = (config.idle_connections, off_if_zero(config.idle_timeout));
        let written = "an authority and an instance are plain ASCII";
        Arc::new(Client {
            opening: Opening::new(target.tls_name(), off_if_zero(config.connect_timeout), write),
            timeouts: Timeouts {
                first_byte: off_if_zero(config.first_byte_timeout),
                between_bytes: off_if_zero(config.between_bytes_timeout),
            },
            links: Pool::new(most, idle),
            lines: Pool::new(most, idle),
            host: HeaderValue::try_from(target.authority()).expect(written),
            via: HeaderValue::try_from(format!("1.1 {instance}")).expect(written),
            presence: Presence::default(),
            target,
        })
    }

    /// Where it goes.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// What it is called there.
    pub fn host(&self) -> &[u8] {
        self.host.as_bytes()
    }

    /// What this process adds to `Via`.
    pub fn via(&self) -> &[u8] {
        self.via.as_bytes()
    }

    pub fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    /// Whether the upstream could be reached when last tried, and is not Pannier itself.
    pub fn is_up(&self) -> bool {
        self.presence.is_up()
    }

    /// Notes what an attempt to connect came to, somebody else's too.
    pub fn note(&self, up: bool) {
        if self.presence.connected(up) {
            tracing::info!(url = self.target.url(), up, "upstream");
        }
    }

    /// Connections that wait for their next request.
    pub fn idle(&self) -> usize {
        self.links.len() + self.lines.len()
    }

    /// Sends `call` and waits for the answer's head.
    ///
    /// A kept connection that turns out to be dead before a byte of the answer came is replaced by a
    /// fresh one, once: the upstream closed it while nobody used it.
    ///
    /// # Errors
    /// `UpstreamUnreachable`, `UpstreamTimeout`, `UpstreamAborted`.
    pub async fn send(self: &Arc<Self>, call: &UpstreamCall) -> Result<Incoming, Error> {
        if let Some(kept) = self.take().await {
            match self.exchange(kept, call).await {
                Ok(incoming) => return Ok(incoming),
                Err(Failure::Closed) => {}
                Err(Failure::Other(error)) => return Err(error),
            }
        }
        let fresh = Box::pin(self.connect()).await?;
        let fresh = Link::over(fresh).await.map_err(|_| unreachable())?;
        Ok(self.exchange(fresh, call).await?)
    }

    /// A kept connection for bytes as they are.
    pub async fn kept_line(self: &Arc<Self>) -> Option<Line> {
        loop {
            let mut socket = self.lines.take()?;
            if is_quiet(&mut socket).await {
                return Some(Line { client: self.clone(), socket });
            }
        }
    }

    /// A fresh one.
    ///
    /// # Errors
    /// `UpstreamUnreachable`, `UpstreamTimeout`.
    pub async fn fresh_line(self: &Arc<Self>) -> Result<Line, Error> {
        Ok(Line { client: self.clone(), socket: self.connect().await? })
    }

    async fn connect(&self) -> Result<Socket, Error> {
        let mut tried = 0;
        loop {
            let address = self.target.address().await.inspect_err(|_| self.note(false))?;
            match self.opening.open(address).await {
                Ok(socket) => {
                    self.note(true);
                    return Ok(socket);
                }
                Err(error) => {
                    tried += 1;
                    let choices = self.target.choices();
                    self.target.next();
                    if tried >= choices {
                        self.note(false);
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn exchange(self: &Arc<Self>, mut link: Link, call: &UpstreamCall) -> Result<Incoming, Failure> {
        let request = self.request(call)?;
        let sent = limited(self.timeouts.first_byte, link.send(request)).await.map_err(Failure::Other)?;
        let answer = sent.map_err(|error| explain(&error))?.ok_or(Failure::Closed)?;
        let head = judge(&answer)?;
        Ok(Incoming { client: self.clone(), open: Some((link, answer.into_body())), head })
    }

    fn request(&self, call: &UpstreamCall) -> Result<Request<Full<Bytes>>, Failure> {
        let unfit = |_| Failure::Other(Error::new(Kind::BadRequest, "the request's target is not valid"));
        let path = self.path(&call.target);
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = Uri::from_maybe_shared(path.clone())
            .or_else(|_| Uri::from_maybe_shared(escaped(&path)))
            .map_err(unfit)?;
        let mut headers = HeaderMap::with_capacity(call.headers.len() + 3);
        headers.insert(header::HOST, self.host.clone());
        for (name, value) in &call.headers {
            headers.append(name.clone(), value.clone());
        }
        headers.append(header::VIA, self.via.clone());
        if call.method != Method::GET && call.method != Method::HEAD {
            headers.insert(header::CONTENT_LENGTH, call.body.len().into());
        }
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn path(&self, target: &Bytes) -> Bytes {
        match self.target.base_path() {
            "" => target.clone(),
            base => [base.as_bytes(), target].concat().into(),
        }
    }

    // --- the pool ---

    async fn take(&self) -> Option<Link> {
        loop {
            let mut kept = self.links.take()?;
            if kept.is_ready().await {
                return Some(kept);
            }
        }
    }

    async fn put(&self, mut link: Link) {
        if link.is_ready().await {
            self.links.put(link);
        }
    }

    /// Throws out connections that have not been used for `upstream.idle_timeout`.
    pub fn sweep(&self) {
        self.links.sweep();
        self.lines.sweep();
    }

    /// Where lines wait for their next exchange.
    pub(super) fn lines(&self) -> &Pool<Socket> {
        &self.lines
    }
}

// === impl Incoming ===

impl Incoming {
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next piece of the body as it came off the socket; `None` at its clean end, when the
    /// connection goes back to the pool.
    ///
    /// # Errors
    /// `UpstreamTimeout`, `UpstreamAborted`; the socket is closed then.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let Some((link, body)) = self.open.as_mut() else { return Ok(None) };
        match limited(self.client.timeouts.between_bytes, link.piece(body)).await {
            Ok(Ok(Some(piece))) => Ok(Some(piece)),
            Ok(Ok(None)) => {
                if let Some((link, body)) = self.open.take() {
                    drop(body);
                    self.client.put(link).await;
                }
                Ok(None)
            }
            Ok(Err(_)) => {
                self.open = None;
                Err(aborted("the upstream broke off its answer"))
            }
            Err(late) => {
                self.open = None;
                Err(late)
            }
        }
    }
}

/// `path` with those bytes escaped that no URI may have but that Go's server takes.
fn escaped(path: &[u8]) -> Bytes {
    const LOOSE: &percent_encoding::AsciiSet =
        &percent_encoding::CONTROLS.add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'|');
    percent_encoding::percent_encode(path, LOOSE).to_string().into()
}

/// What `waiting` comes to, unless it takes longer than `limit`.
///
/// # Errors
/// `UpstreamTimeout`.
pub async fn limited<T>(limit: Option<Duration>, waiting: impl Future<Output = T>) -> Result<T, Error> {
    match limit {
        None => Ok(waiting.await),
        Some(limit) => tokio::time::timeout(limit, waiting)
            .await
            .map_err(|_| Error::new(Kind::UpstreamTimeout, "the upstream does not answer")),
    }
}

/// The head of an answer that can be passed on: nothing in it may mean two things.
fn judge(answer: &Response<hyper::body::Incoming>) -> Result<Head, Failure> {
    let headers = answer.headers();
    let is_answer = !answer.status().is_informational() && answer.version() != Version::HTTP_2;
    if !is_framed_plainly(headers) || !is_answer {
        return Err(Failure::Other(aborted("the upstream's answer is not valid HTTP")));
    }
    // Where a body comes in chunks, a length says nothing of it: whoever believed it would read on in the next answer.
    let is_chunked = headers.contains_key(header::TRANSFER_ENCODING);
    let mut headers = unshared(end_to_end(headers));
    match headers.remove(header::CONTENT_LENGTH) {
        // Said twice it is the same length, or hyper would not have taken it.
        Some(length) if !is_chunked => drop(headers.insert(header::CONTENT_LENGTH, length)),
        _ => {}
    }
    Ok(Head { status: answer.status(), headers })
}

/// `headers` in memory of their own: as they come they keep the whole buffer that they were read into.
fn unshared(mut headers: HeaderMap) -> HeaderMap {
    for value in headers.values_mut() {
        if let Ok(copy) = HeaderValue::from_bytes(value.as_bytes()) {
            *value = copy;
        }
    }
    headers
}

/// What hyper says, in our own words: nothing of the request may stand in them.
fn explain(error: &hyper::Error) -> Failure {
    if error.is_parse() || error.is_parse_too_large() {
        return Failure::Other(aborted("the upstream's answer is not valid HTTP"));
    }
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if inner.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut)
        {
            let late = Error::new(Kind::UpstreamTimeout, "the upstream does not take the request");
            return Failure::Other(late);
        }
        cause = inner.source();
    }
    Failure::Closed
}

fn aborted(why: &'static str) -> Error {
    Error::new(Kind::UpstreamAborted, why)
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Closed => aborted("the upstream closed the connection without an answer"),
            Failure::Other(error) => error,
        }
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
