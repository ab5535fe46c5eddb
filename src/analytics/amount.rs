//! Money as a JSON number, exactly.

use crate::domain::Money;
use serde::{Serialize, Serializer, ser};
use serde_json::value::RawValue;

/// Written as a decimal number with all of its digits: it never passes through a float here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Amount(pub Money);

impl Amount {
    pub fn nanos(nanos: i64) -> Self {
        Amount(Money::from_nanos(nanos))
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.0.to_string()).map_err(ser::Error::custom)?.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_digits_are_written() {
        let written = |nanos| serde_json::to_string(&[Amount::nanos(nanos)]).unwrap();
        assert_eq!(written(i64::MAX), "[9223372036.854775807]");
        assert_eq!(written(-1), "[-0.000000001]");
    }
}
