//! Between Pingora's session and the gateway's requests and replies.

use super::head::origin_form;
use super::hold::{Budget, no_room};
use super::road::{REQUEST_ID, Road, Way, is_same_origin};
use super::wire::Trouble;
use crate::dialect::Form;
use crate::domain::{Error, Kind, Observed};
use crate::gateway::{self, Body, Live, Piece, Reply, Request};
use crate::upstream::end_to_end;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use pingora::ErrorType;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use std::time::Duration;

/// How an answer went out.
pub enum Sent {
    /// To its end.
    Whole,
    /// It had begun, and broke off; the connection must say so by closing.
    Broken,
}

/// A body that is not wanted is read so far, and so long, before the connection is closed, so that the
/// client sees the answer first.
const LINGER: usize = 1 << 20;
const LINGER_FOR: Duration = Duration::from_secs(1);

/// Reads the body, asks the gateway, and writes what it says.
pub async fn answer(road: &Road, session: &mut Session, way: &mut Way, form: Form) -> pingora::Result<Sent> {
    let body = match read_body(session, road.max_body, &road.budget).await {
        Ok(body) => body,
        Err(error) => return refuse(session, way, error).await,
    };
    let head = session.req_header();
    let headers = end_to_end(&head.headers);
    let Some(arrival) = &way.arrival else { return Ok(Sent::Broken) };
    let request = Request {
        id: arrival.id,
        started: arrival.started,
        form,
        route: arrival.route,
        target: Bytes::copy_from_slice(origin_form(&String::from_utf8_lossy(head.raw_path())).as_bytes()),
        consumer: arrival.consumer.clone(),
        own_key: arrival.own_key,
        origin: headers.get(header::ORIGIN).filter(|_| !is_same_origin(head)).cloned(),
        content_encoding: encoding(&headers),
        headers: &headers,
        body,
    };
    let answered = tokio::select! {
        answered = road.gateway.answer(request, &mut way.record) => answered,
        gone = gone(session) => Err(gone),
    };
    match answered {
        Ok(Reply { status, headers, body: Body::Live(live) }) => {
            let reply = Reply { status, headers, body: Body::Whole(Bytes::new()) };
            send_live(road, session, way, reply, *live).await
        }
        Ok(reply) => {
            road.close_if_draining(session);
            send_whole(session, way, reply).await.map(|()| Sent::Whole)
        }
        Err(error) => refuse(session, way, error).await,
    }
}

/// The whole body, bounded, and with all others together.
async fn read_body(session: &mut Session, most: u64, budget: &Budget) -> Result<Bytes, Error> {
    let too_large = || Error::new(Kind::TooLarge, format!("the body is larger than {most} bytes"));
    let announced =
        session.get_header(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > most) {
        return Err(too_large());
    }
    if session.is_body_empty() {
        return Ok(Bytes::new());
    }
    // What is announced is no more than a word: room is taken for what is there.
    let mut share = budget.take(0).ok_or_else(no_room)?;
    let left = |_| Error::new(Kind::ClientGone, "the client left");
    let expects = session.get_header(header::EXPECT).is_some();
    if expects && session.req_header().version == http::Version::HTTP_11 {
        session.write_continue_response().await.map_err(left)?;
    }
    // One read brings most bodies, and then nothing is copied.
    let Some(first) = session.read_request_body().await.map_err(left)? else { return Ok(Bytes::new()) };
    if !share.grow(first.len()) {
        return Err(no_room());
    }
    if announced == Some(first.len() as u64) {
        return Ok(share.hold(first));
    }
    let capacity = announced.map_or(first.len() * 2, |length| length as usize).min(LINGER);
    let mut body = BytesMut::with_capacity(capacity);
    body.extend_from_slice(&first);
    while let Some(piece) = session.read_request_body().await.map_err(left)? {
        if body.len() as u64 + piece.len() as u64 > most {
            return Err(too_large());
        }
        if !share.grow(piece.len()) {
            return Err(no_room());
        }
        body.extend_from_slice(&piece);
    }
    Ok(share.hold(body.freeze()))
}

