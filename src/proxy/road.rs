//! The ordinary road: each request passes here, is answered by the gateway or forwarded by Pingora, and
//! leaves exactly one record.

use super::door::{Arrival, Errand};
use super::downstream::{self, Sent};
use super::head::{is_fit_id, origin_form};
use super::hold::Budget;
use super::wire::Trouble;
use crate::dialect::Handling;
use crate::domain::{CacheOutcome, Ending, Error, Kind, Record, RequestId, Route};
use crate::gateway::{self, Gateway};
use crate::telemetry::{Held, Metrics, Sinks};
use crate::upstream::{self, CREDENTIALS, Client, is_ours, strip_hop_by_hop};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{BError, ErrorSource, ErrorType};
use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

/// Names the request in every answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The road's own equipment.
pub struct Road {
    pub gateway: Arc<Gateway>,
    pub client: Arc<Client>,
    /// Where the house routes are answered.
    pub admin: SocketAddr,
    /// The largest body that is read.
    pub max_body: u64,
    /// What all bodies that are held may take together.
    pub budget: Budget,
    pub instance: String,
    pub metrics: Arc<Metrics>,
    pub sinks: Sinks,
    /// The end has begun.
    pub draining: Arc<AtomicBool>,
}

impl Road {
    /// The last answer on a connection says so.
    pub fn close_if_draining(&self, session: &mut Session) {
        if self.draining.load(Ordering::Relaxed) {
            session.set_keepalive(None);
        }
    }
}

/// One request's way: its record being written.
pub struct Way {
    pub record: Record,
    pub arrival: Option<Arrival>,
    /// What is said in `X-Request-Id`: the client's own where it is fit for it.
    pub request_id: Option<HeaderValue>,
    /// What went wrong, in our own words.
    pub error: Option<Error>,
    /// How often an address of the upstream was tried in vain.
    tried: usize,
    /// The request has been sent twice.
    repeated: bool,
    held: Option<Held>,
    /// Where the record goes; taken when it has gone.
    sinks: Option<Sinks>,
}

impl Way {
    fn new(sinks: Sinks) -> Self {
        let record = Record {
            id: RequestId([0; 16]),
            at: SystemTime::UNIX_EPOCH,
            started: Instant::now(),
            method: "other",
            route: Route { template: "other", dialect: "ollama" },
            consumer: None,
            call: None,
            cache: CacheOutcome::Bypass,
            status: 0,
            ending: Ending::Complete,
            bytes_in: 0,
            bytes_out: 0,
            first_byte: None,
            total: std::time::Duration::ZERO,
            observed: None,
        };
        Way {
            record,
            arrival: None,
            request_id: None,
            error: None,
            tried: 0,
            repeated: false,
            held: None,
            sinks: Some(sinks),
        }
    }

    fn errand(&self) -> Errand {
        self.arrival.as_ref().map_or(Errand::Upstream(Handling::Forward), |arrival| arrival.errand)
    }

    /// Whether the request changes nothing by being sent twice.
    fn may_repeat(&self) -> bool {
        self.errand() != Errand::Upstream(Handling::ForwardAndRefresh)
    }

    /// Hands the record over, once.
    fn write(&mut self) {
        if let Some(sinks) = self.sinks.take() {
            sinks.record(&self.record);
        }
        self.held = None;
    }

    /// What goes into `X-Request-Id`.
    pub fn request_id(&self) -> HeaderValue {
        self.request_id.clone().unwrap_or_else(|| {
            HeaderValue::from_bytes(&self.record.id.hyphenated()).unwrap_or(HeaderValue::from_static(""))
        })
    }
}

#[async_trait]
impl ProxyHttp for Road {
    type CTX = Way;

    fn new_ctx(&self) -> Way {
        Way::new(self.sinks.clone())
    }

