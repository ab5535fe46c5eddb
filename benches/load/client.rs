//! A small HTTP/1.1 client that blocks: one connection, one request at a time, nothing in between that
//! could add to a latency.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Connection {
    stream: TcpStream,
    /// What has come of the answer that is being read.
    received: Vec<u8>,
}

/// One answer, and when it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// From the request's last byte to the first byte of the answer's body.
    pub first_byte: Duration,
    /// From the request's last byte to the answer's last.
    pub whole: Duration,
}

/// What can be told from the bytes so far.
pub enum Reading {
    Head,
    /// The head is whole; `begun` tells whether a byte of the body is here too.
    Body {
        begun: bool,
    },
    Done(Parsed),
}

/// A whole answer.
pub struct Parsed {
    pub status: u16,
    pub body: Vec<u8>,
}

// === impl Connection ===

impl Connection {
    pub fn open(port: u16) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", port)).context("cannot connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Connection { stream, received: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a request and reads its answer to the end.
    pub fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        let sent = self.send(request)?;
        let mut first_byte = None;
        loop {
            match self.receive()? {
                Reading::Head | Reading::Body { begun: false } => {}
                Reading::Body { begun: true } => {
                    first_byte.get_or_insert_with(|| sent.elapsed());
                }
                Reading::Done(Parsed { status, body }) => {
                    let whole = sent.elapsed();
                    let first_byte = first_byte.unwrap_or(whole);
                    return Ok(Answer { status, body, first_byte, whole });
                }
            }
        }
    }

    /// Sends a request and reads until its answer's body has begun; what follows stays unread.
    pub fn begin(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.send(request)?;
        while !matches!(self.receive()?, Reading::Body { begun: true } | Reading::Done(_)) {}
        Ok(())
    }

    fn send(&mut self, request: &[u8]) -> anyhow::Result<Instant> {
        self.received.clear();
        self.stream.write_all(request)?;
        Ok(Instant::now())
    }

    fn receive(&mut self) -> anyhow::Result<Reading> {
        let mut piece = [0; 16 * 1024];
        let length = self.stream.read(&mut piece)?;
        if length == 0 {
            bail!("the connection was closed in the middle of an answer");
        }
        self.received.extend_from_slice(&piece[..length]);
        read_answer(&self.received)
    }
}

// === impl Reading ===

/// Reads an answer from its first byte on; called again with more until it is done.
pub fn read_answer(bytes: &[u8]) -> anyhow::Result<Reading> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head_length) = head.parse(bytes)? else { return Ok(Reading::Head) };
    let status = head.code.unwrap_or(0);
    let field = |name: &str| {
        let field = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        field.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    let rest = &bytes[head_length..];
    let body = match field("content-length") {
        Some(length) => rest.get(..length.parse()?).map(<[u8]>::to_vec),
        None if field("transfer-encoding") == Some("chunked") => join_chunks(rest)?,
        None => bail!("an answer of status {status} without any framing"),
    };
    Ok(match body {
        None => Reading::Body { begun: !rest.is_empty() },
        Some(body) => Reading::Done(Parsed { status, body }),
    })
}

/// The body that the chunks make up, or `None` while the last one has not come.
fn join_chunks(mut rest: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let Ok(chunk) = httparse::parse_chunk_size(rest) else { bail!("a chunk without a size") };
        let httparse::Status::Complete((start, size)) = chunk else { return Ok(None) };
        let size = usize::try_from(size)?;
        let Some(chunk) = rest.get(start..start + size + 2) else { return Ok(None) };
        if size == 0 {
            return Ok(Some(body));
        }
        body.extend_from_slice(&chunk[..size]);
        rest = &rest[start + size + 2..];
    }
}
