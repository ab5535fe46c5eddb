//! The forwarded road: what is not looked into and may be large goes through Pingora, byte for byte, and leaves
//! exactly one record. So do the house's own routes.

use super::desk::is_same_origin;
use super::door::{Arrival, Errand};
use super::head::origin_form;
use super::passing::{judge, strip_hop_by_hop};
use super::trouble::{explain, is_closed};
use super::upload;
use super::vigil::Vigil;
use super::visit::{REQUEST_ID, Visit};
use super::wire::Trouble;
use crate::dialect::Handling;
use crate::domain::{Error, Kind};
use crate::gateway::{self, Body, Gateway};
use crate::telemetry::{Metrics, Sinks};
use crate::upstream::{CREDENTIALS, Client, is_ours};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{BError, ErrorSource, ErrorType};
use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The road's own equipment.
pub struct Road {
    pub gateway: Arc<Gateway>,
    pub client: Arc<Client>,
    /// Where the house routes are answered.
    pub admin: SocketAddr,
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
    visit: Visit,
    arrival: Option<Arrival>,
    /// How often an address of the upstream was tried in vain.
    tried: usize,
    /// The request has been sent twice.
    repeated: bool,
    /// Heads that came in advance of the answer's.
    preliminary: usize,
    /// The answer's head has come, and what it says.
    is_answered: bool,
    status: u16,
}

/// Answers before the answer (1xx) that are borne.
const MOST_PRELIMINARY: usize = 16;

impl Way {
    fn errand(&self) -> Errand {
        self.arrival.as_ref().map_or(Errand::Upstream(Handling::Forward), |arrival| arrival.errand)
    }

    /// The upstream has been given something to answer. The house answers at once.
    fn ask(&self) {
        if let Some(arrival) = self.arrival.as_ref().filter(|arrival| arrival.errand != Errand::House) {
            arrival.vigil.iter().for_each(Vigil::ask);
        }
    }

    /// A head has come in advance of the answer's.
    fn preliminary(&mut self) -> pingora::Result<()> {
        self.preliminary += 1;
        match self.preliminary > MOST_PRELIMINARY {
            true => Err(pingora::Error::new_up(ErrorType::InvalidHTTPHeader)),
            false => Ok(()),
        }
    }

    fn answered(&mut self) {
        self.is_answered = true;
        if let Some(arrival) = &self.arrival {
            arrival.vigil.iter().for_each(Vigil::answered);
        }
    }

    fn trouble(&self) -> Trouble {
        self.arrival.as_ref().map_or(Trouble::None, |arrival| arrival.troubles.get())
    }

    /// Whether the request changes nothing by being sent twice.
    fn may_repeat(&self) -> bool {
        self.arrival.as_ref().is_some_and(|arrival| arrival.may_repeat())
    }
}

#[async_trait]
impl ProxyHttp for Road {
    type CTX = Way;

    fn new_ctx(&self) -> Way {
        Way {
            visit: Visit::new(self.sinks.clone()),
            arrival: None,
            tried: 0,
            repeated: false,
            preliminary: 0,
            is_answered: false,
            status: 0,
        }
    }

