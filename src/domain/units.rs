//! How people write durations, sizes and socket addresses: the forms that settings are read from.
//!
//! Each function is meant for `#[serde(deserialize_with = "…")]`.

use serde::de::{self, Deserializer, Visitor};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// The longest duration that is taken: ten years, so that it can be added to any clock.
pub const LONGEST: Duration = Duration::from_secs(3652 * 24 * 60 * 60);

/// A number of seconds (`30`, `0.25`) or a text (`"250ms"`, `"1h 30m"`), at most [`LONGEST`].
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(DurationVisitor)
}

/// As [`duration`], for a key that may be left out.
pub fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// A number of bytes (`1024`) or a text (`"64KiB"`, `"2GB"`).
pub fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    deserializer.deserialize_any(SizeVisitor)
}

/// As [`size`], for a key that may be left out.
pub fn some_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    size(deserializer).map(Some)
}

/// An IP address and a port (`"127.0.0.1:8000"`, `"[::1]:8000"`).
pub fn socket_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    deserializer.deserialize_str(SocketAddressVisitor)
}

struct DurationVisitor;
struct SizeVisitor;
struct SocketAddressVisitor;

// === impl DurationVisitor ===

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration: a number of seconds, or a text like \"10s\" or \"5m\"")
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Duration, E> {
        let whole = u64::try_from(seconds).map_err(|_| E::custom("a duration cannot be negative"))?;
        bounded(Duration::from_secs(whole))
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Duration, E> {
        bounded(Duration::from_secs(seconds))
    }

    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Duration, E> {
        match Duration::try_from_secs_f64(seconds) {
            Ok(duration) => bounded(duration),
            Err(_) => Err(E::custom("a duration must be a number of seconds from 0 to ten years")),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        match humantime::parse_duration(text) {
            Ok(duration) => bounded(duration),
            Err(_) => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }
}

fn bounded<E: de::Error>(duration: Duration) -> Result<Duration, E> {
    if duration > LONGEST {
        return Err(E::custom("a duration cannot be longer than ten years; 0 means off"));
    }
    Ok(duration)
}

// === impl SizeVisitor ===

impl Visitor<'_> for SizeVisitor {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size: a number of bytes, or a text like \"64KiB\" or \"2GiB\"")
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<usize, E> {
        usize::try_from(bytes).map_err(|_| E::invalid_value(de::Unexpected::Signed(bytes), &self))
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<usize, E> {
        usize::try_from(bytes).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(bytes), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<usize, E> {
        parse_size(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

const SIZE_UNITS: [(&str, usize); 8] = [
    ("", 1),
    ("b", 1),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
];

/// Digits and a unit, in either case, perhaps with spaces between them.
fn parse_size(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let (_, factor) = SIZE_UNITS.iter().find(|(name, _)| unit.eq_ignore_ascii_case(name))?;
    number.parse::<usize>().ok()?.checked_mul(*factor)
}

// === impl SocketAddressVisitor ===

impl Visitor<'_> for SocketAddressVisitor {
    type Value = SocketAddr;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an IP address and a port, like \"127.0.0.1:8000\" or \"0.0.0.0:8000\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<SocketAddr, E> {
        text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IntoDeserializer;
    use serde::de::value::Error;

    fn duration_of<'de>(value: impl IntoDeserializer<'de, Error>) -> Result<Duration, Error> {
        duration(value.into_deserializer())
    }

    fn size_of<'de>(value: impl IntoDeserializer<'de, Error>) -> Result<usize, Error> {
        size(value.into_deserializer())
    }

    #[test]
    fn durations_are_seconds_or_texts() {
        assert_eq!(duration_of(30i64), Ok(Duration::from_secs(30)));
        assert_eq!(duration_of(0i64), Ok(Duration::ZERO));
        assert_eq!(duration_of(0.25f64), Ok(Duration::from_millis(250)));
        assert_eq!(duration_of("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration_of("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration_of("0"), Ok(Duration::ZERO));
    }

    #[test]
    fn absurd_durations_are_refused() {
        for text in ["", "soon", "10", "-5s", "5 parsecs", "11years", "9999999999999999years"] {
            assert!(duration_of(text).is_err(), "{text}");
        }
        for number in [f64::NAN, f64::INFINITY, -0.5, 1e18] {
            assert!(duration_of(number).is_err(), "{number}");
        }
        assert!(duration_of(-1i64).is_err());
        assert!(duration_of(i64::MAX).is_err());
        assert!(duration_of(u64::MAX).is_err());
    }

    #[test]
    fn sizes_are_bytes_or_texts() {
        assert_eq!(size_of(1024i64), Ok(1024));
        assert_eq!(size_of("64KiB"), Ok(64 << 10));
        assert_eq!(size_of("64 kib"), Ok(64 << 10));
        assert_eq!(size_of("256MiB"), Ok(256 << 20));
        assert_eq!(size_of("2GB"), Ok(2_000_000_000));
        assert_eq!(size_of("7"), Ok(7));
        for text in ["", "KiB", "1.5GiB", "-1", "64KiBs", "99999999999999GiB", "6 4KiB"] {
            assert!(size_of(text).is_err(), "{text}");
        }
        assert!(size_of(-1i64).is_err());
    }

    #[test]
    fn a_refusal_says_what_was_expected() {
        let error = duration_of("soon").unwrap_err().to_string();
        assert!(error.contains("\"soon\"") && error.contains("\"10s\""), "{error}");
        let deserializer: serde::de::value::StrDeserializer<'_, Error> = "localhost".into_deserializer();
        let error = socket_address(deserializer).unwrap_err().to_string();
        assert!(error.contains("127.0.0.1:8000"), "{error}");
    }
}
