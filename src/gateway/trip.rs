//! One trip upstream: a task that writes a recording, keeps the books, and remembers the answer.
//!
//! It outlives the client who began it. When its last reader has left it is dropped in mid-flight,
//! which closes the socket; the books are kept by a guard, so that this trip is counted as well.

use super::Way;
use super::fetch::FlightKey;
use crate::cache::{CacheKey, Entry, Terms};
use crate::dialect::{self, Form, Scanner, frame};
use crate::domain::{CallFacts, Error, Kind, Observed, Route, Source, Trip};
use crate::flight::Recorder;
use crate::upstream::{Head, Identity, UpstreamCall};
use bytes::Bytes;
use http::{HeaderMap, header};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// What a trip is for.
pub struct Plan {
    pub form: Form,
    pub route: Route,
    pub facts: CallFacts,
    pub call: UpstreamCall,
    /// The model's name as the client wrote it.
    pub model: String,
    pub estimated_prompt_tokens: u64,
    /// How to remember the answer, when it may be.
    pub keep: Option<Keep>,
}

/// Under what name and terms an answer is remembered.
#[derive(Clone)]
pub struct Keep {
    pub key: CacheKey,
    pub identity: Identity,
    pub terms: Terms,
}

/// What readers see first.
#[derive(Clone)]
pub struct TripHead {
    pub head: Head,
    /// The body comes in frames.
    pub streamed: bool,
    /// Filled in before the end is told.
    pub observed: Arc<OnceLock<Observed>>,
}

/// Keeps one trip's books; writes them when it is dropped, whatever happened.
struct Books {
    way: Arc<Way>,
    route: Route,
    facts: CallFacts,
    estimated_prompt_tokens: u64,
    began: Instant,
    status: u16,
    scanner: Option<Scanner>,
    /// What the head says of the body's length, and how much of it has come.
    length: Option<u64>,
    received: u64,
    observed: Option<Observed>,
    first_byte: Option<Duration>,
    first_token: Option<Duration>,
    /// What the trip ends with unless it says otherwise: everybody left.
    error: Option<Kind>,
}

type Record = Recorder<FlightKey, TripHead, Error>;