    /// None: nothing is compressed here, and nothing else is done to a body.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    fn on_connection_reuse(&self, session: &mut Session, way: &mut Way, given: Box<dyn Any + Send + Sync>) {
        let Ok(arrival) = given.downcast::<Arrival>() else { return };
        let record = &mut way.record;
        record.id = arrival.id;
        record.at = arrival.at;
        record.started = arrival.started;
        record.method = arrival.method;
        record.route = arrival.route;
        record.consumer = Some(arrival.consumer.clone());
        way.held = Some(self.metrics.in_flight(arrival.route));
        way.arrival = Some(*arrival);
        way.request_id = session.get_header(&REQUEST_ID).filter(|id| is_fit_id(id.as_bytes())).cloned();
    }

    async fn request_filter(&self, session: &mut Session, way: &mut Way) -> pingora::Result<bool> {
        let Errand::Upstream(Handling::Answer(form)) = way.errand() else { return Ok(false) };
        match downstream::answer(self, session, way, form).await {
            Ok(Sent::Whole) => Ok(true),
            Ok(Sent::Broken) => {
                session.set_keepalive(None);
                Err(pingora::Error::new_down(ErrorType::new("answer broken off")))
            }
            Err(error) => Err(error),
        }
    }

    async fn upstream_peer(&self, _session: &mut Session, way: &mut Way) -> pingora::Result<Box<HttpPeer>> {
        if way.errand() == Errand::House {
            return Ok(Box::new(HttpPeer::new(self.admin, false, String::new())));
        }
        match self.client.target().peer().await {
            Ok(peer) => {
                let mut peer = Box::new((*peer).clone());
                if way.repeated {
                    // Of a group of its own, so that no kept connection is taken: those are as old as the
                    // one that was dead.
                    peer.group_key = fastrand::u64(1..);
                }
                Ok(peer)
            }
            Err(error) => {
                self.client.note(false);
                way.error = Some(error);
                Err(pingora::Error::new_up(ErrorType::ConnectError))
            }
        }
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        way: &mut Way,
    ) -> pingora::Result<()> {
        if way.errand() == Errand::House {
            // The client's own word for this server was judged at this door, by this door's rules.
            request.insert_header(header::HOST, self.admin.to_string())?;
            return Ok(());
        }
        if is_same_origin(session.req_header()) {
            request.remove_header(&header::ORIGIN);
        }
        let target = self.client.target();
        let asked = String::from_utf8_lossy(session.req_header().raw_path());
        let full = [target.base_path(), origin_form(&asked)].concat();
        if *full != *asked {
            request.set_raw_path(full.as_bytes())?;
        }
        let ours: Vec<HeaderName> = request.headers.keys().filter(|name| is_ours(name)).cloned().collect();
        for name in ours {
            request.remove_header(&name);
        }
        let own_key = way.arrival.as_ref().is_some_and(|arrival| arrival.own_key);
        for credential in CREDENTIALS {
            // Pannier's own keys stay here. Others go on, also where `Connection` names their field:
            // nobody may have a credential dropped on the way.
            request.remove_header(&credential);
            for value in session.req_header().headers.get_all(&credential).iter().filter(|_| !own_key) {
                request.append_header(credential.clone(), value.clone())?;
            }
        }
        request.insert_header(header::HOST, target.authority())?;
        request.append_header(header::VIA, format!("1.1 {}", self.instance))?;
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        way: &mut Way,
    ) -> pingora::Result<()> {
        strip_hop_by_hop(response);
        if session.req_header().version != http::Version::HTTP_11 {
            // HTTP/1.0 knows no chunks: there the end of the connection is the end of the answer.
            if response.remove_header(&header::TRANSFER_ENCODING).is_some() {
                session.set_keepalive(None);
            }
        }
        self.close_if_draining(session);
        response.insert_header(REQUEST_ID, way.request_id())?;
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        way: &mut Way,
    ) -> pingora::Result<Option<std::time::Duration>> {
        if way.errand() == Errand::Upstream(Handling::ForwardAndRefresh) {
            // Before the client can read that it is done, and again when it is.
            self.gateway.models_may_have_changed();
        }
        if body.as_ref().is_some_and(|body| !body.is_empty()) {
            let started = way.record.started;
            way.record.first_byte.get_or_insert_with(|| started.elapsed());
        }
        Ok(None)
    }

    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, way: &mut Way, mut e: BError) -> BError {
        if way.errand() == Errand::House {
            return e;
        }
        let target = self.client.target();
        target.next();
        way.tried += 1;
        if way.tried < target.choices() {
            e.set_retry(true);
        } else {
            self.client.note(false);
        }
        e
    }

    /// A kept connection that closes without a byte of an answer was dead before: it is replaced once, when
    /// what was sent is still there to be sent again, and harms nobody if it should arrive twice.
    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        e: BError,
        way: &mut Way,
        client_reused: bool,
    ) -> BError {
        let mut e = e.more_context(format!("peer: {peer}"));
        let session = session.as_ref();
        let untouched = session.response_written().is_none() && !session.retry_buffer_truncated();
        let was_dead = client_reused && upstream::is_closed(&e.etype) && e.esource == ErrorSource::Upstream;
        e.retry = (was_dead && untouched && way.may_repeat() && !way.repeated).into();
        way.repeated = true;
        e
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &pingora::Error, way: &mut Way) -> FailToProxy {
        let error = way.error.take().unwrap_or_else(|| explain(e, way));
        let status = error.kind.status();
        if error.kind != Kind::ClientGone && session.response_written().is_none() {
            let reply = gateway::refuse(&error, way.record.route, way.record.id);
            session.set_keepalive(None);
            let _ = downstream::send_whole(session, way, reply).await;
        }
        way.error = Some(error);
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    fn suppress_error_log(&self, _session: &Session, _way: &Way, _error: &pingora::Error) -> bool {
        true
    }

    async fn logging(&self, session: &mut Session, e: Option<&pingora::Error>, way: &mut Way) {
        if way.errand() == Errand::Upstream(Handling::ForwardAndRefresh) {
            self.gateway.models_may_have_changed();
        }
        if let Some(e) = e
            && way.error.is_none()
        {
            way.error = Some(explain(e, way));
        }
        let written = session.response_written().map(|head| head.status.as_u16());
        let record = &mut way.record;
        record.bytes_in = session.body_bytes_read() as u64;
        record.bytes_out = session.body_bytes_sent() as u64;
        record.total = record.started.elapsed();
        (record.status, record.ending) = match (&way.error, written) {
            (None, status) => (status.unwrap_or(0), Ending::Complete),
            (Some(error), Some(status)) if status == error.kind.status() => {
                (status, Ending::Refused(error.kind))
            }
            (Some(error), Some(status)) => (status, Ending::Broken(error.kind)),
            (Some(error), None) => (error.kind.status(), Ending::Refused(error.kind)),
        };
        way.write();
    }
}

