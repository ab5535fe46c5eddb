//! A request for an answer, as the conductor is given it.

use crate::dialect::Form;
use crate::domain::{Call, Consumer, RequestId, Route};
use crate::upstream::{UpstreamCall, outgoing};
use bytes::Bytes;
use http::HeaderMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// A request for an answer, its body read to the end.
pub struct Request<'a> {
    pub id: RequestId,
    pub started: Instant,
    pub form: Form,
    pub route: Route,
    /// Path and query as they came.
    pub target: Bytes,
    /// As they came.
    pub headers: &'a HeaderMap,
    pub consumer: Arc<Consumer>,
    /// The presented key is Pannier's own: it stays here.
    pub own_key: bool,
    /// `Origin`, when it is not Pannier itself.
    pub origin: Option<http::HeaderValue>,
    pub content_encoding: Option<String>,
    pub body: Bytes,
    /// A trip has begun for it, which it pays for.
    pub began_trip: AtomicBool,
}

impl Request<'_> {
    /// How much there may be to read: what is packed may unfold to any size.
    pub fn size(&self) -> usize {
        if self.content_encoding.is_some() { usize::MAX } else { self.body.len() }
    }

    /// The same request, at a target of Pannier's own, without its body.
    pub fn of_own(&self, target: Bytes) -> Request<'_> {
        Request {
            id: self.id,
            started: self.started,
            form: self.form,
            route: self.route,
            target,
            headers: self.headers,
            consumer: self.consumer.clone(),
            own_key: self.own_key,
            origin: self.origin.clone(),
            content_encoding: None,
            body: Bytes::new(),
            began_trip: AtomicBool::new(false),
        }
    }

    /// `call` as it goes upstream.
    pub fn upstream_call(&self, call: &Call) -> UpstreamCall {
        UpstreamCall {
            method: http::Method::POST,
            target: self.target.clone(),
            headers: outgoing(self.headers, self.own_key),
            body: call.body.clone(),
        }
    }
}
