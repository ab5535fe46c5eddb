//! The way up for a large forwarded body. While Pingora waits for room to write, it reads nothing: an
//! upstream that answers early, and takes no more, would keep its answer from the client for as long as a
//! write may take. Here such a write fails, and Pingora then reads the answer.

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, OrErr};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A body up to this size finds room in the sockets' own buffers.
pub const LARGE: u64 = 64 << 10;

/// Makes `peer` one for a large body: on a connection of its own, which is closed afterwards.
pub fn prepare(peer: &mut HttpPeer) {
    if peer.is_tls() {
        // There the answer cannot be seen before it is read.
        return;
    }
    peer.options.custom_l4 = Some(Arc::new(Connect { limit: peer.options.connection_timeout }));
    peer.options.idle_timeout = Some(Duration::ZERO);
    peer.group_key = fastrand::u64(1..);
}

#[derive(Debug)]
struct Connect {
    limit: Option<Duration>,
}

#[async_trait]
impl L4Connect for Connect {
    async fn connect(&self, address: &SocketAddr) -> pingora::Result<Stream> {
        let address = address.as_inet().ok_or_else(|| Error::new(ErrorType::ConnectError))?;
        let connecting = TcpStream::connect(address);
        let io = match self.limit {
            Some(limit) => tokio::time::timeout(limit, connecting)
                .await
                .map_err(|_| Error::new_up(ErrorType::ConnectTimedout))?,
            None => connecting.await,
        };
        let io = io.or_err(ErrorType::ConnectRefused, "a connection for an upload")?;
        Ok(VirtualSocketStream::new(Box::new(Upload(io))).into())
    }
}

#[derive(Debug)]
struct Upload(TcpStream);

impl Upload {
    /// While nothing can be written: whether an answer that refuses the request has begun to come.
    fn is_refused(&self, cx: &mut Context<'_>) -> bool {
        let mut room = [0; b"HTTP/1.1 4".len()];
        let mut start = ReadBuf::new(&mut room);
        let peeked = self.0.poll_peek(cx, &mut start);
        matches!(peeked, Poll::Ready(Ok(_))) && matches!(start.filled(), b"HTTP/1.1 4" | b"HTTP/1.1 5")
    }

    fn wrote(&self, polled: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if polled.is_pending() && self.is_refused(cx) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        polled
    }
}

impl AsyncRead for Upload {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Upload {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.0).poll_write(cx, bytes);
        self.wrote(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.0).poll_write_vectored(cx, pieces);
        self.wrote(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl VirtualSocket for Upload {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.0.set_nodelay(true),
            _ => Ok(()),
        }
    }
}
