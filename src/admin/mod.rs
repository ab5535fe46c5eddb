//! The house routes: what Pannier says about itself. Never anything about Ollama's own API.
//!
//! They have a listener of their own, so that they still answer while the data port drains; the data port
//! forwards them there.

mod health;
mod listener;
mod problem;
mod readiness;

pub use listener::Bounds;
pub use readiness::Readiness;

use crate::domain::{Error, Kind};
use crate::telemetry::{Exposition, Metrics};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Router, middleware};
use std::sync::Arc;
use tokio::net::TcpListener;

/// The guard against DNS rebinding: whether a listener may be called by a name (a `Host` field).
pub type KnowsHost = dyn Fn(&[u8]) -> bool + Send + Sync;

/// What the house routes speak about.
#[derive(Clone)]
pub struct Parts {
    pub metrics: Arc<Metrics>,
    pub readiness: Arc<Readiness>,
    pub knows_host: Arc<KnowsHost>,
}

/// One house route.
struct House {
    /// Exact.
    path: &'static str,
    answer: fn() -> MethodRouter<Parts>,
}

/// All of them: the router is built from this table, and the data port asks it what to forward.
const HOUSE: &[House] = &[
    House { path: "/metrics", answer: || get(metrics) },
    House { path: "/livez", answer: || get(health::livez) },
    House { path: "/readyz", answer: || get(health::readyz) },
    House { path: "/startupz", answer: || get(health::startupz) },
    // Kubernetes' old name for /livez.
    House { path: "/healthz", answer: || get(health::livez) },
];

/// Whether a request for this path (without its query) is for the house, whatever its method.
pub fn is_house(path: &str) -> bool {
    HOUSE.iter().any(|house| house.path == path)
}

/// Serves the house on `listener` for ever.
pub async fn serve(listener: TcpListener, parts: Parts, bounds: Bounds) {
    let metrics = parts.metrics.clone();
    listener::serve(listener, router(parts), bounds, metrics).await;
}

/// The whole face: house routes, and a problem for everything else. Nothing of it may be kept by a cache.
fn router(parts: Parts) -> Router {
    HOUSE
        .iter()
        .fold(Router::new(), |router, house| router.route(house.path, (house.answer)()))
        .fallback(|| async { problem::response(&Error::new(Kind::NotFound, "no such house route")) })
        .method_not_allowed_fallback(|| async {
            problem::response(&Error::new(Kind::MethodNotAllowed, "this house route is only read"))
        })
        .layer(middleware::from_fn_with_state(parts.clone(), check_host))
        .layer(middleware::map_response(forbid_storing))
        .with_state(parts)
}

async fn metrics(State(parts): State<Parts>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let (content_type, page) = parts.metrics.render(Exposition::negotiate(accept));
    ([(header::CONTENT_TYPE, content_type), (header::VARY, "accept")], page).into_response()
}

/// Lets in who calls this server by a name of its own, and by one only.
async fn check_host(State(parts): State<Parts>, request: Request, next: Next) -> Response {
    let mut hosts = request.headers().get_all(header::HOST).iter().map(HeaderValue::as_bytes);
    let (host, second) = (hosts.next(), hosts.next());
    let in_target = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    let is_clear = match (host, in_target) {
        (None, _) => request.version() != Version::HTTP_11,
        (Some(host), Some(authority)) => host.eq_ignore_ascii_case(authority),
        (Some(_), None) => true,
    };
    if second.is_some() || !is_clear {
        return problem::response(&Error::new(Kind::BadRequest, "the request does not name one host"));
    }
    if !(parts.knows_host)(host.or(in_target).unwrap_or_default()) {
        return problem::response(&Error::new(
            Kind::Forbidden,
            "this host name is not allowed here; access.allowed_hosts in Pannier's settings allows it",
        ));
    }
    next.run(request).await
}

