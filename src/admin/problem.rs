//! Errors of the house routes, as RFC 9457 problem details.

use crate::domain::Error;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

const PANNIER_ERROR: HeaderName = HeaderName::from_static("x-pannier-error");

/// `title` is the status' own phrase, as the type `about:blank` asks; `code` is the stable code.
pub fn response(error: &Error) -> Response {
    let status = StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": error.message,
        "code": error.kind.code(),
    });
    let head = [(header::CONTENT_TYPE, "application/problem+json"), (PANNIER_ERROR, error.kind.code())];
    (status, head, body.to_string()).into_response()
}
