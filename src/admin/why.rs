//! Why a request would be a miss, and answers put into the memory before anybody asks.

use super::listener::Lasting;
use super::{Parts, problem};
use crate::domain::Error;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::Frame;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Something that is under way; dropping it calls it off.
pub type Work<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;
/// Says of a request what would become of it; JSON, both.
pub type Explain = dyn Fn(Bytes) -> Work<Bytes> + Send + Sync;
/// Does what is written as JSON, and tells of it line by line.
pub type Warm = dyn Fn(Bytes, mpsc::Sender<Bytes>) -> Work<()> + Send + Sync;

/// One JSON value a line.
pub const NDJSON: &str = "application/x-ndjson";

/// Lines that may wait for a slow reader.
const WAITING: usize = 16;

/// Lines as they come from what is under way.
struct Lines {
    first: Option<Bytes>,
    lines: mpsc::Receiver<Bytes>,
    work: Option<Work<()>>,
    /// What is under way has come to no good end: neither does the answer.
    failed: bool,
}

/// `POST /admin/cache/explain`
pub async fn explain(State(parts): State<Parts>, written: Bytes) -> Response {
    match (parts.explain)(written).await {
        Ok(said) => ([(header::CONTENT_TYPE, "application/json")], said).into_response(),
        Err(error) => problem::response(&error),
    }
}

/// `POST /admin/cache/warm`
pub async fn warm(
    State(parts): State<Parts>,
    lasting: Option<Extension<Lasting>>,
    written: Bytes,
) -> Response {
    lines(lasting, NDJSON, |told| (parts.warm)(written, told)).await
}

/// What `begin` tells bit by bit, or what is wrong before it has told anything. What goes wrong later breaks the
/// answer off: nobody takes a part for the whole.
pub async fn lines(
    lasting: Option<Extension<Lasting>>,
    content_type: &'static str,
    begin: impl FnOnce(mpsc::Sender<Bytes>) -> Work<()>,
) -> Response {
    let (told, mut lines) = mpsc::channel(WAITING);
    let mut work = begin(told);
    let (first, work) = tokio::select! {
        biased;
        first = lines.recv() => (first, Some(work)),
        ended = &mut work => match ended {
            Ok(()) => (None, None),
            Err(error) => return problem::response(&error),
        },
    };
    if let Some(Extension(lasting)) = lasting {
        lasting.set();
    }
    let body = Body::new(Lines { first, lines, work, failed: false });
    (StatusCode::OK, [(header::CONTENT_TYPE, content_type)], body).into_response()
}

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if let Some(work) = &mut self.work
            && let Poll::Ready(ended) = work.as_mut().poll(cx)
        {
            self.failed = ended.is_err();
            self.work = None;
        }
        // What has ended has said all that it had to say.
        match self.lines.poll_recv(cx) {
            Poll::Ready(None) if std::mem::take(&mut self.failed) => {
                Poll::Ready(Some(Err(io::Error::other("broken off"))))
            }
            line => line.map(|line| Some(Ok(Frame::data(line?)))),
        }
    }
}
