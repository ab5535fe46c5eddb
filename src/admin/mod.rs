//! The house routes: what Pannier says about itself. Never anything about Ollama's own API.
//!
//! They have a listener of their own, so that they still answer while the data port drains; the data port
//! forwards them there.

mod asked;
mod books;
mod cache;
mod entries;
mod figures;
mod guard;
mod health;
mod keys;
mod listener;
mod prices;
mod problem;
mod readiness;
mod reports;
mod reprice;
mod why;

pub use entries::{Export, Show};
pub use listener::Bounds;
pub use readiness::{Check, Readiness};
pub use why::{Explain, Warm};

use crate::analytics::{KeyMetrics, Reports, Retention};
use crate::auth::{Lock, Register};
use crate::cache::{Stock, Tiers};
use crate::domain::{Error, Kind};
use crate::metering::RateCard;
use crate::telemetry::{Exposition, Metrics};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Router, middleware};
use guard::Access;
use serde::Serialize;
use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use tokio::net::TcpListener;

/// The guard against DNS rebinding: whether a listener may be called by a name (a `Host` field).
pub type KnowsHost = dyn Fn(&[u8]) -> bool + Send + Sync;
/// Whether a presented key opens what is locked.
pub type Unlocks = dyn Fn(&[u8]) -> Lock + Send + Sync;
/// Whose key a presented one is, by its name.
pub type Owns = dyn Fn(&[u8]) -> Result<Arc<str>, Error> + Send + Sync;
/// Whether anything is kept, as the settings say now.
pub type IsCaching = dyn Fn() -> bool + Send + Sync;

/// What the house routes speak about.
#[derive(Clone)]
pub struct Parts {
    pub metrics: Arc<Metrics>,
    pub readiness: Arc<Readiness>,
    pub knows_host: Arc<KnowsHost>,
    pub unlocks: Arc<Unlocks>,
    pub owns: Arc<Owns>,
    pub reports: Arc<Reports>,
    pub retention: Arc<Retention>,
    pub keys: Arc<Register>,
    pub prices: Arc<RateCard>,
    pub tiers: Arc<Tiers>,
    pub stock: Arc<Stock>,
    pub is_caching: Arc<IsCaching>,
    pub explain: Arc<Explain>,
    pub warm: Arc<Warm>,
    pub show: Arc<Show>,
    pub export: Arc<Export>,
}

/// One house route.
struct House {
    /// Exact, but for parts in braces: they stand for any one part.
    path: &'static str,
    verb: Verb,
    access: Access,
    answer: Answering,
}

type Answering = fn(MethodFilter) -> MethodRouter<Parts>;

/// What is done there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

const KEYS: &str = "/admin/keys";
const ONE_KEY: &str = "/admin/keys/{id}";
const PRICING: &str = "/api/admin/costs/pricing";

