//! Answers to probes, in the words of Kubernetes' own: `ok`, or one line for each check.

use super::Parts;
use super::readiness::Check;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A probe's query, in order: `verbose`, and `exclude=name` as often as one likes.
type Pairs = Query<Vec<(String, String)>>;

/// The process runs and answers: true whenever anybody can ask.
pub async fn livez(Query(query): Pairs) -> Response {
    verdict("livez", &[Check { name: "ping", fault: None }], &query)
}

/// Requests may be sent here.
pub async fn readyz(State(parts): State<Parts>, Query(query): Pairs) -> Response {
    verdict("readyz", &parts.readiness.checks(), &query)
}

/// The listeners are open.
pub async fn startupz(State(parts): State<Parts>, Query(query): Pairs) -> Response {
    verdict("startupz", &[parts.readiness.started()], &query)
}

/// 200 when every check that is not excluded passes, else 503. Excluding what does not exist excludes
/// nothing.
fn verdict(probe: &str, checks: &[Check], query: &[(String, String)]) -> Response {
    let excluded = |check: &Check| query.iter().any(|(key, name)| key == "exclude" && name == check.name);
    let well = checks.iter().all(|check| check.fault.is_none() || excluded(check));
    let verbose = query.iter().any(|(key, _)| key == "verbose");
    let page = if well && !verbose {
        "ok\n".to_owned()
    } else {
        let lines = checks.iter().map(|check| match check.fault {
            _ if excluded(check) => format!("[+]{} excluded\n", check.name),
            None => format!("[+]{} ok\n", check.name),
            Some(fault) => format!("[-]{} {fault}\n", check.name),
        });
        lines.chain([format!("{probe} check {}\n", if well { "passed" } else { "failed" })]).collect()
    };
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], page).into_response()
}