fn encoding(headers: &HeaderMap) -> Option<String> {
    let all: Vec<_> =
        headers.get_all(header::CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok()).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// Resolves when the client has gone.
async fn gone(session: &mut Session) -> Error {
    loop {
        match session.read_body_or_idle(true).await {
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return Error::new(Kind::ClientGone, "the client left"),
        }
    }
}

async fn refuse(session: &mut Session, way: &mut Way, error: Error) -> pingora::Result<Sent> {
    let trouble = way.arrival.as_ref().map_or(Trouble::None, |arrival| arrival.troubles.get());
    let error = explain_trouble(trouble).unwrap_or(error);
    if error.kind == Kind::ClientGone {
        way.error = Some(error);
        return Ok(Sent::Broken);
    }
    let reply = gateway::refuse(&error, way.record.route, way.record.id);
    way.error = Some(error);
    let unread = !session.is_body_done();
    if unread {
        session.set_keepalive(None);
    }
    send_whole(session, way, reply).await?;
    if unread {
        drain(session).await;
    }
    Ok(Sent::Whole)
}

/// What the wire's trouble is called.
pub fn explain_trouble(trouble: Trouble) -> Option<Error> {
    match trouble {
        Trouble::None => None,
        Trouble::SlowBody => Some(Error::new(Kind::RequestTimeout, "the body came too slowly")),
        Trouble::SlowReader => Some(Error::new(Kind::ClientGone, "the client takes nothing")),
        Trouble::Misframed => Some(Error::new(Kind::BadRequest, "the body is not framed as it should be")),
    }
}

async fn drain(session: &mut Session) {
    let drained = async {
        let mut left = LINGER;
        while let Ok(Some(piece)) = session.read_request_body().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_FOR, drained).await;
}

/// Writes an answer that is there already.
pub async fn send_whole(session: &mut Session, way: &mut Way, reply: Reply) -> pingora::Result<()> {
    let mut head = response(reply.status, &reply.headers, way)?;
    match reply.body {
        Body::Whole(body) => {
            head.insert_header(header::CONTENT_LENGTH, body.len())?;
            session.write_response_header(Box::new(head), body.is_empty()).await?;
            note_first_byte(way);
            session.write_response_body(Some(body), true).await
        }
        Body::Frames(frames) => {
            frame_by(&mut head, session)?;
            session.write_response_header(Box::new(head), false).await?;
            note_first_byte(way);
            for frame in frames {
                session.write_response_body(Some(frame), false).await?;
            }
            session.write_response_body(None, true).await
        }
        Body::Live(_) => Err(pingora::Error::new(ErrorType::InternalError)),
    }
}

/// Writes an answer as it comes, and gives it up as soon as the client has left.
async fn send_live(
    road: &Road,
    session: &mut Session,
    way: &mut Way,
    reply: Reply,
    mut live: Live,
) -> pingora::Result<Sent> {
    let head = tokio::select! {
        head = live.head() => head,
        gone = gone(session) => Err(gone),
    };
    let head = match head {
        Ok(head) => head,
        Err(error) => return refuse(session, way, error).await,
    };
    let (status, headers) = reply.over(&head, &live);
    let mut head = response(status, &headers, way)?;
    let has_body = !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if has_body && !headers.contains_key(header::CONTENT_LENGTH) {
        frame_by(&mut head, session)?;
    }
    road.close_if_draining(session);
    // With the first piece at hand, head and piece go out in one write.
    let first = live.next_if_there();
    let cork = way.arrival.as_ref().map(|arrival| arrival.cork.clone()).unwrap_or_default();
    cork.set(matches!(first, Some(Piece::Body(_))));
    let written = session.write_response_header(Box::new(head), false).await;
    cork.set(false);
    written?;
    match send_pieces(session, way, &mut live, first).await {
        Ok(observed) => {
            way.record.observed = observed;
            // To a client that has left with all of it, this says nothing any more.
            let _ = session.write_response_body(None, true).await;
            Ok(Sent::Whole)
        }
        Err(error) => {
            if error.kind != Kind::ClientGone && live.may_tell_error() {
                let frame = gateway::frame(&error, way.record.route, way.record.id);
                let _ = session.write_response_body(Some(frame), false).await;
            }
            way.error = Some(error);
            way.record.observed = live.leave().await;
            // What was held back goes out, and then the end that is none.
            session.shutdown().await;
            Ok(Sent::Broken)
        }
    }
}

/// Writes the body piece by piece, up to its end or its breaking off.
async fn send_pieces(
    session: &mut Session,
    way: &mut Way,
    live: &mut Live,
    mut first: Option<Piece>,
) -> Result<Option<Observed>, Error> {
    loop {
        let piece = match first.take() {
            Some(piece) => piece,
            None => tokio::select! {
                biased;
                piece = live.next() => piece,
                gone = gone(session) => live.ending().await.unwrap_or(Piece::Broken(gone)),
            },
        };
        match piece {
            Piece::Body(piece) => {
                note_first_byte(way);
                let left = |_| Error::new(Kind::ClientGone, "the client left");
                session.write_response_body(Some(piece), false).await.map_err(left)?;
            }
            Piece::End(observed) => return Ok(observed),
            Piece::Broken(error) => return Err(error),
        }
    }
}

fn response(status: StatusCode, headers: &HeaderMap, way: &Way) -> pingora::Result<ResponseHeader> {
    let mut head = ResponseHeader::build(status, Some(headers.len() + 4))?;
    for (name, value) in headers {
        head.append_header(name.clone(), value.clone())?;
    }
    head.insert_header(REQUEST_ID, way.request_id())?;
    Ok(head)
}

/// An answer of unknown length goes in chunks, or to HTTP/1.0 until the connection closes.
fn frame_by(head: &mut ResponseHeader, session: &mut Session) -> pingora::Result<()> {
    if session.req_header().version == http::Version::HTTP_11 {
        head.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    } else {
        session.set_keepalive(None);
    }
    Ok(())
}

fn note_first_byte(way: &mut Way) {
    let started = way.record.started;
    way.record.first_byte.get_or_insert_with(|| started.elapsed());
}
