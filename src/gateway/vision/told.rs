//! From the answer of a call that was made for a picture to what is told of it.

use crate::dialect::native::{Failure, Narrator, complaint};
use crate::domain::{CacheOutcome, Error, Kind, Observed, Pour, Record, Template};
use crate::gateway::respond::{self, CACHE_STATUS};
use crate::gateway::{Body, Live, Piece, Reply};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::time::SystemTime;

/// An answer about a picture is no longer.
const LONGEST: usize = 16 << 20;

/// The whole answer of a call.
pub struct Gathered {
    status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub observed: Option<Observed>,
}

/// What the calls for several pictures came to together.
#[derive(Default)]
pub struct Sum {
    observed: Option<Observed>,
    outcome: Option<CacheOutcome>,
    known: usize,
}

/// `reply` in the words of the route: at once where it is a whole one, piece by piece where it comes so.
///
/// # Errors
/// Why there is no whole answer.
pub async fn retell(mut reply: Reply, narrator: Narrator, record: &mut Record) -> Result<Reply, Error> {
    let is_streamed = match &mut reply.body {
        Body::Live(live) => {
            let head = live.head().await?;
            head.streamed && head.head.status == StatusCode::OK
        }
        Body::Replay { streamed, .. } => *streamed,
        Body::Whole(_) | Body::Told(_) => false,
    };
    if !is_streamed {
        let gathered = gather(reply).await?;
        record.observed = record.observed.or(gathered.observed);
        return gathered.reply(&narrator);
    }
    reply.body = match reply.body {
        Body::Live(mut live) => {
            live.retell(narrator.lines());
            Body::Live(live)
        }
        Body::Replay { pour, streamed, pace } => {
            Body::Replay { pour: repour(pour, narrator), streamed, pace }
        }
        body => body,
    };
    Ok(reply)
}

/// The same frames in other words.
fn repour(mut pour: Pour, narrator: Narrator) -> Pour {
    let ends: Vec<usize> = pour.frames().iter().map(|end| *end as usize).collect();
    let (mut retold, mut body, mut frames) = (narrator.lines(), Vec::new(), Vec::new());
    let mut frame = Vec::new();
    for end in ends {
        frame.clear();
        while !pour.write(end, LONGEST, &mut frame) {}
        body.extend(retold.pass(&frame).into_iter().flatten());
        frames.push(body.len() as u32);
    }
    body.extend(retold.finish().into_iter().flatten());
    if let Some(last) = frames.last_mut() {
        *last = body.len() as u32;
    }
    let template = Template { body: body.into(), frames: frames.into(), slots: Box::default() };
    Pour::new(template, SystemTime::now(), 0)
}

/// Waits for all of an answer.
///
/// # Errors
/// Why it did not come.
pub async fn gather(reply: Reply) -> Result<Gathered, Error> {
    let Reply { status, headers, body } = reply;
    match body {
        Body::Whole(body) => Ok(Gathered { status, headers, body, observed: None }),
        Body::Replay { mut pour, .. } => {
            let mut body = Vec::with_capacity(pour.len());
            while !pour.write(pour.len(), LONGEST, &mut body) {}
            Ok(Gathered { status, headers, body: body.into(), observed: None })
        }
        Body::Live(mut live) => {
            let head = live.head().await?;
            let over = Reply { status, headers, body: Body::Whole(Bytes::new()) };
            let (status, headers) = over.over(&head, &live);
            let (body, observed) = all_of(*live).await?;
            Ok(Gathered { status, headers, body, observed })
        }
        Body::Told(_) => Err(Error::new(Kind::Internal, "no picture is answered so")),
    }
}

async fn all_of(mut live: Live) -> Result<(Bytes, Option<Observed>), Error> {
    let mut body = BytesMut::new();
    loop {
        match live.next().await {
            Piece::Body(piece) if body.len() + piece.len() > LONGEST => {
                return Err(Error::new(Kind::UpstreamAborted, "the upstream's answer does not end"));
            }
            Piece::Body(piece) => body.extend_from_slice(&piece),
            Piece::End(observed) => return Ok((body.freeze(), observed)),
            Piece::Broken(error) => return Err(error),
        }
    }
}

impl Gathered {
    /// What is told of it.
    ///
    /// # Errors
    /// What the upstream says is wrong.
    pub fn tell(&self, narrator: &Narrator) -> Result<String, Failure> {
        let status = self.status.as_u16();
        if self.status != StatusCode::OK {
            let message = complaint(&self.body).unwrap_or_else(|| format!("the upstream answers {status}"));
            return Err(Failure { code: "refused", message, status });
        }
        narrator.whole(&self.body).ok_or_else(|| {
            let unreadable = "the upstream's answer about the picture cannot be read";
            Failure::of(&Error::new(Kind::UpstreamAborted, unreadable))
        })
    }

    fn reply(self, narrator: &Narrator) -> Result<Reply, Error> {
        let is_fine = self.status == StatusCode::OK;
        let body = match self.tell(narrator) {
            Ok(told) => told,
            // In the upstream's own words.
            Err(failure) if !is_fine => failure.to_json(),
            Err(failure) => return Err(Error::new(Kind::UpstreamAborted, failure.message)),
        };
        Ok(Reply { status: self.status, headers: of_json(self.headers), body: Body::Whole(body.into()) })
    }
}

impl Sum {
    /// A picture was asked about, in the way that `record` says now.
    pub fn asked(&mut self, record: &Record) {
        self.outcome = Some(self.outcome.map_or(record.cache, |other| farther(other, record.cache)));
    }

    /// Adds the answer, which took `observed` where it was made just now.
    pub fn add(&mut self, record: &Record, observed: Option<Observed>) {
        let is_hit = record.cache.is_hit();
        self.known += usize::from(is_hit);
        let observed = if is_hit { record.observed } else { observed };
        let Some(observed) = observed else { return };
        self.observed = Some(self.observed.map_or(observed, |sum| both(sum, observed)));
    }

    /// The whole answer about so many pictures.
    pub fn tell(self, record: &mut Record, told: String, of: usize) -> Reply {
        record.cache = self.outcome.unwrap_or_default();
        (record.observed, record.why) = (self.observed, None);
        let how = match (self.known, record.cache) {
            (known, _) if known == of => "hit",
            (1.., _) => "fwd=partial",
            (0, CacheOutcome::Bypass) => "fwd=bypass",
            (0, _) => "fwd=uri-miss",
        };
        let status = respond::value(format!("pannier; {how}; detail=\"{} of {of} known\"", self.known));
        let headers = of_json(HeaderMap::from_iter([(CACHE_STATUS, status)]));
        Reply { status: StatusCode::OK, headers, body: Body::Whole(told.into()) }
    }
}

/// Of two answers, how the one came about that had the longer way.
fn farther(one: CacheOutcome, other: CacheOutcome) -> CacheOutcome {
    let way = [
        CacheOutcome::Hit,
        CacheOutcome::HitBelow,
        CacheOutcome::Joined,
        CacheOutcome::Bypass,
        CacheOutcome::Miss,
    ];
    let far = |outcome| way.iter().position(|other| *other == outcome);
    if far(one) >= far(other) { one } else { other }
}

/// What two answers took, as far as that can be added up.
fn both(sum: Observed, more: Observed) -> Observed {
    Observed {
        usage: sum.usage.and(more.usage),
        durations: sum.durations.and(more.durations),
        content_frames: sum.content_frames.saturating_add(more.content_frames),
        ..sum
    }
}

/// `headers` of an answer that is JSON of another length.
fn of_json(mut headers: HeaderMap) -> HeaderMap {
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}
