//! What Pannier itself answers when it cannot answer otherwise.

use std::time::Duration;

/// The closed list of reasons. Each has one status, one stable code and one metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    BadRequest,
    Unauthenticated,
    /// A key that was good once.
    KeyExpired,
    /// A key that is not to be used for the time being.
    KeyDisabled,
    Forbidden,
    /// The model has no price, and what has none is refused.
    Unpriced,
    NotFound,
    /// The method is never served here: `TRACE`, `CONNECT`.
    MethodNotAllowed,
    /// The client took too long over its head or body.
    RequestTimeout,
    TooLarge,
    /// The head has too many bytes or fields.
    HeadTooLarge,
    Unsupported,
    /// `Expect` asks for what nobody here knows.
    ExpectationFailed,
    RateLimited,
    Overloaded,
    UpstreamUnreachable,
    UpstreamAborted,
    UpstreamTimeout,
    /// `only-if-cached`, and nothing was.
    NotCached,
    /// The upstream is Pannier itself.
    Loop,
    Internal,
    /// Pannier is being stopped, and had no time left for this one.
    Stopping,
    /// The client left; recorded, never sent.
    ClientGone,
}

impl Kind {
    pub const ALL: [Kind; 23] = [
        Kind::BadRequest,
        Kind::Unauthenticated,
        Kind::KeyExpired,
        Kind::KeyDisabled,
        Kind::Forbidden,
        Kind::Unpriced,
        Kind::NotFound,
        Kind::MethodNotAllowed,
        Kind::RequestTimeout,
        Kind::TooLarge,
        Kind::HeadTooLarge,
        Kind::Unsupported,
        Kind::ExpectationFailed,
        Kind::RateLimited,
        Kind::Overloaded,
        Kind::UpstreamUnreachable,
        Kind::UpstreamAborted,
        Kind::UpstreamTimeout,
        Kind::NotCached,
        Kind::Loop,
        Kind::Internal,
        Kind::Stopping,
        Kind::ClientGone,
    ];

    /// The HTTP status; 499 for a client that left is recorded only.
    pub fn status(self) -> u16 {
        match self {
            Kind::BadRequest => 400,
            Kind::Unauthenticated | Kind::KeyExpired | Kind::KeyDisabled => 401,
            Kind::Forbidden | Kind::Unpriced => 403,
            Kind::NotFound => 404,
            Kind::MethodNotAllowed => 405,
            Kind::RequestTimeout => 408,
            Kind::TooLarge => 413,
            Kind::HeadTooLarge => 431,
            Kind::Unsupported => 415,
            Kind::ExpectationFailed => 417,
            Kind::RateLimited => 429,
            Kind::Overloaded | Kind::Stopping => 503,
            Kind::UpstreamUnreachable | Kind::UpstreamAborted => 502,
            Kind::UpstreamTimeout | Kind::NotCached => 504,
            Kind::Loop => 508,
            Kind::Internal => 500,
            Kind::ClientGone => 499,
        }
    }

    /// The stable code: `X-Pannier-Error`, the metric label `type`, the access log's `error_code`.
    pub fn code(self) -> &'static str {
        match self {
            Kind::BadRequest => "bad_request",
            Kind::Unauthenticated => "unauthenticated",
            Kind::KeyExpired => "key_expired",
            Kind::KeyDisabled => "key_disabled",
            Kind::Forbidden => "forbidden",
            Kind::Unpriced => "unpriced",
            Kind::NotFound => "not_found",
            Kind::MethodNotAllowed => "method_not_allowed",
            Kind::RequestTimeout => "request_timeout",
            Kind::TooLarge => "too_large",
            Kind::HeadTooLarge => "head_too_large",
            Kind::Unsupported => "unsupported",
            Kind::ExpectationFailed => "expectation_failed",
            Kind::RateLimited => "rate_limited",
            Kind::Overloaded => "overloaded",
            Kind::UpstreamUnreachable => "upstream_unreachable",
            Kind::UpstreamAborted => "upstream_aborted",
            Kind::UpstreamTimeout => "upstream_timeout",
            Kind::NotCached => "not_cached",
            Kind::Loop => "loop_detected",
            Kind::Internal => "internal",
            Kind::Stopping => "stopping",
            Kind::ClientGone => "client_gone",
        }
    }
}

/// One refusal or failure of Pannier's own. Lower case, no full stop, nothing of the request in it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {message}", kind.code())]
pub struct Error {
    pub kind: Kind,
    /// Shown to the client.
    pub message: String,
    pub retry_after: Option<Duration>,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), retry_after: None }
    }

    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}
