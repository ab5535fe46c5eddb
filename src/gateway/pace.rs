//! How fast a remembered stream is told: at once, or at about the pace at which a model would tell it.

use crate::dialect::Grain;
use crate::domain::Usage;
use serde::Deserialize;
use std::time::{Duration, Instant};

/// `[replay]`
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayConfig {
    /// Zero for as fast as may be.
    pub tokens_per_second: f64,
}

/// When each frame of one replay is to go out. The first one goes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    due: Instant,
    step: Duration,
}

impl ReplayConfig {
    /// Into what an answer that was whole is cut.
    pub fn grain(self) -> Grain {
        if self.tokens_per_second > 0.0 { Grain::Fine } else { Grain::Coarse }
    }

    /// Of an answer in so many frames, which begins now. A frame is one token, or as many as there are on the
    /// average where the answer says how many it has.
    pub fn pace(self, usage: Usage, frames: usize) -> Option<Pace> {
        let rate = Some(self.tokens_per_second).filter(|rate| *rate > 0.0)?;
        let frames = frames.max(1) as f64;
        let tokens = if usage.completion > 0 { usage.completion as f64 } else { frames };
        let step = Duration::try_from_secs_f64(tokens / frames / rate).unwrap_or(Duration::MAX);
        Some(Pace { due: Instant::now(), step })
    }
}

impl Pace {
    /// When the next frame is due; `None` where that is never.
    pub fn next_due(&mut self) -> Option<Instant> {
        let due = self.due;
        self.due = due.checked_add(self.step)?;
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(completion: u64) -> Usage {
        Usage { completion, ..Usage::default() }
    }

    /// From the first frame to the last of so many.
    fn lasts(rate: f64, tokens: u64, frames: usize) -> Option<Duration> {
        let mut pace = ReplayConfig { tokens_per_second: rate }.pace(usage(tokens), frames)?;
        let first = pace.next_due()?;
        let last = (1..frames).filter_map(|_| pace.next_due()).last();
        Some(last.unwrap_or(first) - first)
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        assert_eq!(lasts(0.0, 100, 100), None);
        assert_eq!(ReplayConfig { tokens_per_second: 0.0 }.grain(), Grain::Coarse);
    }

    #[test]
    fn a_frame_takes_as_long_as_its_share_of_the_tokens() {
        assert_eq!(lasts(10.0, 101, 101), Some(Duration::from_secs(10)));
        assert_eq!(lasts(10.0, 60, 3), Some(Duration::from_secs(4)), "twenty a frame");
        assert_eq!(lasts(10.0, 0, 101), Some(Duration::from_secs(10)), "nobody knows: one a frame");
        assert_eq!(lasts(10.0, 60, 1), Some(Duration::ZERO));
    }
}
