//! Moments and whiles, as people write and read them.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970; 0 for never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub u64);

impl Moment {
    pub fn now() -> Self {
        Moment(since_1970(SystemTime::now()))
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Moment(0));
        }
        if let Ok(away) = humantime::parse_duration(text) {
            let at = SystemTime::now().checked_add(away).ok_or("that is too far away")?;
            return Ok(Moment(since_1970(at)));
        }
        let day = format!("{text}T00:00:00Z");
        let at = humantime::parse_rfc3339_weak(text).or_else(|_| humantime::parse_rfc3339(&day));
        at.map(|at| Moment(since_1970(at))).map_err(|_| {
            "expected a while like 30d, a day like 2027-01-31, a moment like 2027-01-31T12:00:00Z, or never".to_owned()
        })
    }
}

/// Of a while.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    humantime::parse_duration(text).map(|time| time.as_secs()).map_err(|error| error.to_string())
}

/// To the second.
pub(super) fn shown(seconds: u64) -> String {
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    // What does not fit into four digits of a year has no such form.
    let fits = |at: &SystemTime| since_1970(*at) < 253_402_300_800;
    at.filter(fits)
        .map_or_else(|| seconds.to_string(), |at| humantime::format_rfc3339_seconds(at).to_string())
}

fn since_1970(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_many_ways() {
        let read = |text: &str| text.parse::<Moment>().map(|Moment(at)| at);
        assert_eq!(read("never"), Ok(0));
        assert_eq!(read("2027-01-31"), Ok(1_801_353_600));
        assert_eq!(read("2027-01-31T12:00:00Z"), Ok(1_801_353_600 + 43_200));
        assert_eq!(read("2027-01-31 12:00:00"), read("2027-01-31T12:00:00Z"));
        let in_a_day = read("1d").unwrap() - since_1970(SystemTime::now());
        assert!((86_390..=86_401).contains(&in_a_day));
        for wrong in ["", "soon", "2027-13-01", "31.1.2027", "-1d"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(shown(1_801_353_600), "2027-01-31T00:00:00Z");
        assert_eq!(shown(u64::MAX), u64::MAX.to_string());
        assert_eq!(seconds("2h"), Ok(7200));
    }
}
