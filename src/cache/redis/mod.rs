//! The tier that replicas share: sealed entries in a Redis or a Redis Cluster, under names that begin with a
//! prefix of their own, each with a time of its own to be over.
//!
//! Hits are counted in this process and added to a sorted set now and then; no hit writes.

mod address;
mod board;
mod hits;
mod link;
mod locks;
mod survey;
mod value;

pub use address::AddressError;

use super::CacheKey;
use super::board::Board;
use super::config::RedisConfig;
use super::guard::unbroken;
use super::stop::stopped;
use super::tier::{Fault, Listing, Parcel, Selection, Tally, Tier, TierName};
use async_trait::async_trait;
use bytes::Bytes;
use hits::Hits;
use link::Link;
use redis::{Cmd, Value};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use value::MAX_LABEL;

/// Between two writings of what was used.
const WRITE_HITS_EVERY: Duration = Duration::from_secs(5);
/// Entries of which it is looked each time whether they are still there.
const LOOKED_AT: i64 = 128;
/// Entries whose hits are written in one go.
const HITS_AT_ONCE: usize = 500;
/// The most used are remembered; of the others only that they are there.
const MOST_USED: i64 = 10_000;

/// One Redis, or one Cluster.
pub struct Redis {
    link: Link,
    prefix: String,
    /// Of the names of entries, for `SCAN`.
    pattern: String,
    /// The longest value that is read; what is longer is no entry of ours.
    largest: usize,
    hits: Hits,
}

// === impl Redis ===

impl Redis {
    /// Reaches for nothing yet: [`Tier::probe`] does.
    pub fn new(config: &RedisConfig) -> Result<Self, AddressError> {
        let prefix = config.prefix.clone();
        let pattern = format!("{}{}", escaped(&prefix), "[0-9a-f]".repeat(4) + "*");
        let largest = config.max_entry + MAX_LABEL;
        let link = Link::new(config.url.expose(), config.timeout)?;
        Ok(Redis { link, prefix, pattern, largest, hits: Hits::default() })
    }

    /// Writes down now and then what was used, until `stop`.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = stopped(&mut stop) => break,
                () = tokio::time::sleep(WRITE_HITS_EVERY) => {}
            }
            self.write_hits().await;
            // What cannot be looked at now is looked at later.
            let _ = tokio::time::timeout(self.link.patience(), unbroken(self.forget_some_gone())).await;
        }
        self.write_hits().await;
    }

    /// Takes some of those out of the sorted sets whose entries have ended: only the most used have room there.
    async fn forget_some_gone(&self) -> Result<(), Fault> {
        let some = redis::cmd("ZRANDMEMBER").arg(self.hits_name()).arg(LOOKED_AT).to_owned();
        let keys: Vec<String> =
            redis::from_redis_value(self.link.ask(&some).await?).map_err(|_| Fault::Corrupt)?;
        let asked =
            keys.iter().map(|key| redis::cmd("EXISTS").arg(format!("{}{key}", self.prefix)).to_owned());
        let there = self.link.ask_all(asked.collect()).await?;
        let gone = keys.iter().zip(there).filter(|(_, there)| matches!(there, Ok(Value::Int(0))));
        let gone: Vec<&String> = gone.map(|(key, _)| key).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let forget = |name: String| redis::cmd("ZREM").arg(name).arg(&gone).to_owned();
        self.link.ask_all(vec![forget(self.hits_name()), forget(self.used_name())]).await.map(drop)
    }

    /// What cannot be written is forgotten: it was only counted.
    async fn write_hits(&self) {
        let used: Vec<_> = self.hits.take().into_iter().collect();
        for used in used.chunks(HITS_AT_ONCE) {
            let mut commands: Vec<Cmd> = Vec::with_capacity(used.len() * 2 + 2);
            for (key, used) in used {
                let last = used.last.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
                let key = key.to_string();
                commands
                    .push(redis::cmd("ZINCRBY").arg(self.hits_name()).arg(used.hits).arg(&key).to_owned());
                commands.push(redis::cmd("ZADD").arg(self.used_name()).arg(last).arg(&key).to_owned());
            }
            for name in [self.hits_name(), self.used_name()] {
                let cut = redis::cmd("ZREMRANGEBYRANK").arg(name).arg(0).arg(-MOST_USED - 1).to_owned();
                commands.push(cut);
            }
            let written =
                tokio::time::timeout(self.link.patience(), unbroken(self.link.ask_all(commands))).await;
            if !matches!(written, Ok(Ok(_))) {
                return;
            }
        }
    }

    fn name(&self, key: &CacheKey) -> String {
        format!("{}{key}", self.prefix)
    }

    /// A sorted set: entries by hits.
    fn hits_name(&self) -> String {
        format!("{}hits", self.prefix)
    }

    /// A sorted set: entries by when they were last used, in milliseconds since 1970.
    fn used_name(&self) -> String {
        format!("{}used", self.prefix)
    }

    /// The names of `keys` in the two sorted sets go with their entries.
    async fn forget_hits(&self, selection: &Selection) -> Result<(), Fault> {
        let forget = |name: String| match selection.key {
            Some(key) => redis::cmd("ZREM").arg(name).arg(key.to_string()).to_owned(),
            None => redis::cmd("UNLINK").arg(name).to_owned(),
        };
        self.link.ask_all(vec![forget(self.hits_name()), forget(self.used_name())]).await.map(drop)
    }
}

