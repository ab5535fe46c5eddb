//! From what was written down to what goes back.

use super::gather;
use crate::dialect::transcript::{Manner, Shape, Teller};
use crate::domain::{Error, Kind, Record};
use crate::gateway::{Body, Reply};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// `reply` in the shape that is wanted: at once, or event by event where that is wanted and it comes so.
///
/// # Errors
/// Why there is no whole answer.
pub async fn retell(
    mut reply: Reply,
    teller: &Teller,
    streamed: bool,
    record: &mut Record,
) -> Result<Reply, Error> {
    let streamed = streamed && teller.hearing.manner == Manner::OpenAi;
    if streamed && !matches!(teller.shape, Shape::Json | Shape::Text) {
        return Err(Error::new(Kind::BadRequest, "a stream is told with response_format json or text alone"));
    }
    if streamed && let Body::Live(live) = &mut reply.body {
        // What keeps anybody from listening is told as an answer of its own.
        live.head().await?;
        live.events(teller.events());
        reply.headers.insert(header::CONTENT_TYPE, EVENTS);
        return Ok(reply);
    }
    let gathered = gather(reply).await?;
    record.observed = record.observed.or(gathered.observed);
    let (mut headers, body) = (gathered.headers, gathered.body);
    let told = match streamed {
        true => teller.events().pass(&body),
        false => teller.whole(&body).map(Bytes::from),
    };
    let told = told.ok_or_else(|| Error::new(Kind::Internal, "what was written down cannot be read"))?;
    let kind = if streamed { EVENTS } else { HeaderValue::from_static(teller.shape.content_type()) };
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, kind);
    Ok(Reply { status: StatusCode::OK, headers, body: Body::Whole(told) })
}
