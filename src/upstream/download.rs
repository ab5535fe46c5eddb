//! A file from somewhere else, from where the last try was cut off, wherever its address leads.

use super::{Address, Client, Config, Incoming, Target, UpstreamCall};
use crate::domain::{Error, Kind};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use std::sync::Arc;
use std::time::Duration;

/// An address leads on to another so many times.
const MOST_LEAPS: usize = 6;
const CONNECT: Duration = Duration::from_secs(10);
const SILENT: Duration = Duration::from_secs(60);

/// A file that comes.
pub struct Download {
    incoming: Incoming,
    /// Bytes that stand before what comes.
    pub from: u64,
    /// Of the whole file, where that is said.
    pub length: Option<u64>,
}

impl Download {
    /// Asks for the file at `url`, from a byte on.
    ///
    /// # Errors
    /// Why it does not come.
    pub async fn begin(url: &str, from: u64) -> Result<Self, Error> {
        let mut url = url.to_owned();
        for _ in 0..MOST_LEAPS {
            let incoming = ask(&url, from).await?;
            let head = incoming.head();
            let number =
                |name: HeaderName| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
            let length = number(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
            match head.status {
                StatusCode::OK => return Ok(Download { length, incoming, from: 0 }),
                StatusCode::PARTIAL_CONTENT if starts_at(number(header::CONTENT_RANGE), from) => {
                    return Ok(Download { length: length.map(|rest| rest + from), incoming, from });
                }
                // All of it had come.
                StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => {
                    return Ok(Download { length: Some(from), incoming, from });
                }
                status if status.is_redirection() => {
                    let next = number(header::LOCATION).ok_or_else(|| failed("it leads nowhere"))?;
                    url = joined(&url, next).ok_or_else(|| failed("it leads to where nothing is trusted"))?;
                }
                status => return Err(failed(&format!("the answer is {}", status.as_u16()))),
            }
        }
        Err(failed("it leads around in circles"))
    }

    /// What comes next; `None` at the end.
    ///
    /// # Errors
    /// Where it breaks off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        match self.incoming.head().status.is_success() {
            true => self.incoming.chunk().await,
            false => Ok(None),
        }
    }
}

async fn ask(url: &str, from: u64) -> Result<Incoming, Error> {
    let (authority, path) = taken_apart(url).ok_or_else(|| failed("it is no http or https address"))?;
    let config = config(Address::parse(authority).map_err(|_| failed("it is no address"))?);
    let client = Client::new(Arc::new(Target::new(&config)), &config, "pannier");
    let mut headers = HeaderMap::new();
    headers
        .insert(header::USER_AGENT, HeaderValue::from_static(concat!("pannier/", env!("CARGO_PKG_VERSION"))));
    if from > 0 {
        let range = HeaderValue::try_from(format!("bytes={from}-"));
        headers.insert(header::RANGE, range.map_err(|_| failed("it cannot be gone on with"))?);
    }
    let target = Bytes::copy_from_slice(path.as_bytes());
    client.send(&UpstreamCall { method: Method::GET, target, headers, body: Bytes::new() }).await
}

fn config(url: Address) -> Config {
    Config {
        url,
        embedding_urls: Vec::new(),
        connect_timeout: CONNECT,
        first_byte_timeout: SILENT,
        between_bytes_timeout: SILENT,
        write_timeout: SILENT,
        idle_connections: 1,
        idle_timeout: SILENT,
        inventory_refresh: SILENT,
    }
}

/// Scheme and authority, and the path with its query.
fn taken_apart(url: &str) -> Option<(&str, &str)> {
    let scheme = ["http://", "https://"].into_iter().find(|scheme| url.starts_with(scheme))?;
    match url[scheme.len()..].find('/') {
        Some(slash) => Some(url.split_at(scheme.len() + slash)),
        None => Some((url, "/")),
    }
}

/// Where an answer of `url` leads. What was asked for in secret is not fetched in the open.
fn joined(url: &str, next: &str) -> Option<String> {
    let (authority, _) = taken_apart(url)?;
    if next.starts_with('/') && !next.starts_with("//") {
        return Some(format!("{authority}{next}"));
    }
    let is_fine = next.starts_with("https://") || (next.starts_with("http://") && url.starts_with("http://"));
    is_fine.then(|| next.to_owned())
}

/// Whether `bytes 5-9/10` begins there.
fn starts_at(range: Option<&str>, from: u64) -> bool {
    let start =
        range.and_then(|range| range.strip_prefix("bytes ")).and_then(|range| range.split('-').next());
    start.and_then(|start| start.parse().ok()) == Some(from)
}

fn failed(why: &str) -> Error {
    Error::new(Kind::UpstreamAborted, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart_and_followed() {
        assert_eq!(taken_apart("https://a.b/c/d?e"), Some(("https://a.b", "/c/d?e")));
        assert_eq!(taken_apart("http://a:1"), Some(("http://a:1", "/")));
        assert_eq!(taken_apart("file:///etc/passwd"), None);
        let joined = |next| joined("https://a/b", next);
        assert_eq!(joined("/c").as_deref(), Some("https://a/c"));
        assert_eq!(joined("https://x/y").as_deref(), Some("https://x/y"));
        for bad in ["http://x/y", "//x/y", "file:///x", "c"] {
            assert_eq!(joined(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_part_is_believed_where_it_begins_as_it_was_asked_for() {
        assert!(starts_at(Some("bytes 5-9/10"), 5));
        for (range, from) in [(Some("bytes 4-9/10"), 5), (Some("5-9"), 5), (None, 5)] {
            assert!(!starts_at(range, from), "{range:?}");
        }
    }
}