#[async_trait]
impl Tier for Redis {
    fn name(&self) -> TierName {
        TierName::Redis
    }

    fn used_above(&self, used: &[(CacheKey, u32)]) {
        let now = SystemTime::now();
        used.iter().for_each(|(key, times)| self.hits.note(*key, *times, now));
    }

    async fn find(&self, keys: &[CacheKey]) -> Result<Vec<Option<Bytes>>, Fault> {
        let found = self.look(keys).await?;
        let now = SystemTime::now();
        for (key, _) in keys.iter().zip(&found).filter(|(_, found)| found.is_some()) {
            self.hits.note(*key, 1, now);
        }
        Ok(found)
    }

    async fn look(&self, keys: &[CacheKey]) -> Result<Vec<Option<Bytes>>, Fault> {
        // Not MGET: what somebody else wrote under our name may be half a gigabyte.
        let get = |key| redis::cmd("GETRANGE").arg(self.name(key)).arg(0).arg(self.largest - 1).to_owned();
        let replies = match keys {
            [key] => vec![self.link.ask(&get(key)).await],
            _ => self.link.ask_all(keys.iter().map(get).collect()).await?,
        };
        replies.into_iter().map(sealed).collect()
    }

    async fn keep(&self, parcels: &[Parcel]) -> Result<(), Fault> {
        let now = SystemTime::now();
        let set = |parcel: &Parcel| {
            let life = parcel.expires.duration_since(now).ok()?.as_millis() as u64;
            let mut set = redis::cmd("SET");
            set.arg(self.name(&parcel.key)).arg(value::write(parcel)).arg("PX").arg(life.max(1));
            Some(set)
        };
        let sets: Vec<Cmd> = parcels.iter().filter_map(set).collect();
        if sets.is_empty() {
            return Ok(());
        }
        self.link.ask_all(sets).await?.into_iter().try_for_each(|reply| reply.map(drop))
    }

    async fn remove(&self, selection: &Selection) -> Result<u64, Fault> {
        if selection.expired {
            // Redis has removed those itself.
            return Ok(0);
        }
        let removed = match selection.key {
            Some(key) => {
                if selection.prefix.is_some() || selection.model.is_some() || selection.team.is_some() {
                    let meant = self.most_used(selection, 1).await?;
                    if meant.is_empty() {
                        return Ok(0);
                    }
                }
                let reply = self.link.ask(redis::cmd("UNLINK").arg(self.name(&key))).await?;
                redis::from_redis_value(reply).map_err(|_| Fault::Corrupt)?
            }
            None => self.remove_all(selection).await?,
        };
        if selection.key.is_some() || *selection == Selection::default() {
            self.forget_hits(selection).await?;
        }
        Ok(removed)
    }

    async fn tally(&self) -> Result<Vec<Tally>, Fault> {
        self.count().await
    }

    async fn top(&self, selection: &Selection, most: usize) -> Result<Vec<Listing>, Fault> {
        self.most_used(selection, most).await
    }

    async fn list(&self, selection: &Selection, told: &mpsc::Sender<Vec<Listing>>) -> Result<(), Fault> {
        self.list_all(selection, told).await
    }

    /// Connects where that is needed. Asks as for an entry, so that a server that answers but gives nothing out, or
    /// a Cluster that misses a part, is seen for what it is.
    async fn probe(&self) -> Result<(), Fault> {
        let name = format!("{}probe:{}", self.prefix, fastrand::u16(..));
        self.link.probe(redis::cmd("GETRANGE").arg(name).arg(0).arg(0)).await
    }

    fn board(&self) -> Option<&dyn Board> {
        Some(self)
    }
}

/// The sealed bytes of what was found. Whatever is no entry is found as nothing that could be opened.
fn sealed(reply: Result<Value, Fault>) -> Result<Option<Bytes>, Fault> {
    match reply {
        Ok(Value::BulkString(value)) if value.is_empty() => Ok(None),
        Ok(Value::BulkString(value)) => {
            let start = value::label_length(&value).unwrap_or(value.len()).min(value.len());
            Ok(Some(Bytes::from(value).slice(start..)))
        }
        Ok(Value::Nil) => Ok(None),
        // Of another type than a text.
        Err(Fault::Corrupt) => Ok(Some(Bytes::new())),
        Ok(_) => Err(Fault::Corrupt),
        Err(fault) => Err(fault),
    }
}

/// `prefix` as `SCAN` takes it literally.
fn escaped(prefix: &str) -> String {
    let escape = |letter: char| match letter {
        '*' | '?' | '[' | ']' | '^' | '-' | '\\' => vec!['\\', letter],
        _ => vec![letter],
    };
    prefix.chars().flat_map(escape).collect()
}
