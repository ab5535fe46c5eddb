//! Money: whole billionths of a currency's unit (nano-dollars), checked, and never a float.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::float_arithmetic))]
#![cfg_attr(not(test), deny(clippy::panic, clippy::unwrap_used))]

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
const UNIT: u64 = 1_000_000_000;
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

    /// A number as JSON writes it, times ten to the `shift`: its digits, which never pass through a float.
    ///
    /// # Errors
    /// As of a decimal text.
    pub fn from_number(text: &str, shift: i32) -> Result<Money, InvalidMoney> {
        let (digits, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => {
                (digits, exponent.parse::<i32>().map_err(|_| InvalidMoney::Unreadable)?)
            }
            None => (text, 0),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let point = i64::try_from(whole.len())
            .map_err(|_| InvalidMoney::TooLarge)?
            .saturating_add(i64::from(exponent))
            .saturating_add(i64::from(shift));
        let digits = [whole, fraction].concat();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidMoney::Unreadable);
        }
        let significant = digits.trim_start_matches('0');
        let before = point.saturating_sub(digits.len().saturating_sub(significant.len()) as i64);
        // Nothing that is an amount has its point further away from its first digit.
        match before {
            _ if significant.is_empty() => Ok(Money::ZERO),
            ..=-20 => Err(InvalidMoney::TooFine),
            20.. => Err(InvalidMoney::TooLarge),
            -19..=0 => format!("0.{}{significant}", "0".repeat(before.unsigned_abs() as usize)).parse(),
            _ => {
                let padded = format!("{significant:0<width$}", width = before as usize);
                let (whole, fraction) = padded.split_at(before as usize);
                format!("{whole}.{fraction}").parse()
            }
        }
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
        let sum = whole.checked_mul(UNIT.cast_signed()).and_then(|whole| whole.checked_add(nanos));
        sum.map(Money).ok_or(InvalidMoney::TooLarge)
    }
}

impl fmt::Display for Money {
    /// All digits that there are, and at least two behind the point.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nanos = self.0.unsigned_abs();
        let fraction = format!("{:0DIGITS$}", nanos % UNIT);
        let shown = fraction.trim_end_matches('0').len().max(2);
        write!(f, "{sign}{}.{}", nanos / UNIT, &fraction[..shown])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UNIT: i64 = super::UNIT as i64;

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
    fn numbers_are_read_by_their_digits() {
        for (text, shift, nanos) in [
            ("0.0001", 3, UNIT / 10),
            ("1e-05", 3, UNIT / 100),
            ("1.5E+1", 0, 15 * UNIT),
            ("0", 3, 0),
            ("0.000000000001", 3, 1),
            ("0e99999", 0, 0),
            ("123.456", -2, 1_234_560_000),
            ("0.1", 0, UNIT / 10),
        ] {
            assert_eq!(Money::from_number(text, shift), Ok(Money(nanos)), "{text}");
        }
        for text in ["", "-1", "1e", "1e1.5", "e5", "NaN", "null", "\"1\"", "ä", "1ä.5e1", ".", "1.2.3e10"]
        {
            assert_eq!(Money::from_number(text, 0), Err(InvalidMoney::Unreadable), "{text}");
        }
        assert_eq!(Money::from_number("1e-99999", 0), Err(InvalidMoney::TooFine));
        assert_eq!(Money::from_number("0.0000000000001", 3), Err(InvalidMoney::TooFine));
        assert_eq!(Money::from_number("1e2000000000", 2_000_000_000), Err(InvalidMoney::TooLarge));
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
        fn a_number_is_the_same_wherever_its_point_stands(nanos in 0..=i64::MAX, shift in -12..=12_i32) {
            let shifted = format!("{nanos}e{}", -9 - shift);
            prop_assert_eq!(Money::from_number(&shifted, shift), Ok(Money(nanos)));
        }

        #[test]
        fn sums_are_exact_or_none(one: i64, other: i64) {
            let exact = i128::from(one) + i128::from(other);
            let sum = Money(one).checked_add(Money(other));
            prop_assert_eq!(sum.map(|sum| i128::from(sum.nanos())), i64::try_from(exact).ok().map(i128::from));
        }
    }
}
