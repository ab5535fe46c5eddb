//! A request as an operator writes it down: to be explained, or to be asked in good time.

use super::{Policy, Request};
use crate::dialect::{self, Form, Handling};
use crate::domain::{Consumer, Error, Kind, RequestId, Route, moment};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// `{"path": "/api/chat", "body": {…}, "headers": {…}, "key_name": "alice", "team": "lab"}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    path: String,
    /// The very body; or, as a text, what is in it.
    body: Box<RawValue>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    key_name: Option<String>,
    team: Option<String>,
}

/// What holds where a request does not say it. With a path, requests are bodies alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Defaults<'a> {
    pub path: Option<&'a str>,
    pub key_name: Option<&'a str>,
    pub team: Option<&'a str>,
}

/// A request that nobody has sent.
pub struct Inquiry {
    pub form: Form,
    pub route: Route,
    /// Path and query.
    pub target: Bytes,
    pub headers: HeaderMap,
    pub consumer: Arc<Consumer>,
    pub body: Bytes,
}

impl Inquiry {
    /// # Errors
    /// `BadRequest` for what is no such request, or one of a route that is not read, or of nobody.
    pub fn read(written: &[u8], policy: &Policy) -> Result<Self, Error> {
        Inquiry::read_with(written, &Defaults::default(), policy)
    }

    /// As [`Inquiry::read`], where `defaults` say what is not said.
    ///
    /// # Errors
    /// The same.
    pub fn read_with(written: &[u8], defaults: &Defaults<'_>, policy: &Policy) -> Result<Self, Error> {
        let Defaults { path, key_name, team } = *defaults;
        if let Some(path) = path {
            let (target, body) = (Bytes::copy_from_slice(path.as_bytes()), Bytes::copy_from_slice(written));
            return Inquiry::of(target, HeaderMap::new(), whose(policy, key_name, team)?, body);
        }
        let written: Written = serde_json::from_slice(written).map_err(|error| wrong(error.to_string()))?;
        let (named, teamed) = (written.key_name.as_deref(), written.team.as_deref());
        let consumer = match named.is_some() || teamed.is_some() {
            true => whose(policy, named, teamed)?,
            false => whose(policy, key_name, team)?,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &written.headers {
            let name = HeaderName::try_from(name).map_err(|_| wrong("a header's name is none"))?;
            headers
                .append(name, HeaderValue::try_from(value).map_err(|_| wrong("a header's value is none"))?);
        }
        let body = match serde_json::from_str::<String>(written.body.get()) {
            Ok(text) => Bytes::from(text),
            Err(_) => Bytes::copy_from_slice(written.body.get().as_bytes()),
        };
        Inquiry::of(Bytes::from(written.path), headers, consumer, body)
    }

    /// # Errors
    /// `BadRequest` where the target is not of a route that is read.
    pub fn of(
        target: Bytes,
        headers: HeaderMap,
        consumer: Arc<Consumer>,
        body: Bytes,
    ) -> Result<Self, Error> {
        let path = std::str::from_utf8(super::path(&target)).unwrap_or_default();
        let (route, Handling::Answer(form)) = dialect::find("POST", path) else {
            return Err(wrong("the path is none of those whose answers are kept"));
        };
        Ok(Inquiry { form, route, target, headers, consumer, body })
    }

    /// As if it had just come in.
    pub fn request(&self) -> Request<'_> {
        Request {
            id: RequestId::new(moment::now()),
            started: Instant::now(),
            form: self.form,
            route: self.route,
            target: self.target.clone(),
            headers: &self.headers,
            consumer: self.consumer.clone(),
            own_key: false,
            origin: None,
            content_encoding: None,
            body: self.body.clone(),
            began_trip: AtomicBool::default(),
        }
    }
}

/// Who is meant: the owner of a key, or whoever shares a team's answers.
fn whose(policy: &Policy, key_name: Option<&str>, team: Option<&str>) -> Result<Arc<Consumer>, Error> {
    let is_meant = |consumer: &Arc<Consumer>| {
        key_name.is_none_or(|name| *consumer.name == *name) && team.is_none_or(|team| *consumer.team == *team)
    };
    let found = match (key_name, team) {
        (None, None) => Some(policy.keys.anonymous().clone()),
        _ => policy.keys.everybody().filter(is_meant).min_by(|one, other| one.name.cmp(&other.name)),
    };
    found.ok_or_else(|| wrong("nobody of that name, or of that team, has a key"))
}

fn wrong(why: impl Into<String>) -> Error {
    Error::new(Kind::BadRequest, why)
}
