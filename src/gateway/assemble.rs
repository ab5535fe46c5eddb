//! An embedding call's answer, put together from its texts' vectors.

use super::answer::Answer;
use super::fetch::{Assembled, Fetched, Remembered};
use super::order::Order;
use super::wanted::Wanted;
use super::{Body, Reply, Way, respond};
use crate::cache::{CacheKey, Entry, Hits, Kept, Since, TierName};
use crate::dialect::{Form, render_embeddings};
use crate::domain::{CacheOutcome, Durations, Embedding, Observed, Reason, Source, Usage};
use crate::upstream::Identity;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An answer up to this many bytes is remembered as a whole, too, once it has been asked for again: the
/// shortest way leads to whole answers alone.
const LARGEST_WHOLE: usize = 256 << 10;
/// With more texts than this, to put the answer together would hold up whoever shares the thread.
const MANY: usize = 64;

/// Of an answer for which the upstream was asked.
pub struct Forwarded {
    /// How many of its different texts were known, and of how many.
    pub known: usize,
    pub of: usize,
    /// All others were under way for somebody else.
    pub all_joined: bool,
    /// Why one was not known, where there is more to say than that it was never kept.
    pub why: Option<Reason>,
    pub ttl: Duration,
}

/// The answer when all is known. `known` are the different texts that are `wanted`.
pub fn hit(
    way: &Way,
    order: &Order<'_>,
    (whole, identity): (CacheKey, &Identity),
    tier: TierName,
    known: &[Kept],
    wanted: &Wanted,
) -> Fetched {
    let now = Instant::now();
    let entry = of_kept(order, known, &wanted.each_of(known));
    let ttl = entry.ttl;
    if entry.body.len() <= LARGEST_WHOLE {
        let entry = remember(way, order, (whole, identity), entry, wanted);
        return Fetched::Remembered(Remembered { key: whole, stored: entry.clone(), entry, tier, ttl });
    }
    let age = entry.age(now);
    let mut reply = reply(&entry, respond::hit(ttl.saturating_sub(age), tier));
    reply.headers.insert(header::AGE, age.as_secs().into());
    let outcome = match tier {
        TierName::Memory => CacheOutcome::Hit,
        _ => CacheOutcome::HitBelow,
    };
    assembled(reply, outcome, None, entry.observed)
}

/// The whole answer from vectors that are `known`: as old as the oldest, and over when the first of them is.
pub fn of_kept(order: &Order<'_>, known: &[Kept], each: &[Embedding]) -> Entry {
    let (stored, until) = life(known.iter());
    entry(order, each, stored, until.saturating_duration_since(stored))
}

/// Since when what is put together from vectors that are `known` has been kept, and until when it may be used.
pub fn life<'k>(known: impl Iterator<Item = &'k Kept> + Clone) -> (Instant, Instant) {
    let now = Instant::now();
    let stored = known.clone().map(|kept| kept.stored).min().unwrap_or(now);
    let until = known.map(|kept| kept.stored + kept.ttl).min().unwrap_or(now);
    (stored, until)
}

/// The answer when some of it came from the upstream just now.
pub fn forwarded(
    way: &Way,
    order: &Order<'_>,
    (whole, identity): (CacheKey, &Identity),
    forwarded: Forwarded,
    (wanted, each): (&Wanted, &[Embedding]),
) -> Fetched {
    let entry = entry(order, each, Instant::now(), forwarded.ttl);
    let reply = reply(&entry, status(order.directives.forbids(), &forwarded, StatusCode::OK));
    let (anew, observed) = (!order.directives.may_look_up(), entry.observed);
    if anew && entry.body.len() <= LARGEST_WHOLE {
        // Whatever is remembered of the whole is older.
        remember(way, order, (whole, identity), entry, wanted);
    }
    let why = order.directives.forbids().or(forwarded.why);
    assembled(reply, outcome(order, forwarded.all_joined), why, observed)
}

/// Hits of the whole are hits of its texts.
fn remember(
    way: &Way,
    order: &Order<'_>,
    (whole, identity): (CacheKey, &Identity),
    entry: Entry,
    wanted: &Wanted,
) -> Arc<Entry> {
    let (label, entry) = (order.label(identity), Arc::new(Entry { hits: wanted.hits(), ..entry }));
    way.stock.remember_whole(whole, entry.clone(), Since { label: &label, era: order.era });
    entry
}

