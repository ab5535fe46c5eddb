//! What is said of an unknown name: which known one somebody may have meant.

use crate::domain::nearest;

/// The end of a message about an unknown name: what was meant, else all there is.
pub(super) fn suggestion(written: &str, known: &[&str]) -> String {
    match nearest(written, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known are {}", known.join(", ")),
    }
}

/// The names in serde's message about an unknown field or variant: what was written, and what is known.
///
/// serde hands these names to the error as text only: ``unknown field `a`, expected one of `b`, `c` ``.
pub(super) fn unknown_name(message: &str) -> Option<(&str, Vec<&str>)> {
    if !message.starts_with("unknown field ") && !message.starts_with("unknown variant ") {
        return None;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    Some((quoted.next()?, quoted.collect()))
}