/// All of them: the router is built from this table, and the data port asks it what to forward. Whatever does
/// not stand here as open is locked.
const HOUSE: &[House] = &[
    open(Verb::Get, "/metrics", |verb| on(verb, metrics)),
    open(Verb::Get, "/livez", |verb| on(verb, health::livez)),
    open(Verb::Get, "/readyz", |verb| on(verb, health::readyz)),
    open(Verb::Get, "/startupz", |verb| on(verb, health::startupz)),
    // Kubernetes' old name for /livez.
    open(Verb::Get, "/healthz", |verb| on(verb, health::livez)),
    open(Verb::Get, "/analytics/cache", |verb| on(verb, figures::analytics)),
    open(Verb::Get, "/api/cache/stats", |verb| on(verb, figures::stats)),
    own(Verb::Get, "/usage", |verb| on(verb, reports::usage)),
    own(Verb::Get, "/usage/requests", |verb| on(verb, reports::requests)),
    own(Verb::Get, "/costs", |verb| on(verb, reports::costs)),
    own(Verb::Get, "/api/metrics/dashboard", |verb| on(verb, books::dashboard)),
    own(Verb::Get, "/api/metrics/timeseries", |verb| on(verb, books::timeseries)),
    own(Verb::Get, "/api/metrics/endpoints", |verb| on(verb, books::endpoints)),
    own(Verb::Post, "/api/metrics/{id}/rate", |verb| on(verb, books::rate)),
    own(Verb::Get, "/api/costs/summary", |verb| on(verb, books::summary)),
    own(Verb::Get, "/api/costs/projection", |verb| on(verb, books::projection)),
    admin(Verb::Get, "/api/admin/costs/all", |verb| on(verb, books::overview)),
    admin(Verb::Get, "/metrics/export", |verb| on(verb, books::export)),
    admin(Verb::Get, "/api/hydrochat/metrics/export", |verb| on(verb, books::export)),
    admin(Verb::Get, "/api/hydrochat/metrics/export/", |verb| on(verb, books::export)),
    admin(Verb::Delete, "/analytics/cache", |verb| on(verb, cache::remove)),
    admin(Verb::Get, "/admin/cache/top", |verb| on(verb, cache::top)),
    admin(Verb::Get, "/admin/cache/entries/{key}", |verb| on(verb, entries::show)),
    admin(Verb::Delete, "/admin/cache/entries/{key}", |verb| on(verb, entries::remove)),
    admin(Verb::Get, "/admin/cache/export", |verb| on(verb, entries::export)),
    admin(Verb::Post, "/admin/cache/explain", |verb| on(verb, why::explain)),
    admin(Verb::Post, "/admin/cache/warm", |verb| on(verb, why::warm)),
    admin(Verb::Get, KEYS, |verb| on(verb, keys::list)),
    admin(Verb::Post, KEYS, |verb| on(verb, keys::create)),
    admin(Verb::Get, ONE_KEY, |verb| on(verb, keys::show)),
    admin(Verb::Patch, ONE_KEY, |verb| on(verb, keys::edit)),
    admin(Verb::Delete, ONE_KEY, |verb| on(verb, keys::remove)),
    admin(Verb::Post, "/admin/keys/{id}/rotate", |verb| on(verb, keys::rotate)),
    admin(Verb::Get, PRICING, |verb| on(verb, prices::show)),
    admin(Verb::Put, PRICING, |verb| on(verb, prices::set)),
    admin(Verb::Delete, PRICING, |verb| on(verb, prices::remove)),
    admin(Verb::Post, "/api/admin/costs/what-if", |verb| on(verb, reprice::what_if)),
    admin(Verb::Post, "/api/admin/costs/reprice", |verb| on(verb, reprice::reprice)),
];

/// For everybody.
const fn open(verb: Verb, path: &'static str, answer: Answering) -> House {
    House { path, verb, access: Access::Open, answer }
}

/// For whoever has a key: what it shows is the key's own.
const fn own(verb: Verb, path: &'static str, answer: Answering) -> House {
    House { path, verb, access: Access::Key, answer }
}

/// For whoever has the admin key.
const fn admin(verb: Verb, path: &'static str, answer: Answering) -> House {
    House { path, verb, access: Access::Admin, answer }
}

/// Whether a request for this path (without its query) is for the house, whatever its method.
pub fn is_house(path: &str) -> bool {
    // Every request is asked: most routes are found, or not, at one look.
    static PLAIN: LazyLock<HashSet<&str>> =
        LazyLock::new(|| HOUSE.iter().filter(|house| !house.has_any()).map(|house| house.path).collect());
    static OTHERS: LazyLock<Vec<&House>> =
        LazyLock::new(|| HOUSE.iter().filter(|house| house.has_any()).collect());
    PLAIN.contains(path) || OTHERS.iter().any(|house| house.is_at(path))
}

/// Serves the house on `listener` for ever.
pub async fn serve(listener: TcpListener, parts: Parts, bounds: Bounds) {
    let metrics = parts.metrics.clone();
    listener::serve(listener, router(parts), bounds, metrics).await;
}

