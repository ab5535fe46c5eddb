//! API keys, for those who look after them. Of a key itself only its maker hears, and once.

use super::{Parts, answer, problem};
use crate::auth::{Draft, Edit, Listed};
use crate::domain::{Error, Hidden, Kind};
use crate::store::keys::KeyRow;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

/// `{"name": "alice", "team": "lab", "models": ["llama3*"], "routes": ["/api/*"], "expires": 1800000000}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: String,
    team: Option<String>,
    /// Seconds since 1970; 0 for never.
    expires: Option<u64>,
    #[serde(default)]
    admin: bool,
    #[serde(default)]
    models: Vec<String>,
    #[serde(default)]
    routes: Vec<String>,
}

const WANTED: &str = concat!(
    r#"{"name": "...", "team": "...", "models": ["..."], "routes": ["..."], "expires": SECONDS SINCE 1970, "#,
    r#""admin": false}, of which only the name must be there"#
);

/// What is not named stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Changed {
    team: Option<String>,
    expires: Option<u64>,
    disabled: Option<bool>,
    models: Option<Vec<String>>,
    routes: Option<Vec<String>>,
}

const CHANGED: &str = concat!(
    r#"{"team": "...", "models": ["..."], "routes": ["..."], "expires": SECONDS SINCE 1970 OR 0, "#,
    r#""disabled": false}, of which any may be left out"#
);

/// `{"grace": 3600}`
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Rotation {
    /// Seconds for which the old key is good yet.
    #[serde(default)]
    grace: u64,
}

const ROTATION: &str = r#"{"grace": SECONDS}"#;

/// `GET /admin/keys`
pub async fn list(State(parts): State<Parts>) -> Response {
    answer(parts.keys.list().await.map(|keys| {
        let keys: Vec<Value> = keys.iter().map(listed).collect();
        json!({ "keys": keys })
    }))
}

/// `POST /admin/keys`
pub async fn create(State(parts): State<Parts>, written: Bytes) -> Response {
    let made = async {
        let Wanted { name, team, expires, admin, models, routes } = read(&written, WANTED)?;
        let expires = expires.map(milliseconds).filter(|expires| *expires > 0);
        parts.keys.create(Draft { name, team, expires, is_admin: admin, models, routes }).await
    };
    match made.await {
        Ok((key, row)) => (StatusCode::CREATED, answer(Ok(with_key(&row, &key)))).into_response(),
        Err(error) => problem::response(&error),
    }
}

/// `GET /admin/keys/{id}`; a name is as good as an id, here and below.
pub async fn show(State(parts): State<Parts>, Path(who): Path<String>) -> Response {
    answer(parts.keys.find(&who).await.map(|row| stored(&row)))
}

/// `PATCH /admin/keys/{id}`
pub async fn edit(State(parts): State<Parts>, Path(who): Path<String>, written: Bytes) -> Response {
    let edited = async {
        let Changed { team, expires, disabled, models, routes } = read(&written, CHANGED)?;
        let edit = Edit { team, expires: expires.map(milliseconds), is_disabled: disabled, models, routes };
        parts.keys.edit(&who, edit).await
    };
    answer(edited.await.map(|row| stored(&row)))
}

/// `DELETE /admin/keys/{id}`
pub async fn remove(State(parts): State<Parts>, Path(who): Path<String>) -> Response {
    match parts.keys.remove(&who).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => problem::response(&error),
    }
}

/// `POST /admin/keys/{id}/rotate`
pub async fn rotate(State(parts): State<Parts>, Path(who): Path<String>, written: Bytes) -> Response {
    let rotated = async {
        let Rotation { grace } =
            if written.is_empty() { Rotation::default() } else { read(&written, ROTATION)? };
        parts.keys.rotate(&who, Duration::from_secs(grace)).await
    };
    answer(rotated.await.map(|(key, row)| with_key(&row, &key)))
}

/// What is wrong with it is told without a word of it: it might hold a key.
fn read<T: DeserializeOwned>(written: &[u8], form: &str) -> Result<T, Error> {
    serde_json::from_slice(written).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let why = format!("line {line}, column {column}: not JSON of the expected form {form}");
        Error::new(Kind::BadRequest, why)
    })
}

fn listed(key: &Listed) -> Value {
    match key {
        Listed::Settings { name, team } => json!({ "origin": "settings", "name": name, "team": team }),
        Listed::Stored(row) => stored(row),
    }
}

fn with_key(row: &KeyRow, key: &Hidden) -> Value {
    let mut value = stored(row);
    value["key"] = key.expose().into();
    value
}

fn stored(row: &KeyRow) -> Value {
    json!({
        "origin": "store",
        "id": row.id,
        "name": row.name,
        "team": row.team,
        "start": row.start,
        "admin": row.is_admin,
        "models": row.models,
        "routes": row.routes,
        "disabled": row.is_disabled,
        "expires": seconds(row.expires),
        "created": seconds(row.created),
        "rotated": seconds(row.rotated),
        "old_until": row.old.and_then(|(_, until)| seconds(until)),
        "last_used": seconds(row.used),
    })
}

/// Since 1970; nothing where there is no such moment.
fn seconds(milliseconds: i64) -> Option<i64> {
    (milliseconds > 0).then_some(milliseconds / 1000)
}

fn milliseconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000)
}
