//! What the upstream's model names mean today: name → digest, read from `/api/tags`.
//!
//! An answer is pinned to the digest of the model that gave it and to the server's version, so what is
//! believed here is never older than twice the refresh interval, and nothing is believed at all while
//! the upstream cannot be asked.

use super::listing::{Identity, Listing};
use super::{Client, UpstreamCall};
use crate::domain::{Error, Kind};
use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, MutexGuard, Notify};

/// An answer of `/api/tags` beyond this is not read.
const LARGEST: usize = 16 << 20;
/// How long the upstream may take to answer it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often names are read again while nobody asks.
const IDLE_REFRESH: Duration = Duration::from_secs(10);
/// How long an upstream that does not list its models is left in peace.
const SULK: Duration = Duration::from_secs(1);
/// For a name that is in no list the names are read again, so often at the most.
const UNKNOWN_PACE: Duration = Duration::from_millis(200);
/// Two readings for the sake of storing are at least this far apart.
const CONFIRM_PACE: Duration = Duration::from_millis(20);
/// Answers that may wait for a reading before they are stored; each holds a flight meanwhile.
const MOST_CONFIRMING: usize = 2048;

/// The names, kept fresh.
pub struct Inventory {
    client: Arc<Client>,
    refresh: Duration,
    view: ArcSwap<Listing>,
    /// Milliseconds since `born` until which the view may be believed; 0 = not at all.
    fresh_until: AtomicU64,
    /// Counts what may have changed the models; a reading that began before the last one is not fresh.
    changes: AtomicU64,
    /// Whether anybody asked since the last reading.
    used: AtomicBool,
    /// Milliseconds since `born` until which an upstream that would not list its models is not asked.
    sulks: AtomicU64,
    reading: Mutex<Last>,
    /// Told when a reading has ended, whatever it came to.
    read: Notify,
    /// Answers that wait to be stored.
    confirming: AtomicUsize,
    born: Instant,
}

/// The last reading.
#[derive(Default)]
struct Last {
    began: Option<Instant>,
    failed: Option<(Instant, Error)>,
}

impl Inventory {
    pub fn new(client: Arc<Client>, refresh: Duration) -> Arc<Self> {
        Arc::new(Inventory {
            client,
            refresh: refresh.max(Duration::from_millis(50)),
            view: ArcSwap::from_pointee(Listing::default()),
            fresh_until: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            used: AtomicBool::new(false),
            sulks: AtomicU64::new(0),
            reading: Mutex::default(),
            read: Notify::new(),
            confirming: AtomicUsize::new(0),
            born: Instant::now(),
        })
    }

    /// What `model` means now; `None` when the upstream does not have it, or will not say.
    ///
    /// # Errors
    /// When the upstream cannot be reached: whoever asks need not try again.
    pub async fn identify(&self, model: &str) -> Result<Option<Identity>, Error> {
        if self.sulks.load(Ordering::Relaxed) > self.milliseconds(Instant::now()) {
            return Ok(None);
        }
        if self.epoch(Instant::now()).is_none()
            && let Err(error) = self.read_since(Instant::now()).await
        {
            if !self.client.is_up() || error.kind == Kind::Loop {
                return Err(error);
            }
            // It is there, and does not list its models: nobody need wait for that every time.
            self.sulks.store(self.milliseconds(Instant::now() + SULK), Ordering::Relaxed);
            return Ok(None);
        }
        if let Some(known) = self.look_up(model) {
            return Ok(Some(known));
        }
        // It may have come behind our back just now. Names that nobody knows are asked about seldom.
        if let Some(since) = Instant::now().checked_sub(UNKNOWN_PACE) {
            let _ = self.read_since(since).await;
        }
        Ok(self.look_up(model))
    }

    /// Whether `model` has meant what `then` says all the time, by a reading that begins after this call. No,
    /// where too many wait to hear it: those who wait take room that others need more.
    pub async fn confirm(&self, model: &str, then: &Identity) -> bool {
        let waiting = Waiting::among(&self.confirming);
        waiting.number <= MOST_CONFIRMING
            && self.read_since(Instant::now()).await.is_ok()
            && self.look_up(model).is_some_and(|now| now.is_twin_of(then) && now.since == then.since)
    }

