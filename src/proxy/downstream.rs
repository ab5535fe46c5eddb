//! The client's side of one request for an answer: its body is read, and an answer is written, in HTTP/1 and
//! with no buffer that outlives its use.

use super::date::Date;
use super::edge::Edge;
use super::head::{Framing, Terms};
use super::visit::REQUEST_ID;
use super::wire::{Trouble, Troubles, Wire};
use crate::domain::{Budget, Error, Kind};
use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Room for a body is made so far ahead on the strength of what its head says.
const TRUSTED_LENGTH: usize = 1 << 20;
/// A body that is not wanted is read so far, and so long, before the connection is closed, so that the
/// client sees the answer first.
const LINGER: usize = 1 << 20;
const LINGER_FOR: Duration = Duration::from_secs(1);
/// A piece up to this size is copied behind what waits to be written; a larger one goes out from where it is.
const COPIED: usize = 4 << 10;

/// One client, for one request.
pub struct Downstream {
    wire: Wire,
    terms: Terms,
    /// Another request may follow on this connection ...
    keeps: bool,
    /// ... unless the end has begun.
    draining: Arc<AtomicBool>,
    ends: Ends,
    /// What is to be written with the next piece.
    waiting: Vec<u8>,
    status: Option<StatusCode>,
    /// The answer is complete.
    has_ended: bool,
    /// Bytes of the answer's body that went out.
    sent: u64,
}

/// How the client will know where the answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Length,
    Chunks,
    /// With the connection.
    Close,
}

impl Downstream {
    /// `draining`: whether answers are to be the last on their connections.
    pub fn new(wire: Wire, terms: Terms, draining: Arc<AtomicBool>) -> Self {
        Downstream {
            wire,
            terms,
            keeps: terms.is_http_11 && !terms.closes,
            draining,
            ends: Ends::Length,
            waiting: Vec::new(),
            status: None,
            has_ended: false,
            sent: 0,
        }
    }

    /// The status that the client was sent.
    pub fn status(&self) -> Option<u16> {
        self.status.map(|status| status.as_u16())
    }

    /// Bytes of the request's body, and of the answer's.
    pub fn passed(&self) -> (u64, u64) {
        (self.wire.received(), self.sent)
    }

    pub fn troubles(&self) -> Troubles {
        self.wire.troubles()
    }

    // --- the request ---

    /// The whole body, of at most `most` bytes, for as long as `budget` has room for what is there.
    ///
    /// # Errors
    /// `TooLarge`; `Overloaded`; `RequestTimeout` and `BadRequest` for what the wire says; `ClientGone`.
    pub async fn body(&mut self, most: u64, budget: &Budget) -> Result<Bytes, Error> {
        let too_large = || Error::new(Kind::TooLarge, format!("the body is larger than {most} bytes"));
        let announced = match self.terms.framing {
            Framing::Nothing => return Ok(Bytes::new()),
            Framing::Length(length) => Some(length),
            Framing::Chunked => None,
        };
        if announced.is_some_and(|length| length > most) {
            return Err(too_large());
        }
        if self.terms.expects && self.terms.is_http_11 && !self.wire.is_read() {
            self.wire.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.map_err(|_| gone())?;
        }
        let room = announced.and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
        let mut body = BytesMut::with_capacity(room.min(TRUSTED_LENGTH));
        // What is announced is no more than a word: room is taken for what is there.
        let mut share = budget.take(0).ok_or_else(Budget::no_room)?;
        let mut edge = Edge::new(self.terms.framing);
        let mut raw = BytesMut::new();
        while !self.wire.is_read() {
            let into = if announced.is_some() { &mut body } else { &mut raw };
            let read = self.wire.read_buf(into).await;
            let Ok(read @ 1..) = read else { return Err(self.trouble().unwrap_or_else(gone)) };
            if !share.grow(read) {
                return Err(Budget::no_room());
            }
            if announced.is_none() {
                // The wire has passed these very bytes through an edge of its own.
                let _ = edge.unwrap(&raw, &mut body);
                raw.clear();
                if body.len() as u64 > most {
                    return Err(too_large());
                }
            }
        }
        Ok(share.hold(body.freeze()))
    }

