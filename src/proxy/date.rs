//! `Date`, written anew once a second.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

/// An IMF-fixdate (RFC 9110 §5.6.7): 29 characters.
pub struct Date;

thread_local! {
    /// The second, and its text.
    static LAST: Cell<(u64, [u8; 29])> = const { Cell::new((u64::MAX, [0; 29])) };
}

impl Date {
    pub fn at(now: SystemTime) -> [u8; 29] {
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (last, text) = LAST.get();
        if last == second {
            return text;
        }
        let written = httpdate::fmt_http_date(now);
        let text = written.as_bytes().try_into().unwrap_or([b' '; 29]);
        LAST.set((second, text));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_is_of_the_second_asked_for() {
        let moment = UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(&Date::at(moment), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&Date::at(moment + Duration::from_millis(999)), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(&Date::at(moment + Duration::from_secs(1)), b"Sun, 06 Nov 1994 08:49:38 GMT");
    }
}
