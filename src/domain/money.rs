//! Money: whole billionths of a currency's unit (nano-dollars), checked, and never a float.

use std::fmt;
use std::str::FromStr;

/// An amount. Which currency it is in is said where amounts are kept: one Pannier keeps its books in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(i64);

/// What is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMoney {
    #[error("not an amount: expected a decimal number like 0.00015")]
    Unreadable,
    #[error("finer than a billionth")]
    TooFine,
    #[error("too large: at most 9223372036.854775807")]
    TooLarge,
}

/// Billionths in one.
const UNIT: i64 = 1_000_000_000;
/// Digits behind the point.
const DIGITS: usize = 9;

impl Money {
    pub const ZERO: Money = Money(0);

    pub const fn from_nanos(nanos: i64) -> Self {
        Money(nanos)
    }

    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// `None` where the sum is no amount any more.
    pub fn checked_add(self, other: Money) -> Option<Money> {
        self.0.checked_add(other.0).map(Money)
    }

    /// `None` where the difference is no amount any more.
    pub fn checked_sub(self, other: Money) -> Option<Money> {
        self.0.checked_sub(other.0).map(Money)
    }

    /// `None` where the product is no amount any more.
    pub fn checked_mul(self, by: i64) -> Option<Money> {
        self.0.checked_mul(by).map(Money)
    }
}

impl FromStr for Money {
    type Err = InvalidMoney;

    /// Decimal digits with at most one point; no sign, no exponent, no spaces. Zeros beyond the ninth digit
    /// say nothing.
    fn from_str(text: &str) -> Result<Money, InvalidMoney> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !is_digits(whole) || !is_digits(fraction) {
            return Err(InvalidMoney::Unreadable);
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > DIGITS {
            return Err(InvalidMoney::TooFine);
        }
        let number = |digits: &str| digits.parse::<i64>().map_err(|_| InvalidMoney::TooLarge);
        let whole = if whole.is_empty() { 0 } else { number(whole)? };
        let nanos = number(&format!("{fraction:0<DIGITS$}"))?;
        let sum = whole.checked_mul(UNIT).and_then(|whole| whole.checked_add(nanos));
        sum.map(Money).ok_or(InvalidMoney::TooLarge)
    }
}

impl fmt::Display for Money {
    /// All digits that there are, and at least two behind the point.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (nanos, unit) = (self.0.unsigned_abs(), UNIT.unsigned_abs());
        let fraction = format!("{:0DIGITS$}", nanos % unit);
        let shown = fraction.trim_end_matches('0').len().max(2);
        write!(f, "{sign}{}.{}", nanos / unit, &fraction[..shown])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_read() {
        for (text, nanos) in [
            ("0", 0),
            ("1", UNIT),
            (".5", UNIT / 2),
            ("2.", 2 * UNIT),
            ("0.00015", 150_000),
            ("0.000000001", 1),
            ("0.0000000010000", 1),
            ("9223372036.854775807", i64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Money(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", ".", "-1", "+1", "1e-3", "0x1", " 1", "1 ", "1,5", "1.2.3", "NaN", "inf", "١"] {
            assert_eq!(text.parse::<Money>(), Err(InvalidMoney::Unreadable), "{text}");
        }
        assert_eq!("0.0000000001".parse::<Money>(), Err(InvalidMoney::TooFine));
        for text in ["9223372036.854775808", "9223372037", "99999999999999999999"] {
            assert_eq!(text.parse::<Money>(), Err(InvalidMoney::TooLarge), "{text}");
        }
    }

    #[test]
    fn amounts_are_shown() {
        for (nanos, text) in [
            (0, "0.00"),
            (UNIT, "1.00"),
            (1, "0.000000001"),
            (-1_500_000_000, "-1.50"),
            (i64::MAX, "9223372036.854775807"),
            (i64::MIN, "-9223372036.854775808"),
        ] {
            assert_eq!(Money(nanos).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(nanos in 0..=i64::MAX) {
            prop_assert_eq!(Money(nanos).to_string().parse(), Ok(Money(nanos)));
        }

        #[test]
        fn sums_are_exact_or_none(one: i64, other: i64) {
            let exact = i128::from(one) + i128::from(other);
            let sum = Money(one).checked_add(Money(other));
            prop_assert_eq!(sum.map(|sum| i128::from(sum.nanos())), i64::try_from(exact).ok().map(i128::from));
        }
    }
}