/// Goes there, and comes back with whatever there is.
pub async fn travel(way: Arc<Way>, plan: Plan, recorder: Record) {
    let mut books = Books::open(&way, &plan);
    let fail = |books: &mut Books, error: Error| {
        books.error = Some(error.kind);
        recorder.fail(error);
    };
    let mut incoming = match way.client.send(&plan.call).await {
        Ok(incoming) => incoming,
        Err(error) => return fail(&mut books, error),
    };
    let head = incoming.head().clone();
    let streamed = is_framed(&head.headers);
    books.status = head.status.as_u16();
    books.scanner = Some(Scanner::new(plan.form, streamed));
    books.length = content_length(&head.headers);
    let keep = plan.keep.as_ref().filter(|_| is_keepable(&head));
    if keep.is_none() {
        // Nobody later may find this answer: those who are in already share it.
        recorder.close();
    }
    let shown = TripHead { head, streamed, observed: Arc::default() };
    recorder.head(shown.clone());
    loop {
        match incoming.chunk().await {
            Ok(Some(piece)) => {
                books.read(&piece);
                if books.is_all_there() {
                    recorder.hold();
                }
                recorder.push(piece).await;
            }
            Ok(None) => break,
            Err(error) => return fail(&mut books, error),
        }
    }
    let pieces = keep.and_then(|_| recorder.chunks());
    let body = pieces.as_deref().map(joined);
    let observed = books.close(body.as_deref());
    let _ = shown.observed.set(observed);
    if !observed.complete {
        recorder.close();
    }
    recorder.seal();
    // The readers have their answer; whether it may be remembered is found out behind their backs. Until
    // the recorder goes, whoever asks the same thing gets this very recording.
    let (Some(keep), Some(body)) = (keep, body) else { return };
    if !observed.complete {
        return tracing::debug!(route = plan.route.template, "not kept: the answer is not complete");
    }
    let Some(entry) = entry(&plan, keep, &shown, body, observed, books.began.elapsed()) else {
        return tracing::debug!(route = plan.route.template, "not kept: the answer is not fit for a replay");
    };
    if way.inventory.confirm(&plan.model, &keep.identity).await {
        way.memory.put(keep.key, Arc::new(entry));
    } else {
        tracing::debug!(route = plan.route.template, "not kept: the model may have changed meanwhile");
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the body comes in frames, by what its type says.
fn is_framed(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.starts_with("application/x-ndjson") || kind.starts_with("text/event-stream")
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

fn entry(
    plan: &Plan,
    keep: &Keep,
    head: &TripHead,
    body: Bytes,
    observed: Observed,
    took: Duration,
) -> Option<Entry> {
    if body.len() > keep.terms.max_entry || u32::try_from(body.len()).is_err() || dialect::is_remote(&body) {
        return None;
    }
    let frames = if head.streamed { ends(plan.form, &body) } else { Box::default() };
    let belongs = [header::CONTENT_TYPE, header::CACHE_CONTROL];
    let headers =
        belongs.into_iter().filter_map(|name| Some((name.clone(), head.head.headers.get(name)?.clone())));
    let entry = Entry {
        headers: headers.collect(),
        frames,
        body,
        model: plan.model.as_str().into(),
        observed,
        took,
        stored: Instant::now(),
        ttl: keep.terms.ttl,
    };
    // What cannot be made fresh cannot be replayed.
    dialect::cut(plan.form, head.streamed, &entry.pieces(), &plan.model)?;
    Some(entry)
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

// === impl Books ===

impl Books {
    fn open(way: &Arc<Way>, plan: &Plan) -> Self {
        Books {
            way: way.clone(),
            route: plan.route,
            facts: plan.facts.clone(),
            estimated_prompt_tokens: plan.estimated_prompt_tokens,
            began: Instant::now(),
            status: 0,
            scanner: None,
            length: None,
            received: 0,
            observed: None,
            first_byte: None,
            first_token: None,
            error: Some(Kind::ClientGone),
        }
    }

    fn read(&mut self, piece: &[u8]) {
        let now = self.began.elapsed();
        self.first_byte.get_or_insert(now);
        self.received += piece.len() as u64;
        if self.scanner.as_mut().is_some_and(|scanner| scanner.feed(piece)) {
            self.first_token.get_or_insert(now);
        }
    }

    /// A reader may leave now with all that it wanted.
    fn is_all_there(&self) -> bool {
        self.length.is_some_and(|length| self.received >= length)
            || self.scanner.as_ref().is_some_and(Scanner::has_ended)
    }

    /// The answer has come to its clean end.
    fn close(&mut self, whole: Option<&[u8]>) -> Observed {
        self.error = None;
        let observed = self.observe(whole);
        self.observed = Some(observed);
        observed
    }

    fn observe(&mut self, whole: Option<&[u8]>) -> Observed {
        let mut observed = self.scanner.as_mut().map(|scanner| scanner.finish(whole)).unwrap_or_default();
        let produced = observed.complete || observed.content_frames > 0;
        if observed.usage.source != Source::Upstream && produced && self.status == 200 {
            observed.usage.source = Source::Estimated;
            observed.usage.prompt = self.estimated_prompt_tokens;
        }
        observed
    }
}

impl Drop for Books {
    fn drop(&mut self) {
        let observed = match self.observed {
            Some(observed) => observed,
            None => self.observe(None),
        };
        self.way.sinks.trip(&Trip {
            route: self.route,
            call: self.facts.clone(),
            status: self.status,
            observed,
            first_byte: self.first_byte,
            first_token: self.first_token,
            total: self.began.elapsed(),
            error: self.error,
        });
    }
}
