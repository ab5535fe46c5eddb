//! Where requests for an answer are answered: the body is read, the gateway asked, its reply written as it
//! comes, and exactly one record left.

use super::door::Arrival;
use super::downstream::Downstream;
use super::visit::Visit;
use crate::dialect::Form;
use crate::dialect::native::View;
use crate::dialect::transcript::Hearing;
use crate::domain::{Budget, CacheOutcome, Error, Kind, Observed, Pour};
use crate::gateway::{self, Body, Gateway, Limited, Live, Pace, Peek, Piece, Reply, Request, Told};
use crate::telemetry::{Metrics, Sinks};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use tokio::net::TcpStream;

/// Bytes of a remembered answer that are made ready at once.
pub const POURED: usize = 64 << 10;

/// The desk's own equipment.
pub struct Desk {
    pub gateway: Arc<Gateway>,
    /// The largest body that is read.
    pub max_body: u64,
    /// What all bodies that are held may take together.
    pub budget: Budget,
    pub metrics: Arc<Metrics>,
    pub sinks: Sinks,
}

/// Who asks, and what is known from the head.
pub struct Asking {
    pub arrival: Arrival,
    pub question: Question,
    pub target: Bytes,
    pub headers: HeaderMap,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub enum Question {
    /// For an answer of a model's.
    Form(Form),
    /// For vectors of many texts.
    Batch,
    /// For what is to be seen.
    See(View),
    /// For what is to be heard.
    Hear(Hearing),
    /// For what the upstream says of its models.
    Limited(Limited),
}

impl Desk {
    /// Answers one request. Returns the connection, and what came behind the request on it, when it may bear
    /// another one.
    pub async fn serve(&self, mut client: Downstream, asking: Asking) -> Option<(TcpStream, BytesMut)> {
        let mut visit = Visit::new(self.sinks.clone());
        visit.begin(&asking.arrival, &self.metrics);
        if let Err(error) = self.answer(&mut client, &mut visit, asking).await {
            visit.error = Some(client.trouble().unwrap_or(error));
        }
        (visit.record.bytes_in, visit.record.bytes_out) = client.passed();
        visit.end(client.status());
        drop(visit);
        client.finish().await
    }

    /// # Errors
    /// What kept the client from getting a whole answer; where it could be told, it has been.
    async fn answer(&self, client: &mut Downstream, visit: &mut Visit, asking: Asking) -> Result<(), Error> {
        let body = match client.body(self.max_body, &self.budget).await {
            Ok(body) => body,
            Err(error) => return refuse(client, visit, error).await,
        };
        // Boxed: the room that it takes is given back before the answer streams.
        let answering = Box::pin(self.look_up(&asking, body, visit));
        let answered = tokio::select! {
            answered = answering => answered,
            gone = client.gone() => Err(gone),
        };
        drop(asking);
        match answered {
            Ok(Reply { status, headers, body: Body::Live(live) }) => {
                let over = Reply { status, headers, body: Body::Whole(Bytes::new()) };
                live_answer(client, visit, over, *live).await
            }
            Ok(Reply { status, headers, body: Body::Told(told) }) => {
                client.begin(status, &headers, visit.request_id(), None);
                told_answer(client, visit, *told, status.as_u16()).await
            }
            Ok(reply) => {
                visit.note_first_byte();
                visit.settle(reply.status.as_u16());
                whole_answer(client, visit, reply).await.map_err(|_| left())
            }
            Err(error) => refuse(client, visit, error).await,
        }
    }
}

impl Desk {
    async fn look_up(&self, asking: &Asking, body: Bytes, visit: &mut Visit) -> Result<Reply, Error> {
        match asking.question {
            Question::Form(form) => self.gateway.answer(asking.request(form, body), &mut visit.record).await,
            Question::Batch => {
                let request = asking.request(Form::Embed, body);
                self.gateway.embed_many(request, &mut visit.record).await
            }
            Question::See(view) => {
                let request = asking.request(Form::Generate, body);
                self.gateway.see(request, view, &mut visit.record).await
            }
            Question::Hear(hearing) => {
                let request = asking.request(Form::Transcription, body);
                self.gateway.hear(request, hearing, &mut visit.record).await
            }
            Question::Limited(what) => self.gateway.peek(asking.peek(what, body)).await,
        }
    }
}

impl Asking {
    fn peek(&self, what: Limited, body: Bytes) -> Peek<'_> {
        Peek {
            what,
            method: self.arrival.method,
            target: self.target.clone(),
            headers: &self.headers,
            consumer: &self.arrival.consumer,
            own_key: self.arrival.own_key,
            origin: self.origin(),
            body,
        }
    }

