//! A scripted Ollama: raw sockets, so a script decides every byte, pause, cut and reset of an answer,
//! and learns when the other side went away.

use super::answers::{json, whole, with_cors};
use super::client::find;
use super::{APART, MODELS, model_entry, within};
use bytes::Bytes;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::WriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// One step of an answer.
#[derive(Clone)]
pub enum Act {
    /// These bytes as they are, in one write.
    Send(Vec<u8>),
    /// One chunk of a chunked body, in one write; an empty one ends the body.
    Chunk(Vec<u8>),
    Pause(Duration),
    /// Waits until the test lets it pass.
    Wait(Gate),
    /// So many bytes as chunks of 64 KiB.
    Flood(usize),
    /// Closes the connection in order.
    Fin,
    /// Closes it with a reset.
    Rst,
    /// Says nothing more until the other side hangs up.
    Hang,
    /// Says nothing more, and has read nothing since the script began.
    Deaf,
}

/// Holds scripts back until a test opens it, for good or for so many passages.
#[derive(Clone)]
pub struct Gate(Arc<Semaphore>);

/// One request as it came in.
pub struct Visit {
    pub method: String,
    pub target: String,
    /// The head's exact bytes.
    pub head: Vec<u8>,
    pub fields: Vec<(String, String)>,
    /// Which connection, and the how-manieth request on it (from 0).
    pub connection: usize,
    pub turn: usize,
    /// The how-manieth request for this path (from 0).
    pub nth: usize,
    body: Mutex<Vec<u8>>,
    /// Bytes of the body without its framing; `body` keeps the first MiB.
    pub received: AtomicU64,
    /// Bytes written by `Act::Flood`.
    pub flooded: AtomicU64,
    gone: watch::Sender<Option<Instant>>,
}

/// Makes an answer's script for a request.
type Script = Arc<dyn Fn(&Visit) -> Vec<Act> + Send + Sync>;

#[derive(Clone)]
struct Part {
    script: Script,
    /// Acts when the head is there, without reading a body.
    early: bool,
}

/// The server. Answers `/`, `/api/version` and `/api/tags` by itself, and 404 as Ollama does.
pub struct Upstream {
    pub addr: SocketAddr,
    stage: Arc<Stage>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Stage {
    parts: Mutex<HashMap<String, Part>>,
    visits: Mutex<Vec<Arc<Visit>>>,
    /// How many came for each path: among a hundred thousand, nobody counts them anew each time.
    counts: Mutex<HashMap<String, usize>>,
    models: Mutex<Vec<(String, String)>>,
    /// How often they were made anew.
    made: AtomicUsize,
    version: Mutex<String>,
    accepted: AtomicUsize,
    open: AtomicUsize,
    running: Mutex<Vec<JoinHandle<()>>>,
}

/// What follows an answer on its connection.
enum Next {
    Again,
    Close,
}

// === impl Gate ===

impl Gate {
    pub fn closed() -> Gate {
        Gate(Arc::new(Semaphore::new(0)))
    }

    pub fn open(&self) {
        self.0.close();
    }

    pub fn pass(&self, times: usize) {
        self.0.add_permits(times);
    }

