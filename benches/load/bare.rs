//! The bare server: hyper that hashes the body, looks it up, and answers. Nothing is counted, nobody is
//! asked who they are; it is the limit that a cache built on hyper could reach.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response};
use moka::sync::Cache;

use crate::answers::{self, Manner};
use crate::server;

/// More than any part of the bench fills in.
const CAPACITY: u64 = 2_000_000;

type Entries = Cache<[u8; 32], Bytes>;

/// Serves until the process is ended.
pub fn run(port: u16) -> anyhow::Result<()> {
    let entries: Entries = Cache::new(CAPACITY);
    server::serve(port, move |request| {
        let entries = entries.clone();
        async move { answer(&entries, request).await }
    })
}

async fn answer(entries: &Entries, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|collected| collected.to_bytes()).unwrap_or_default();
    let mut hasher = blake3::Hasher::new();
    hasher.update(head.uri.path().as_bytes()).update(&[0]).update(&body);
    let key = *hasher.finalize().as_bytes();
    let entry = entries.get(&key).unwrap_or_else(|| {
        // What an upstream would have said, without the way there: misses of this one are not measured.
        let fresh = match (head.uri.path(), answers::manner(&body)) {
            ("/api/embed", _) => &answers::EMBEDDING,
            (_, Manner::Long) => &answers::LONG_CHAT,
            _ => &answers::SMALL_CHAT,
        };
        // A copy of its own, as an entry that came from an upstream would be.
        let entry = Bytes::copy_from_slice(fresh);
        entries.insert(key, entry.clone());
        entry
    });
    let mut response = Response::new(Full::new(entry));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    response
}
