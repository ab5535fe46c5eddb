//! The life of one client connection: a head is read under a deadline and judged; a plain request that
//! the memory knows is answered on the spot; every other one takes the ordinary road through Pingora.

use super::crowd::{Crowd, Presence, TooMany};
use super::desk::{Asking, Desk, POURED, Question};
use super::door::{Arrival, Door, Errand, HeadPatience};
use super::downstream::Downstream;
use super::edge::Edge;
use super::head::{Head, Reading, Terms, origin_form};
use super::lane::{Glance, Hit, Lane};
use super::lent::{Lent, Returned};
use super::relay::{Passing, Relay};
use super::road::Road;
use super::vigil::Vigil;
use super::wire::{Trouble, Wire};
use crate::dialect::Handling;
use crate::domain::{Error, Kind, Pour};
use crate::telemetry::Listener;
use bytes::{Bytes, BytesMut};
use pingora::apps::HttpServerApp;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// What a connection's own buffers keep between requests at the most.
const KEPT_CAPACITY: usize = 64 << 10;
/// How much is read at once.
const READ: usize = 8 << 10;
/// How long a body may take to come that the memory might answer; then the road takes over,
/// which knows how slow a body may be.
const BODY_WAIT: Duration = Duration::from_millis(100);
/// How much of a refused request is read and thrown away, so that the client sees the refusal before
/// it sees the connection closed; and how long that may take.
const LINGER: usize = 1 << 20;
const LINGER_FOR: Duration = Duration::from_secs(1);

/// What every connection needs.
pub struct Front {
    pub door: Arc<Door>,
    pub crowd: Arc<Crowd>,
    pub lane: Lane,
    pub desk: Desk,
    pub relay: Relay,
    pub proxy: Arc<HttpProxy<Road>>,
}

/// One connection.
struct Connection {
    front: Arc<Front>,
    io: TcpStream,
    presence: Presence,
    /// What was read and is not yet answered.
    read: BytesMut,
    /// What is to be written next, kept for its capacity.
    out: Vec<u8>,
    shutdown: watch::Receiver<bool>,
}

/// One wait for a request.
#[derive(Default)]
struct Wait {
    /// So many bytes have been looked at in vain.
    looked_at: usize,
    /// So many must be there before another look is of use: head and body.
    wanted: usize,
    /// Until when it lasts, in each of its phases: set when it first comes there, and then it stands, however
    /// many empty lines come meanwhile.
    idle: Option<Instant>,
    head: Option<Instant>,
    body: Option<Instant>,
}

impl Wait {
    fn until(&mut self, idle: bool, patience: HeadPatience) -> Instant {
        let (until, time) = match idle {
            true => (&mut self.idle, patience.idle),
            false if self.wanted > 0 => (&mut self.body, BODY_WAIT),
            false => (&mut self.head, patience.head),
        };
        *until.get_or_insert_with(|| Instant::now() + time)
    }
}

/// What reading a head came to.
enum Next {
    /// `read` begins with a request whose answer is remembered.
    Hit(Hit),
    /// `read` begins with a head that was found good.
    Request,
    Closed,
    Refused(Error),
}

/// Serves `io` until either side has had enough.
pub async fn serve(front: Arc<Front>, io: TcpStream, presence: Presence, shutdown: watch::Receiver<bool>) {
    let _held = front.door.metrics.connection(Listener::Data);
    let _ = io.set_nodelay(true);
    let mut connection = Connection { front, io, presence, read: BytesMut::new(), out: Vec::new(), shutdown };
    while let Some(next) = connection.turn().await {
        connection = next;
    }
}

/// Tells a client that is not let in why, and closes.
pub async fn turn_away(front: Arc<Front>, mut io: TcpStream, why: TooMany) {
    let words = front.door.turn_away(why);
    if io.write_all(&words).await.is_ok() {
        part(io).await;
    }
}

