//! Leases on Redis: a key that only its holder's token renews or releases, and that is over by itself.

use super::super::CacheKey;
use super::super::join::join_all;
use super::super::lease::{Holding, Locks, Token};
use super::super::tier::{Fault, TierName};
use super::Redis;
use async_trait::async_trait;
use redis::Script;
use std::sync::LazyLock;
use std::time::Duration;

/// A key's number is kept this long after it was last taken or renewed: far longer than anybody works on who
/// has lost it.
const FENCE_LIFE: Duration = Duration::from_secs(10 * 60);

/// The number of this taking, or 0: somebody has it.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 0 end \
         local fence = redis.call('INCR', KEYS[2]) \
         redis.call('PEXPIRE', KEYS[2], ARGV[3]) \
         return fence",
    )
});
static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end \
         redis.call('PEXPIRE', KEYS[2], ARGV[3]) \
         return redis.call('PEXPIRE', KEYS[1], ARGV[2])",
    )
});
static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end \
         return redis.call('DEL', KEYS[1])",
    )
});

#[async_trait]
impl Locks for Redis {
    fn name(&self) -> &'static str {
        TierName::Redis.label()
    }

    async fn take(&self, key: &CacheKey, token: &Token, term: Duration) -> Result<Option<u64>, Fault> {
        let mut taking = TAKE.key(self.lock_name(key));
        taking.key(self.fence_name(key)).arg(&token.0).arg(millis(term)).arg(millis(FENCE_LIFE));
        let fence = self.link.run(&taking).await?;
        Ok(u64::try_from(fence).ok().filter(|fence| *fence > 0))
    }

    async fn renew(&self, held: &[Holding], term: Duration) -> Result<Vec<Holding>, Fault> {
        let renewals = held.iter().map(|(key, token)| async move {
            let mut renewal = RENEW.key(self.lock_name(key));
            renewal.key(self.fence_name(key)).arg(&token.0).arg(millis(term)).arg(millis(FENCE_LIFE));
            self.link.run(&renewal).await
        });
        let mut lost = Vec::new();
        for (holding, renewed) in held.iter().zip(join_all(renewals).await) {
            if renewed? != 1 {
                lost.push(holding.clone());
            }
        }
        Ok(lost)
    }

    async fn release(&self, held: &[Holding]) -> Result<(), Fault> {
        let releases = held.iter().map(|(key, token)| async move {
            let mut release = RELEASE.key(self.lock_name(key));
            self.link.run(release.arg(&token.0)).await
        });
        join_all(releases).await.into_iter().try_for_each(|released| released.map(drop))
    }

    async fn is_taken(&self, key: &CacheKey) -> Result<bool, Fault> {
        let reply = self.link.ask(redis::cmd("EXISTS").arg(self.lock_name(key))).await?;
        redis::from_redis_value(reply).map_err(|_| Fault::Corrupt)
    }
}

impl Redis {
    /// What stands in braces decides the node of a Cluster: both names of a key are on one.
    fn lock_name(&self, key: &CacheKey) -> String {
        format!("{}lock:{{{key}}}", self.prefix)
    }

    fn fence_name(&self, key: &CacheKey) -> String {
        format!("{}fence:{{{key}}}", self.prefix)
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}
