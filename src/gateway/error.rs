//! The one place where an error of Pannier's own becomes what a client sees.

use super::{Body, Reply};
use crate::dialect::{DIALECTS, Dialect};
use crate::domain::{Error, Kind, RequestId, Route};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// Tells callers that Pannier, not the upstream, made this answer, and why.
const CODE: HeaderName = HeaderName::from_static("x-pannier-error");

/// `error` as a whole answer in the dialect of `route`.
pub fn refuse(error: &Error, route: Route, id: RequestId) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CODE, HeaderValue::from_static(error.kind.code()));
    if let Some(after) = error.retry_after {
        headers.insert(header::RETRY_AFTER, after.as_secs().max(1).into());
    }
    if error.kind.status() == StatusCode::UNAUTHORIZED.as_u16() {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if error.kind == Kind::MethodNotAllowed {
        let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        headers.insert(header::ALLOW, allowed);
    }
    Reply {
        status: StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        headers,
        body: Body::Whole(dialect_of(route).error_body(error, &id.to_string())),
    }
}

/// `error` as one more frame of a stream that has begun.
pub fn frame(error: &Error, route: Route, id: RequestId) -> bytes::Bytes {
    dialect_of(route).error_frame(error, &id.to_string())
}

fn dialect_of(route: Route) -> &'static dyn Dialect {
    DIALECTS.into_iter().find(|dialect| dialect.name() == route.dialect).unwrap_or(DIALECTS[0])
}
