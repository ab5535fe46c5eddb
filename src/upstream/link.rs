//! One connection to the upstream, driven by whoever uses it: no task of its own, small buffers, and gone
//! when it is dropped.

use crate::domain::{Error, Kind};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tokio_util::either::Either;

/// What is read ahead of the reader at the most; an answer's head must fit into it too.
const MOST_BUFFERED: usize = 64 << 10;

/// A piece up to this size is copied.
const SMALL: usize = 2 << 10;

type Socket = Pin<Box<TimeoutStream<Either<TcpStream, Box<TlsStream<TcpStream>>>>>>;

/// An open connection that bears one request at a time.
pub struct Link {
    sender: SendRequest<Full<Bytes>>,
    /// Boxed: a link is handed from one to the next.
    connection: Box<Connection<TokioIo<Socket>, Full<Bytes>>>,
    is_over: bool,
    /// Since when nobody has used it.
    pub idle_since: Instant,
}

/// How a connection is opened.
pub struct Opening {
    /// The name that the certificate must bear, and whom to trust; none where TLS is not spoken.
    tls: Option<(ServerName<'static>, TlsConnector)>,
    pub connect: Option<Duration>,
    pub write: Option<Duration>,
}

impl Opening {
    /// `tls`: the host's name, where TLS is spoken.
    pub fn new(tls: Option<&str>, connect: Option<Duration>, write: Option<Duration>) -> Self {
        let name = tls.and_then(|host| ServerName::try_from(host.to_string()).ok());
        Opening { tls: name.map(|name| (name, connector())), connect, write }
    }

    /// # Errors
    /// `UpstreamUnreachable`, `UpstreamTimeout`.
    pub async fn open(&self, address: SocketAddr) -> Result<Link, Error> {
        let opening = self.handshakes(address);
        let socket = match self.connect {
            Some(limit) => tokio::time::timeout(limit, opening).await.unwrap_or_else(|_| Err(not_accepted())),
            None => opening.await,
        }?;
        let mut socket = TimeoutStream::new(socket);
        socket.set_write_timeout(self.write);
        let mut builder = http1::Builder::new();
        // The spelling of names that Ollama's own kind of client uses.
        builder.title_case_headers(true).max_buf_size(MOST_BUFFERED);
        let shaken = builder.handshake(TokioIo::new(Box::pin(socket))).await;
        let (sender, connection) = shaken.map_err(|_| unreachable())?;
        Ok(Link { sender, connection: Box::new(connection), is_over: false, idle_since: Instant::now() })
    }

    async fn handshakes(
        &self,
        address: SocketAddr,
    ) -> Result<Either<TcpStream, Box<TlsStream<TcpStream>>>, Error> {
        let plain = TcpStream::connect(address).await.map_err(|_| unreachable())?;
        let _ = plain.set_nodelay(true);
        let Some((name, connector)) = &self.tls else { return Ok(Either::Left(plain)) };
        let shaken = connector.connect(name.clone(), plain).await.map_err(|_| {
            let why = "the upstream's certificate is not trusted, or it does not speak TLS";
            Error::new(Kind::UpstreamUnreachable, why)
        })?;
        Ok(Either::Right(Box::new(shaken)))
    }
}

impl Link {
    /// Whether it can bear a request; one that the upstream has closed meanwhile cannot.
    pub async fn is_ready(&mut self) -> bool {
        std::future::poll_fn(|cx| {
            self.turn(cx);
            Poll::Ready(())
        })
        .await;
        !self.is_over && self.sender.is_ready()
    }

    /// Sends `request` and waits for the answer's head, which may come before all of it was sent.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Option<Response<Incoming>>> {
        let mut answering = std::pin::pin!(self.sender.send_request(request));
        let (connection, is_over) = (&mut self.connection, &mut self.is_over);
        std::future::poll_fn(|cx| {
            drive(connection, is_over, cx);
            match answering.as_mut().poll(cx) {
                Poll::Ready(answered) => Poll::Ready(answered.map(Some)),
                Poll::Pending if *is_over => Poll::Ready(Ok(None)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// The next piece of an answer's body. `None` is its clean end.
    pub async fn piece(&mut self, body: &mut Incoming) -> hyper::Result<Option<Bytes>> {
        std::future::poll_fn(|cx| {
            loop {
                // Asking first tells the connection that there is room.
                let mut polled = Pin::new(&mut *body).poll_frame(cx);
                if polled.is_pending() {
                    self.turn(cx);
                    polled = Pin::new(&mut *body).poll_frame(cx);
                }
                match std::task::ready!(polled) {
                    None => return Poll::Ready(Ok(None)),
                    Some(Err(error)) => return Poll::Ready(Err(error)),
                    Some(Ok(frame)) => match frame.into_data() {
                        // A small piece must not keep the buffer that it was read into.
                        Ok(piece) if piece.len() <= SMALL => {
                            return Poll::Ready(Ok(Some(Bytes::copy_from_slice(&piece))));
                        }
                        Ok(piece) => return Poll::Ready(Ok(Some(piece))),
                        // Trailers say nothing that anybody here wants to know.
                        _ => {}
                    },
                }
            }
        })
        .await
    }

    fn turn(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.connection, &mut self.is_over, cx);
    }
}

/// Lets the connection do what can be done now.
fn drive(
    connection: &mut Connection<TokioIo<Socket>, Full<Bytes>>,
    is_over: &mut bool,
    cx: &mut Context<'_>,
) {
    if !*is_over {
        *is_over = Pin::new(connection).poll(cx).is_ready();
    }
}

/// Trusts whom the system trusts.
fn connector() -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks the versions that rustls does")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

fn unreachable() -> Error {
    Error::new(Kind::UpstreamUnreachable, "the upstream cannot be reached")
        .retry_after(Duration::from_secs(1))
}

fn not_accepted() -> Error {
    Error::new(Kind::UpstreamTimeout, "the upstream does not accept the connection")
}
