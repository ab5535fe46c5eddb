//! A client that hides nothing: heads as they came, chunk boundaries kept, a cut told from an end.

use super::within;
use bytes::Bytes;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use std::{fmt, io};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// A request to be.
#[derive(Debug, Clone)]
pub struct Ask {
    pub method: String,
    pub target: String,
    pub host: Option<String>,
    pub fields: Vec<(String, String)>,
    pub body: Payload,
}

#[derive(Debug, Clone)]
pub enum Payload {
    None,
    Whole(Vec<u8>),
    Chunks(Vec<Vec<u8>>),
}

/// An answer's head.
#[derive(Clone)]
pub struct Head {
    pub raw: Vec<u8>,
    pub status: u16,
    pub fields: Vec<(String, String)>,
}

/// How an answer's body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By its own framing.
    Complete,
    /// By the connection's end, where the framing knows no other.
    Closed,
    /// The connection ended before the body did.
    Cut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Bare,
    Length(usize),
    Chunked,
    UntilClose,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub head: Head,
    /// Status codes of 1xx heads that came before.
    pub interim: Vec<u16>,
    pub framing: Framing,
    /// Chunks where the body was chunked, what single reads gave otherwise.
    pub pieces: Vec<Vec<u8>>,
    pub ending: Ending,
}

/// One connection.
pub struct Wire {
    io: TcpStream,
    unread: Vec<u8>,
    host: String,
    framing: Framing,
}

// === impl Ask ===

impl Ask {
    pub fn new(method: &str, target: &str) -> Ask {
        Ask {
            method: method.into(),
            target: target.into(),
            host: None,
            fields: Vec::new(),
            body: Payload::None,
        }
    }

    pub fn get(target: &str) -> Ask {
        Ask::new("GET", target)
    }

    pub fn post(target: &str, body: &Value) -> Ask {
        Ask::new("POST", target).with("Content-Type", "application/json").bytes(body.to_string())
    }

    pub fn with(mut self, name: &str, value: &str) -> Ask {
        self.fields.push((name.into(), value.into()));
        self
    }

    pub fn host(mut self, host: &str) -> Ask {
        self.host = Some(host.into());
        self
    }

    pub fn bytes(mut self, body: impl Into<Vec<u8>>) -> Ask {
        self.body = Payload::Whole(body.into());
        self
    }

    pub fn chunks(mut self, chunks: &[&[u8]]) -> Ask {
        self.body = Payload::Chunks(chunks.iter().map(|chunk| chunk.to_vec()).collect());
        self
    }

    /// The head alone, as it goes out on a connection to `host`.
    pub fn head(&self, host: &str) -> Vec<u8> {
        let host = self.host.as_deref().unwrap_or(host);
        let mut out = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.target);
        for (name, value) in &self.fields {
            out += &format!("{name}: {value}\r\n");
        }
        match &self.body {
            Payload::None => {}
            Payload::Whole(body) => out += &format!("Content-Length: {}\r\n", body.len()),
            Payload::Chunks(_) => out += "Transfer-Encoding: chunked\r\n",
        }
        (out + "\r\n").into_bytes()
    }

    /// All of it.
    pub fn raw(&self, host: &str) -> Vec<u8> {
        let mut out = self.head(host);
        match &self.body {
            Payload::None => {}
            Payload::Whole(body) => out.extend(body),
            Payload::Chunks(chunks) => {
                for chunk in chunks {
                    out.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
                    out.extend(chunk);
                    out.extend(b"\r\n");
                }
                out.extend(b"0\r\n\r\n");
            }
        }
        out
    }
}

// === impl Head ===

impl Head {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.all(name).into_iter().next()
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    fn parse(raw: Vec<u8>) -> Head {
        let text = String::from_utf8(raw.clone()).expect("an answer's head in UTF-8");
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.split(' ').nth(1).and_then(|s| s.parse().ok());
        let fields = lines
            .filter(|line| !line.is_empty())
            .map(|line| line.split_once(':').unwrap_or_else(|| panic!("no colon in {line:?}")))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        Head { raw, status: status.unwrap_or_else(|| panic!("no status in {first:?}")), fields }
    }

    fn framing(&self, method: &str) -> Framing {
        if method == "HEAD" || self.status < 200 || self.status == 204 || self.status == 304 {
            return Framing::Bare;
        }
        if self.field("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
            assert_eq!(self.field("content-length"), None, "two framings at once");
            return Framing::Chunked;
        }
        let lengths = self.all("content-length");
        assert!(lengths.len() < 2, "several Content-Length: {lengths:?}");
        match lengths.first() {
            Some(length) => Framing::Length(length.parse().expect("a number as Content-Length")),
            None => Framing::UntilClose,
        }
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.raw))
    }
}

// === impl Reply ===

impl Reply {
    pub fn status(&self) -> u16 {
        self.head.status
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    pub fn body(&self) -> Bytes {
        self.pieces.concat().into()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body()).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body()).unwrap_or_else(|e| panic!("{e} in {:?}", self.text()))
    }

    /// Pannier's own member of `Cache-Status`: its name and parameters.
    pub fn cache(&self) -> String {
        let values = self.head.all("cache-status").join(", ");
        let own = values.split(", ").find(|member| *member == "pannier" || member.starts_with("pannier;"));
        own.unwrap_or_default().to_owned()
    }

    pub fn is_hit(&self) -> bool {
        self.cache().split(';').any(|parameter| parameter.trim() == "hit")
    }

    /// The code of an error of Pannier's own.
    pub fn code(&self) -> Option<&str> {
        self.field("x-pannier-error")
    }

    /// Fails unless this is a 200 that came whole.
    #[track_caller]
    pub fn fine(self) -> Reply {
        assert_eq!(self.status(), 200, "{:?}", self.text());
        assert_eq!(self.ending, Ending::Complete);
        self
    }
}

