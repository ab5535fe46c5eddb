//! Of all that is kept, what is most like a question that is not.

use super::Way;
use super::explanation::{Differs, Near, Nearest};
use crate::cache::{CacheKey, Payload, Prefix, Question, Selection, Sight, TierName};
use crate::dialect::{self, Form, Handling, Outline};
use crate::domain::{Consumer, Operation};
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::HashSet;
use std::time::Instant;

/// Entries in memory that are passed in search of fit ones, and fit ones that are compared.
const PASSED: usize = 20_000;
const COMPARED: usize = 2_000;
/// Of the lowest tier, those that were used most.
const LISTED: usize = 300;

/// A question that is not known, and where others like it may be.
pub struct Sought<'a> {
    pub consumer: &'a Consumer,
    pub operation: Operation,
    pub model: Option<&'a str>,
    pub beside: &'a Question,
    pub form: Form,
    pub body: &'a Bytes,
    pub key: CacheKey,
}

struct Candidate {
    tier: TierName,
    key: CacheKey,
    payload: Payload,
}

/// Looks at a bounded number of entries in the scope of `sought`.
pub async fn nearest(way: &Way, sought: &Sought<'_>) -> Nearest {
    let Some(outline) = dialect::outline(sought.form, sought.body) else { return Nearest::default() };
    let mut candidates = in_memory(way, sought);
    let mut seen: HashSet<CacheKey> = candidates.iter().map(|candidate| candidate.key).collect();
    seen.insert(sought.key);
    candidates.retain(|candidate| candidate.key != sought.key);
    candidates.extend(below(way, sought).await.into_iter().filter(|candidate| seen.insert(candidate.key)));
    let compare = || {
        let compared = candidates.iter().filter_map(|candidate| compare(sought, &outline, candidate));
        compared.min_by_key(|(differs, equal, _)| (differs.len(), Reverse(*equal)))
    };
    let nearest = tokio::task::block_in_place(compare);
    let near = |(differs, equal, candidate): (Vec<Differs>, usize, &Candidate)| {
        let Candidate { tier, key, payload } = candidate;
        Near {
            tier: tier.label(),
            key: key.to_string(),
            route: payload.question().map(route).unwrap_or_default(),
            age: payload.age(Instant::now()).as_secs(),
            ttl: payload.ttl().as_secs(),
            equal,
            differs,
        }
    };
    Nearest { looked_at: candidates.len(), entry: nearest.map(near) }
}

fn in_memory(way: &Way, sought: &Sought<'_>) -> Vec<Candidate> {
    let fits = |payload: &Payload| {
        let question = payload.question();
        question.is_some_and(|question| {
            question.scope == sought.consumer.scope
                && form_of(question)
                    .is_some_and(|form| Prefix::of(form.operation()) == Prefix::of(sought.operation))
        })
    };
    let all = way.memory.all().take(PASSED).map(|(key, tagged)| (key, Payload::Answer(tagged.entry)));
    let fit = all.filter(|(_, payload)| fits(payload)).take(COMPARED);
    fit.map(|(key, payload)| Candidate { tier: TierName::Memory, key, payload }).collect()
}

async fn below(way: &Way, sought: &Sought<'_>) -> Vec<Candidate> {
    let selection = Selection {
        prefix: Some(Prefix::of(sought.operation)),
        model: sought.model.map(Into::into),
        team: Some(sought.consumer.team.clone()),
        ..Selection::default()
    };
    let Some((tier, listed)) = way.tiers.most_used(&selection, LISTED).await else { return Vec::new() };
    let scope = sought.consumer.scope;
    let sights = way.tiers.open_listed(&listed, |_| vec![scope]).await;
    let candidate = |(key, sight)| match sight {
        Sight::There(payload) => Some(Candidate { tier, key, payload }),
        Sight::Nothing | Sight::Unopenable => None,
    };
    listed.iter().map(|listing| listing.key).zip(sights).filter_map(candidate).collect()
}

/// Where the two are not the same, and in how many places they are.
fn compare<'c>(
    sought: &Sought<'_>,
    outline: &Outline,
    candidate: &'c Candidate,
) -> Option<(Vec<Differs>, usize, &'c Candidate)> {
    let question = candidate.payload.question()?;
    let there = dialect::outline(form_of(question)?, &question.body()?)?;
    let (fields, equal) = outline.differences(&there);
    let mut differs = beside(sought, question);
    differs.extend(fields.into_iter().map(Differs::from));
    Some((differs, equal, candidate))
}

/// What differs of all that stands in a key beside the body.
fn beside(sought: &Sought<'_>, there: &Question) -> Vec<Differs> {
    let here = sought.beside;
    let pairs = [
        ("digest", here.digest.to_string(), there.digest.to_string()),
        ("version", here.version.to_string(), there.version.to_string()),
        ("upstream", here.upstream.to_string(), there.upstream.to_string()),
        ("epoch", here.epoch.to_string(), there.epoch.to_string()),
        ("route", route(here), route(there)),
        ("query", query(here), query(there)),
    ];
    let differing = pairs.into_iter().filter(|(_, here, there)| here != there);
    differing
        .map(|(field, here, there)| Differs { field: field.into(), here: Some(here), there: Some(there) })
        .collect()
}

fn form_of(question: &Question) -> Option<Form> {
    match dialect::find("POST", std::str::from_utf8(super::path(&question.target)).ok()?) {
        (_, Handling::Answer(form)) => Some(form),
        _ => None,
    }
}

/// Both routes for vectors are one.
fn route(question: &Question) -> String {
    match form_of(question) {
        Some(Form::Embed | Form::OpenAiEmbed) => "/api/embed, /v1/embeddings".into(),
        Some(form) => form.path().into(),
        None => String::new(),
    }
}

fn query(question: &Question) -> String {
    String::from_utf8_lossy(&super::query(&question.target)).into_owned()
}
