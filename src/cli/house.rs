//! A running Pannier, asked from the command line: its house with the admin key, or as any client does.

use super::format::Format;
use super::healthcheck::dialled;
use crate::auth;
use crate::config::Config;
use crate::domain::Hidden;
use anyhow::{Context, bail, ensure};
use bytes::{Bytes, BytesMut};
use clap::Args;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::future::Future;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// To reach it at all.
const REACH: Duration = Duration::from_secs(5);
/// Until it begins to answer: a large tier that is gone through takes its time.
const PATIENCE: Duration = Duration::from_secs(120);
/// Of a whole answer that is read at once, in bytes.
const LARGEST: usize = 64 << 20;

/// How it is asked, and how what it says is shown.
#[derive(Debug, Args)]
pub(super) struct HouseOptions {
    #[command(flatten)]
    pub key: HouseKey,
    /// How to show it
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// How it is asked.
#[derive(Debug, Args)]
pub(super) struct HouseKey {
    /// The admin key; without it, that of the settings, else the one in the data directory
    #[arg(long, global = true, value_name = "KEY", env = "PANNIER_ADMIN_KEY", hide_env_values = true)]
    admin_key: Option<Hidden>,
}

/// A running Pannier.
pub(super) struct House {
    address: SocketAddr,
    key: Option<Hidden>,
}

/// What it says, its body still to come.
pub(super) struct Answer {
    headers: HeaderMap,
    body: Incoming,
    /// The beginning of a line.
    unread: BytesMut,
}

/// Nobody there: exit code 4.
#[derive(Debug, thiserror::Error)]
#[error("no Pannier answers at http://{address}")]
pub struct Silent {
    address: SocketAddr,
    source: anyhow::Error,
}

/// It will not be told by us: exit code 5.
#[derive(Debug, thiserror::Error)]
#[error("Pannier at http://{address} says no: {detail}")]
pub struct Refused {
    address: SocketAddr,
    detail: String,
}

/// What was asked is too much for one request.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TooMuch(String);

/// Does what takes waiting.
pub(super) fn wait_for<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(work)
}

/// As a part of a path, or of a query.
pub(super) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

pub(super) fn write_json(out: &mut dyn Write, told: &Value) -> anyhow::Result<()> {
    Ok(writeln!(out, "{told:#}")?)
}

// === impl House ===

impl House {
    /// The one that serves with these settings.
    pub fn of(config: &Config, key: HouseKey) -> anyhow::Result<House> {
        let address = dialled(config.server.admin_listen);
        let key = match key.admin_key {
            Some(key) => key,
            None => {
                auth::admin_key(&config.auth, &config.server.data_dir).context("there is no admin key")?
            }
        };
        Ok(House { address, key: Some(key) })
    }

    /// Where it answers clients, with the key of one of them.
    pub fn of_clients(config: &Config, key: Option<Hidden>) -> anyhow::Result<House> {
        let address = dialled(config.server.listen);
        ensure!(address.port() != 0, "server.listen has port 0: nobody can know which one is in use");
        Ok(House { address, key })
    }

    /// # Errors
    /// [`Silent`] where nobody answers, [`Refused`] where the key is not the right one, else what it says went
    /// wrong.
    pub async fn ask(&self, method: Method, target: &str, body: Bytes) -> anyhow::Result<Answer> {
        let address = self.address;
        let silent = |source| Silent { address, source };
        let asked = tokio::time::timeout(PATIENCE, self.send(method, target, body)).await;
        let response = asked.context("timed out").and_then(|answer| answer).map_err(silent)?;
        let status = response.status();
        let (head, body) = response.into_parts();
        let answer = Answer { headers: head.headers, body, unread: BytesMut::new() };
        if status.is_success() {
            return Ok(answer);
        }
        let problem = answer.json().await.unwrap_or_default();
        let detail = problem["detail"].as_str().or(problem["error"].as_str());
        let detail = detail.unwrap_or("it does not say why").to_owned();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Refused { address, detail }.into()),
            StatusCode::PAYLOAD_TOO_LARGE => Err(TooMuch(detail).into()),
            _ => bail!("http://{address} answers {}: {detail}", status.as_u16()),
        }
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> anyhow::Result<http::Response<Incoming>> {
        let reaching = tokio::time::timeout(REACH, TcpStream::connect(self.address));
        let io = reaching.await.context("timed out")??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = &self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", key.expose()));
        }
        let request = request.body(Full::new(body)).context("the key cannot stand in a request")?;
        Ok(sender.send_request(request).await?)
    }
}

// === impl Answer ===

impl Answer {
    /// What a field of its head says.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All of it, at once.
    pub async fn json(self) -> anyhow::Result<Value> {
        let body = Limited::new(self.body, LARGEST).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?.to_bytes();
        serde_json::from_slice(&body).context("the answer is not JSON")
    }

    /// All of it to `out`, as it comes.
    pub async fn copy(mut self, out: &mut dyn Write) -> anyhow::Result<()> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.context("the answer broke off")?;
            out.write_all(frame.data_ref().map_or(&[][..], |data| data))?;
        }
        Ok(out.flush()?)
    }

    /// The next line of one that comes line by line; `None` at its end.
    pub async fn line(&mut self) -> anyhow::Result<Option<Value>> {
        let Some(line) = self.raw_line().await? else { return Ok(None) };
        serde_json::from_slice(&line).map(Some).context("a line of the answer is not JSON")
    }

    /// The same, as it came.
    pub async fn raw_line(&mut self) -> anyhow::Result<Option<Bytes>> {
        let mut looked_at = 0;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.unread[looked_at..]) {
                return Ok(Some(self.unread.split_to(looked_at + end + 1).freeze()));
            }
            looked_at = self.unread.len();
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.context("the answer broke off")?;
            self.unread.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            ensure!(self.unread.len() <= LARGEST, "a line of the answer is too long");
        }
    }
}
