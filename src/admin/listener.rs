//! The house's own listener: bounded and impatient, as the data port is.
//!
//! The connections are hyper's, by hand: axum's own `serve` gives a head all the time in the world.

use super::problem;
use crate::domain::{Error, Kind};
use crate::telemetry::{Listener, Metrics};
use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_header_size(bounds.head_bytes)
        .max_headers(bounds.head_fields)
        .serve_connection(TokioIo::new(io), service_fn(move |request| Box::pin(house.call(request))));
    let mut ended =
        tokio::time::timeout(bounds.life, poll_fn(|cx| connection.poll_without_shutdown(cx))).await;
    if ended.is_err() {
        Pin::new(&mut connection).graceful_shutdown();
        ended = tokio::time::timeout(bounds.write, poll_fn(|cx| connection.poll_without_shutdown(cx))).await;
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
    part(parts.io.into_inner(), &words).await;
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
