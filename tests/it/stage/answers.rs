//! Scripts for the usual answers of an Ollama, its verdict on origins included.

use super::client::find;
use super::upstream::{Act, Visit};

/// A head with these fields (each without its line end) and a fixed date.
pub fn head(status: u16, fields: &[&str]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Whatever\r\nDate: Fri, 20 Nov 2026 21:04:43 GMT\r\n");
    for field in fields {
        head += field;
        head += "\r\n";
    }
    (head + "\r\n").into_bytes()
}

/// A whole answer with `Content-Length`, as Ollama sends small ones.
pub fn whole(status: u16, content_type: &str, body: impl AsRef<[u8]>) -> Vec<Act> {
    let body = body.as_ref();
    let length = format!("Content-Length: {}", body.len());
    let mut bytes = head(status, &[&format!("Content-Type: {content_type}"), &length]);
    bytes.extend(body);
    vec![Act::Send(bytes)]
}

/// A whole answer of the native API.
pub fn json(status: u16, body: &str) -> Vec<Act> {
    whole(status, "application/json; charset=utf-8", body)
}

/// An answer in chunks: one write for the head, and one for each frame.
pub fn chunked(content_type: &str, frames: &[Vec<u8>]) -> Vec<Act> {
    let fields = [&format!("Content-Type: {content_type}"), "Transfer-Encoding: chunked"];
    let mut acts = vec![Act::Send(head(200, &fields))];
    acts.extend(frames.iter().map(|frame| Act::Chunk(frame.clone())));
    acts.push(Act::Chunk(Vec::new()));
    acts
}

pub fn ndjson(lines: &[Vec<u8>]) -> Vec<Act> {
    chunked("application/x-ndjson", lines)
}

pub fn sse(frames: &[Vec<u8>]) -> Vec<Act> {
    chunked("text/event-stream", frames)
}

/// Ollama's verdict on a request's `Origin` with its default list: `Ok` with the fields to add, or
/// `Err` for 403.
fn cors_of(visit: &Visit) -> Result<String, ()> {
    let Some(origin) = visit.field("origin") else { return Ok(String::new()) };
    let host = visit.field("host").unwrap_or_default();
    let name = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    if name == Some(host) {
        return Ok(String::new());
    }
    let bare = name.map(|name| name.rsplit_once(':').map_or(name, |(name, _)| name));
    match bare {
        Some("localhost" | "127.0.0.1" | "0.0.0.0") => {
            Ok(format!("Access-Control-Allow-Origin: {origin}\r\nVary: Origin\r\n"))
        }
        _ => Err(()),
    }
}

/// Puts Ollama's CORS verdict into an answer whose first act is its head.
pub fn with_cors(visit: &Visit, mut acts: Vec<Act>) -> Vec<Act> {
    let Ok(fields) = cors_of(visit) else { return vec![Act::Send(head(403, &["Content-Length: 0"]))] };
    if visit.method == "OPTIONS" && !fields.is_empty() {
        let fields = fields.trim_end().replace("\r\n", "\n");
        let mut fields: Vec<_> = fields.lines().collect();
        fields.extend(["Access-Control-Allow-Methods: GET,POST", "Access-Control-Max-Age: 43200"]);
        return vec![Act::Send(head(204, &fields))];
    }
    if let Some(Act::Send(bytes)) = acts.first_mut() {
        let end = find(bytes, b"\r\n\r\n").expect("a head") + 2;
        bytes.splice(end..end, fields.into_bytes());
        if visit.method == "HEAD" {
            bytes.truncate(find(bytes, b"\r\n\r\n").expect("a head") + 4);
        }
    }
    acts
}
