//! One trip upstream: a task that writes a recording, keeps the books, and remembers the answer.
//!
//! It outlives the client who began it. When its last reader has left it is dropped in mid-flight,
//! which closes the socket; its books are written all the same.

use super::Way;
use super::books::Books;
use super::outing::{Outing, Pieces};
use super::plan::{FlightKey, Keep, Plan};
use crate::cache::{Entry, Hits, Payload, Question};
use crate::dialect::{self, Form, frame};
use crate::domain::{Error, Kind, Observed};
use crate::flight::Recorder;
use crate::upstream::Head;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::SetOnce;

/// What readers see first.
#[derive(Clone)]
pub struct TripHead {
    pub head: Head,
    /// The body comes in frames, and whether those are events.
    pub streamed: bool,
    pub events: bool,
    /// Filled in before the end is told, and when the trip is called off.
    pub observed: Arc<SetOnce<Observed>>,
}

/// The types of answers that come in frames.
const LINES: &str = "application/x-ndjson";
const EVENTS: &str = "text/event-stream";
/// How long the mere end of an answer is waited for that is all there.
pub const AFTERMATH: Duration = Duration::from_secs(10);

type Record = Recorder<FlightKey, TripHead, Error>;

/// An answer that has come to its clean end.
struct Arrived {
    head: TripHead,
    /// The whole body, where it was kept.
    body: Option<Bytes>,
    observed: Observed,
    took: Duration,
}

/// Goes there, and comes back with whatever there is.
pub async fn travel(way: Arc<Way>, mut plan: Plan, outing: Outing, recorder: Record) {
    let mut books = Books::open(&way, &plan);
    match follow(&way, &mut plan, outing, &recorder, &mut books).await {
        Ok(arrived) => {
            // The readers have their answer; whether it may be remembered is found out behind their
            // backs. Until the recorder goes, whoever asks the same thing gets this very recording.
            drop(books);
            // They come first: on a thread of their own they have gone on already, on this one they do now.
            tokio::task::yield_now().await;
            if let Err(why) = remember(&way, &mut plan, arrived).await {
                tracing::debug!(route = plan.route.template, why, "an answer is not kept");
            }
        }
        Err(error) => {
            books.fail(error.kind);
            // Before the readers hear of it: what they had is their own record's as well.
            drop(books);
            recorder.fail(error);
        }
    }
}

/// Records the answer up to its clean end.
async fn follow(
    way: &Arc<Way>,
    plan: &mut Plan,
    outing: Outing,
    recorder: &Record,
    books: &mut Books,
) -> Result<Arrived, Error> {
    let mut incoming = outing.begin(&way.client).await?;
    let head = incoming.head().clone();
    let streamed = is_framed(&head.headers);
    books.head(plan.form, &head, streamed);
    let keeps = plan.keep.is_some() && is_keepable(&head);
    if !keeps {
        // Nobody later may find this answer: those who are in already share it.
        recorder.close();
        plan.lease = None;
    }
    let events = kind_starts(&head.headers, EVENTS);
    let head = TripHead { head, streamed, events, observed: books.observed() };
    recorder.head(head.clone());
    let (mut patience, mut whole) = (None, None);
    while let Some(piece) = next(&mut incoming, patience).await? {
        books.read(&piece);
        if plan.keep.as_ref().is_some_and(|keep| books.received() > keep.terms.max_entry as u64) {
            // Others need not wait for what will not be kept.
            plan.lease = None;
        }
        if books.is_all_there() {
            if patience.is_none() {
                whole = all_of_it(recorder, keeps && !streamed, &piece);
                books.settle(whole.as_deref());
            }
            recorder.hold();
            patience = Some(AFTERMATH);
        }
        recorder.push(piece).await;
    }
    let pieces = if keeps { recorder.chunks() } else { None };
    let body = pieces.map(|pieces| whole.unwrap_or_else(|| joined(&pieces)));
    let observed = books.close(body.as_deref());
    if !observed.complete {
        recorder.close();
    }
    recorder.seal();
    Ok(Arrived { head, body, observed, took: books.elapsed() })
}

