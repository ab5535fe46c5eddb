//! A [`Wire`] as Pingora wants its streams: with a buffer for what is written, and the traits of the house
//! that it is lent to.

use super::wire::Wire;
use async_trait::async_trait;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType, raw_connect::ProxyDigest,
};
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};
use tokio::sync::oneshot;

/// Written bytes are gathered up to here before they go out, unless they are flushed.
const WRITE_BUFFER: usize = 16 << 10;

/// The stream that Pingora sees. When it is dropped, the wire goes home, with what was not flushed lost.
#[derive(Debug)]
pub struct Lent {
    /// Until it is dropped.
    wire: Option<BufWriter<Wire>>,
    id: UniqueIDType,
    digest: Arc<SocketDigest>,
    home: Option<oneshot::Sender<Returned>>,
}

/// What comes back of a wire that was lent.
#[derive(Debug)]
pub struct Returned {
    pub wire: Wire,
    /// All that was written has gone out.
    pub is_flushed: bool,
}

impl Lent {
    /// It, and where the wire is given back.
    pub fn new(wire: Wire) -> (Self, oneshot::Receiver<Returned>) {
        let id = wire.socket().as_raw_fd();
        let digest = Arc::new(SocketDigest::from_raw_fd(id));
        let (home, returned) = oneshot::channel();
        let wire = Some(BufWriter::with_capacity(WRITE_BUFFER, wire));
        (Lent { wire, id, digest, home: Some(home) }, returned)
    }

    fn wire(&mut self) -> io::Result<Pin<&mut BufWriter<Wire>>> {
        self.wire.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(wire), Some(home)) = (self.wire.take(), self.home.take()) {
            let is_flushed = wire.buffer().is_empty();
            // Whom it belongs to may have gone.
            let _ = home.send(Returned { wire: wire.into_inner(), is_flushed });
        }
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(self.wire()?.get_mut().get_mut()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wire()?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire()?.poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Lent {
    async fn shutdown(&mut self) {
        let _ = tokio::io::AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Lent {
    fn id(&self) -> UniqueIDType {
        self.id
    }
}

impl Ssl for Lent {}

#[async_trait]
impl Peek for Lent {}

impl GetTimingDigest for Lent {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Lent {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Lent {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.digest.clone())
    }
}