    /// The epoch in force at `now`, while the view may be believed. One or two atomic loads.
    pub fn epoch(&self, now: Instant) -> Option<u64> {
        if self.milliseconds(now) >= self.fresh_until.load(Ordering::Acquire) {
            return None;
        }
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
        Some(self.view.load().epoch)
    }

    /// The canonical name of `model` where the upstream has it, without asking: for labels.
    pub fn label(&self, model: &str) -> Option<Arc<str>> {
        self.look_up(model).map(|identity| identity.name)
    }

    /// What `model` meant when the upstream was last heard of; `None` where something may have changed it since.
    pub fn last_known(&self, model: &str) -> Option<Identity> {
        let unchanged = self.view.load().changes == self.changes.load(Ordering::Acquire);
        unchanged.then(|| self.look_up(model))?
    }

    /// Something may have changed the models: believe nothing until they have been read again.
    pub fn invalidate(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.fresh_until.store(0, Ordering::Release);
    }

    fn milliseconds(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.born).as_millis() as u64
    }

    /// Names and digests, as last read.
    pub fn models(&self) -> Vec<(Arc<str>, Arc<str>)> {
        self.view.load().models()
    }

    /// Reads the names again and again: often while they are used or the upstream is away, seldom otherwise.
    pub async fn run(&self, mut shutdown: tokio::sync::watch::Receiver<bool>) {
        let mut last = Instant::now() - IDLE_REFRESH;
        loop {
            let due = self.used.swap(false, Ordering::Relaxed) || last.elapsed() >= IDLE_REFRESH;
            if due || !(self.client.is_up() || self.client.presence.is_itself()) {
                last = Instant::now();
                let _ = self.read_since(last).await;
            }
            self.client.sweep();
            tokio::select! {
                () = tokio::time::sleep(self.refresh) => {}
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
        }
    }

    fn look_up(&self, model: &str) -> Option<Identity> {
        self.view.load().look_up(model)
    }

    /// Makes sure that the view is of a reading that began at or after `moment`. One reading at a
    /// time serves all who wait, also when it fails.
    async fn read_since(&self, moment: Instant) -> Result<(), Error> {
        loop {
            let ended = self.read.notified();
            match self.reading.try_lock() {
                Ok(last) => {
                    let turn = Turn { last, _wake: Wake(&self.read) };
                    // Boxed: every trip holds room for its confirmation, and few read themselves.
                    return Box::pin(self.read_in_turn(turn, moment)).await;
                }
                // Whoever has the turn wakes all who wait, at once: passing it from one to the next would
                // take longer than the reading itself.
                Err(_) => ended.await,
            }
            if self.view.load().began.is_some_and(|began| began >= moment) {
                return Ok(());
            }
        }
    }

    async fn read_in_turn(&self, mut turn: Turn<'_>, moment: Instant) -> Result<(), Error> {
        let last = &mut *turn.last;
        if self.view.load().began.is_some_and(|began| began >= moment) {
            return Ok(());
        }
        if let Some((when, error)) = &last.failed
            && *when >= moment
        {
            return Err(error.clone());
        }
        if let Some(began) = last.began {
            tokio::time::sleep(CONFIRM_PACE.saturating_sub(began.elapsed())).await;
        }
        last.began = Some(Instant::now());
        let read = self.read().await;
        let itself = read.as_ref().is_err_and(|error| error.kind == Kind::Loop);
        if self.client.presence.met(itself) && itself {
            tracing::error!(url = self.client.target().url(), "the upstream is Pannier itself");
        }
        last.failed = read.as_ref().err().map(|error| (Instant::now(), error.clone()));
        read.inspect_err(|_| self.fresh_until.store(0, Ordering::Release))
    }

    async fn read(&self) -> Result<(), Error> {
        let began = Instant::now();
        let changes = self.changes.load(Ordering::Acquire);
        let reading = async { tokio::try_join!(self.get("/api/tags"), self.get("/api/version")) };
        let (tags, version) = tokio::time::timeout(PATIENCE, reading)
            .await
            .map_err(|_| Error::new(Kind::UpstreamTimeout, "the upstream does not list its models"))??;
        let mut listing = Listing::read(&tags, &version, began)?;
        listing.changes = changes;
        self.view.store(Arc::new(listing.after(&self.view.load())));
        if self.changes.load(Ordering::Acquire) == changes {
            let until = began.duration_since(self.born) + 2 * self.refresh;
            self.fresh_until.store(until.as_millis() as u64, Ordering::Release);
            // What changed in between must not be covered up.
            if self.changes.load(Ordering::Acquire) != changes {
                self.fresh_until.store(0, Ordering::Release);
            }
        }
        Ok(())
    }

    async fn get(&self, path: &'static str) -> Result<Bytes, Error> {
        let call = UpstreamCall {
            method: Method::GET,
            target: Bytes::from_static(path.as_bytes()),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let mut incoming = self.client.send(&call).await?;
        match incoming.head().status.as_u16() {
            200 => {}
            508 => return Err(Error::new(Kind::Loop, "the upstream is Pannier itself")),
            _ => return Err(Error::new(Kind::UpstreamAborted, "the upstream does not list its models")),
        }
        let mut body = BytesMut::new();
        while let Some(piece) = incoming.chunk().await? {
            if body.len() + piece.len() > LARGEST {
                return Err(Error::new(Kind::UpstreamAborted, "the upstream's list of models is too long"));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }
}

/// The turn at reading. When it is given up, it is free first, and then everybody who waits for one is woken.
struct Turn<'a> {
    last: MutexGuard<'a, Last>,
    _wake: Wake<'a>,
}

struct Wake<'a>(&'a Notify);

impl Drop for Wake<'_> {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

/// One of several who wait.
struct Waiting<'a> {
    all: &'a AtomicUsize,
    number: usize,
}

