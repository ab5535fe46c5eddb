//! The stub upstream: as fast as hyper goes, and enough of Ollama that Pannier takes it for one.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use memchr::memmem;
use tokio::time::{Instant, Sleep, sleep};

use crate::answers::{self, Manner};
use crate::server;

/// How long the model `slow` takes.
pub const SLOW: Duration = Duration::from_millis(200);

/// The paths that are counted, each by itself; everything else is counted under the last.
const COUNTED: [&str; 7] =
    ["/api/chat", "/api/embed", "/v1/chat/completions", "/api/show", "/api/tags", "/api/version", "other"];

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

struct Stub {
    token_interval: Duration,
    /// What a text takes where one is embedded after the other, as Ollama does it.
    item: Option<tokio::sync::Mutex<Duration>>,
    counts: [AtomicU64; COUNTED.len()],
}

/// The body of an answer.
enum Answer {
    Whole(Option<Bytes>),
    Paced(Paced),
}

/// Pieces with a pause before each but the first.
struct Paced {
    pieces: std::vec::IntoIter<Bytes>,
    interval: Duration,
    pause: Option<Pin<Box<Sleep>>>,
    /// Whether the body stays open when its pieces are out.
    held: bool,
}

/// Serves until the process is ended.
pub fn run(port: u16, token_interval: Duration, item: Option<Duration>) -> anyhow::Result<()> {
    let item = item.map(tokio::sync::Mutex::new);
    let stub = Arc::new(Stub { token_interval, item, counts: Default::default() });
    server::serve(port, move |request| {
        let stub = Arc::clone(&stub);
        async move { stub.answer(request).await }
    })
}

// === impl Stub ===

impl Stub {
    async fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        if path == "/stub/counts" {
            return whole(JSON, self.counts_as_json());
        }
        self.count(path);
        match (&head.method, path) {
            (&Method::POST, "/api/chat") => self.chat(body).await,
            (&Method::POST, "/v1/chat/completions") => self.openai_chat(body).await,
            (&Method::POST, "/api/embed") => {
                drain(body).await;
                let Some(item) = &self.item else { return whole(JSON, answers::EMBEDDING.clone()) };
                let turn = item.lock().await;
                if !turn.is_zero() {
                    sleep(*turn).await;
                }
                whole(JSON, answers::TEXT.clone())
            }
            (&Method::POST, "/api/show") => {
                drain(body).await;
                whole(JSON, answers::SHOW.clone())
            }
            (&Method::POST, _) if path.starts_with("/api/blobs/") => {
                drain(body).await;
                let mut created = whole(TEXT, Bytes::new());
                *created.status_mut() = StatusCode::CREATED;
                created
            }
            (&Method::GET | &Method::HEAD, "/api/tags") => whole(JSON, answers::TAGS.clone()),
            (&Method::GET | &Method::HEAD, "/api/version") => whole(JSON, answers::VERSION),
            (&Method::GET | &Method::HEAD, "/") => whole(TEXT, answers::ROOT),
            _ => {
                drain(body).await;
                let mut missing = whole(TEXT, "404 page not found");
                *missing.status_mut() = StatusCode::NOT_FOUND;
                missing
            }
        }
    }

    async fn chat(&self, body: Incoming) -> Response<Answer> {
        let body = read(body).await;
        // Ollama streams unless told not to.
        let streamed = memmem::find(&body, b"\"stream\":false").is_none();
        match answers::manner(&body) {
            manner if streamed => self.stream(NDJSON, answers::chat_stream(), manner),
            Manner::Long => whole(JSON, answers::LONG_CHAT.clone()),
            Manner::Slow => {
                sleep(SLOW).await;
                whole(JSON, answers::SMALL_CHAT.clone())
            }
            Manner::Quick | Manner::Paced | Manner::Held => whole(JSON, answers::SMALL_CHAT.clone()),
        }
    }

    async fn openai_chat(&self, body: Incoming) -> Response<Answer> {
        let body = read(body).await;
        if memmem::find(&body, b"\"stream\":true").is_some() {
            return self.stream(EVENTS, answers::openai_stream(), answers::manner(&body));
        }
        whole(JSON, answers::OPENAI_CHAT.clone())
    }

    fn stream(&self, kind: HeaderValue, mut pieces: Vec<Bytes>, manner: Manner) -> Response<Answer> {
        let held = manner == Manner::Held;
        if held {
            pieces.truncate(1);
        }
        let interval = if manner == Manner::Paced { self.token_interval } else { Duration::ZERO };
        answered(kind, Answer::Paced(Paced { pieces: pieces.into_iter(), interval, pause: None, held }))
    }

    fn count(&self, path: &str) {
        let row = COUNTED.iter().position(|counted| *counted == path).unwrap_or(COUNTED.len() - 1);
        self.counts[row].fetch_add(1, Ordering::Relaxed);
    }

    fn counts_as_json(&self) -> String {
        let rows: Vec<String> = COUNTED
            .iter()
            .zip(&self.counts)
            .map(|(path, count)| format!("\"{path}\":{}", count.load(Ordering::Relaxed)))
            .collect();
        format!("{{{}}}", rows.join(","))
    }
}

fn whole(kind: HeaderValue, body: impl Into<Bytes>) -> Response<Answer> {
    answered(kind, Answer::Whole(Some(body.into())))
}

fn answered(kind: HeaderValue, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// The whole of a body; what is left of one whose client has gone.
async fn read(body: Incoming) -> Bytes {
    body.collect().await.map(|collected| collected.to_bytes()).unwrap_or_default()
}

/// Reads to the end and keeps nothing, however long it is.
async fn drain(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}

// === impl Answer ===

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Answer::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Answer::Paced(paced) => paced.poll_piece(cx).map(|piece| piece.map(|it| Ok(Frame::data(it)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Answer::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            Answer::Paced(_) => SizeHint::default(),
        }
    }
}

impl Paced {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
        }
        let Some(piece) = self.pieces.next() else {
            return if self.held { Poll::Pending } else { Poll::Ready(None) };
        };
        self.pause = (!self.interval.is_zero())
            .then(|| Box::pin(tokio::time::sleep_until(Instant::now() + self.interval)));
        Poll::Ready(Some(piece))
    }
}
