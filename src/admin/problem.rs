//! Errors of the house routes, as RFC 9457 problem details.

use crate::domain::{Error, Kind};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

const PANNIER_ERROR: HeaderName = HeaderName::from_static("x-pannier-error");

const PROBLEM: &str = "application/problem+json";

/// What was asked cannot be.
pub fn bad(why: impl Into<String>) -> Error {
    Error::new(Kind::BadRequest, why)
}

/// The error as an answer.
pub fn response(error: &Error) -> Response {
    let head = [(header::CONTENT_TYPE, PROBLEM), (PANNIER_ERROR, error.kind.code())];
    let mut response = (status(error), head, body(error)).into_response();
    if let Some(after) = error.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().max(1).into());
    }
    if error.kind.status() == StatusCode::UNAUTHORIZED.as_u16() {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// The same as bytes, for a connection that has borne no request and is closed after it.
pub fn last_words(error: &Error) -> String {
    let (body, code) = (body(error), error.kind.code());
    format!(
        "HTTP/1.1 {}\r\ncontent-type: {PROBLEM}\r\n{PANNIER_ERROR}: {code}\r\ncache-control: no-store\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        status(error),
        body.len()
    )
}

fn status(error: &Error) -> StatusCode {
    StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// `title` is the status' own phrase, as the type `about:blank` asks; `code` is the stable code.
fn body(error: &Error) -> String {
    let status = status(error);
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": error.message,
        "code": error.kind.code(),
    });
    body.to_string()
}