async fn forbid_storing(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use std::sync::atomic::{AtomicBool, Ordering};
    use tower::ServiceExt;

    struct Face {
        router: Router,
        readiness: Arc<Readiness>,
        upstream_up: Arc<AtomicBool>,
    }

    struct Answer {
        status: StatusCode,
        head: HeaderMap,
        body: String,
    }

    impl Face {
        fn new() -> Self {
            let upstream_up = Arc::new(AtomicBool::new(true));
            let asked = upstream_up.clone();
            let readiness = Arc::new(Readiness::new(move || asked.load(Ordering::Relaxed)));
            let knows_host = Arc::new(|host: &[u8]| host.is_empty() || host == b"known");
            let parts = Parts { metrics: Arc::new(Metrics::new()), readiness: readiness.clone(), knows_host };
            Face { router: router(parts), readiness, upstream_up }
        }

        fn started() -> Self {
            let face = Face::new();
            face.readiness.start();
            face
        }

        async fn ask(&self, method: &str, target: &str, accept: &str) -> Answer {
            let request = Request::builder().method(method).uri(target).header("accept", accept);
            self.answer(request.header("host", "known"), target).await
        }

        async fn answer(&self, request: axum::http::request::Builder, target: &str) -> Answer {
            let request = request.body(Body::empty()).unwrap();
            let response = self.router.clone().oneshot(request).await.unwrap();
            let (head, body) = response.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            assert_eq!(head.headers["cache-control"], "no-store", "{target}");
            Answer {
                status: head.status,
                head: head.headers,
                body: String::from_utf8(body.to_vec()).unwrap(),
            }
        }

        async fn look(&self, target: &str) -> (u16, String) {
            let answer = self.ask("GET", target, "*/*").await;
            (answer.status.as_u16(), answer.body)
        }
    }

    #[tokio::test]
    async fn every_house_route_answers_get_and_head_and_nothing_else() {
        let face = Face::started();
        for path in ["/metrics", "/livez", "/readyz", "/startupz", "/healthz"] {
            assert!(is_house(path), "{path}");
        }
        for path in HOUSE.iter().map(|house| house.path) {
            let answer = face.ask("GET", path, "*/*").await;
            assert_eq!(answer.status, StatusCode::OK, "{path}");
            assert!(answer.head["content-type"].to_str().unwrap().starts_with("text/plain"), "{path}");
            let head = face.ask("HEAD", path, "*/*").await;
            assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""), "{path}");
            let refused = face.ask("POST", path, "*/*").await;
            assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
            assert_eq!(refused.head["allow"], "GET,HEAD", "{path}");
            assert!(refused.body.contains("\"code\":\"method_not_allowed\""), "{path}");
        }
    }

    #[tokio::test]
    async fn what_is_no_house_route_is_a_problem() {
        assert!(!is_house("/") && !is_house("/metrics/") && !is_house("/api/chat"));
        let answer = Face::started().ask("GET", "/metrics/", "*/*").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert_eq!(answer.head["content-type"], "application/problem+json");
        assert_eq!(answer.head["x-pannier-error"], "not_found");
        let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let expected = serde_json::json!({
            "type": "about:blank", "title": "Not Found", "status": 404,
            "detail": "no such house route", "code": "not_found",
        });
        assert_eq!(problem, expected);
    }

    #[tokio::test]
    async fn who_calls_it_by_a_foreign_name_is_refused() {
        let face = Face::started();
        let cases: [(&[&str], &str, Version, u16); 8] = [
            (&["known"], "/livez", Version::HTTP_11, 200),
            (&["evil.example"], "/livez", Version::HTTP_11, 403),
            (&["evil.example"], "/nowhere", Version::HTTP_11, 403),
            (&["known", "known"], "/livez", Version::HTTP_11, 400),
            (&[], "/livez", Version::HTTP_11, 400),
            (&[], "/livez", Version::HTTP_10, 200),
            (&["known"], "http://known/livez", Version::HTTP_11, 200),
            (&["known"], "http://evil.example/livez", Version::HTTP_11, 400),
        ];
        for (hosts, target, version, status) in cases {
            let request = Request::builder().uri(target).version(version);
            let request = hosts.iter().fold(request, |request, host| request.header("host", *host));
            let answer = face.answer(request, target).await;
            assert_eq!(answer.status.as_u16(), status, "{hosts:?} {target}");
            if status != 200 {
                assert_eq!(answer.head["content-type"], "application/problem+json");
                assert!(!answer.body.contains("evil"), "{}", answer.body);
            }
        }
    }

    #[tokio::test]
    async fn metrics_come_in_the_format_that_is_asked_for() {
        let face = Face::started();
        let text = face.ask("GET", "/metrics", "").await;
        assert_eq!(text.head["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        assert!(text.body.contains("# TYPE pannier_build_info gauge\npannier_build_info{"));
        let open = face.ask("GET", "/metrics", "application/openmetrics-text; version=1.0.0").await;
        assert!(open.head["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
        assert!(open.body.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn ready_means_started_with_an_upstream_and_not_draining() {
        let face = Face::new();
        assert_eq!(face.look("/startupz").await.0, 503);
        assert_eq!(face.look("/readyz").await.0, 503);
        assert_eq!(face.look("/livez").await, (200, "ok\n".into()));
        face.readiness.start();
        assert_eq!(face.look("/startupz").await, (200, "ok\n".into()));
        assert_eq!(face.look("/readyz").await, (200, "ok\n".into()));
        face.upstream_up.store(false, Ordering::Relaxed);
        let (status, body) = face.look("/readyz").await;
        assert_eq!(status, 503);
        assert_eq!(body, "[+]startup ok\n[+]shutdown ok\n[-]upstream unreachable\nreadyz check failed\n");
        assert_eq!(face.look("/healthz").await.0, 200);
        face.upstream_up.store(true, Ordering::Relaxed);
        face.readiness.drain();
        let (status, body) = face.look("/readyz").await;
        assert!(status == 503 && body.contains("[-]shutdown draining\n"), "{body}");
        assert_eq!(face.look("/livez").await.0, 200);
    }

    #[tokio::test]
    async fn a_probe_may_ask_for_more_and_for_less() {
        let face = Face::started();
        let (status, body) = face.look("/readyz?verbose").await;
        assert_eq!(status, 200);
        assert_eq!(body, "[+]startup ok\n[+]shutdown ok\n[+]upstream ok\nreadyz check passed\n");
        face.upstream_up.store(false, Ordering::Relaxed);
        assert_eq!(face.look("/readyz?exclude=upstream").await, (200, "ok\n".into()));
        let (status, body) = face.look("/readyz?exclude=nobody&exclude=upstream&verbose=1").await;
        assert!(status == 200 && body.contains("[+]upstream excluded\n"), "{body}");
        assert_eq!(face.look("/readyz?exclude=nobody").await.0, 503);
        assert_eq!(face.look("/readyz?exclude=%ff&&=&verbose").await.0, 503);
    }
}