/// Closes once the client has seen what was written.
async fn part(mut io: TcpStream) {
    if io.shutdown().await.is_err() {
        return;
    }
    let mut rest = [0u8; 4096];
    let mut left = LINGER;
    let drained = async {
        while let Ok(read @ 1..) = io.read(&mut rest).await {
            left = left.saturating_sub(read);
            if left == 0 {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_FOR, drained).await;
}

impl Connection {
    /// One request. Returns the connection when it may bear another.
    async fn turn(mut self) -> Option<Self> {
        match self.next_head().await {
            Next::Hit(hit) => self.answer_hit(hit).await,
            Next::Request => self.take_the_road(Instant::now()).await,
            Next::Closed => None,
            Next::Refused(error) => {
                Box::pin(self.refuse(error)).await;
                None
            }
        }
    }

    async fn answer_hit(mut self, mut hit: Hit) -> Option<Self> {
        let rest = self.front.lane.render(&mut hit, &mut self.out);
        self.front.lane.settle(&mut hit);
        let _ = self.read.split_to(hit.len);
        let mut written = self.write_out().await;
        if let Some(rest) = rest.filter(|_| written.is_ok()) {
            written = Box::pin(self.pour_out(rest)).await;
        }
        if written.is_err() {
            self.front.lane.book_broken(&hit);
            return None;
        }
        self.front.lane.book(&hit);
        // A connection that idles must not hold on to the largest answer that it ever bore.
        if self.out.capacity() > KEPT_CAPACITY {
            self.out = Vec::new();
        }
        if self.read.is_empty() && self.read.capacity() > KEPT_CAPACITY {
            self.read = BytesMut::new();
        }
        Some(self)
    }

    /// Writes a long answer piece by piece.
    async fn pour_out(&mut self, mut rest: Pour) -> io::Result<()> {
        let end = rest.len();
        loop {
            self.out.clear();
            let is_done = rest.write(end, POURED, &mut self.out);
            self.write_out().await?;
            if is_done {
                return Ok(());
            }
        }
    }

    /// Writes `self.out`, as long as the client takes something now and then.
    async fn write_out(&mut self) -> io::Result<()> {
        let patience = self.front.door.patience.write;
        let mut written = match self.io.try_write(&self.out) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            tried => tried?,
        };
        while written < self.out.len() {
            let writing = self.io.write(&self.out[written..]);
            written += match patience.is_zero() {
                true => writing.await?,
                false => tokio::time::timeout(patience, writing).await??,
            };
        }
        Ok(())
    }

    /// Reads until `self.read` begins with a whole head, and with the whole body as well where the
    /// memory may know the answer.
    async fn next_head(&mut self) -> Next {
        let mut wait = Wait::default();
        loop {
            if let Some(next) = self.look(&mut wait) {
                return next;
            }
            let idle = self.read.is_empty();
            let until = wait.until(idle, self.front.door.head_patience);
            match self.read_more(idle, until).await {
                Ok(0) => return Next::Closed,
                Ok(_) => {}
                // A body that is late is the road's to judge.
                Err(error) if error.kind() == io::ErrorKind::TimedOut && wait.wanted > 0 => {
                    return Next::Request;
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut && !idle => {
                    return Next::Refused(Error::new(Kind::RequestTimeout, "the head came too slowly"));
                }
                Err(_) => return Next::Closed,
            }
        }
    }

    /// What is there so far; `None` when more is wanted.
    fn look(&mut self, wait: &mut Wait) -> Option<Next> {
        // An empty line before the request line is forgiven (RFC 9112 §2.2).
        while self.read.starts_with(b"\r\n") {
            let _ = self.read.split_to(2);
            wait.looked_at = 0;
        }
        if self.read.len() < wait.wanted {
            return None;
        }
        match Head::read(&self.read, wait.looked_at, self.front.door.head_limits) {
            Ok(Reading::Head(head)) => {
                self.presence.head_has_come();
                match self.front.lane.glance(&self.front.door, &head, &self.read) {
                    Glance::Hit(hit) => return Some(Next::Hit(hit)),
                    Glance::Wanting { total } => wait.wanted = total,
                    Glance::Road => return Some(Next::Request),
                }
            }
            Ok(Reading::Partial) if self.read.is_empty() => {}
            Ok(Reading::Partial) => {
                wait.looked_at = self.read.len().saturating_sub(3);
                if let Err(why) = self.presence.wait_for_head() {
                    return Some(Next::Refused(self.front.door.count_refused(why)));
                }
            }
            Err(error) => return Some(Next::Refused(error)),
        }
        None
    }

    async fn read_more(&mut self, idle: bool, until: Instant) -> io::Result<usize> {
        self.read.reserve(READ);
        let stopping = async {
            match idle {
                // A connection without a request on it is closed when the house closes.
                true => drop(self.shutdown.wait_for(|stop| *stop).await),
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            read = self.io.read_buf(&mut self.read) => read,
            () = tokio::time::sleep_until(until.into()) => Err(io::ErrorKind::TimedOut.into()),
            () = stopping => Ok(0),
        }
    }

    async fn take_the_road(self, started: Instant) -> Option<Self> {
        let Ok(Reading::Head(head)) = Head::read(&self.read, 0, self.front.door.head_limits) else {
            return None;
        };
        let arrival = match self.front.door.admit(&head, &self.read, started) {
            Ok(arrival) => arrival,
            Err(error) => {
                Box::pin(self.refuse(error)).await;
                return None;
            }
        };
        let mut edge = Edge::new(head.terms.framing);
        let Ok(of_body) = edge.pass(&self.read[head.len..]) else {
            let misframed = Error::new(Kind::BadRequest, "the body is not framed as it should be");
            Box::pin(self.refuse(misframed)).await;
            return None;
        };
        let own = head.len + of_body;
        match arrival.errand {
            Errand::Upstream(Handling::Answer(form)) => {
                self.ask(arrival, Question::Form(form), own, edge).await
            }
            Errand::Upstream(Handling::Batch) => self.ask(arrival, Question::Batch, own, edge).await,
            Errand::Upstream(Handling::See(view)) => self.ask(arrival, Question::See(view), own, edge).await,
            Errand::Upstream(Handling::Hear(hearing)) => {
                self.ask(arrival, Question::Hear(hearing), own, edge).await
            }
            Errand::Limited(limited) => self.ask(arrival, Question::Limited(limited), own, edge).await,
            Errand::Upstream(_) if head.terms.are_light() => {
                let up = self.front.relay.head(&head, &self.read, arrival.own_key)?;
                let (terms, len) = (head.terms, head.len);
                Box::pin(self.relay(Passing { arrival, up }, terms, len, own, edge)).await
            }
            // Large futures are boxed, so that nobody holds room for what is not happening.
            _ => Box::pin(self.forward(arrival, own, edge)).await,
        }
    }

    /// A request for an answer. Its head and `own` bytes in all have been read.
    async fn ask(self, arrival: Arrival, question: Question, own: usize, edge: Edge) -> Option<Self> {
        let Ok(Reading::Head(head)) = Head::read(&self.read, 0, self.front.door.head_limits) else {
            return None;
        };
        let target = Bytes::copy_from_slice(origin_form(head.target).as_bytes());
        let headers = head.fields(&self.read)?;
        let (terms, len) = (head.terms, head.len);
        let Connection { front, io, presence, mut read, out, shutdown } = self;
        let _ = read.split_to(len);
        let wire = Wire::new(io, read, own - len, edge, front.door.patience);
        let client = Downstream::new(wire, terms, front.door.draining.clone());
        let asking = Asking { arrival, question, target, headers };
        let (io, read) = front.desk.serve(client, asking).await?;
        Some(Connection { front, io, presence, read, out, shutdown })
    }

    /// A small request that is not looked into. Its head takes `len` bytes of the `own` that have been read.
    async fn relay(self, passing: Passing, terms: Terms, len: usize, own: usize, edge: Edge) -> Option<Self> {
        let Connection { front, io, presence, mut read, out, shutdown } = self;
        let _ = read.split_to(len);
        let wire = Wire::new(io, read, own - len, edge, front.door.patience);
        let client = Downstream::new(wire, terms, front.door.draining.clone());
        let (io, read) = front.relay.serve(client, passing).await?;
        Some(Connection { front, io, presence, read, out, shutdown })
    }

    /// A request that is not looked into.
    async fn forward(self, arrival: Arrival, own: usize, edge: Edge) -> Option<Self> {
        let Connection { front, io, presence, read, out, shutdown } = self;
        let wire = Wire::new(io, read, own, edge, front.door.patience);
        let troubles = wire.troubles();
        let vigil = Vigil::default();
        let arrival = Arrival { troubles: troubles.clone(), vigil: Some(vigil.clone()), ..arrival };
        let told = arrival.answer_to();
        let (lent, mut returned) = Lent::new(wire);
        let mut session = ServerSession::new_http1(Box::new(lent) as Stream);
        session
            .set_keepalive((!*shutdown.borrow()).then_some(front.door.head_patience.idle.as_secs().max(1)));
        session.set_read_timeout(None);
        session.set_connection_user_context(Some(Box::new(arrival)));
        let late = async {
            vigil.too_long(front.door.upstream_patience).await;
            // The request's record, which is about to be written, will say so.
            troubles.set(Trouble::SlowUpstream);
        };
        let is_reusable = tokio::select! {
            biased;
            reused = front.proxy.process_new_http(session, &shutdown) => reused.is_some(),
            () = late => false,
        };
        let Returned { mut wire, is_flushed } = returned.try_recv().ok()?;
        if troubles.get() == Trouble::SlowUpstream {
            let answer = front.door.answer_late(told);
            let _ = wire.write_all(&answer).await;
            part(wire.into_socket()).await;
            return None;
        }
        let (io, read) = wire.into_parts().filter(|_| is_reusable && is_flushed)?;
        Some(Connection { front, io, presence, read, out, shutdown })
    }

    /// Tells the client why not, and closes.
    async fn refuse(mut self, error: Error) {
        self.out = self.front.door.refuse(&self.read, &error);
        if self.write_out().await.is_ok() {
            part(self.io).await;
        }
    }
}
