//! The clock by which requests are dated.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A clock that is set back by more milliseconds than this was wrong before, and is believed.
const MOST: u64 = 3_600_000;
/// By so many milliseconds somebody may be behind who was kept waiting between reading the clock and telling it.
const LATE: u64 = 1_000;

/// The latest moment that was told, in milliseconds since 1970.
static LAST: AtomicU64 = AtomicU64::new(0);
/// The clock has been set back, and has not caught up yet.
static IS_BEHIND: AtomicBool = AtomicBool::new(false);

/// Now, and never before what was told already: while a clock that was set back has not caught up,
/// it stands still, so that no request is booked before those that came before it.
pub fn now() -> SystemTime {
    let now = SystemTime::now();
    let millis = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let told = told(&LAST, millis);
    if told > millis {
        if told - millis > LATE && !IS_BEHIND.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                milliseconds = told - millis,
                "the clock was set back: requests are dated by where it stood"
            );
        }
        return UNIX_EPOCH + Duration::from_millis(told);
    }
    if IS_BEHIND.load(Ordering::Relaxed) {
        IS_BEHIND.store(false, Ordering::Relaxed);
    }
    now
}

/// What is told at `millis`.
fn told(last: &AtomicU64, millis: u64) -> u64 {
    let latest = last.load(Ordering::Relaxed);
    // Written once a millisecond, at the most: all threads read it.
    if millis > latest {
        return last.fetch_max(millis, Ordering::Relaxed).max(millis);
    }
    if latest - millis > MOST {
        last.store(millis, Ordering::Relaxed);
        return millis;
    }
    latest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_comes_before_those_who_came_before() {
        let last = AtomicU64::new(0);
        let days = |days: u64| days * 86_400_000;
        for (millis, expected) in [
            (days(9), days(9)),
            (days(9) - 1, days(9)),
            (days(9) - MOST, days(9)),
            (days(9) + 1, days(9) + 1),
            // Ten years on by mistake, and back.
            (days(4_000), days(4_000)),
            (days(9) + 2, days(9) + 2),
            (days(9) + 3, days(9) + 3),
        ] {
            assert_eq!(told(&last, millis), expected);
        }
        let (one, other) = (now(), now());
        assert!(other >= one && SystemTime::now().duration_since(one).is_ok());
    }
}
