//! Texts to be embedded, dealt out: whose turn it is, at which upstream, and how many go in one call.
//!
//! A request with many texts takes its turns one after the other with everybody else's, so one with a single
//! text never waits for all of them. Knows no socket and no wire format: a call is whatever future it is given.

mod config;
mod joint;
mod plan;
mod turns;

pub use config::{Config, Shorten};
pub use joint::Joint;
pub use plan::{cut, share};
pub use turns::{Party, Places, Turn, Turns};

use std::future::Future;
use std::ops::Range;

/// Deals calls out to upstreams.
pub struct Batcher {
    turns: Turns,
    /// Texts a call, at the most.
    size: usize,
}

/// Of what could be under way at once for one request, so much more waits in line: no worker is ever idle
/// because a request had not asked yet.
const AHEAD: usize = 2;

impl Batcher {
    /// For `upstreams` places, numbered from 0.
    pub fn new(config: &Config, upstreams: usize) -> Self {
        Batcher { turns: Turns::new(upstreams, config.workers), size: config.batch.max(1) }
    }

    /// How many texts one request has under way or in line at the most, where `places` serve it.
    pub fn window(&self, places: Places) -> usize {
        self.turns.workers() * places.count() * self.size * AHEAD
    }

    /// Cuts `texts` texts into calls.
    pub fn cut(&self, texts: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        cut(texts, self.size)
    }

    /// Waits for the party's turn at one of `places`, and makes the call there. Dropped while it waits, it
    /// leaves the line; dropped later, it calls the call off.
    pub async fn submit<T, F, Fut>(&self, party: &Party, places: Places, texts: usize, call: F) -> T
    where
        F: FnOnce(usize) -> Fut,
        Fut: Future<Output = T>,
    {
        let turn = self.turns.take(party, places, texts).await;
        call(turn.place()).await
    }

    /// Calls that wait for their turn.
    pub fn waiting(&self) -> usize {
        self.turns.waiting()
    }

    /// Calls that are being made.
    pub fn under_way(&self) -> usize {
        self.turns.under_way()
    }
}