/// The whole face: house routes, and a problem for everything else. Nothing of it may be kept by a cache.
fn router(parts: Parts) -> Router {
    let route = |router: Router<Parts>, house: &House| {
        let answer = (house.answer)(house.verb.filter());
        router.route(house.path, house.access.guard(answer, &parts))
    };
    HOUSE
        .iter()
        .fold(Router::new(), route)
        .fallback(|| async { problem::response(&Error::new(Kind::NotFound, "no such house route")) })
        .method_not_allowed_fallback(|| async {
            problem::response(&Error::new(Kind::MethodNotAllowed, "that is not done with this house route"))
        })
        .layer(middleware::from_fn_with_state(parts.clone(), guard::check_host))
        .layer(middleware::map_response(forbid_storing))
        .with_state(parts)
}

impl House {
    /// Whether a part of its path may be any.
    fn has_any(&self) -> bool {
        self.path.contains('{')
    }

    fn is_at(&self, path: &str) -> bool {
        let (mut wanted, mut given) = (self.path.split('/'), path.split('/'));
        let fits =
            |wanted: &str, given: &str| wanted == given || (wanted.starts_with('{') && !given.is_empty());
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return true,
                (Some(wanted), Some(given)) if fits(wanted, given) => {}
                _ => return false,
            }
        }
    }
}

impl Verb {
    fn filter(self) -> MethodFilter {
        match self {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
            Verb::Put => MethodFilter::PUT,
            Verb::Patch => MethodFilter::PATCH,
            Verb::Delete => MethodFilter::DELETE,
        }
    }

    #[cfg(test)]
    fn name(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Post => "POST",
            Verb::Put => "PUT",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
        }
    }
}

async fn metrics(State(parts): State<Parts>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let exposition = Exposition::negotiate(accept);
    let is_open = parts.reports.terms().key_metrics == KeyMetrics::Open;
    let (content_type, page) = match is_open || guard::is_admin(&parts, &headers) {
        true => parts.metrics.render_with_keys(exposition),
        false => parts.metrics.render(exposition),
    };
    let vary = "accept, authorization, x-api-key";
    ([(header::CONTENT_TYPE, content_type), (header::VARY, vary)], page).into_response()
}

/// As JSON, or as a problem.
fn answer<T: Serialize>(told: Result<T, Error>) -> Response {
    let told = told.and_then(|told| {
        serde_json::to_string(&told).map_err(|error| Error::new(Kind::Internal, error.to_string()))
    });
    match told {
        Ok(told) => ([(header::CONTENT_TYPE, "application/json")], told).into_response(),
        Err(error) => problem::response(&error),
    }
}