    async fn wait(&self) {
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

// === impl Visit ===

impl Visit {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.all(name).into_iter().next()
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// The first MiB of the body, unframed.
    pub fn body(&self) -> Bytes {
        self.body.lock().expect("body").clone().into()
    }

    pub fn received(&self) -> u64 {
        self.received.load(Ordering::SeqCst)
    }

    pub fn flooded(&self) -> u64 {
        self.flooded.load(Ordering::SeqCst)
    }

    /// When the other side hung up before the answer was over, if it has.
    pub fn gone(&self) -> Option<Instant> {
        *self.gone.borrow()
    }

    /// Waits until the other side hangs up, and says when it did.
    pub async fn hung_up(&self) -> Instant {
        let mut gone = self.gone.subscribe();
        let seen = within("the upstream connection's end", gone.wait_for(Option::is_some)).await;
        seen.expect("the visit is alive").expect("just checked")
    }

    fn keep(&self, piece: &[u8]) {
        self.received.fetch_add(piece.len() as u64, Ordering::SeqCst);
        let mut body = self.body.lock().expect("body");
        let room = (1 << 20) - body.len();
        body.extend(&piece[..piece.len().min(room)]);
    }
}

// === impl Upstream ===

impl Upstream {
    /// With the models of the recorded traces.
    pub async fn start() -> Upstream {
        Self::bind("127.0.0.1:0".parse().expect("an address")).await
    }

    /// On an address where nobody else is, so that a port given up can be taken again.
    pub async fn apart() -> Upstream {
        Self::bind(APART.parse().expect("an address")).await
    }

    pub async fn bind(addr: SocketAddr) -> Upstream {
        let listener = TcpListener::bind(addr).await.expect("bind the upstream");
        let addr = listener.local_addr().expect("its address");
        let stage = Arc::new(Stage::default());
        *stage.version.lock().expect("version") = "0.33.0".into();
        *stage.models.lock().expect("models") = MODELS.map(|(n, d)| (n.into(), d.into())).into();
        let accepting = tokio::spawn(accept(listener, stage.clone()));
        Upstream { addr, stage, accepting }
    }

    /// Answers requests for `path` (its query left out of the comparison) once their body is there.
    pub fn on(&self, path: &str, script: impl Fn(&Visit) -> Vec<Act> + Send + Sync + 'static) {
        self.play(path, script, false);
    }

    /// Answers once the head is there; the body is not read, and the connection ends with the script.
    pub fn on_head(&self, path: &str, script: impl Fn(&Visit) -> Vec<Act> + Send + Sync + 'static) {
        self.play(path, script, true);
    }

    /// The same answer to every request for `path`.
    pub fn always(&self, path: &str, acts: Vec<Act>) {
        self.on(path, move |_| acts.clone());
    }

    /// Makes all of them anew.
    pub fn models(&self, models: &[(&str, &str)]) {
        let models = models.iter().map(|(name, digest)| (name.to_string(), digest.to_string())).collect();
        let mut now = self.stage.models.lock().expect("models");
        self.stage.made.fetch_add(1, Ordering::SeqCst);
        *now = models;
    }

    pub fn version(&self, version: &str) {
        *self.stage.version.lock().expect("version") = version.into();
    }

    /// All requests for `path` so far, oldest first.
    pub fn visits(&self, path: &str) -> Vec<Arc<Visit>> {
        let visits = self.stage.visits.lock().expect("visits");
        visits.iter().filter(|visit| visit.path() == path).cloned().collect()
    }

    pub fn count(&self, path: &str) -> usize {
        self.visits(path).len()
    }

    /// All requests so far but for those that Pannier makes for itself.
    pub fn strangers(&self) -> Vec<Arc<Visit>> {
        let own = ["/", "/api/version", "/api/tags", "/api/ps"];
        let visits = self.stage.visits.lock().expect("visits");
        visits.iter().filter(|visit| !own.contains(&visit.path())).cloned().collect()
    }

    /// The `nth` request for `path` (from 0), as soon as it is there.
    pub async fn visit(&self, path: &str, nth: usize) -> Arc<Visit> {
        let what = format!("request {nth} for {path}");
        within(&what, async {
            loop {
                if let Some(visit) = self.visits(path).get(nth) {
                    return visit.clone();
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
    }

    /// Connections accepted so far, and those open now.
    pub fn connections(&self) -> (usize, usize) {
        (self.stage.accepted.load(Ordering::SeqCst), self.stage.open.load(Ordering::SeqCst))
    }

    /// Closes the listener and every connection; nobody listens on the port afterwards.
    pub async fn stop(&mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
        let running: Vec<_> = self.stage.running.lock().expect("running").drain(..).collect();
        for connection in running {
            connection.abort();
            let _ = connection.await;
        }
    }

    fn play(&self, path: &str, script: impl Fn(&Visit) -> Vec<Act> + Send + Sync + 'static, early: bool) {
        let part = Part { script: Arc::new(script), early };
        self.stage.parts.lock().expect("parts").insert(path.into(), part);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
        for connection in self.stage.running.lock().expect("running").drain(..) {
            connection.abort();
        }
    }
}

// === impl Stage ===

impl Stage {
    fn part(&self, path: &str) -> Part {
        if let Some(part) = self.parts.lock().expect("parts").get(path) {
            return part.clone();
        }
        let answer = match path {
            "/" => whole(200, "text/plain; charset=utf-8", "Ollama is running"),
            "/api/version" => {
                let version = self.version.lock().expect("version");
                json(200, &format!("{{\"version\":\"{version}\"}}"))
            }
            "/api/tags" => {
                let models = self.models.lock().expect("models");
                let made = self.made.load(Ordering::SeqCst);
                let entry = |(name, digest): &(String, String)| model_entry(name, digest, made);
                let entries: Vec<_> = models.iter().map(entry).collect();
                json(200, &format!("{{\"models\":[{}]}}", entries.join(",")))
            }
            _ => whole(404, "text/plain", "404 page not found"),
        };
        Part { script: Arc::new(move |visit| with_cors(visit, answer.clone())), early: false }
    }

    fn enter(&self, head: Vec<u8>, connection: usize, turn: usize) -> Arc<Visit> {
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut lines = text.split("\r\n");
        let mut first = lines.next().unwrap_or_default().split(' ');
        let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
        let fields = lines.filter_map(|line| line.split_once(':'));
        let mut visits = self.visits.lock().expect("visits");
        let path = target.split('?').next().unwrap_or_default();
        let mut counts = self.counts.lock().expect("counts");
        let count = counts.entry(path.to_owned()).or_default();
        *count += 1;
        let visit = Arc::new(Visit {
            method: method.into(),
            target: target.into(),
            nth: *count - 1,
            fields: fields.map(|(name, value)| (name.into(), value.trim().into())).collect(),
            head,
            connection,
            turn,
            body: Mutex::default(),
            received: AtomicU64::new(0),
            flooded: AtomicU64::new(0),
            gone: watch::Sender::new(None),
        });
        visits.push(visit.clone());
        visit
    }
}

// === connections ===

async fn accept(listener: TcpListener, stage: Arc<Stage>) {
    while let Ok((stream, _)) = listener.accept().await {
        let number = stage.accepted.fetch_add(1, Ordering::SeqCst);
        stage.open.fetch_add(1, Ordering::SeqCst);
        let of_stage = stage.clone();
        let serving = tokio::spawn(async move {
            let open = Leaving(&of_stage.open);
            let _ = serve(stream, &of_stage, number).await;
            drop(open);
        });
        stage.running.lock().expect("running").push(serving);
    }
}

/// Counts a connection out when its task ends, however it ends.
struct Leaving<'a>(&'a AtomicUsize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(mut stream: TcpStream, stage: &Stage, connection: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut unread = Vec::new();
    for turn in 0.. {
        let end = loop {
            match find(&unread, b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => more(&mut stream, &mut unread).await?,
            }
        };
        let rest = unread.split_off(end);
        let visit = stage.enter(std::mem::replace(&mut unread, rest), connection, turn);
        let part = stage.part(visit.path());
        if !part.early && read_body(&mut stream, &mut unread, &visit).await.is_err() {
            visit.gone.send_replace(Some(Instant::now()));
            return Ok(());
        }
        let acts = (part.script)(&visit);
        match perform_watched(&mut stream, &mut unread, acts, &visit).await? {
            Next::Again if !part.early => {}
            _ => return Ok(()),
        }
    }
    Ok(())
}

async fn more(stream: &mut TcpStream, unread: &mut Vec<u8>) -> io::Result<()> {
    unread.reserve(16 * 1024);
    match stream.read_buf(unread).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

async fn read_body(stream: &mut TcpStream, unread: &mut Vec<u8>, visit: &Visit) -> io::Result<()> {
    if visit.field("expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    if visit.field("transfer-encoding").is_none() {
        let length = visit.field("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
        return read_exactly(stream, unread, visit, length).await;
    }
    loop {
        let line_end = loop {
            match find(unread, b"\r\n") {
                Some(at) => break at,
                None => more(stream, unread).await?,
            }
        };
        let line = String::from_utf8_lossy(&unread[..line_end]).into_owned();
        unread.drain(..line_end + 2);
        let size = usize::from_str_radix(&line, 16).map_err(|_| io::ErrorKind::InvalidData)?;
        read_exactly(stream, unread, visit, size).await?;
        while unread.len() < 2 {
            more(stream, unread).await?;
        }
        unread.drain(..2);
        if size == 0 {
            return Ok(());
        }
    }
}

async fn read_exactly(
    stream: &mut TcpStream,
    unread: &mut Vec<u8>,
    visit: &Visit,
    mut left: usize,
) -> io::Result<()> {
    loop {
        let here = left.min(unread.len());
        visit.keep(&unread[..here]);
        unread.drain(..here);
        left -= here;
        if left == 0 {
            return Ok(());
        }
        more(stream, unread).await?;
    }
}

/// Performs a script while watching for the other side's leaving.
async fn perform_watched(
    stream: &mut TcpStream,
    unread: &mut Vec<u8>,
    acts: Vec<Act>,
    visit: &Visit,
) -> io::Result<Next> {
    let reset = acts.iter().any(|act| matches!(act, Act::Rst));
    let deaf = acts.iter().any(|act| matches!(act, Act::Deaf));
    let next = {
        let (mut reading, mut writing) = stream.split();
        let mut performing = std::pin::pin!(perform(&mut writing, acts, visit));
        loop {
            unread.reserve(16 * 1024);
            tokio::select! {
                read = reading.read_buf(unread), if !deaf => if matches!(read, Ok(0) | Err(_)) {
                    visit.gone.send_replace(Some(Instant::now()));
                    break Ok(Next::Close);
                },
                done = &mut performing => {
                    // A write that fails tells of the leaving as well.
                    if done.is_err() {
                        visit.gone.send_replace(Some(Instant::now()));
                    }
                    break done;
                }
            }
        }
    };
    if reset && visit.gone().is_none() {
        stream.set_zero_linger()?;
    }
    next
}

async fn perform(writing: &mut WriteHalf<'_>, acts: Vec<Act>, visit: &Visit) -> io::Result<Next> {
    for act in acts {
        match act {
            Act::Send(bytes) => writing.write_all(&bytes).await?,
            Act::Chunk(bytes) => writing.write_all(&framed(&bytes)).await?,
            Act::Pause(time) => tokio::time::sleep(time).await,
            Act::Wait(gate) => gate.wait().await,
            Act::Flood(total) => flood(writing, total, visit).await?,
            Act::Fin | Act::Rst => return Ok(Next::Close),
            Act::Hang | Act::Deaf => std::future::pending().await,
        }
    }
    Ok(Next::Again)
}

async fn flood(writing: &mut WriteHalf<'_>, total: usize, visit: &Visit) -> io::Result<()> {
    const PIECE: usize = 64 * 1024;
    let piece = framed(&vec![b'x'; PIECE]);
    for _ in 0..total / PIECE {
        writing.write_all(&piece).await?;
        visit.flooded.fetch_add(PIECE as u64, Ordering::SeqCst);
    }
    Ok(())
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend(bytes);
    chunk.extend(b"\r\n");
    chunk
}
