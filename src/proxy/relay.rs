//! The light road: a small request that is not looked into goes up as it came, and its answer comes down byte
//! for byte, each piece when it is there. It leaves exactly one record.
//!
//! Larger bodies, those of unknown length, and clients that wait to be told to send theirs take the [`Road`].
//!
//! [`Road`]: super::Road

use super::desk::refuse;
use super::door::{Arrival, Errand};
use super::downstream::Downstream;
use super::edge::Edge;
use super::head::{Framing, Head, Terms};
use super::raw::{self, Answer, Unfit, Upwards};
use super::visit::Visit;
use crate::dialect::Handling;
use crate::domain::{Budget, Error, Kind};
use crate::gateway::Gateway;
use crate::telemetry::{Metrics, Sinks};
use crate::upstream::{Client, Line, limited};
use bytes::{Bytes, BytesMut};
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;

/// A body up to this size is gathered before it goes up: it finds room in the sockets' own buffers.
pub const SMALL: u64 = 64 << 10;
/// How much of an answer is read at once.
const READ: usize = 16 << 10;
/// Answers before the answer (1xx) that are borne.
const MOST_PRELIMINARY: usize = 16;

/// The light road's own equipment.
pub struct Relay {
    pub gateway: Arc<Gateway>,
    pub client: Arc<Client>,
    /// What all bodies that are held may take together.
    pub budget: Budget,
    pub metrics: Arc<Metrics>,
    pub sinks: Sinks,
}

/// A request that is passed on.
pub struct Passing {
    pub arrival: Arrival,
    /// Its head as it goes up, and then its body behind it.
    pub up: Vec<u8>,
}

/// An answer whose head is there.
struct Coming {
    line: Line,
    answer: Answer,
    /// Status line and fields as they go down.
    head: Vec<u8>,
    /// What has come of the body.
    raw: Vec<u8>,
}

/// Why there is no answer.
enum Failure {
    /// The connection closed before anything of an answer came.
    Closed,
    Other(Error),
}

impl Terms {
    /// Whether a request with these may take this road.
    pub fn are_light(&self) -> bool {
        let is_small = matches!(self.framing, Framing::Nothing | Framing::Length(..=SMALL));
        is_small && self.is_http_11 && !self.expects
    }
}

impl Relay {
    /// `head`, which `read` begins with, as it goes up.
    pub fn head(&self, head: &Head<'_>, read: &[u8], own_key: bool) -> Option<Vec<u8>> {
        let client = &self.client;
        let base_path = client.target().base_path();
        let up = Upwards { base_path, host: client.host(), via: client.via(), own_key };
        let mut out = Vec::with_capacity(head.len + 128);
        raw::write_up(&mut out, head, read, &up)?;
        Some(out)
    }

    /// Passes one request on. Returns the client's connection, and what came behind the request on it, when it
    /// may bear another one.
    pub async fn serve(&self, mut down: Downstream, passing: Passing) -> Option<(TcpStream, BytesMut)> {
        let mut visit = Visit::new(self.sinks.clone());
        visit.begin(&passing.arrival, &self.metrics);
        let refreshes = passing.refreshes();
        if let Err(error) = self.pass(&mut down, &mut visit, passing).await {
            visit.error = Some(down.trouble().unwrap_or(error));
        }
        if refreshes {
            self.gateway.models_may_have_changed();
        }
        (visit.record.bytes_in, visit.record.bytes_out) = down.passed();
        visit.end(down.status());
        drop(visit);
        down.finish().await
    }

    /// # Errors
    /// What kept the client from getting a whole answer; where it could be told, it has been.
    async fn pass(
        &self,
        down: &mut Downstream,
        visit: &mut Visit,
        mut passing: Passing,
    ) -> Result<(), Error> {
        match down.body(SMALL, &self.budget).await {
            Ok(body) => passing.up.extend_from_slice(&body),
            Err(error) => return refuse(down, visit, error).await,
        }
        let refreshes = passing.refreshes();
        match self.ask(down, &passing).await {
            Ok(coming) => {
                drop(passing);
                self.come_down(down, visit, coming, refreshes).await
            }
            Err(error) => refuse(down, visit, error).await,
        }
    }

