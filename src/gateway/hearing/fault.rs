//! What a client is told of who listens, and of what cannot be listened to.

use crate::domain::{Error, Kind};
use crate::media;
use crate::media::voice::{Fault, Flaw, Missing};
use std::time::Duration;

/// Nobody who is turned away need wait longer.
pub const AGAIN: Duration = Duration::from_secs(5);

pub fn no_bytes(flaw: media::Flaw) -> Error {
    let why = match flaw {
        media::Flaw::Address => "the recording is an address, and none is fetched: send its bytes as base64",
        _ => "the recording is not base64",
    };
    Error::new(Kind::BadRequest, why)
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let kind = match &fault {
            Fault::Refused(flaw) => match flaw {
                Flaw::Format(_) => Kind::Unsupported,
                Flaw::TooLong(_) => Kind::TooLarge,
                Flaw::Empty | Flaw::Broken(_) | Flaw::Language(_) | Flaw::EnglishOnly => Kind::BadRequest,
            },
            Fault::Missing(Missing::NotThere { .. } | Missing::Unpublished { .. }) | Fault::NotBuiltIn => {
                Kind::NotFound
            }
            Fault::Missing(Missing::Broken { .. }) | Fault::TooLarge { .. } | Fault::Failed(_) => {
                Kind::Internal
            }
            Fault::Busy => return Error::new(Kind::Overloaded, fault.to_string()).retry_after(AGAIN),
            Fault::Slow => Kind::UpstreamTimeout,
            Fault::Died => Kind::UpstreamAborted,
        };
        Error::new(kind, fault.to_string())
    }
}