async fn forbid_storing(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::{RetentionConfig, Terms, Zone};
    use crate::auth::{self, Mode, Sharing};
    use crate::cache::{Memory, Seal, Secret, Vectors};
    use crate::domain::{Hidden, Money};
    use crate::metering::{PriceConfig, Unknown};
    use crate::store::keys::Keys;
    use crate::store::prices::PriceTable;
    use crate::store::{Damaged, Options, Place, Shared, Start};
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode, Version};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;
    use tower::ServiceExt;

    const KEY: &str = "an-admin-key-that-is-long-enough";

    struct Face {
        router: Router,
        parts: Parts,
        readiness: Arc<Readiness>,
        upstream_up: Arc<AtomicBool>,
    }

    struct Answer {
        status: StatusCode,
        head: HeaderMap,
        body: String,
    }

    /// A database that is never there.
    fn nowhere() -> Arc<Shared> {
        let options = Options {
            readers: 1,
            patience: Duration::from_millis(1),
            durable: false,
            largest_file: None,
            start: Start::AsItIs,
            damaged: Damaged::Refuse,
        };
        Arc::new(Shared::new(Place::File("/dev/null/nowhere".into()), options, Vec::new()))
    }

    fn no_keys() -> Register {
        let config = auth::Config {
            mode: Mode::Open,
            scope: Sharing::Team,
            keys: Vec::new(),
            teams: Vec::new(),
            management: Vec::new(),
            admin_key: Hidden::default(),
        };
        Register::new(Keys::new(nowhere()), None, &config)
    }

    fn no_prices() -> RateCard {
        let config = PriceConfig {
            currency: "USD".into(),
            builtin: true,
            unknown: Unknown::Unpriced,
            hit: Money::ZERO,
            models: Vec::new(),
        };
        RateCard::new(PriceTable::new(nowhere()), &config).unwrap()
    }

    impl Face {
        fn new() -> Self {
            let upstream_up = Arc::new(AtomicBool::new(true));
            let asked = upstream_up.clone();
            let readiness = Arc::new(Readiness::new(move || asked.load(Ordering::Relaxed)));
            let knows_host = Arc::new(|host: &[u8]| host.is_empty() || host == b"known");
            let metrics = Arc::new(Metrics::new());
            let seal = Seal::new(&Secret::of([0; 32]));
            let tiers = Arc::new(Tiers::new(seal, [], 0, metrics.clone()));
            let memory = Arc::new(Memory::new(1 << 20, metrics.clone()));
            let vectors = Arc::new(Vectors::new(1 << 20, metrics.clone()));
            let zone = Zone::named("UTC").unwrap();
            let terms = Terms { zone, currency: "USD".into(), key_metrics: KeyMetrics::Admin };
            let reports = Arc::new(Reports::new(nowhere(), terms, metrics.clone()));
            let (ever, max_rows) = (Duration::ZERO, 0);
            let keep = RetentionConfig { rows: ever, max_rows, minutes: ever, hours: ever, days: ever };
            let parts = Parts {
                stock: Arc::new(Stock::new(memory, vectors, tiers.clone())),
                is_caching: Arc::new(|| true),
                tiers,
                metrics,
                readiness: readiness.clone(),
                knows_host,
                unlocks: Arc::new(|key| if key == KEY.as_bytes() { Lock::Opens } else { Lock::Shut }),
                owns: Arc::new(|_| Err(Error::new(Kind::Unauthenticated, "a key is wanted"))),
                retention: Arc::new(Retention::new(nowhere(), reports.clone(), keep)),
                reports,
                keys: Arc::new(no_keys()),
                prices: Arc::new(no_prices()),
                explain: Arc::new(|_| Box::pin(async { Ok(Default::default()) })),
                warm: Arc::new(|_, _| Box::pin(async { Ok(()) })),
                show: Arc::new(|_, _| Box::pin(async { Ok(Default::default()) })),
                export: Arc::new(|_, _, _| Box::pin(async { Ok(()) })),
            };
            Face { router: router(parts.clone()), parts, readiness, upstream_up }
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
    async fn probes_and_metrics_answer_get_and_head_and_nothing_else() {
        let face = Face::started();
        for path in ["/metrics", "/livez", "/readyz", "/startupz", "/healthz"] {
            let answer = face.ask("GET", path, "*/*").await;
            assert_eq!(answer.status, StatusCode::OK, "{path}");
            assert!(answer.head["content-type"].to_str().unwrap().starts_with("text/plain"), "{path}");
            let head = face.ask("HEAD", path, "*/*").await;
            assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""), "{path}");
            assert!(is_house(path), "{path}");
            let refused = face.ask("POST", path, "*/*").await;
            assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
            assert_eq!(refused.head["allow"], "GET,HEAD", "{path}");
            assert!(refused.body.contains("\"code\":\"method_not_allowed\""), "{path}");
        }
    }

    #[tokio::test]
    async fn a_report_that_cannot_be_made_says_when_to_ask_again() {
        let face = Face::started();
        for path in ["/usage", "/costs", "/usage/requests", "/api/metrics/dashboard", "/metrics/export"] {
            let request = Request::builder().uri(path).header("host", "known").header("x-api-key", KEY);
            let answer = face.answer(request, path).await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert_eq!(answer.head["retry-after"], "5", "{path}");
            assert_eq!(answer.head["content-type"], "application/problem+json", "{path}");
            assert!(answer.body.contains("\"code\":\"overloaded\""), "{path}: {}", answer.body);
        }
    }

    /// A path at which `house` is asked for.
    fn target(house: &House) -> String {
        let part = |part: &str| if part.starts_with('{') { "x".to_owned() } else { part.to_owned() };
        house.path.split('/').map(part).collect::<Vec<_>>().join("/")
    }

    #[tokio::test]
    async fn what_is_not_listed_as_open_is_locked() {
        const OPEN: [(Verb, &str); 7] = [
            (Verb::Get, "/metrics"),
            (Verb::Get, "/livez"),
            (Verb::Get, "/readyz"),
            (Verb::Get, "/startupz"),
            (Verb::Get, "/healthz"),
            (Verb::Get, "/analytics/cache"),
            (Verb::Get, "/api/cache/stats"),
        ];
        let face = Face::started();
        for house in HOUSE {
            let path = target(house);
            assert!(is_house(&path), "{path}");
            let with = async |fields: &[(&str, &str)], path: &str| {
                let request = Request::builder().method(house.verb.name()).uri(path).header("host", "known");
                let request =
                    fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
                face.answer(request, path).await
            };
            let is_open = OPEN.contains(&(house.verb, house.path));
            assert_eq!(is_open, house.access == Access::Open, "{path}");
            let bearer = format!("Bearer {KEY}");
            let wrong = format!("{bearer}x");
            let in_query = format!("{path}?key={KEY}&api_key={KEY}");
            for (fields, path) in [
                (&[][..], &path),
                (&[("authorization", wrong.as_str())], &path),
                (&[("authorization", KEY)], &path),
                (&[("x-api-key", "")], &path),
                (&[], &in_query),
            ] {
                let answer = with(fields, path).await;
                assert_eq!(answer.status != StatusCode::UNAUTHORIZED, is_open, "{path} {fields:?}");
                if !is_open {
                    assert_eq!(answer.head["www-authenticate"], "Bearer");
                    assert_eq!(answer.head["x-pannier-error"], "unauthenticated");
                    assert!(!answer.body.contains(KEY), "{}", answer.body);
                }
            }
            for key in [("authorization", bearer.as_str()), ("x-api-key", KEY)] {
                let status = with(&[key], &path).await.status;
                assert!(status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN, "{path}");
                for (name, value, own) in [
                    ("sec-fetch-site", "cross-site", false),
                    ("sec-fetch-site", "same-site", false),
                    ("sec-fetch-site", "same-origin", true),
                    ("sec-fetch-site", "none", true),
                    ("origin", "https://evil.example", false),
                    ("origin", "null", false),
                    ("origin", "http://known.evil.example", false),
                    ("origin", "http://known", true),
                ] {
                    let status = with(&[key, (name, value)], &path).await.status;
                    assert_eq!(status != StatusCode::FORBIDDEN, own || is_open, "{path} {name}: {value}");
                }
            }
        }
    }

    #[tokio::test]
    async fn without_an_admin_key_nobody_may() {
        let mut face = Face::started();
        face.parts.unlocks = Arc::new(|_| Lock::NoKey);
        face.router = router(face.parts.clone());
        let request = Request::builder().uri("/admin/cache/top").header("host", "known");
        let answer = face.answer(request.header("x-api-key", KEY), "/admin/cache/top").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(answer.body.contains("auth.admin_key"), "{}", answer.body);
        assert_eq!(face.look("/livez").await.0, 200);
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

    #[test]
    fn what_is_an_extra_is_shown_and_fails_nothing() {
        let of = |is_extra| {
            let check = move || Check { name: "ledger", fault: Some("full"), is_extra };
            let readiness = Readiness::new(|| true).also(check);
            readiness.start();
            health::verdict("readyz", &readiness.checks(), &Default::default())
        };
        assert_eq!((of(true).status().as_u16(), of(false).status().as_u16()), (200, 503));
    }
}
