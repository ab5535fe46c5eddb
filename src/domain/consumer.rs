//! Who asks.

use super::Rights;
use std::sync::Arc;

/// Inside one scope answers are shared; across scopes never.
///
/// 256 bits derived from the team's (or key's) name and from nothing that a client can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scope(pub [u8; 32]);

/// Whoever a presented API key belongs to, or `anonymous`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// The operator's own name for the key; safe to show.
    pub name: Arc<str>,
    pub team: Arc<str>,
    pub scope: Scope,
    /// What they may use.
    pub rights: Rights,
}
