//! Single entries, and all of them: what is in them is shown to who holds the admin key.

use super::asked::Asked;
use super::cache::{Wanted, removed};
use super::listener::Lasting;
use super::problem::bad;
use super::why::{self, Work};
use super::{Parts, problem};
use crate::cache::{CacheKey, Selection};
use crate::domain::Error;
use axum::extract::{Extension, Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::sync::mpsc;

/// Tells of one entry as JSON; with its answer where that is wanted.
pub type Show = dyn Fn(CacheKey, bool) -> Work<Bytes> + Send + Sync;
/// Tells of all entries that are meant, line by line.
pub type Export = dyn Fn(Selection, bool, mpsc::Sender<Bytes>) -> Work<()> + Send + Sync;

/// `GET /admin/cache/entries/{key}`
pub async fn show(State(parts): State<Parts>, Path(key): Path<String>, asked: Asked) -> Response {
    let wanted = Wanted::read(&asked, &["answer"]).and_then(|wanted| Ok((read_key(&key)?, wanted)));
    let told = match wanted {
        Ok((key, wanted)) => (parts.show)(key, wanted.answer).await,
        Err(error) => Err(error),
    };
    match told {
        Ok(told) => ([(header::CONTENT_TYPE, "application/json")], told).into_response(),
        Err(error) => problem::response(&error),
    }
}

/// `DELETE /admin/cache/entries/{key}`
pub async fn remove(State(parts): State<Parts>, Path(key): Path<String>, asked: Asked) -> Response {
    match Wanted::read(&asked, &[]).and_then(|_| read_key(&key)) {
        Ok(key) => removed(&parts, Selection { key: Some(key), ..Selection::default() }).await,
        Err(error) => problem::response(&error),
    }
}

/// `GET /admin/cache/export`
pub async fn export(
    State(parts): State<Parts>,
    lasting: Option<Extension<Lasting>>,
    asked: Asked,
) -> Response {
    let wanted = match Wanted::read(&asked, &["prefix", "model", "team", "answer"]) {
        Ok(wanted) => wanted,
        Err(error) => return problem::response(&error),
    };
    why::lines(lasting, why::NDJSON, |told| (parts.export)(wanted.selection, wanted.answer, told)).await
}

fn read_key(text: &str) -> Result<CacheKey, Error> {
    CacheKey::from_hex(text).ok_or_else(|| bad("a key is 64 hexadecimal digits"))
}