    /// Where it is not this server's own.
    fn origin(&self) -> Option<HeaderValue> {
        self.headers.get(header::ORIGIN).filter(|_| !is_same_origin(&self.headers)).cloned()
    }

    fn request(&self, form: Form, body: Bytes) -> Request<'_> {
        Request {
            id: self.arrival.id,
            started: self.arrival.started,
            form,
            route: self.arrival.route,
            target: self.target.clone(),
            consumer: self.arrival.consumer.clone(),
            own_key: self.arrival.own_key,
            origin: self.origin(),
            content_encoding: encoding(&self.headers),
            headers: &self.headers,
            body,
            began_trip: AtomicBool::default(),
        }
    }
}

/// Tells the client why not; where it has left, only the record is told.
pub async fn refuse(client: &mut Downstream, visit: &mut Visit, error: Error) -> Result<(), Error> {
    let error = client.trouble().unwrap_or(error);
    if error.kind != Kind::ClientGone {
        visit.settle_error(None, &error);
        let reply = gateway::refuse(&error, visit.record.route, visit.record.id);
        let _ = whole_answer(client, visit, reply).await;
    }
    Err(error)
}

/// Writes an answer that is there already.
async fn whole_answer(client: &mut Downstream, visit: &mut Visit, reply: Reply) -> io::Result<()> {
    let Reply { status, headers, body } = reply;
    let id = visit.request_id();
    match body {
        Body::Whole(body) => {
            let body = if visit.record.method == "HEAD" { Bytes::new() } else { body };
            client.begin(status, &headers, id, Some(body.len()));
            visit.note_first_byte();
            client.write(body).await?;
            client.end().await
        }
        Body::Replay { pour, streamed, pace } => {
            client.begin(status, &headers, id, (!streamed).then(|| pour.len()));
            visit.note_first_byte();
            replay(client, pour, pace).await
        }
        Body::Live(_) | Body::Told(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Writes a remembered answer frame by frame, each when it is due, and never holds more of it ready than the
/// client will soon take.
async fn replay(client: &mut Downstream, mut pour: Pour, mut pace: Option<Pace>) -> io::Result<()> {
    let ends: Vec<u32> = pour.frames().to_vec();
    let mut from = 0;
    for end in ends.into_iter().map(|end| end as usize) {
        if let Some(pace) = &mut pace {
            until(client, pace.next_due()).await?;
        }
        client.open_chunk(end - from);
        loop {
            let room = client.waiting(0);
            let had = room.len();
            let is_done = pour.write(end, POURED, room);
            let poured = room.len() - had;
            if client.waiting(poured).len() >= POURED {
                client.flush().await?;
            }
            if is_done {
                break;
            }
        }
        client.close_chunk();
        from = end;
    }
    client.end().await
}

/// Waits until something is `due`, with all that came before it on its way; or until the client has left.
async fn until(client: &mut Downstream, due: Option<Instant>) -> io::Result<()> {
    if due.is_some_and(|due| due <= Instant::now()) {
        return Ok(());
    }
    client.flush().await?;
    let comes = async {
        match due {
            Some(due) => tokio::time::sleep_until(due.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = comes => Ok(()),
        _ = client.gone() => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

/// Writes an answer as it comes, and gives it up as soon as the client has left.
async fn live_answer(
    client: &mut Downstream,
    visit: &mut Visit,
    over: Reply,
    mut live: Live,
) -> Result<(), Error> {
    let head = tokio::select! {
        head = live.head() => head,
        gone = client.gone() => Err(gone),
    };
    let head = match head {
        Ok(head) => head,
        Err(error) => return refuse(client, visit, error).await,
    };
    let (status, headers) = over.over(&head, &live);
    client.begin(status, &headers, visit.request_id(), None);
    drop((head, headers));
    // With the first piece at hand, head and piece go out in one write.
    let first = live.next_if_there();
    if !matches!(first, Some(Piece::Body(_))) {
        client.flush().await.map_err(|_| left())?;
    }
    match pieces(client, visit, &mut live, (status.as_u16(), first)).await {
        Ok(observed) => {
            visit.record.observed = observed;
            visit.settle(status.as_u16());
            // To a client that has left with all of it, this says nothing any more.
            let _ = client.end().await;
            Ok(())
        }
        Err(error) => {
            let is_told = error.kind != Kind::ClientGone && live.may_tell_error();
            // Tokens that nobody else will hear of.
            visit.record.observed = live.leave().await;
            if is_told {
                visit.settle_error(Some(status.as_u16()), &error);
                let frame = gateway::frame(&error, visit.record.route, visit.record.id);
                let _ = client.write(frame).await;
            }
            Err(error)
        }
    }
}

/// Writes the body piece by piece, up to its end or its breaking off.
async fn pieces(
    client: &mut Downstream,
    visit: &mut Visit,
    live: &mut Live,
    (status, mut first): (u16, Option<Piece>),
) -> Result<Option<Observed>, Error> {
    loop {
        let piece = match first.take() {
            Some(piece) => piece,
            None => tokio::select! {
                biased;
                piece = live.next() => piece,
                gone = client.gone() => live.ending().await.unwrap_or(Piece::Broken(gone)),
            },
        };
        match piece {
            Piece::Body(piece) => {
                visit.note_first_byte();
                // Of one that has broken off it is known as well what it was, while this reader is still behind.
                if let Some(observed) = live.observed().filter(|_| live.is_all_there()) {
                    // This may be the last of it.
                    visit.record.observed = Some(observed);
                    visit.settle(status);
                }
                client.write(piece).await.map_err(|_| left())?;
            }
            Piece::End(observed) => return Ok(observed),
            Piece::Broken(error) => return Err(error),
        }
    }
}

/// Writes an answer while it comes about, and gives up the rest of it as soon as the client has left.
async fn told_answer(
    client: &mut Downstream,
    visit: &mut Visit,
    mut told: Told,
    status: u16,
) -> Result<(), Error> {
    loop {
        let piece = tokio::select! {
            biased;
            piece = told.next() => piece,
            gone = client.gone() => Piece::Broken(gone),
        };
        match piece {
            Piece::Body(piece) => {
                visit.note_first_byte();
                client.write(piece).await.map_err(|_| left())?;
            }
            Piece::End(observed) => {
                visit.record.observed = observed;
                if let (CacheOutcome::Miss, Some(given)) = (visit.record.cache, told.given()) {
                    visit.record.cache = given;
                }
                visit.settle(status);
                return client.end().await.map_err(|_| left());
            }
            Piece::Broken(error) => return Err(error),
        }
    }
}

fn left() -> Error {
    Error::new(Kind::ClientGone, "the client left")
}

fn encoding(headers: &HeaderMap) -> Option<String> {
    let all: Vec<_> =
        headers.get_all(header::CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok()).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// A request of a page that this very server has served: bare Ollama would see it as its own.
pub fn is_same_origin(headers: &HeaderMap) -> bool {
    let (Some(origin), Some(host)) = (headers.get(header::ORIGIN), headers.get(header::HOST)) else {
        return false;
    };
    is_same_site(origin.as_bytes(), host.as_bytes())
}

/// Whether `origin` is the server that is called `host`.
pub fn is_same_site(origin: &[u8], host: &[u8]) -> bool {
    let bare = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    bare.is_some_and(|bare| bare.eq_ignore_ascii_case(host))
}
