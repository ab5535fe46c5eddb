//! What went wrong on the way of a forwarded request, in our own words: nothing of the request may stand in them.

use super::downstream::explain_trouble;
use super::wire::Trouble;
use crate::domain::{Error, Kind};
use pingora::{ErrorSource, ErrorType};
use std::time::Duration;

/// An error of Pingora's in our own words; the wire knows better when a client was too slow.
pub fn explain(e: &pingora::Error, trouble: Trouble) -> Error {
    explain_trouble(trouble).unwrap_or_else(|| match e.esource {
        ErrorSource::Downstream => match e.etype {
            // The head was judged before it came here; only what this road makes of it can still be unfit.
            ErrorType::InvalidHTTPHeader => {
                Error::new(Kind::BadRequest, "Connection names fields that are not its own")
            }
            _ => Error::new(Kind::ClientGone, "the client left"),
        },
        ErrorSource::Upstream => explain_type(&e.etype),
        ErrorSource::Internal | ErrorSource::Unset => match e.etype {
            ErrorType::HTTPStatus(_) | ErrorType::InternalError => {
                Error::new(Kind::Internal, "internal error")
            }
            _ => explain_type(&e.etype),
        },
    })
}

/// Whether the connection was closed or reset before a byte of an answer came.
pub fn is_closed(kind: &ErrorType) -> bool {
    matches!(kind, ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError)
}

/// An error of the upstream's.
fn explain_type(kind: &ErrorType) -> Error {
    match kind {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => {
            Error::new(Kind::UpstreamTimeout, "the upstream does not accept the connection")
        }
        ErrorType::ReadTimedout => Error::new(Kind::UpstreamTimeout, "the upstream does not answer"),
        ErrorType::WriteTimedout => {
            Error::new(Kind::UpstreamTimeout, "the upstream does not take the request")
        }
        ErrorType::ConnectRefused
        | ErrorType::ConnectNoRoute
        | ErrorType::ConnectError
        | ErrorType::SocketError
        | ErrorType::BindError => Error::new(Kind::UpstreamUnreachable, "the upstream cannot be reached")
            .retry_after(Duration::from_secs(1)),
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError => Error::new(
            Kind::UpstreamUnreachable,
            "the upstream's certificate is not trusted, or it does not speak TLS",
        ),
        ErrorType::InvalidHTTPHeader => {
            Error::new(Kind::UpstreamAborted, "the upstream's answer is not valid HTTP")
        }
        _ => Error::new(Kind::UpstreamAborted, "the upstream closed the connection without an answer"),
    }
}
