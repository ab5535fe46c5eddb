//! What an operator asks of a Redis that may hold millions of entries, and other people's besides: gone
//! through in small steps, on connections of its own.

use super::super::CacheKey;
use super::super::tier::{Fault, Listing, Selection, Tally};
use super::Redis;
use super::link::{fault_of, pipeline};
use super::value::{self, MAX_LABEL, Shown};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisResult, Value};
use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Keys that a step looks at, about.
const STEP: usize = 500;
/// Bytes of an entry that hold the label of almost all.
const GLANCE: usize = 255;
/// The most used that are looked at in one go.
const PAGE: usize = 200;
/// Kinds that are told apart; the entries of further ones are not counted.
const MOST_KINDS: usize = 10_000;

/// A walk through all nodes, a step at a time.
struct Walk<'a> {
    redis: &'a Redis,
    nodes: Vec<MultiplexedConnection>,
    /// 0 at the beginning, and again at the end, of each node.
    cursor: u64,
}

impl Walk<'_> {
    /// The names of some entries, and the node that holds them; perhaps of none.
    async fn step(&mut self) -> Result<Option<(Vec<String>, MultiplexedConnection)>, Fault> {
        let Some(node) = self.nodes.last_mut() else { return Ok(None) };
        let mut scan = redis::cmd("SCAN");
        scan.arg(self.cursor).arg("MATCH").arg(&self.redis.pattern).arg("COUNT").arg(STEP);
        let (next, names): (u64, Vec<Vec<u8>>) =
            scan.query_async(node).await.map_err(|error| fault_of(&error))?;
        let node = node.clone();
        self.cursor = next;
        if next == 0 {
            self.nodes.pop();
        }
        let names = names.into_iter().filter_map(|name| String::from_utf8(name).ok());
        Ok(Some((names.filter(|name| self.redis.key_of(name).is_some()).collect(), node)))
    }
}