impl Drop for Way {
    /// A request that was cut off in its middle, at the end of the drain or by a panic, leaves its record
    /// all the same. One that never arrived leaves none.
    fn drop(&mut self) {
        if self.arrival.is_some() && self.sinks.is_some() {
            let record = &mut self.record;
            record.total = record.started.elapsed();
            record.status = if record.status == 0 { Kind::Stopping.status() } else { record.status };
            record.ending = Ending::Broken(Kind::Stopping);
            self.write();
        }
    }
}

/// An error of Pingora's in our own words; the wire knows better when a client was too slow.
fn explain(e: &pingora::Error, way: &Way) -> Error {
    let trouble = way.arrival.as_ref().map_or(Trouble::None, |arrival| arrival.troubles.get());
    downstream::explain_trouble(trouble).unwrap_or_else(|| match e.esource {
        ErrorSource::Downstream => Error::new(Kind::ClientGone, "the client left"),
        ErrorSource::Upstream => upstream::explain_type(&e.etype),
        ErrorSource::Internal | ErrorSource::Unset => match e.etype {
            ErrorType::HTTPStatus(_) | ErrorType::InternalError => {
                Error::new(Kind::Internal, "internal error")
            }
            _ => upstream::explain_type(&e.etype),
        },
    })
}

/// A request of a page that this very server has served: bare Ollama would see it as its own.
pub fn is_same_origin(request: &RequestHeader) -> bool {
    let (Some(origin), Some(host)) = (request.headers.get(header::ORIGIN), request.headers.get(header::HOST))
    else {
        return false;
    };
    let origin = origin.as_bytes();
    let bare = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    bare.is_some_and(|bare| bare.eq_ignore_ascii_case(host.as_bytes()))
}
