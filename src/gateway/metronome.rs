//! So many a second, and no more.

use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Lets one through after the other.
pub struct Metronome(Option<Mutex<Interval>>);

impl Metronome {
    /// `rate` a second; zero for as many as come.
    pub fn of(rate: f64) -> Self {
        let each = (rate > 0.0).then(|| Duration::try_from_secs_f64(rate.recip()).ok()).flatten();
        Metronome(each.filter(|each| !each.is_zero()).map(|each| {
            let mut turns = interval(each);
            turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
            Mutex::new(turns)
        }))
    }

    pub async fn wait(&self) {
        if let Some(turns) = &self.0 {
            turns.lock().await.tick().await;
        }
    }
}
