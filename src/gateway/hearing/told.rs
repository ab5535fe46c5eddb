//! From what was written down to what goes back.

use super::gather;
use crate::dialect::transcript::Teller;
use crate::domain::{Error, Kind, Record};
use crate::gateway::fetch::Fetched;
use crate::gateway::order::Order;
use crate::gateway::{Body, Reply, respond};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

/// What goes back, as it is kept or comes.
///
/// # Errors
/// `Internal` when a kept answer is not what it was found to be.
pub fn reply(fetched: Fetched, order: &Order<'_>, record: &mut Record) -> Result<Reply, Error> {
    Ok(match fetched {
        Fetched::Remembered(remembered) | Fetched::Stale(remembered) => {
            record.observed = Some(remembered.entry.observed);
            let template = respond::fit(&remembered.entry, order)?;
            respond::remembered(&remembered, &template, None, record)
        }
        Fetched::Trip { live, outcome, why, keeps } => {
            respond::live(live, respond::Fresh { outcome, why, keeps })
        }
        Fetched::Assembled(assembled) => assembled.reply,
    })
}

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