/// An answer of the upstream's as it came.
pub fn as_it_came(order: &Order<'_>, answer: &Answer, forwarded: Forwarded) -> Fetched {
    let mut headers = respond::own_fields(&answer.head);
    headers.insert(respond::CACHE_STATUS, status(order.directives.forbids(), &forwarded, answer.head.status));
    let reply = Reply { status: answer.head.status, headers, body: Body::Whole(answer.body.clone()) };
    let why = order.directives.forbids().or(forwarded.why);
    assembled(reply, outcome(order, forwarded.all_joined), why, answer.observed)
}

fn assembled(reply: Reply, outcome: CacheOutcome, why: Option<Reason>, observed: Observed) -> Fetched {
    Fetched::Assembled(Box::new(Assembled { reply, outcome, why, observed }))
}

fn outcome(order: &Order<'_>, joined: bool) -> CacheOutcome {
    match (order.directives.may_look_up(), joined) {
        (false, _) => CacheOutcome::Bypass,
        (true, true) => CacheOutcome::Joined,
        (true, false) => CacheOutcome::Miss,
    }
}

/// What is said of it; `why` nothing that is kept was looked at.
pub fn status(why: Option<Reason>, forwarded: &Forwarded, status: StatusCode) -> HeaderValue {
    let Forwarded { known, of, all_joined, why: missed, ttl } = forwarded;
    let forwarded = if *known > 0 { "partial" } else { respond::forwarded(why.or(*missed)) };
    let how = match (all_joined, status) {
        (true, _) => "collapsed".to_owned(),
        (false, StatusCode::OK) => format!("fwd-status=200; ttl={}", ttl.as_secs()),
        (false, other) => format!("fwd-status={}", other.as_u16()),
    };
    let detail = match (why, *missed) {
        (None, None) if *of > 1 => format!("; detail=\"{known} of {of} known\""),
        (None, Some(missed)) if *of > 1 => {
            format!("; detail=\"{known} of {of} known: {}\"", missed.label())
        }
        (Some(why), _) | (None, Some(why)) => format!("; detail={}", why.label()),
        (None, None) => String::new(),
    };
    respond::value(format!("pannier; fwd={forwarded}; {how}{detail}"))
}

fn reply(entry: &Entry, status: HeaderValue) -> Reply {
    let mut headers: http::HeaderMap = entry.headers.iter().cloned().collect();
    headers.insert(respond::CACHE_STATUS, status);
    Reply { status: StatusCode::OK, headers, body: Body::Whole(entry.body.clone()) }
}

/// The whole answer, as if it had come in one piece.
fn entry(order: &Order<'_>, each: &[Embedding], stored: Instant, ttl: Duration) -> Entry {
    let form = order.request.form;
    let kind: (HeaderName, _) = match form {
        Form::OpenAiEmbed => (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        _ => (header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8")),
    };
    let observed = observed(each);
    Entry {
        body: render(order, each),
        frames: Box::default(),
        headers: Box::new([kind]),
        model: order.call.model.as_str().into(),
        observed,
        took: observed.durations.total,
        stored,
        ttl,
        // That of each text stands with its vector.
        question: None,
        hits: Hits::default(),
    }
}

fn render(order: &Order<'_>, each: &[Embedding]) -> Bytes {
    let looks = order.looks();
    match each.len() > MANY {
        true => tokio::task::block_in_place(|| render_embeddings(looks, each)),
        false => render_embeddings(looks, each),
    }
}

/// What making all of it had cost.
fn observed(each: &[Embedding]) -> Observed {
    let estimated = each.iter().any(|embedding| embedding.estimated);
    let usage = Usage {
        source: if estimated { Source::Estimated } else { Source::Upstream },
        prompt: each.iter().map(|embedding| u64::from(embedding.tokens)).sum(),
        ..Usage::default()
    };
    let durations = Durations {
        total: each.iter().map(|embedding| embedding.total).sum(),
        load: each.iter().map(|embedding| embedding.load).max().unwrap_or_default(),
        ..Durations::default()
    };
    Observed { usage, durations, complete: true, ..Observed::default() }
}