    /// Sends the request and waits for the answer's head. A kept connection that closes without a byte of an
    /// answer was dead before: it is replaced once, when it harms nobody if the request should arrive twice.
    async fn ask(&self, down: &mut Downstream, passing: &Passing) -> Result<Coming, Error> {
        if let Some(kept) = self.client.kept_line().await {
            match self.exchange(kept, down, passing).await {
                Ok(coming) => return Ok(coming),
                Err(Failure::Closed) if passing.arrival.may_repeat() => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        let fresh = or_gone(down, Box::pin(self.client.fresh_line())).await??;
        Ok(self.exchange(fresh, down, passing).await?)
    }

    async fn exchange(
        &self,
        mut line: Line,
        down: &mut Downstream,
        passing: &Passing,
    ) -> Result<Coming, Failure> {
        let sent = or_gone(down, line.write(&passing.up)).await?;
        if sent.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            let late = Error::new(Kind::UpstreamTimeout, "the upstream does not take the request");
            return Err(Failure::Other(late));
        }
        let is_head = passing.arrival.method == "HEAD";
        let limit = self.client.timeouts().first_byte;
        limited(limit, answer(line, down, is_head)).await.map_err(Failure::Other)?
    }

    /// Writes the answer's body as it comes, up to its end or its breaking off.
    async fn come_down(
        &self,
        down: &mut Downstream,
        visit: &mut Visit,
        coming: Coming,
        refreshes: bool,
    ) -> Result<(), Error> {
        let Coming { mut line, answer, head, mut raw } = coming;
        // Up to its end where that is the connection's own.
        let mut edge = answer.framing.map(Edge::new);
        let mut piece = match measure(&mut edge, &raw) {
            Ok(piece) => piece,
            Err(error) => return refuse(down, visit, error).await,
        };
        down.carry(answer.status, &head, visit.request_id(), edge.is_none());
        drop(head);
        loop {
            if refreshes {
                // Before the client can read that it is done.
                self.gateway.models_may_have_changed();
            }
            let (own, of_body) = piece;
            if of_body > 0 {
                visit.note_first_byte();
            }
            if edge.is_some_and(|edge| edge.is_done()) {
                visit.settle(answer.status.as_u16());
            }
            let written = match edge {
                Some(_) => down.pass(&raw[..own], of_body).await,
                None if raw.is_empty() => down.flush().await,
                None => down.write(Bytes::copy_from_slice(&raw)).await,
            };
            written.map_err(|_| left())?;
            if edge.is_some_and(|edge| edge.is_done()) {
                if answer.keeps && own == raw.len() {
                    line.keep();
                }
                break;
            }
            raw.clear();
            match or_gone(down, line.read_on(&mut raw)).await?? {
                Ok(1..) => piece = measure(&mut edge, &raw)?,
                Ok(0) if edge.is_none() => break,
                _ => return Err(broken_off()),
            }
        }
        visit.settle(answer.status.as_u16());
        // To a client that has left with all of it, this says nothing any more.
        let _ = down.end().await;
        Ok(())
    }
}

impl Passing {
    /// Whether the models may be others afterwards.
    fn refreshes(&self) -> bool {
        self.arrival.errand == Errand::Upstream(Handling::ForwardAndRefresh)
    }
}

/// The head of the answer; what comes in advance of it is passed on.
async fn answer(mut line: Line, down: &mut Downstream, is_head: bool) -> Result<Coming, Failure> {
    let mut raw = Vec::with_capacity(READ);
    let mut head = Vec::new();
    let mut is_silent = true;
    for _ in 0..=MOST_PRELIMINARY {
        let mut seen = 0;
        head.clear();
        let answer = loop {
            if let Some(answer) = Answer::read(&raw, &mut seen, is_head, &mut head)? {
                break answer;
            }
            match or_gone(down, line.read(&mut raw)).await? {
                Ok(1..) => is_silent = false,
                _ if is_silent => return Err(Failure::Closed),
                _ => return Err(Failure::Other(broken_off())),
            }
        };
        raw.drain(..answer.len);
        if !answer.status.is_informational() {
            return Ok(Coming { line, answer, head, raw });
        }
        down.announce(&head).await.map_err(|_| left())?;
    }
    Err(Failure::from(Unfit))
}

/// How many bytes of `raw` are the answer's, and how many of those are its body's own.
fn measure(edge: &mut Option<Edge>, raw: &[u8]) -> Result<(usize, usize), Error> {
    let misframed =
        |_| Error::new(Kind::UpstreamAborted, "the upstream's answer is not framed as it should be");
    edge.as_mut().map_or(Ok((raw.len(), raw.len())), |edge| edge.measure(raw).map_err(misframed))
}

/// What `waiting` comes to, unless the client leaves meanwhile.
async fn or_gone<T>(down: &mut Downstream, waiting: impl Future<Output = T>) -> Result<T, Error> {
    tokio::select! {
        biased;
        came = waiting => Ok(came),
        gone = down.gone() => Err(gone),
    }
}

impl From<Unfit> for Failure {
    fn from(_: Unfit) -> Self {
        Failure::Other(Error::new(Kind::UpstreamAborted, "the upstream's answer is not valid HTTP"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Other(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Closed => {
                Error::new(Kind::UpstreamAborted, "the upstream closed the connection without an answer")
            }
            Failure::Other(error) => error,
        }
    }
}

fn broken_off() -> Error {
    Error::new(Kind::UpstreamAborted, "the upstream broke off its answer")
}

fn left() -> Error {
    Error::new(Kind::ClientGone, "the client left")
}
