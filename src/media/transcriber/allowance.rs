//! What opening a recording may take of a processor: little for what nobody knows yet to be one, and from then on in
//! proportion to the sound that comes of it.

use super::RATE;
use rustix::time::{ClockId, clock_gettime};
use std::sync::Mutex;
use std::time::Duration;

/// For whatever it is, before there is any sound.
const BEFORE_SOUND: Duration = Duration::from_millis(1_500);
/// Seconds of sound that are to come of a second of work. A processor of our days makes some 400.
const LEAST_SPEED: u32 = 10;
/// Whoever is in the middle of a step has so much longer, and does not come back from it otherwise.
const GRACE: Duration = Duration::from_millis(200);

/// Of this process. Waiting for a processor does not count.
#[derive(Default)]
pub struct Allowance(Mutex<Option<Work>>);

struct Work {
    since: Duration,
    allowed: Duration,
}

impl Allowance {
    /// A recording is opened from now on.
    pub fn begin(&self) {
        self.set(Some(Work { since: taken(), allowed: BEFORE_SOUND }));
    }

    /// So many samples are there.
    pub fn sound(&self, samples: usize) {
        if let Some(work) = &mut *self.lock() {
            work.sound(samples);
        }
    }

    pub fn end(&self) {
        self.set(None);
    }

    pub fn is_used_up(&self) -> bool {
        self.is_exceeded_by(Duration::ZERO)
    }

    /// Nobody has noticed in time: whoever is at it does not come back.
    pub fn is_hopeless(&self) -> bool {
        self.is_exceeded_by(GRACE)
    }

    fn is_exceeded_by(&self, more: Duration) -> bool {
        self.lock().as_ref().is_some_and(|work| work.is_exceeded(taken(), more))
    }

    fn set(&self, work: Option<Work>) {
        *self.lock() = work;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Work>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Work {
    fn sound(&mut self, samples: usize) {
        let sound = Duration::from_secs_f64(samples as f64 / f64::from(RATE));
        self.allowed = BEFORE_SOUND + sound / LEAST_SPEED;
    }

    fn is_exceeded(&self, taken: Duration, more: Duration) -> bool {
        taken.saturating_sub(self.since) > self.allowed + more
    }
}

/// What this process has taken of a processor.
fn taken() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sound_has_little_time_and_sound_has_more() {
        let since = Duration::from_secs(100);
        let mut work = Work { since, allowed: BEFORE_SOUND };
        let is_exceeded = |work: &Work, millis| {
            let taken = since + Duration::from_millis(millis);
            [work.is_exceeded(taken, Duration::ZERO), work.is_exceeded(taken, GRACE)]
        };
        assert_eq!(is_exceeded(&work, 1_500), [false, false]);
        assert_eq!(is_exceeded(&work, 1_501), [true, false]);
        assert_eq!(is_exceeded(&work, 1_701), [true, true]);
        // An hour of it.
        work.sound(3_600 * RATE as usize);
        assert_eq!(is_exceeded(&work, 361_500), [false, false]);
        assert_eq!(is_exceeded(&work, 361_701), [true, true]);
    }

    #[test]
    fn nobody_is_hopeless_who_opens_nothing() {
        let allowance = Allowance::default();
        allowance.sound(1);
        assert!(!allowance.is_used_up());
        allowance.set(Some(Work { since: Duration::ZERO, allowed: Duration::ZERO }));
        assert!(allowance.is_used_up(), "some of a processor was taken by now");
        allowance.begin();
        assert!(!allowance.is_used_up());
        allowance.end();
        assert!(!allowance.is_hopeless());
    }
}