impl<'a> Waiting<'a> {
    fn among(all: &'a AtomicUsize) -> Self {
        Waiting { all, number: all.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{Address, Config, Target};
    use std::pin::Pin;
    use std::task::{Context, Poll, Wake};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// Counts how often it is rung.
    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An upstream without models, which counts how often it is asked for them.
    async fn upstream() -> (Arc<Client>, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let lists = Arc::new(AtomicUsize::new(0));
        let counted = lists.clone();
        tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                tokio::spawn(answer(io, counted.clone()));
            }
        });
        let defaults: toml::Table = include_str!("../../config/default.toml").parse().unwrap();
        let config: Config = defaults["upstream"].clone().try_into().unwrap();
        let config = Config { url: Address::parse(&address.to_string()).unwrap(), ..config };
        (Client::new(Arc::new(Target::new(&config)), &config, "pannier-test"), lists)
    }

    async fn answer(mut io: TcpStream, lists: Arc<AtomicUsize>) {
        let mut asked = Vec::new();
        while let Ok(1..) = io.read_buf(&mut asked).await {
            if !asked.ends_with(b"\r\n\r\n") {
                continue;
            }
            let body = match asked.starts_with(b"GET /api/tags ") {
                true => r#"{"models":[]}"#,
                false => r#"{"version":"0"}"#,
            };
            lists.fetch_add(usize::from(body.contains("models")), Ordering::Relaxed);
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            io.write_all(answer.as_bytes()).await.unwrap();
            asked.clear();
        }
    }

    fn poll<F: Future>(future: Pin<&mut F>, bell: &Arc<Bell>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(&bell.clone().into()))
    }

    #[tokio::test]
    async fn one_reading_serves_all_who_wait_and_wakes_them_at_once() {
        let (client, lists) = upstream().await;
        let inventory = Inventory::new(client, Duration::from_secs(1));
        let moment = Instant::now();
        let bells: Vec<Arc<Bell>> = (0..50).map(|_| Arc::default()).collect();
        let mut waiting: Vec<_> = bells.iter().map(|_| Box::pin(inventory.read_since(moment))).collect();
        for (future, bell) in waiting.iter_mut().zip(&bells) {
            assert!(poll(future.as_mut(), bell).is_pending());
        }
        // The first one has the turn. When it is done, nobody else has moved, and all have been woken.
        waiting.remove(0).await.unwrap();
        let rung: Vec<_> = bells[1..].iter().map(|bell| bell.0.load(Ordering::Relaxed)).collect();
        assert_eq!(rung, [1; 49]);
        for (future, bell) in waiting.iter_mut().zip(&bells[1..]) {
            assert!(matches!(poll(future.as_mut(), bell), Poll::Ready(Ok(()))));
        }
        assert_eq!(lists.load(Ordering::Relaxed), 1, "one reading");
    }
}