    /// What the wire says went wrong.
    pub fn trouble(&self) -> Option<Error> {
        explain_trouble(self.wire.troubles().get())
    }

    /// Resolves when the client has gone. Only to be asked when the body has been read.
    pub async fn gone(&mut self) -> Error {
        let mut room = [0; 64];
        while let Ok(1..) = self.wire.read(&mut room).await {}
        gone()
    }

    // --- the answer ---

    /// Makes a head ready; it goes out with the first piece, or with [`Self::flush`]. `length`: of the body,
    /// where it is known and the fields do not say so themselves.
    pub fn begin(&mut self, status: StatusCode, fields: &HeaderMap, id: HeaderValue, length: Option<usize>) {
        let has_body = !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let mut own = HeaderMap::with_capacity(5);
        if let Some(length) = length {
            own.insert(header::CONTENT_LENGTH, length.into());
        } else if has_body && !fields.contains_key(header::CONTENT_LENGTH) {
            self.ends = if self.terms.is_http_11 { Ends::Chunks } else { Ends::Close };
        }
        match self.ends {
            Ends::Length => {}
            Ends::Chunks => {
                own.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
            Ends::Close => self.keeps = false,
        }
        own.insert(header::CONNECTION, HeaderValue::from_static(self.connection()));
        own.insert(REQUEST_ID, id);
        self.waiting.clear();
        write_head(&mut self.waiting, status, [fields, &own]);
        self.status = Some(status);
    }

    /// What the answer says of the connection.
    fn connection(&mut self) -> &'static str {
        self.keeps &= self.wire.is_read() && !self.draining.load(Ordering::Relaxed);
        if self.keeps { "keep-alive" } else { "close" }
    }

    /// Makes the head of an upstream's own answer ready: `head` is its status line and fields. Unless Pannier
    /// `cuts` the body into chunks, it is framed as it comes.
    pub fn carry(&mut self, status: StatusCode, head: &[u8], id: HeaderValue, cuts: bool) {
        let framing: &[u8] = if cuts { b"Transfer-Encoding: chunked\r\n" } else { b"" };
        self.ends = if cuts { Ends::Chunks } else { Ends::Length };
        let connection = self.connection().as_bytes();
        let own: [&[u8]; 6] =
            [framing, b"Connection: ", connection, b"\r\nX-Request-Id: ", id.as_bytes(), b"\r\n\r\n"];
        self.waiting.clear();
        self.waiting.extend_from_slice(head);
        own.iter().for_each(|part| self.waiting.extend_from_slice(part));
        self.status = Some(status);
    }

    /// Writes what comes in advance of an answer: status line and fields.
    ///
    /// # Errors
    /// When the client has gone or takes nothing.
    pub async fn announce(&mut self, head: &[u8]) -> io::Result<()> {
        self.waiting.extend_from_slice(head);
        self.waiting.extend_from_slice(b"\r\n");
        self.flush().await
    }

    /// Writes a piece of a body that is framed already, and what waits before it; `len` bytes of it are the
    /// body's own.
    ///
    /// # Errors
    /// When the client has gone or takes nothing.
    pub async fn pass(&mut self, framed: &[u8], len: usize) -> io::Result<()> {
        if self.waiting.is_empty() {
            self.wire.write_all(framed).await?;
        } else {
            self.waiting.extend_from_slice(framed);
            self.flush().await?;
        }
        self.sent += len as u64;
        Ok(())
    }

