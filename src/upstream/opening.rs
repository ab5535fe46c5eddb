//! How a connection to the upstream is opened.

use crate::domain::{Error, Kind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tokio_util::either::Either;

/// An open connection, which fails when the other side takes nothing for too long.
pub type Socket = Pin<Box<TimeoutStream<Either<TcpStream, Box<TlsStream<TcpStream>>>>>>;

/// What is needed to open one.
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
    pub async fn open(&self, address: SocketAddr) -> Result<Socket, Error> {
        let opening = self.handshakes(address);
        let socket = match self.connect {
            Some(limit) => tokio::time::timeout(limit, opening).await.unwrap_or_else(|_| Err(not_accepted())),
            None => opening.await,
        }?;
        let mut socket = TimeoutStream::new(socket);
        socket.set_write_timeout(self.write);
        Ok(Box::pin(socket))
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

pub fn unreachable() -> Error {
    Error::new(Kind::UpstreamUnreachable, "the upstream cannot be reached")
        .retry_after(Duration::from_secs(1))
}

fn not_accepted() -> Error {
    Error::new(Kind::UpstreamTimeout, "the upstream does not accept the connection")
}
