//! Who may ask: the host's name for all, the admin key for what is locked.

use super::{Parts, problem};
use crate::auth::Lock;
use crate::domain::{Error, Kind, bearer};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Version, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::MethodRouter;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::sync::Arc;
use std::time::Duration;

/// Who may ask for a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody: nothing is shown there but figures that are nobody's own, and nothing changed.
    Open,
    /// Whoever presents a key, and is no page of another site: the answer is about the key's own figures, or about
    /// everybody's for the admin key.
    Key,
    /// Whoever presents the admin key, and is no page of another site.
    Admin,
}

/// Who has come in by a key.
#[derive(Debug, Clone)]
pub enum Viewer {
    Admin,
    /// With this key's name.
    Key(Arc<str>),
}

/// The largest body that is read, in bytes, and how long it may take to come.
const LARGEST_BODY: usize = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

const SEC_FETCH_SITE: &str = "sec-fetch-site";
const X_API_KEY: &str = "x-api-key";

impl Access {
    /// `answer`, for those who may.
    pub fn guard(self, answer: MethodRouter<Parts>, parts: &Parts) -> MethodRouter<Parts> {
        match self {
            Access::Open => answer,
            Access::Key => answer.route_layer(middleware::from_fn_with_state(parts.clone(), check_owner)),
            Access::Admin => answer.route_layer(middleware::from_fn_with_state(parts.clone(), check_key)),
        }
    }
}

/// Lets in who calls this server by a name of its own, and by one only.
pub async fn check_host(State(parts): State<Parts>, request: Request, next: Next) -> Response {
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

/// Lets in whoever has the admin key, with the whole body.
async fn check_key(State(parts): State<Parts>, request: Request, next: Next) -> Response {
    let admitted = match admit(&parts, request.headers()) {
        Ok(()) => gather(request).await,
        Err(error) => Err(error),
    };
    match admitted {
        Ok(request) => next.run(request).await,
        Err(error) => problem::response(&error),
    }
}

/// Lets in whoever has a key, with the whole body, and says who it is.
async fn check_owner(State(parts): State<Parts>, mut request: Request, next: Next) -> Response {
    let admitted = match view(&parts, request.headers()) {
        Ok(viewer) => {
            request.extensions_mut().insert(viewer);
            gather(request).await
        }
        Err(error) => Err(error),
    };
    match admitted {
        Ok(request) => next.run(request).await,
        Err(error) => problem::response(&error),
    }
}

fn admit(parts: &Parts, headers: &HeaderMap) -> Result<(), Error> {
    match (parts.unlocks)(single_key(headers)?) {
        Lock::Opens => Ok(()),
        Lock::NoKey => Err(Error::new(
            Kind::Forbidden,
            "this Pannier has no admin key: its data directory cannot be used, and auth.admin_key is not set",
        )),
        Lock::Shut => Err(Error::new(
            Kind::Unauthenticated,
            "the admin key is wanted, as Authorization: Bearer or X-API-Key; it stands in admin.key in \
             Pannier's data directory",
        )),
    }
}

/// Whether the admin key is presented, where much is for everybody.
pub fn is_admin(parts: &Parts, headers: &HeaderMap) -> bool {
    admit(parts, headers).is_ok()
}

fn view(parts: &Parts, headers: &HeaderMap) -> Result<Viewer, Error> {
    let key = single_key(headers)?;
    match (parts.unlocks)(key) {
        Lock::Opens => Ok(Viewer::Admin),
        Lock::NoKey | Lock::Shut => (parts.owns)(key).map(Viewer::Key),
    }
}

/// The one key that a request presents, or none; never for a page of another site.
fn single_key(headers: &HeaderMap) -> Result<&[u8], Error> {
    if is_foreign(headers) {
        return Err(Error::new(Kind::Forbidden, "a page of another site may not ask for this"));
    }
    let mut keys = presented(headers);
    let key = keys.next().unwrap_or_default();
    match keys.any(|other| other != key) {
        true => Err(Error::new(Kind::Unauthenticated, "the request presents two different keys")),
        false => Ok(key),
    }
}

/// Every key that is presented; never one from the query, which would stand in other people's logs.
fn presented(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let bearers = headers.get_all(header::AUTHORIZATION).iter().filter_map(|field| bearer(field.as_bytes()));
    bearers.chain(headers.get_all(X_API_KEY).iter().map(HeaderValue::as_bytes).filter(|key| !key.is_empty()))
}

/// Whether a page asks that is not of this house: browsers say so. Programs say nothing of the kind.
fn is_foreign(headers: &HeaderMap) -> bool {
    let own_site = |site: &HeaderValue| site == "same-origin" || site == "none";
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    let own_origin = |origin: &HeaderValue| {
        let origin = origin.as_bytes();
        let bare = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        bare.is_some_and(|bare| bare.eq_ignore_ascii_case(host))
    };
    !headers.get_all(SEC_FETCH_SITE).iter().all(own_site)
        || !headers.get_all(header::ORIGIN).iter().all(own_origin)
}

/// The request with its body read to the end: what is asked of it then cannot wait for a slow client.
async fn gather(request: Request) -> Result<Request, Error> {
    let (head, body) = request.into_parts();
    let gathered = tokio::time::timeout(PATIENCE, Limited::new(body, LARGEST_BODY).collect()).await;
    match gathered {
        Ok(Ok(body)) => Ok(Request::from_parts(head, Body::from(body.to_bytes()))),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Error::new(Kind::TooLarge, format!("the body is larger than {LARGEST_BODY} bytes")))
        }
        Ok(Err(_)) => Err(Error::new(Kind::BadRequest, "the body broke off")),
        Err(_) => Err(Error::new(Kind::RequestTimeout, "the body came too slowly")),
    }
}
