//! What a reload replaces: immutable, compiled from the configuration, behind one pointer.

use super::ReplayConfig;
use crate::auth::Directory;
use crate::cache;

/// Each field is its owner's own policy.
pub struct Policy {
    pub keys: Directory,
    pub cache: cache::Policy,
    pub replay: ReplayConfig,
    pub allowed_hosts: Vec<String>,
    /// Counts the policies: what was learned under another one is not believed.
    pub generation: u64,
}

impl Policy {
    pub fn new(
        keys: Directory,
        cache: &cache::Config,
        replay: ReplayConfig,
        allowed_hosts: &[String],
        generation: u64,
    ) -> Self {
        let (cache, allowed_hosts) = (cache::Policy::new(cache), allowed_hosts.to_vec());
        Policy { keys, cache, replay, allowed_hosts, generation }
    }
}
