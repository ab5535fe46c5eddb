//! One request's share of a client's connection: the bytes that were read already stand before the socket
//! again, reading ends where the request ends, and slow clients are cut off.
//!
//! What arrives behind the request waits here for the connection loop. A connection on which the client
//! has gone is seen as closed even when nobody expects another byte.

use super::edge::Edge;
use bytes::{Bytes, BytesMut};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// Bytes of later requests that wait here at the most; a client that sends more ahead is cut off.
const MOST_BEYOND: usize = 64 << 10;

/// How patient the wire is. Zero means without end.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Bytes a second that a body must come at, and the grace it gets.
    pub body_min_rate: usize,
    pub body_grace: Duration,
    /// How long the client may take nothing.
    pub write: Duration,
}

/// What went wrong on the wire, for whoever writes the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    SlowBody,
    SlowReader,
    Misframed,
    /// Not the client: the upstream let it wait for too long.
    SlowUpstream,
}

/// The wire's trouble, shared with the request on it.
#[derive(Debug, Clone, Default)]
pub struct Troubles(Arc<AtomicU8>);

/// The client's side of one request.
#[derive(Debug)]
pub struct Wire {
    io: TcpStream,
    /// This request's bytes that were read before.
    before: Bytes,
    edge: Edge,
    beyond: BytesMut,
    reading: Clock,
    writing: Clock,
    received: u64,
    patience: Patience,
    troubles: Troubles,
}

/// Measures waiting, and ends it.
#[derive(Debug, Default)]
struct Clock {
    since: Option<Instant>,
    waited: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Troubles {
    pub fn get(&self) -> Trouble {
        match self.0.load(Ordering::Relaxed) {
            1 => Trouble::SlowBody,
            2 => Trouble::SlowReader,
            3 => Trouble::Misframed,
            4 => Trouble::SlowUpstream,
            _ => Trouble::None,
        }
    }

    pub fn set(&self, trouble: Trouble) {
        self.0.store(trouble as u8, Ordering::Relaxed);
    }
}

impl Wire {
    /// `read`: what came off `io` so far; its first `own` bytes are this request's, and `edge` has passed
    /// those of its body.
    pub fn new(io: TcpStream, mut read: BytesMut, own: usize, edge: Edge, patience: Patience) -> Self {
        let before = read.split_to(own).freeze();
        if read.is_empty() {
            // The buffer is given back as soon as this request's bytes have been taken out of it.
            read = BytesMut::new();
        }
        Wire {
            io,
            received: before.len() as u64,
            before,
            edge,
            beyond: read,
            reading: Clock::default(),
            writing: Clock::default(),
            patience,
            troubles: Troubles::default(),
        }
    }

    pub fn troubles(&self) -> Troubles {
        self.troubles.clone()
    }

    /// The socket itself.
    pub fn socket(&self) -> &TcpStream {
        &self.io
    }

    /// Whether the whole request has been read.
    pub fn is_read(&self) -> bool {
        self.before.is_empty() && self.edge.is_done()
    }

    /// Bytes of the body that came, framing included.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The socket alone.
    pub fn into_socket(self) -> TcpStream {
        self.io
    }

    /// The socket and what came behind the request; `None` when the request was not read to its end.
    pub fn into_parts(self) -> Option<(TcpStream, BytesMut)> {
        self.is_read().then_some((self.io, self.beyond))
    }

    /// The request is complete: nothing more is handed out, but the end of the connection is.
    fn watch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut room = [0u8; 2048];
        while self.beyond.len() < MOST_BEYOND {
            let mut buf = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.beyond.extend_from_slice(buf.filled());
        }
        // Behind unread bytes nobody can see whether the client is still there.
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "too much was sent ahead")))
    }

    fn receive(&mut self, buf: &mut ReadBuf<'_>, had: usize) -> io::Result<()> {
        self.reading.stop();
        let new = &buf.filled()[had..];
        let of_body = self.edge.pass(new).map_err(|_| {
            self.troubles.set(Trouble::Misframed);
            io::Error::new(io::ErrorKind::InvalidData, "misframed body")
        })?;
        self.received += of_body as u64;
        self.beyond.extend_from_slice(&new[of_body..]);
        buf.set_filled(had + of_body);
        Ok(())
    }

    /// How long the body may still keep us waiting.
    fn body_allowance(&self) -> Option<Duration> {
        let rate = self.patience.body_min_rate;
        (rate > 0)
            .then(|| self.patience.body_grace + Duration::from_secs_f64(self.received as f64 / rate as f64))
    }

    fn wait_for_writer(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let allowed = (!self.patience.write.is_zero()).then_some(self.patience.write);
        ready!(self.writing.wait(allowed, cx));
        self.troubles.set(Trouble::SlowReader);
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing"))
    }

    fn wrote<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_pending() {
            return self.wait_for_writer(cx).map(Err);
        }
        self.writing.reset();
        polled
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.before.is_empty() {
            let taken = this.before.len().min(buf.remaining());
            buf.put_slice(&this.before.split_to(taken));
            if this.before.is_empty() {
                this.before = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        if this.edge.is_done() {
            return this.watch(cx);
        }
        let had = buf.filled().len();
        match Pin::new(&mut this.io).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() > had => Poll::Ready(this.receive(buf, had)),
            Poll::Ready(read) => Poll::Ready(read),
            Poll::Pending => {
                let allowed = this.body_allowance();
                ready!(this.reading.wait(allowed, cx));
                this.troubles.set(Trouble::SlowBody);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the body comes too slowly")))
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, pieces);
        self.wrote(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.wrote(polled, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.wrote(polled, cx)
    }
}

// === impl Clock ===

impl Clock {
    /// Ready when waiting has taken longer, all in all, than `allowed`.
    fn wait(&mut self, allowed: Option<Duration>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(allowed) = allowed else { return Poll::Pending };
        if self.since.is_none() {
            self.since = Some(Instant::now());
            self.alarm = Some(Box::pin(tokio::time::sleep(allowed.saturating_sub(self.waited))));
        }
        match &mut self.alarm {
            Some(alarm) => alarm.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    /// Waiting is over for now; what it took counts on.
    fn stop(&mut self) {
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
            self.alarm = None;
        }
    }

    /// Waiting is over and forgotten.
    fn reset(&mut self) {
        if self.since.take().is_some() {
            *self = Clock::default();
        }
    }
}