impl Redis {
    async fn walk(&self) -> Result<Walk<'_>, Fault> {
        Ok(Walk { redis: self, nodes: self.link.survey().await?, cursor: 0 })
    }

    pub(super) async fn count(&self) -> Result<Vec<Tally>, Fault> {
        let mut kinds: HashMap<_, Tally> = HashMap::new();
        let mut walk = self.walk().await?;
        while let Some((names, mut node)) = walk.step().await? {
            for (shown, size) in glance(&mut node, &names).await?.into_iter().flatten() {
                let label = shown.label;
                let kind = (label.operation, label.model.clone(), label.team.clone());
                if kinds.len() >= MOST_KINDS && !kinds.contains_key(&kind) {
                    continue;
                }
                let tally = kinds.entry(kind).or_insert_with(|| Tally {
                    prefix: label.prefix,
                    operation: label.operation,
                    model: label.model,
                    team: label.team,
                    entries: 0,
                    bytes: 0,
                });
                tally.entries += 1;
                tally.bytes += size;
            }
        }
        let mut tallies: Vec<Tally> = kinds.into_values().collect();
        tallies.sort_by(|one, other| other.bytes.cmp(&one.bytes).then_with(|| one.model.cmp(&other.model)));
        Ok(tallies)
    }

    pub(super) async fn remove_all(&self, selection: &Selection) -> Result<u64, Fault> {
        let mut removed = 0;
        let mut walk = self.walk().await?;
        while let Some((mut names, mut node)) = walk.step().await? {
            if *selection != Selection::default() {
                let shown = glance(&mut node, &names).await?;
                let meant = |shown: &Option<(Shown, u64)>| {
                    shown.as_ref().is_some_and(|(shown, _)| is_meant(selection, shown))
                };
                let mut meant = shown.iter().map(meant);
                names.retain(|_| meant.next().unwrap_or(false));
            }
            let unlinks = names.iter().map(|name| redis::cmd("UNLINK").arg(name).to_owned());
            for reply in replies(&mut node, unlinks.collect()).await? {
                removed += reply.map_or(0, |reply| redis::from_redis_value::<u64>(reply).unwrap_or(0));
            }
        }
        Ok(removed)
    }

    /// Everything that is meant, step by step; an entry may come twice where the server moves it meanwhile.
    pub(super) async fn list_all(
        &self,
        selection: &Selection,
        told: &mpsc::Sender<Vec<Listing>>,
    ) -> Result<(), Fault> {
        let mut walk = self.walk().await?;
        while let Some((names, _)) = walk.step().await? {
            let keys: Vec<String> =
                names.iter().filter_map(|name| Some(self.key_of(name)?.to_string())).collect();
            let listed = self.listings(&keys, selection).await?;
            if !listed.is_empty() && told.send(listed).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The key of the entry with this name, if it is one's.
    fn key_of(&self, name: &str) -> Option<CacheKey> {
        CacheKey::from_hex(name.strip_prefix(&self.prefix)?)
    }

    /// The most used of those that are meant, by the hits that have been written.
    pub(super) async fn most_used(&self, selection: &Selection, most: usize) -> Result<Vec<Listing>, Fault> {
        if let Some(key) = selection.key {
            return self.listings(&[key.to_string()], selection).await;
        }
        let mut found = Vec::new();
        let mut from = 0;
        while found.len() < most {
            let mut range = redis::cmd("ZREVRANGE");
            range.arg(self.hits_name()).arg(from).arg(from + PAGE - 1);
            let page: Vec<String> =
                redis::from_redis_value(self.link.ask(&range).await?).map_err(|_| Fault::Corrupt)?;
            if page.is_empty() {
                break;
            }
            found.extend(self.listings(&page, selection).await?);
            from += PAGE;
        }
        found.truncate(most);
        Ok(found)
    }

    /// What is known of the entries with these names, as far as they are there and meant.
    async fn listings(&self, keys: &[String], selection: &Selection) -> Result<Vec<Listing>, Fault> {
        const ASKED: usize = 5;
        let questions = keys.iter().flat_map(|key| {
            let name = format!("{}{key}", self.prefix);
            [
                redis::cmd("GETRANGE").arg(&name).arg(0).arg(MAX_LABEL - 1).to_owned(),
                redis::cmd("STRLEN").arg(&name).to_owned(),
                redis::cmd("PTTL").arg(&name).to_owned(),
                redis::cmd("ZSCORE").arg(self.hits_name()).arg(key).to_owned(),
                redis::cmd("ZSCORE").arg(self.used_name()).arg(key).to_owned(),
            ]
        });
        let replies = self.link.ask_all(questions.collect()).await?;
        let now = SystemTime::now();
        let listing = |(key, told): (&String, &[Result<Value, Fault>])| {
            let [Ok(Value::BulkString(start)), size, left, hits, used] = told else { return None };
            let shown = value::read(start).filter(|shown| is_meant(selection, shown))?;
            let whole = number(size)? as u64;
            let label_length = value::label_length(start)? as u64;
            let left = Duration::from_millis(number(left).filter(|left| *left > 0.0)? as u64);
            let used = number(used).map(|millis| UNIX_EPOCH + Duration::from_millis(millis as u64));
            Some(Listing {
                key: CacheKey::from_hex(key)?,
                bytes: whole.saturating_sub(label_length),
                hits: number(hits).unwrap_or(0.0) as u64,
                stored: shown.stored,
                expires: now + left,
                last_used: used.unwrap_or(shown.stored),
                label: shown.label,
            })
        };
        Ok(keys.iter().zip(replies.chunks_exact(ASKED)).filter_map(listing).collect())
    }
}

/// Whether an entry that shows this is one that is meant. None is there whose time is over.
fn is_meant(selection: &Selection, shown: &Shown) -> bool {
    !selection.expired && selection.may_mean(None, &shown.label)
}

/// What the entries of these names show, and the size of what is sealed in them.
async fn glance(
    node: &mut MultiplexedConnection,
    names: &[String],
) -> Result<Vec<Option<(Shown, u64)>>, Fault> {
    let questions = names.iter().flat_map(|name| {
        let start = redis::cmd("GETRANGE").arg(name).arg(0).arg(GLANCE - 1).to_owned();
        [start, redis::cmd("STRLEN").arg(name).to_owned()]
    });
    let replies = replies(node, questions.collect()).await?;
    let mut shown = Vec::with_capacity(names.len());
    for (name, told) in names.iter().zip(replies.chunks_exact(2)) {
        let [Ok(Value::BulkString(start)), Ok(size)] = told else {
            shown.push(None);
            continue;
        };
        let Some(length) = value::label_length(start) else {
            shown.push(None);
            continue;
        };
        let size: u64 = redis::from_redis_value_ref(size).unwrap_or(0);
        let label = if length <= start.len() { value::read(start) } else { look_closer(node, name).await? };
        shown.push(label.map(|label| (label, size.saturating_sub(length as u64))));
    }
    Ok(shown)
}

async fn look_closer(node: &mut MultiplexedConnection, name: &str) -> Result<Option<Shown>, Fault> {
    let start: RedisResult<Vec<u8>> =
        redis::cmd("GETRANGE").arg(name).arg(0).arg(MAX_LABEL - 1).query_async(node).await;
    Ok(value::read(&start.map_err(|error| fault_of(&error))?))
}

async fn replies(
    node: &mut MultiplexedConnection,
    commands: Vec<Cmd>,
) -> Result<Vec<RedisResult<Value>>, Fault> {
    if commands.is_empty() {
        return Ok(Vec::new());
    }
    pipeline(node, commands).await.map_err(|error| fault_of(&error))
}

fn number(told: &Result<Value, Fault>) -> Option<f64> {
    redis::from_redis_value_ref(told.as_ref().ok()?).ok()
}
