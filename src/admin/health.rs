//! Answers to probes, in the words of Kubernetes' own: `ok`, or one line for each check.

use super::Parts;
use super::asked::Asked;
use super::readiness::Check;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The process runs and answers: true whenever anybody can ask.
pub async fn livez(asked: Asked) -> Response {
    verdict("livez", &[Check::needed("ping", None)], &asked)
}

/// Requests may be sent here.
pub async fn readyz(State(parts): State<Parts>, asked: Asked) -> Response {
    verdict("readyz", &parts.readiness.checks(), &asked)
}

/// The listeners are open.
pub async fn startupz(State(parts): State<Parts>, asked: Asked) -> Response {
    verdict("startupz", &[parts.readiness.started()], &asked)
}

/// 200 when every check passes that is neither excluded (`exclude=name`, as often as one likes) nor of an extra, else
/// 503. Excluding what does not exist excludes nothing.
pub(super) fn verdict(probe: &str, checks: &[Check], asked: &Asked) -> Response {
    let excluded = |check: &Check| asked.pairs().any(|pair| pair == ("exclude", check.name));
    let well = checks.iter().all(|check| check.fault.is_none() || check.is_extra || excluded(check));
    let verbose = asked.value("verbose").is_some();
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