/// An answer of which `last` is the last piece, where it is `wanted`.
fn all_of_it(recorder: &Record, wanted: bool, last: &Bytes) -> Option<Bytes> {
    let mut pieces = wanted.then(|| recorder.chunks()).flatten()?;
    pieces.push(last.clone());
    Some(joined(&pieces))
}

/// The next piece of an answer; one of which only the end is missing is waited for so long.
pub async fn next(incoming: &mut impl Pieces, patience: Option<Duration>) -> Result<Option<Bytes>, Error> {
    match patience {
        None => incoming.chunk().await,
        Some(patience) => tokio::time::timeout(patience, incoming.chunk())
            .await
            .map_err(|_| Error::new(Kind::UpstreamTimeout, "the upstream does not end its answer"))?,
    }
}

/// Puts an answer into the memory, when it is fit for it and the model is still the same.
///
/// # Errors
/// Why not.
async fn remember(way: &Way, plan: &mut Plan, arrived: Arrived) -> Result<(), &'static str> {
    let (Some(keep), Some(_)) = (&plan.keep, &arrived.body) else { return Ok(()) };
    if !arrived.observed.complete {
        return Err("it is not complete");
    }
    let entry = entry(plan, keep, arrived).ok_or("it is not fit for a replay")?;
    let is_own = plan.form == Form::Transcription;
    if !is_own && !way.inventory.confirm(&plan.model, &keep.identity).await {
        return Err("the model may have changed meanwhile");
    }
    let entry = Arc::new(entry);
    way.stock.remember(keep.key, entry.clone(), keep.since());
    way.stock.keep_below(keep.key, keep.scope, Payload::Answer(entry), keep.since(), plan.lease.take());
    Ok(())
}

/// Whether the body comes in frames, by what its type says.
fn is_framed(headers: &HeaderMap) -> bool {
    kind_starts(headers, LINES) || kind_starts(headers, EVENTS)
}

fn kind_starts(headers: &HeaderMap, wanted: &str) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with(wanted))
}

/// Only a plain 200 can be read, and only what can be read is remembered.
fn is_keepable(head: &Head) -> bool {
    head.status.as_u16() == 200 && !head.headers.contains_key(header::CONTENT_ENCODING)
}

fn joined(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [one] => one.clone(),
        many => many.concat().into(),
    }
}

fn entry(plan: &Plan, keep: &Keep, arrived: Arrived) -> Option<Entry> {
    let Arrived { head, body, observed, took } = arrived;
    let body = body.filter(|body| body.len() <= keep.terms.max_entry && !dialect::is_remote(body))?;
    u32::try_from(body.len()).ok()?;
    let frames = if head.streamed { ends(plan.form, &body) } else { Box::default() };
    let entry = Entry {
        headers: lasting(&head.head.headers),
        frames,
        body,
        model: plan.model.as_str().into(),
        observed,
        took,
        stored: Instant::now(),
        ttl: keep.terms.ttl,
        question: keep.question.clone().map(Question::packed),
        hits: Hits::default(),
    };
    // What cannot be made fresh cannot be replayed.
    dialect::cut(plan.form, head.streamed, &entry.pieces(), &plan.model)?;
    Some(entry)
}

/// The fields that belong to the answer itself.
fn lasting(headers: &HeaderMap) -> Box<[(HeaderName, HeaderValue)]> {
    let kept = |name: HeaderName| Some((name.clone(), headers.get(&name)?.clone()));
    [header::CONTENT_TYPE, header::CACHE_CONTROL].into_iter().filter_map(kept).collect()
}

/// Where each frame of `body` ends.
fn ends(form: Form, body: &Bytes) -> Box<[u32]> {
    let mut end = 0;
    let frames = frame::split(frame::Framing::of(form), body);
    let past = frames.iter().map(|frame| {
        end += frame.len() as u32;
        end
    });
    past.collect()
}