    /// None: nothing is compressed here, and nothing else is done to a body.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    fn on_connection_reuse(&self, _session: &mut Session, way: &mut Way, given: Box<dyn Any + Send + Sync>) {
        let Ok(arrival) = given.downcast::<Arrival>() else { return };
        way.visit.begin(&arrival, &self.metrics);
        way.arrival = Some(*arrival);
    }

    async fn upstream_peer(&self, session: &mut Session, way: &mut Way) -> pingora::Result<Box<HttpPeer>> {
        if way.errand() == Errand::House {
            return Ok(Box::new(HttpPeer::new(self.admin, false, String::new())));
        }
        match self.client.target().peer().await {
            Ok(peer) => {
                let mut peer = Box::new((*peer).clone());
                if has_large_body(session.req_header()) {
                    upload::prepare(&mut peer);
                }
                if way.repeated {
                    // Of a group of its own, so that no kept connection is taken: those are as old as the
                    // one that was dead.
                    peer.group_key = fastrand::u64(1..);
                }
                Ok(peer)
            }
            Err(error) => {
                self.client.note(false);
                way.visit.error = Some(error);
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
        if is_same_origin(&session.req_header().headers) {
            request.remove_header(&header::ORIGIN);
        }
        if way.errand() == Errand::House {
            // The client's own word for this server was judged at this door, by this door's rules.
            request.insert_header(header::HOST, self.admin.to_string())?;
            return Ok(());
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
        way.ask();
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        _end: bool,
        way: &mut Way,
    ) -> pingora::Result<()> {
        if !way.is_answered {
            way.ask();
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        way: &mut Way,
    ) -> pingora::Result<()> {
        judge(response)?;
        way.status = response.status.as_u16();
        match response.status.is_informational() {
            true => way.preliminary()?,
            false => way.answered(),
        }
        strip_hop_by_hop(response);
        if session.req_header().version != http::Version::HTTP_11 {
            // HTTP/1.0 knows no chunks: there the end of the connection is the end of the answer.
            if response.remove_header(&header::TRANSFER_ENCODING).is_some() {
                session.set_keepalive(None);
            }
        }
        self.close_if_draining(session);
        response.insert_header(REQUEST_ID, way.visit.request_id())?;
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        way: &mut Way,
    ) -> pingora::Result<Option<Duration>> {
        if way.errand() == Errand::Upstream(Handling::ForwardAndRefresh) {
            // Before the client can read that it is done, and again when it is.
            self.gateway.models_may_have_changed();
        }
        if body.as_ref().is_some_and(|body| !body.is_empty()) {
            way.visit.note_first_byte();
        }
        if end {
            way.visit.settle(way.status);
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
        let was_dead = client_reused && is_closed(&e.etype) && e.esource == ErrorSource::Upstream;
        e.retry = (was_dead && untouched && way.may_repeat() && !way.repeated).into();
        way.repeated = true;
        e
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &pingora::Error, way: &mut Way) -> FailToProxy {
        let error = way.visit.error.take().unwrap_or_else(|| explain(e, way.trouble()));
        let status = error.kind.status();
        let is_unanswered = session.response_written().is_none_or(|head| head.status.is_informational());
        if error.kind != Kind::ClientGone && is_unanswered {
            session.set_keepalive(None);
            let _ = refuse(session, way, &error).await;
        } else {
            // What was held back goes out, and then the end that is none.
            session.shutdown().await;
        }
        way.visit.error = Some(error);
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
            && way.visit.error.is_none()
        {
            way.visit.error = Some(explain(e, way.trouble()));
        }
        way.visit.record.bytes_in = session.body_bytes_read() as u64;
        way.visit.record.bytes_out = session.body_bytes_sent() as u64;
        way.visit.end(session.response_written().map(|head| head.status.as_u16()));
    }
}

/// Whether more of a body is to come than the sockets' own buffers take.
fn has_large_body(request: &RequestHeader) -> bool {
    let fields = &request.headers;
    let length =
        fields.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    fields.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length > upload::LARGE)
}

/// Tells the client why not.
async fn refuse(session: &mut Session, way: &mut Way, error: &Error) -> pingora::Result<()> {
    let reply = gateway::refuse(error, way.visit.record.route, way.visit.record.id);
    let Body::Whole(body) = reply.body else { return Ok(()) };
    let mut head = ResponseHeader::build(reply.status, Some(reply.headers.len() + 4))?;
    for (name, value) in &reply.headers {
        head.append_header(name.clone(), value.clone())?;
    }
    head.insert_header(REQUEST_ID, way.visit.request_id())?;
    head.insert_header(header::CONTENT_LENGTH, body.len())?;
    session.write_response_header(Box::new(head), body.is_empty()).await?;
    way.visit.note_first_byte();
    session.write_response_body(Some(body), true).await
}