    /// Writes a piece of the body, and what waits before it.
    ///
    /// # Errors
    /// When the client has gone or takes nothing.
    pub async fn write(&mut self, piece: Bytes) -> io::Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        let len = piece.len();
        let tail: &[u8] = match self.ends {
            Ends::Chunks => {
                self.open_chunk(len);
                b"\r\n"
            }
            Ends::Length | Ends::Close => b"",
        };
        if len <= COPIED {
            self.waiting.extend_from_slice(&piece);
            self.waiting.extend_from_slice(tail);
            self.flush().await?;
        } else {
            let mut all = Buf::chain(&self.waiting[..], piece).chain(tail);
            self.wire.write_all_buf(&mut all).await?;
            self.waiting.clear();
        }
        self.sent += len as u64;
        Ok(())
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// When the client has gone or takes nothing.
    pub async fn flush(&mut self) -> io::Result<()> {
        let written = self.wire.write_all(&self.waiting).await;
        self.waiting.clear();
        written
    }

    /// The answer is complete.
    ///
    /// # Errors
    /// When the client has gone or takes nothing.
    pub async fn end(&mut self) -> io::Result<()> {
        if self.ends == Ends::Chunks {
            self.waiting.extend_from_slice(b"0\r\n\r\n");
        }
        self.flush().await?;
        self.has_ended = true;
        Ok(())
    }

    /// Where more of the answer can be made ready, for [`Self::flush`]; `len` bytes of its body.
    pub fn waiting(&mut self, len: usize) -> &mut Vec<u8> {
        self.sent += len as u64;
        &mut self.waiting
    }

    /// The size that stands before a chunk, where there are chunks.
    pub fn open_chunk(&mut self, len: usize) {
        if self.ends == Ends::Chunks {
            self.waiting.extend_from_slice(format!("{len:X}\r\n").as_bytes());
        }
    }

    /// What stands behind a chunk.
    pub fn close_chunk(&mut self) {
        if self.ends == Ends::Chunks {
            self.waiting.extend_from_slice(b"\r\n");
        }
    }

    /// The connection, and what came behind the request on it, when it may bear another one.
    pub async fn finish(mut self) -> Option<(TcpStream, BytesMut)> {
        if !self.has_ended {
            // A connection that closes early is the only sign that an answer broke off.
            return None;
        }
        if self.keeps {
            return self.wire.into_parts();
        }
        let _ = self.wire.shutdown().await;
        if !self.wire.is_read() {
            let _ = tokio::time::timeout(LINGER_FOR, Box::pin(self.drain())).await;
        }
        None
    }

    async fn drain(&mut self) {
        let mut room = [0; 4096];
        let mut left = LINGER;
        while let Ok(read @ 1..) = self.wire.read(&mut room).await {
            left = left.saturating_sub(read);
            if left == 0 {
                return;
            }
        }
    }
}

/// Appends a head to `out`: status line, `fields` in the spelling that Go uses, `Date`, the empty line.
pub fn write_head<'f>(
    out: &mut Vec<u8>,
    status: StatusCode,
    fields: impl IntoIterator<Item = &'f HeaderMap>,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in fields.into_iter().flatten() {
        let mut starts = true;
        out.extend(name.as_str().bytes().map(|byte| {
            let byte = if starts { byte.to_ascii_uppercase() } else { byte };
            starts = byte == b'-';
            byte
        }));
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"Date: ");
    out.extend_from_slice(&Date::at(SystemTime::now()));
    out.extend_from_slice(b"\r\n\r\n");
}

/// What the wire's trouble is called.
pub fn explain_trouble(trouble: Trouble) -> Option<Error> {
    match trouble {
        Trouble::None => None,
        Trouble::SlowBody => Some(Error::new(Kind::RequestTimeout, "the body came too slowly")),
        Trouble::SlowReader => Some(Error::new(Kind::ClientGone, "the client takes nothing")),
        Trouble::Misframed => Some(Error::new(Kind::BadRequest, "the body is not framed as it should be")),
        Trouble::SlowUpstream => Some(Error::new(Kind::UpstreamTimeout, "the upstream does not answer")),
    }
}

fn gone() -> Error {
    Error::new(Kind::ClientGone, "the client left")
}
