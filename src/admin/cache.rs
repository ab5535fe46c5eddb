//! What the cache holds, for those who look after it.

use super::asked::Asked;
use super::problem::bad;
use super::{Parts, answer, problem};
use crate::cache::{CacheKey, Held, Listing, Prefix, Selection, TierName};
use crate::domain::Error;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::SystemTime;

/// Entries that are listed at once, unless more or fewer are wanted ...
const USUAL: usize = 20;
/// ... and never more.
const MOST: usize = 1000;

/// What is said where a tier could not be asked.
const REST: &str = "Not every tier could be asked; what is left is not used, and goes as soon as it can";

/// What a query means.
#[derive(Debug, Default, PartialEq)]
pub struct Wanted {
    pub selection: Selection,
    most: Option<usize>,
    /// With the answers.
    pub answer: bool,
}

/// `GET /admin/cache/top`: the entries that were used most often, in each tier.
pub async fn top(State(parts): State<Parts>, asked: Asked) -> Response {
    let wanted = match Wanted::read(&asked, &["by", "most", "prefix", "model", "team"]) {
        Ok(wanted) => wanted,
        Err(error) => return problem::response(&error),
    };
    let most = wanted.most.unwrap_or(USUAL).min(MOST);
    let below = parts.tiers.top(&wanted.selection, most).await;
    let held = parts.stock.top(wanted.selection, most).await;
    let held = held.iter().map(|(key, held)| in_memory(key, held)).collect::<Vec<_>>();
    let memory = json!({ "tier": TierName::Memory.label(), "entries": held });
    let below = below.iter().map(|(tier, found)| match found {
        Ok(found) => {
            json!({ "tier": tier.label(), "entries": found.iter().map(listing).collect::<Vec<_>>() })
        }
        Err(fault) => json!({ "tier": tier.label(), "fault": fault.to_string() }),
    });
    answer(Ok(json!({ "tiers": std::iter::once(memory).chain(below).collect::<Vec<_>>() })))
}

/// `DELETE /analytics/cache`: removes what is meant from every tier, and answers as Simpleton does.
pub async fn remove(State(parts): State<Parts>, asked: Asked) -> Response {
    match Wanted::read(&asked, &["prefix", "model", "team", "expired"]) {
        Ok(wanted) => removed(&parts, wanted.selection).await,
        Err(error) => problem::response(&error),
    }
}

/// Removes what is meant, and says how much that was.
pub async fn removed(parts: &Parts, selection: Selection) -> Response {
    let message = message(&selection);
    let removed = parts.stock.remove(selection).await;
    let deleted: u64 = removed.iter().filter_map(|(_, gone)| gone.as_ref().ok()).sum();
    let is_done = removed.iter().all(|(_, gone)| gone.is_ok());
    let tiers = removed.iter().map(|(tier, gone)| match gone {
        Ok(gone) => json!({ "tier": tier.label(), "deleted": gone }),
        Err(fault) => json!({ "tier": tier.label(), "fault": fault.to_string() }),
    });
    answer(Ok(json!({
        "status": if is_done { "success" } else { "error" },
        "message": if is_done { message } else { REST.to_owned() },
        "deleted": deleted,
        "tiers": tiers.collect::<Vec<_>>(),
    })))
}

fn message(selection: &Selection) -> String {
    let Selection { key, prefix, model, team, expired } = selection;
    let key = key.map(|key| key.to_string());
    let named = [
        ("prefix", prefix.map(Prefix::label)),
        ("model", model.as_deref()),
        ("team", team.as_deref()),
        ("key", key.as_deref()),
    ];
    let named = named.iter().filter_map(|(name, value)| Some(format!("{name}: {}", (*value)?)));
    let named: Vec<String> = named.collect();
    match (*expired, named.is_empty()) {
        (false, true) => "Cleared all cache entries".to_owned(),
        (false, false) => format!("Cleared cache entries with {}", named.join(", ")),
        (true, true) => "Cleared expired cache entries".to_owned(),
        (true, false) => format!("Cleared expired cache entries with {}", named.join(", ")),
    }
}

impl Wanted {
    /// Only names in `known` may stand there, each once.
    pub fn read(asked: &Asked, known: &[&str]) -> Result<Wanted, Error> {
        asked.only(known)?;
        let mut wanted = Wanted::default();
        for (name, value) in asked.pairs() {
            let Selection { prefix, model, team, .. } = &mut wanted.selection;
            match name {
                "prefix" => *prefix = Some(read_prefix(value)?),
                "model" => *model = Some(read_name(value)?),
                "team" => *team = Some(read_name(value)?),
                "most" => wanted.most = Some(value.parse().map_err(|_| bad("most is a number"))?),
                "expired" => {
                    let expired = value.parse().map_err(|_| bad("expired is true or false"))?;
                    wanted.selection.expired = expired;
                }
                "answer" => {
                    wanted.answer = value.parse().map_err(|_| bad("answer is true or false"))?;
                }
                "by" if value == "hits" => {}
                _ => return Err(bad("the only order is by=hits")),
            }
        }
        Ok(wanted)
    }
}

fn read_prefix(text: &str) -> Result<Prefix, Error> {
    Prefix::named(text).ok_or_else(|| bad("prefix is embedding, inference, chat or audio"))
}

/// No model's name and no team's has letters that cannot be shown; not every tier could even be asked for them, and
/// then it would owe the removal for ever.
fn read_name(text: &str) -> Result<Arc<str>, Error> {
    match text.chars().any(char::is_control) {
        true => Err(bad("a name has no control characters")),
        false => Ok(text.into()),
    }
}

fn listing(entry: &Listing) -> Value {
    let label = &entry.label;
    json!({
        "key": entry.key.to_string(),
        "prefix": label.prefix.label(),
        "operation": label.operation.label(),
        "model": &*label.model,
        "digest": &*label.digest,
        "team": &*label.team,
        "bytes": entry.bytes,
        "hits": entry.hits,
        "stored": seconds(entry.stored),
        "expires": seconds(entry.expires),
        "last_used": seconds(entry.last_used),
    })
}

fn in_memory(key: &CacheKey, held: &Held) -> Value {
    let now = SystemTime::now();
    let stored = now.checked_sub(held.stored.elapsed()).unwrap_or(now);
    json!({
        "key": key.to_string(),
        "prefix": held.prefix.label(),
        "operation": held.operation.label(),
        "model": &*held.model,
        "team": &*held.team,
        "bytes": held.bytes,
        "hits": held.hits,
        "stored": seconds(stored),
        "expires": seconds(stored.checked_add(held.ttl).unwrap_or(stored)),
    })
}

/// Since 1970.
fn seconds(moment: SystemTime) -> u64 {
    moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
