//! The house's own listener: bounded and impatient, as the data port is.
//!
//! The connections are hyper's, by hand: axum's own `serve` gives a head all the time in the world.

use super::problem;
use crate::domain::{Error, Kind};
use crate::telemetry::{Listener, Metrics};
use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// What the listener bears.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Open at once; one more waits in the listen queue until another has gone.
    pub connections: usize,
    /// From the end of an answer, or the connection's begin, to the last byte of the next head: how long a head
    /// may take, and how long a connection may idle.
    pub head: Duration,
    /// After this a connection bears no further request.
    pub life: Duration,
    /// How much longer the last answer may then take.
    pub write: Duration,
    /// The largest head, in bytes and in fields.
    pub head_bytes: usize,
    pub head_fields: usize,
}

/// After a failed accept it is tried again this much later.
const BREATH: Duration = Duration::from_millis(50);
/// What is left unread is thrown away for this long, so that the client sees the answer before it sees the
/// connection closed.
const LINGER: Duration = Duration::from_secs(1);

/// Of one connection: whether its last answer may go on for as long as more of it is taken. Set by those answers
/// that may last for hours.
#[derive(Clone, Default)]
pub struct Lasting(Arc<AtomicBool>);

/// Notes that something was taken.
struct Noting {
    io: TcpStream,
    taken: Arc<AtomicBool>,
}

/// Serves `house` on `listener` for ever.
pub async fn serve(listener: TcpListener, house: Router, bounds: Bounds, metrics: Arc<Metrics>) {
    let room = Arc::new(Semaphore::new(bounds.connections));
    while let Ok(permit) = room.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((io, _)) => {
                let (house, held) = (house.clone(), metrics.connection(Listener::Admin));
                tokio::spawn(async move {
                    bear(io, house, bounds).await;
                    drop((held, permit));
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// One connection, from its first byte to its last.
async fn bear(io: TcpStream, house: Router, bounds: Bounds) {
    let _ = io.set_nodelay(true);
    let house = TowerToHyperService::new(house);
    let (lasting, taken) = (Lasting::default(), Arc::new(AtomicBool::new(false)));
    let io = Noting { io, taken: taken.clone() };
    let may_last = lasting.clone();
    let answer = move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(may_last.clone());
        Box::pin(house.call(request))
    };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_header_size(bounds.head_bytes)
        .max_headers(bounds.head_fields)
        .serve_connection(TokioIo::new(io), service_fn(answer));
    let mut ended =
        tokio::time::timeout(bounds.life, poll_fn(|cx| connection.poll_without_shutdown(cx))).await;
    if ended.is_err() {
        Pin::new(&mut connection).graceful_shutdown();
        loop {
            taken.store(false, Ordering::Relaxed);
            let ending = poll_fn(|cx| connection.poll_without_shutdown(cx));
            ended = tokio::time::timeout(bounds.write, ending).await;
            if ended.is_ok() || !lasting.holds() || !taken.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    let Ok(ended) = ended else { return };
    let parts = connection.into_parts();
    let begun = !parts.read_buf.is_empty();
    let words = match ended {
        Err(error) if error.is_timeout() && begun => {
            problem::last_words(&Error::new(Kind::RequestTimeout, "the head came too slowly"))
        }
        _ => String::new(),
    };
    part(parts.io.into_inner().io, &words).await;
}

impl Lasting {
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn holds(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl AsyncRead for Noting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, room)
    }
}

impl AsyncWrite for Noting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.taken.store(true, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Says what there is to be said, and closes.
async fn part(mut io: TcpStream, words: &str) {
    if io.write_all(words.as_bytes()).await.is_err() || io.shutdown().await.is_err() {
        return;
    }
    let mut rest = [0u8; 1024];
    let drained = async { while let Ok(1..) = io.read(&mut rest).await {} };
    let _ = tokio::time::timeout(LINGER, drained).await;
}