// === impl Wire ===

impl Wire {
    pub async fn open(addr: SocketAddr) -> Wire {
        Wire::begin(addr, within("a connection", TcpStream::connect(addr)).await)
    }

    /// `None` where nobody listens any more.
    pub async fn try_open(addr: SocketAddr) -> Option<Wire> {
        let connected = within("a connection", TcpStream::connect(addr)).await;
        connected.is_ok().then(|| Wire::begin(addr, connected))
    }

    /// Opens it from an address of one's own choice: all of 127.0.0.0/8 are this machine's.
    pub async fn open_from(source: &str, addr: SocketAddr) -> Wire {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(source.parse().expect("an address"), 0)).expect("bind");
        Wire::begin(addr, within("a connection", socket.connect(addr)).await)
    }

    fn begin(addr: SocketAddr, connected: io::Result<TcpStream>) -> Wire {
        let io = connected.expect("connect");
        io.set_nodelay(true).expect("nodelay");
        Wire { io, unread: Vec::new(), host: addr.to_string(), framing: Framing::Bare }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.expect("write");
    }

    /// As `send`, where the other side may hang up meanwhile.
    pub async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes).await
    }

    pub async fn ask(&mut self, ask: &Ask) {
        let raw = ask.raw(&self.host);
        self.send(&raw).await;
    }

    /// Says that nothing more will be sent, and still listens.
    pub async fn half_close(&mut self) {
        self.io.shutdown().await.expect("shutdown");
    }

    /// Asks and takes the whole answer.
    pub async fn exchange(&mut self, ask: &Ask) -> Reply {
        self.ask(ask).await;
        self.reply(&ask.method).await
    }

    /// Waits until something more has come, or the other side has hung up, for however long that takes.
    pub async fn something(&mut self) {
        self.more().await;
    }

    /// The next head, 1xx or final; `None` when the connection ended instead.
    pub async fn try_head(&mut self, method: &str) -> Option<Head> {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                let rest = self.unread.split_off(end + 4);
                let head = Head::parse(std::mem::replace(&mut self.unread, rest));
                self.framing = head.framing(method);
                return Some(head);
            }
            if within("an answer's head", self.more()).await == 0 {
                return None;
            }
        }
    }

    pub async fn head(&mut self, method: &str) -> Head {
        self.try_head(method).await.expect("an answer, not the connection's end")
    }

    /// The next piece of the body whose head was just read: `Err` says how it ended.
    pub async fn piece(&mut self) -> Result<Vec<u8>, Ending> {
        match self.framing {
            Framing::Bare | Framing::Length(0) => Err(Ending::Complete),
            Framing::Length(left) => {
                self.fill(1).await?;
                let taken = self.take(left);
                self.framing = Framing::Length(left - taken.len());
                Ok(taken)
            }
            Framing::UntilClose => match self.fill(1).await {
                Ok(()) => Ok(self.take(usize::MAX)),
                Err(_) => Err(Ending::Closed),
            },
            Framing::Chunked => self.chunk().await,
        }
    }

    pub async fn try_reply(&mut self, method: &str) -> Option<Reply> {
        let mut interim = Vec::new();
        let head = loop {
            let head = self.try_head(method).await?;
            if head.status >= 200 {
                break head;
            }
            interim.push(head.status);
        };
        let framing = self.framing;
        let mut pieces = Vec::new();
        let ending = loop {
            match self.piece().await {
                Ok(piece) => pieces.push(piece),
                Err(ending) => break ending,
            }
        };
        Some(Reply { head, interim, framing, pieces, ending })
    }

    pub async fn reply(&mut self, method: &str) -> Reply {
        self.try_reply(method).await.expect("an answer, not the connection's end")
    }

    /// How long until the other side hangs up; what it sends until then is dropped.
    pub async fn hung_up(&mut self) -> Duration {
        let start = Instant::now();
        within("the connection's end", async { while self.more().await > 0 {} }).await;
        start.elapsed()
    }

    async fn chunk(&mut self) -> Result<Vec<u8>, Ending> {
        let line_end = loop {
            match find(&self.unread, b"\r\n") {
                Some(at) => break at,
                None => self.fill(self.unread.len() + 1).await?,
            }
        };
        let line = self.take(line_end + 2);
        let digits = std::str::from_utf8(&line[..line_end]).expect("a chunk's size");
        let size = usize::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("chunk size {digits:?}"));
        self.fill(size + 2).await?;
        let mut chunk = self.take(size + 2);
        assert_eq!(chunk.split_off(size), b"\r\n", "a chunk's end");
        if size > 0 {
            return Ok(chunk);
        }
        self.framing = Framing::Bare;
        Err(Ending::Complete)
    }

    /// Reads until `wanted` bytes are there.
    async fn fill(&mut self, wanted: usize) -> Result<(), Ending> {
        while self.unread.len() < wanted {
            if within("more of an answer's body", self.more()).await == 0 {
                return Err(Ending::Cut);
            }
        }
        Ok(())
    }

    fn take(&mut self, most: usize) -> Vec<u8> {
        let rest = self.unread.split_off(most.min(self.unread.len()));
        std::mem::replace(&mut self.unread, rest)
    }

    async fn more(&mut self) -> usize {
        self.unread.reserve(16 * 1024);
        self.io.read_buf(&mut self.unread).await.unwrap_or(0)
    }
}

pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}
